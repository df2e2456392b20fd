"""The authors' loops of CoOp, CoCoOp and MaPLe re-expressed on CLIPModel: whole towers at every step, texts padded."""

import torch
import two_towers
from torch.nn.functional import cross_entropy, linear, normalize


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
    """Return what tunes the context on the views of an image (TPT), and gives its cosines."""
    model, start = two_towers.model_of(case["shape"]), two_towers.parameters_of(case)[0][0]
    texts, pixels = Texts(model, case), two_towers.images_of(case)

    def adapt():
        context = start.detach().clone().requires_grad_()
        optimizer = torch.optim.AdamW([context], lr=two_towers.TUNED, weight_decay=0.01)
        with torch.no_grad():
            seen = image_features(model, pixels)
        kept = None
        for _ in range(case["steps"]):
            logs = (two_towers.SCALE * seen @ texts(context).T).log_softmax(dim=-1)
            if kept is None:
                kept = (-(logs.exp() * logs).sum(dim=-1)).detach().argsort(stable=True)[: len(logs) // 10]
            mean = logs[kept].logsumexp(dim=0) - torch.tensor(float(len(kept))).log()
            optimizer.zero_grad()
            (-(mean.exp() * mean).sum()).backward()
            optimizer.step()
        with torch.no_grad():
            return (seen[:1] @ texts(context).T)[0]

    return adapt


def prepare(case):
    """Return the loss of a batch, and the parameters."""
    model, (vectors, more) = two_towers.model_of(case["shape"]), two_towers.parameters_of(case)
    texts, pixels = Texts(model, case), two_towers.images_of(case)

    def coop(batch):
        images, labels = batch
        with torch.no_grad():
            seen = image_features(model, pixels[images])
        return cross_entropy(two_towers.SCALE * seen @ texts(vectors[0]).T, labels)

    def cocoop(batch):
        images, labels = batch
        with torch.no_grad():
            seen = image_features(model, pixels[images])
        moved = linear(linear(seen, more[0]).relu(), more[1])
        logits = [two_towers.SCALE * one @ texts(vectors[0] + by).T for one, by in zip(seen, moved, strict=True)]
        return cross_entropy(torch.stack(logits), labels)

    def maple(batch):
        images, labels = batch
        shown = [linear(one, by) for one, by in zip(vectors, more, strict=True)]
        seen = image_features(model, pixels[images], shown[0], shown[1:])
        return cross_entropy(two_towers.SCALE * seen @ texts(vectors[0], vectors[1:]).T, labels)

    return {"coop": coop, "cocoop": cocoop, "maple": maple}[case["kind"]], [*vectors, *more]


class Texts:
    """All classes, padded to all positions; their features are read at the end token."""

    def __init__(self, model, case):
        self.model, self.text = model, model.text_model
        positions = case["shape"]["positions"]
        ids = torch.tensor([[*row, *[0] * (positions - len(row))] for row in two_towers.rows_of(case)])
        embedded = self.text.embeddings.token_embedding(ids)
        self.prefix, self.suffix = embedded[:, :1], embedded[:, 1 + case["length"] :]
        self.places = self.text.embeddings.position_embedding.weight
        self.ends = (ids == two_towers.END).int().argmax(dim=1)

    def __call__(self, context, deep=()):
        """Return unit vectors (classes, d)."""
        classes = len(self.prefix)
        hidden = torch.cat([self.prefix, context.expand(classes, -1, -1), self.suffix], dim=1) + self.places
        for i, layer in enumerate(self.text.encoder.layers):
            if 1 <= i <= len(deep):
                own = deep[i - 1].expand(classes, -1, -1)
                hidden = torch.cat([hidden[:, :1], own, hidden[:, 1 + own.shape[1] :]], dim=1)
            hidden = layer(hidden, None, is_causal=True)
        hidden = self.text.final_layer_norm(hidden)
        return normalize(self.model.text_projection(hidden[torch.arange(classes), self.ends]), dim=-1)


def image_features(model, pixels, tokens=None, deep=()):
    """Return unit vectors (images, d)."""
    vision, count = model.vision_model, len(pixels)
    hidden = vision.embeddings(pixels)
    if tokens is not None:
        hidden = torch.cat([hidden, tokens.expand(count, -1, -1)], dim=1)
    hidden = vision.pre_layrnorm(hidden)
    for i, layer in enumerate(vision.encoder.layers):
        if 1 <= i <= len(deep):
            own = deep[i - 1].expand(count, -1, -1)
            hidden = torch.cat([hidden[:, : -own.shape[1]], own], dim=1)
        hidden = layer(hidden, None)
    return normalize(model.visual_projection(vision.post_layernorm(hidden[:, 0])), dim=-1)
