"""Tuning on the views of one image: against a reference in plain torch, and what is chosen by hand-computed numbers."""

from __future__ import annotations

import math

import numpy as np
import official_towers as official
import pictured
import pytest
import torch
import whitebox

import promptology as pt
from promptology.data.images import Image
from promptology.data.views import Augment, crops
from promptology.errors import AccessError, ArtifactError, ModelError, UsageError
from promptology.injection.towers import Prompts, TextRows
from promptology.methods.registry import create
from promptology.models.callables import CallableViews
from promptology.predict.adapting import adapting_of, procedure_of
from promptology.predict.view_tuning import ViewTuning, entropies, mean_entropy, share_of
from promptology.prompts.learned import Learned
from promptology.prompts.procedures import Procedure


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def darker(picture, count, seed):
    """Pictures in other shades, some of another size than the image."""
    rng, values = np.random.default_rng(seed), np.asarray(picture).astype(np.float32)
    made = [np.clip(values * rng.uniform(0.3, 1.2), 0, 255).astype(np.uint8) for _ in range(count)]
    return [one.repeat(2, axis=0) if n % 2 else one for n, one in enumerate(made)]


def learned(kind, slug="tpt", seed=0, **settings):
    """What a method gives, with few views."""
    small = {"views": 6, "confident": 0.5} if slug == "tpt" else {"crops": 4, "generated": 5, "steps": 2}
    return create(slug, {**small, **settings}).fit(whitebox.run_of(pictured.task(), pictured.model(kind), seed=seed))


def bound(prompt, kind, helpers=None, on=None):
    given = helpers or ({"views": darker} if "views" in prompt.roles else {})
    return prompt.bind(pictured.model(kind), given, (on or pictured.task()).signature)


def inputs(task=None, some=None):
    items = (task or pictured.task()).train
    return [dict(items[n].inputs) for n in (range(len(items)) if some is None else some)]


def reference(kind, prompt, image, generator=None):
    """Logits of an image as the authors' code finds them: padded texts, every tower run in full at every step."""
    towers, o = pictured.model(kind).towers(), prompt.part(Procedure).options
    start = next(p for p in prompt.parts if p.kind == "tensors").values
    wording = prompt.readout.options["templates"][0]
    found = towers.worded([wording.replace("{label}", name) for name in pictured.NAMES], len(start))
    rows = TextRows([one.ids for one in found], [one.slots for one in found])
    own = int(image.digest, 16)
    augment = Augment(flip=o["flip"])
    pictures = [
        image,
        *crops(image, max(towers.image_size), o["crops"], np.random.default_rng([o["seed"], own]), augment),
    ]
    if generator:
        pictures += generator(
            image.rgb(), o["generated"], int(np.random.default_rng([o["seed"], own, 1]).integers(2**31))
        )
    pixels = towers.pixels([Image(np.asarray(p)) if isinstance(p, np.ndarray) else p for p in pictures])
    v = torch.tensor(start, requires_grad=True)
    optimizer = torch.optim.AdamW([v], lr=o["rate"], weight_decay=o["decay"])

    def logits():
        with torch.no_grad():
            f = official.images(towers.inner, pixels)
        g = official.texts(towers.inner, rows, towers.prompted.pad, towers.prompted.opening, v)
        return towers.scale * f @ g.T + towers.bias, f

    kept = None
    for _ in range(o["steps"]):
        found, f = logits()
        if kept is None:
            kept = list(range(len(pictures)))
            if generator:
                others = range(1 + o["crops"], len(pictures)) if o["similarity"] == "image" else kept[1:]
                by = f if o["similarity"] == "image" else found
                cosines = {n: float(torch.cosine_similarity(by[0], by[n], dim=0).detach()) for n in others}
                best = sorted(others, key=lambda n: -cosines[n])[: math.floor(o["faithful"] * len(cosines))]
                kept = [n for n in kept if n not in cosines] + best
            p = found.softmax(dim=-1).detach()
            h = -(p * p.log()).sum(dim=-1)
            kept = sorted(kept, key=lambda n: float(h[n]))[: max(1, math.floor(o["confident"] * len(kept)))]
        mean = found[kept].softmax(dim=-1).mean(dim=0)
        optimizer.zero_grad()
        (-(mean * mean.log()).sum()).backward()
        optimizer.step()
    with torch.no_grad():
        return logits()[0][0].numpy()


@pytest.mark.parametrize("kind", pictured.KINDS)
@pytest.mark.parametrize("steps", [1, 3])
def test_steps_equal_the_authors_loop_on_padded_texts(kind, steps):
    prompt = learned(kind, steps=steps, rate=0.02)
    found = bound(prompt, kind).predict(inputs(some=[0, 5])).scores
    for n, row in zip((0, 5), found, strict=True):
        wanted = reference(kind, prompt, pictured.task().train[n].inputs["image"])
        scale = pictured.model(kind).towers().scale
        assert np.allclose(row / scale, wanted / scale, atol=1e-5)
    still = bound(learned(kind, steps=0), kind).predict(inputs(some=[0, 5])).scores
    assert np.abs(found - still).max() > 1e-3


