"""Our side: both towers under learned prompts, as the methods run them; `views`: vectors of images kept, or anew."""

import torch
import two_towers
from torch.nn.functional import cross_entropy, linear

from promptology.injection.towers import PromptedTowers, Prompts, TextRows
from promptology.predict.view_tuning import ViewTuning


def losses(spec, stopwatch):
    """Return the losses of some steps, and their memory."""
    return two_towers.losses(spec, stopwatch, prepare)


def steps(spec, stopwatch):
    """Return the time of a step."""
    return two_towers.steps(spec, stopwatch, prepare)


def answers(spec, stopwatch):
    """Return what an image's cosines are after it was adapted to."""
    return two_towers.answers(spec, adapting)


def images(spec, stopwatch):
    """Return the time of an image that is adapted to."""
    return two_towers.images(spec, stopwatch, adapting)


def adapting(case):
    """Return what tunes the context on the views of an image, as the procedure does it, and gives its cosines."""
    towers, start = PromptedTowers(two_towers.model_of(case["shape"]), 1, 0), two_towers.parameters_of(case)[0][0]
    towers.scale, towers.bias = two_towers.SCALE, 0.0
    ids, pixels = two_towers.rows_of(case), two_towers.images_of(case)
    rows = TextRows(ids, [list(range(1, 1 + case["length"]))] * len(ids))
    tuning = ViewTuning(crops=case["batch"] - 1, steps=case["steps"], rate=two_towers.TUNED)

    def adapt():
        with torch.no_grad():
            seen = towers.images(pixels)
        return tuning.adapted(towers, rows, Prompts(start), seen, "")

    return adapt


def prepare(case):
    """Return the loss of a batch, and the parameters; `memory`: bytes that the states of texts may take."""
    limit = {"memory": case["memory"]} if "memory" in case else {}
    towers = PromptedTowers(two_towers.model_of(case["shape"]), 1, 0, **limit)
    vectors, more = two_towers.parameters_of(case)
    ids = two_towers.rows_of(case)
    rows, pixels = TextRows(ids, [list(range(1, 1 + case["length"]))] * len(ids)), two_towers.images_of(case)
    with torch.no_grad():
        kept = towers.images(pixels) if case.get("views") == "cached" else None

    def seen(images):
        with torch.no_grad():
            return towers.images(pixels[images]) if kept is None else kept[images]

    def coop(batch):
        images, labels = batch
        texts = towers.texts(rows, Prompts(vectors[0]))
        return cross_entropy(two_towers.SCALE * seen(images) @ texts.T, labels)

    def cocoop(batch):
        images, labels = batch
        own = seen(images)
        moved = linear(linear(own, more[0]).relu(), more[1])
        texts = towers.texts(rows, Prompts((vectors[0] + moved[:, None])[:, None]))
        return cross_entropy(two_towers.SCALE * torch.einsum("bd,bcd->bc", own, texts), labels)

    def maple(batch):
        images, labels = batch
        shown = [linear(one, by) for one, by in zip(vectors, more, strict=True)]
        now = Prompts(vectors[0], vectors[1:], shown[0], shown[1:])
        return cross_entropy(two_towers.SCALE * towers.images(pixels[images], now) @ towers.texts(rows, now).T, labels)

    return {"coop": coop, "cocoop": cocoop, "maple": maple}[case["kind"]], [*vectors, *more]