@pytest.mark.parametrize("similarity", ["image", "logits"])
def test_generated_views_and_their_filter_equal_the_reference(similarity):
    prompt = learned("clip", "difftpt", similarity=similarity, faithful=0.6, rate=0.02)
    found = bound(prompt, "clip").predict(inputs(some=[2])).scores[0]
    wanted = reference("clip", prompt, pictured.task().train[2].inputs["image"], darker)
    scale = pictured.model("clip").towers().scale
    assert np.allclose(found / scale, wanted / scale, atol=1e-5)


@pytest.mark.parametrize("slug", ["tpt", "difftpt"])
def test_an_image_is_done_by_itself_whatever_came_before_it(slug):
    prompt = learned("clip", slug, rate=0.05)
    every = bound(prompt, "clip").predict(inputs()).scores
    order = [7, 0, 11, 3]
    assert np.array_equal(bound(prompt, "clip").predict(inputs(some=order)).scores, every[order])
    alone = [bound(prompt, "clip").predict(inputs(some=[n])).scores[0] for n in order]
    assert np.array_equal(np.stack(alone), every[order])


def test_no_step_is_zero_shot_to_the_bit_and_costs_as_little():
    prompt = learned("clip", steps=0)
    plain = Learned(tuple(p for p in prompt.parts if p.kind != "procedure"), prompt.signature, prompt.roles)
    found, wanted = (bound(p, "clip").predict(inputs()) for p in (prompt, plain))
    assert np.array_equal(found.scores, wanted.scores) and found.cost.passes == wanted.cost.passes


def test_the_first_step_moves_each_number_by_the_rate(monkeypatch):
    prompt = learned("clip", rate=0.01, decay=0.1)
    before = next(p for p in prompt.parts if p.kind == "tensors").values
    towers, contexts = pictured.model("clip").towers(), []
    real = towers.prompted.texts

    def texts(rows, prompts=None):
        contexts.append(prompts.context.detach().clone().numpy())
        return real(rows, prompts)

    monkeypatch.setattr(towers.prompted, "texts", texts)
    bound(prompt, "clip").predict(inputs(some=[0]))
    assert len(contexts) == 2 and np.array_equal(contexts[0], before)
    moved = np.abs(contexts[1] - before)
    assert np.all(moved <= 0.01 * (1 + 0.1 * np.abs(before)) + 1e-6) and np.median(moved) > 0.009


def test_classes_in_another_order_have_the_same_scores():
    prompt = learned("clip", rate=0.05)
    names = pictured.NAMES[::-1]
    found = bound(prompt, "clip").predict(inputs(some=[1, 6])).scores
    turned = bound(prompt, "clip", on=pictured.task(names)).predict(inputs(some=[1, 6])).scores
    assert np.allclose(turned[:, ::-1], found, atol=1e-3)


def test_nothing_but_the_context_of_texts_has_a_gradient():
    bound(learned("clip"), "clip").predict(inputs(some=[0]))
    inner = pictured.model("clip").towers().inner
    assert all(p.grad is None and not p.requires_grad for p in inner.parameters())


def test_shares_are_rounded_down_and_keep_at_least_one():
    assert share_of(0.1, 64) == 6 and share_of(0.1, 5) == 1 and share_of(0.0, 5) == 1 and share_of(0.3, 0) == 0
    assert share_of(0.8, 127) == 101 and share_of(0.3, 102) == 30 and share_of(1.0, 7) == 7
    assert share_of(0.29, 100) == 29  # 0.29 * 100 is a little less in floating point


def test_the_papers_numbers_of_views():
    def chosen(**settings):
        tuning = ViewTuning(**settings)
        n = 1 + tuning.crops + tuning.generated
        generator = torch.Generator().manual_seed(0)
        f = torch.randn(n, 8, generator=generator)
        return tuning.kept(torch.randn(n, 5, generator=generator), f).tolist()

    assert len(chosen()) == 6
    both = {"crops": 64, "generated": 63, "faithful": 0.8, "confident": 0.3}
    assert len(chosen(**both, similarity="logits")) == 30
    assert len(chosen(**both, similarity="logits") + chosen(**{**both, "confident": 1.0}, similarity="logits")) == 132
    assert len(chosen(**{**both, "confident": 1.0})) == 1 + 64 + 50


def test_the_filter_keeps_what_lies_near_the_image_and_then_what_is_sure():
    f = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1], [-1.0, 0.0], [0.8, 0.6]])
    sure = torch.tensor([1.0, 0.5, 9.0, 8.0, 2.0])
    logits = torch.stack([sure, torch.zeros(5)], dim=1)
    two = ViewTuning(crops=1, generated=3, faithful=0.7, confident=0.5)
    assert sorted(ViewTuning(crops=1, generated=3, faithful=0.7, confident=1.0).kept(logits, f).tolist()) == [
        0,
        1,
        2,
        4,
    ]
    assert two.kept(logits, f).tolist() == [2, 4]  # the view of the highest logits but one strays and is left out
    assert ViewTuning(crops=1, generated=3, confident=0.4).kept(logits, f).tolist() == [2, 3]
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [3.0, 0.1], [9.0, 8.0], [4.0, -4.0]])
    code = ViewTuning(crops=1, generated=3, faithful=0.5, confident=1.0, similarity="logits")
    assert sorted(code.kept(logits, f).tolist()) == [0, 2, 3]  # cosines 0, 0.999, 0.747 and 0.707


def test_entropies_by_hand():
    logits = torch.tensor([[0.0, math.log(3.0)], [math.log(3.0), 0.0]])
    one = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert entropies(logits).tolist() == pytest.approx([one, one], abs=1e-6)
    assert float(mean_entropy(logits)) == pytest.approx(math.log(2), abs=1e-6)  # the two views disagree
    alike = torch.tensor([[1.0, 0.3, -2.0]]).repeat(5, 1)
    assert float(mean_entropy(alike)) == pytest.approx(float(entropies(alike)[0]), abs=1e-6)
    far = torch.tensor([[300.0, 0.0], [300.0, 0.0]], requires_grad=True)
    mean_entropy(far).backward()
    assert torch.isfinite(far.grad).all()


def test_the_loss_falls():
    prompt, towers = learned("clip", rate=0.01), pictured.model("clip").towers()
    tuning = procedure_of(prompt.part(Procedure))
    start = torch.tensor(next(p for p in prompt.parts if p.kind == "tensors").values)
    found = towers.worded([prompt.readout.options["templates"][0].replace("{label}", n) for n in pictured.NAMES], 4)
    rows = TextRows([one.ids for one in found], [one.slots for one in found])
    fell = []
    for item in pictured.task().train:
        image = item.inputs["image"]
        f = tuning.features(towers, tuning.pictures(towers, image), Prompts())
        kept, losses = None, []
        real = ViewTuning.kept

        with torch.no_grad():
            logits = towers.scale * f @ towers.texts(rows, Prompts(start)).T
            kept = real(tuning, logits, f)
            losses.append(float(mean_entropy(logits[kept])))
        v = start.clone().requires_grad_()
        (v.grad,) = torch.autograd.grad(mean_entropy(towers.scale * f[kept] @ towers.texts(rows, Prompts(v)).T), [v])
        torch.optim.AdamW([v], lr=0.01).step()
        with torch.no_grad():
            losses.append(float(mean_entropy(towers.scale * f[kept] @ towers.texts(rows, Prompts(v)).T)))
        fell.append(losses[1] < losses[0])
    assert sum(fell) >= 11


def test_views_depend_on_the_image_and_the_seed_alone():
    tuning, towers = ViewTuning(crops=3, seed=5), pictured.model("clip").towers()
    first, second = (i.inputs["image"] for i in pictured.task().train[:2])

    def drawn(of, image):
        return [np.asarray(one) for one in of.pictures(towers, image)[1:]]

    again = Image(np.asarray(first.rgb()), "the same under another name")
    assert all(np.array_equal(a, b) for a, b in zip(drawn(tuning, first), drawn(tuning, again), strict=True))
    other = ViewTuning(crops=3, seed=6)
    assert not np.array_equal(drawn(tuning, first)[0], drawn(other, first)[0])
    assert not np.array_equal(drawn(tuning, first)[0], drawn(tuning, second)[0])
    seeds = []
    CallableViews(lambda picture, seed: seeds.append(seed) or [picture])
    generator = CallableViews(lambda picture, count, seed: seeds.append(seed) or [picture] * count)
    for image in (first, second, first):
        ViewTuning(crops=1, generated=2, seed=5).pictures(towers, image, generator)
    assert seeds[0] == seeds[2] != seeds[1]


def test_crops_are_mixed_where_it_is_asked_for():
    image = pictured.task().train[0].inputs["image"]
    towers = pictured.model("clip").towers()
    plain, mixed, again = (ViewTuning(crops=5, seed=3, augmix=on).pictures(towers, image) for on in (False, True, True))
    assert plain[0] is mixed[0] is image and len(mixed) == 6
    changed = [not np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(plain[1:], mixed[1:], strict=True)]
    assert sum(changed) >= 4 and all(a.size == b.size for a, b in zip(plain[1:], mixed[1:], strict=True))
    assert all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(mixed[1:], again[1:], strict=True))
    found = [bound(learned("clip", augmix=on), "clip").predict(inputs(some=[0])).scores for on in (False, True)]
    assert not np.array_equal(*found)


def test_passes_are_what_the_towers_do():
    from promptology.testing.towers import CountingTowers, CountingViews, MadeViews, uncount_towers

    prompt = learned("clip", "difftpt", crops=4, generated=5, steps=2)
    model, views = CountingTowers(pictured.model("clip")), CountingViews(MadeViews())
    try:
        prompt.bind(model, {"views": views}, pictured.task().signature).predict(inputs(some=[0, 1, 2]))
    finally:
        uncount_towers(pictured.model("clip"))
    tuning = procedure_of(prompt.part(Procedure))
    assert model.passes + views.passes == 3 * tuning.passes(4) == 3 * (10 + 5 + 2 * 3 * 4 + 4)


def raises(picture):
    raise RuntimeError("out of\nmemory")


@pytest.mark.parametrize(
    ("generator", "says"),
    [
        (raises, "raises raised RuntimeError: out of memory"),
        (lambda picture: None, "returned nothing and 5 are used"),
        (lambda picture: [], "returned 0 pictures and 5 are used"),
        (lambda picture: [picture] * 4, "returned 4 pictures and 5 are used; make more, or set generated=4"),
        (lambda picture: 3, "raised TypeError"),
        (lambda picture: ["nowhere.png"] * 5, "image file nowhere.png does not exist"),
        (lambda picture: [np.full((4, 4, 3), np.nan)] * 5, "pixels are uint8 of shape .height, width, 3., not float64"),
        (lambda picture: [object()] * 5, "a object is no image"),
    ],
)
def test_a_generator_that_fails_is_one_line(generator, says):
    prompt = learned("clip", "difftpt")
    with pytest.raises(ModelError, match=says) as raised:
        bound(prompt, "clip", {"views": generator}).predict(inputs(some=[0]))
    assert "\n" not in str(raised.value) and str(raised.value).startswith("dog: ")


def test_pictures_of_any_size_and_mode_serve():
    def odd(picture):
        return [picture.resize((3, 90)), picture.convert("L"), picture.convert("RGBA"), picture.resize((1, 1)), picture]

    found = bound(learned("clip", "difftpt"), "clip", {"views": odd}).predict(inputs(some=[0, 1]))
    assert np.isfinite(found.scores).all()


def test_without_a_generator_it_is_said_which_role_lacks():
    with pytest.raises(AccessError, match="role 'views' that makes pictures of a picture"):
        learned("clip", "difftpt").bind(pictured.model("clip"))
    prompt = learned("clip", "difftpt")
    loose = Learned(prompt.parts, prompt.signature, {"model": "two-tower"})
    with pytest.raises(AccessError, match="role 'views'"):
        loose.bind(pictured.model("clip"))


def test_one_class_is_the_answer():
    field, prompt = (pt.Field("image", "image"),), learned("clip")
    one = prompt.bind(pictured.model("clip"), signature=pt.Signature(field, "class", (pt.ClassLabel("dog"),)))
    assert one.predict(inputs(some=[0, 1])).outputs == ["dog", "dog"] and one.adapting is None


def test_a_model_without_numbers_is_one_line():
    prompt = learned("clip")
    towers = pictured.model("clip").towers()
    weight = towers.inner.visual_projection.weight
    before = weight.detach().clone()
    with torch.no_grad():
        weight.fill_(float("nan"))
    try:
        with pytest.raises(ModelError, match=r"dog: .* gives no numbers for its views"):
            bound(prompt, "clip").predict(inputs(some=[0]))
    finally:
        with torch.no_grad():
            weight.copy_(before)


def test_procedures_that_cannot_be_are_refused():
    prompt = learned("clip")
    for part, says in (
        (Procedure("dreaming"), "unknown procedure 'dreaming'; this version knows view-tuning"),
        (Procedure("view-tuning", {"dreams": 3}), "has no setting dreams"),
        (Procedure("view-tuning", {"steps": "many"}), 'steps is "many"; a whole number from 0'),
        (Procedure("view-tuning", {"rate": float("nan")}), "rate is NaN"),
    ):
        with pytest.raises(ArtifactError, match=says):
            adapting_of(prompt.with_parts(part), {})
    for settings, says in (
        ({"confident": 1.5}, "confident is 1.5; a number from 0 to 1"),
        ({"steps": -1}, "steps is -1"),
        ({"similarity": "taste"}, "similarity 'taste' is unknown; there are image, logits"),
    ):
        with pytest.raises(UsageError, match=says):
            ViewTuning(**settings)
