"""The exact properties that the equations of CoOp, CoCoOp, IVLP and MaPLe have."""

from __future__ import annotations

import numpy as np
import pictured
import pytest
import torch
import whitebox
from torch.nn.functional import linear

from promptology.errors import ArtifactError, UsageError
from promptology.injection.towers import Prompts
from promptology.methods.registry import create
from promptology.methods.vision.cocoop import SQUEEZE
from promptology.methods.vision.coop import CoOp
from promptology.prompts.learned import Learned
from promptology.prompts.sites import SiteModule, SiteTensors
from promptology.training.deep_prompts import deep_parts, linear_maps
from promptology.training.image_classes import ImageClasses, normal

PHRASE = "a dog for the"  # as many tokens of the tiny tokenizer as words, but for the first


class Wide:
    """The widths of ViT-B/16."""

    text_width, image_width, device = 512, 768, "cpu"


def zero_shot(kind, wording):
    run = whitebox.run_of(pictured.task(), pictured.model(kind))
    return create("zero-shot", {"templates": wording}).fit(run)


def goal_of(kind, wording="{context} {label}.", length=2, course=None):
    return ImageClasses(whitebox.run_of(pictured.task(), pictured.model(kind)), wording, length, course)


def tokens(kind, text):
    return len(pictured.model(kind).towers().tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("kind", pictured.KINDS)
@pytest.mark.parametrize("own", [False, True])
def test_coop_from_a_phrase_is_its_zero_shot_logits(kind, own):
    learned = pictured.fitted(kind, "coop", epochs=0.0, phrase=PHRASE, length=tokens(kind, PHRASE), own=own)
    wanted = pictured.scores(zero_shot(kind, f"{PHRASE} {{label}}."), kind)
    assert np.allclose(pictured.scores(learned, kind), wanted, atol=1e-4)


@pytest.mark.parametrize("kind", pictured.KINDS)
def test_maple_without_image_prompts_of_its_own_start_keeps_the_rest_of_the_phrase(kind):
    length = tokens(kind, "a dog")
    learned = pictured.fitted(kind, "maple", epochs=0.0, phrase=PHRASE, length=length, depth=1)
    assert learned.readout.options == {"templates": ["{context} for the {label}."]}
    texts = next(p for p in learned.parts if p.site == "text.context[0]")
    alone = Learned((texts, learned.readout), learned.signature, learned.roles)
    wanted = pictured.scores(zero_shot(kind, f"{PHRASE} {{label}}."), kind)
    assert np.allclose(pictured.scores(alone, kind), wanted, atol=1e-4)


@pytest.mark.parametrize("kind", pictured.KINDS)
def test_a_shared_context_serves_other_class_names(kind):
    learned = pictured.fitted(kind, "coop", epochs=2.0, rate=0.2, phrase="")
    other = pictured.task(pictured.OTHERS)
    found = pictured.scores(learned, kind, other)
    towers = pictured.model(kind).towers()
    (context,) = [torch.tensor(p.values) for p in learned.parts if isinstance(p, SiteTensors)]
    goal = ImageClasses(whitebox.run_of(other, pictured.model(kind)), "{context} {label}.", 4)
    with torch.no_grad():
        wanted = towers.scale * goal.features @ towers.texts(goal.rows, Prompts(context)).T + towers.bias
    assert np.allclose(found, wanted, atol=1e-4) and found.shape == (9, 3)


def test_a_context_of_each_class_serves_these_in_any_order_and_no_other():
    learned = pictured.fitted("clip", "coop", epochs=2.0, rate=0.2, phrase="", own=True)
    assert learned.readout.options["classes"] == list(pictured.NAMES)
    whole = pictured.scores(learned, "clip")
    some = pictured.task(pictured.NAMES[::-1][:3])
    bound = learned.bind(pictured.model("clip"), signature=some.signature)
    found = bound.predict([dict(i.inputs) for i in pictured.task().train]).scores
    assert np.allclose(found, whole[:, ::-1][:, :3], atol=1e-4)
    with pytest.raises(ArtifactError, match="it has none for small fish"):
        pictured.scores(learned, "clip", pictured.task(pictured.OTHERS))


@pytest.mark.parametrize("kind", pictured.KINDS)
def test_cocoop_without_its_last_layer_is_coop(kind):
    cocoop = pictured.fitted(kind, "cocoop", epochs=0.0, phrase="")
    (net,) = [p for p in cocoop.parts if isinstance(p, SiteModule)]
    zero = {name: value * (not name.startswith("up")) for name, value in net.arrays.items()}
    still = cocoop.with_parts(SiteModule(net.site, net.type, {}, zero))
    coop = pictured.fitted(kind, "coop", epochs=0.0, phrase="")
    assert np.allclose(pictured.scores(still, kind), pictured.scores(coop, kind), atol=1e-4)
    assert not np.allclose(pictured.scores(cocoop, kind), pictured.scores(coop, kind), atol=1e-3)


def test_cocoop_over_a_constant_is_one_context_for_all_images():
    learned = pictured.fitted("clip", "cocoop", epochs=1.0, phrase="", constant=True)
    assert [p.kind for p in learned.parts] == ["tensors", "readout"]
    assert pictured.scores(learned, "clip").shape == (12, 4)


@pytest.mark.parametrize("kind", pictured.KINDS)
def test_gradients_of_maple_are_those_of_ivlp_and_those_of_images_through_the_maps(kind):
    goal = goal_of(kind)
    towers, depth = goal.towers, 3
    run = goal.run
    texts = [normal(run, f"p{k}", towers, 2, towers.text_width) for k in range(depth)]
    maps = linear_maps(run, towers, depth)

    def loss(images):
        now = Prompts(texts[0], texts[1:], images[0], images[1:])
        found = towers.images(goal.pixels([0, 1, 4, 7]), now)
        return goal.loss(found, towers.texts(goal.rows, now), [0, 1, 4, 7])

    coupled = torch.autograd.grad(loss([linear(p, w, a) for p, (w, a) in zip(texts, maps, strict=True)]), texts)
    images = [linear(p, w, a).detach().requires_grad_() for p, (w, a) in zip(texts, maps, strict=True)]
    apart = torch.autograd.grad(loss(images), [*texts, *images])
    for k in range(depth):
        through = apart[depth + k] @ maps[k][0]
        assert torch.allclose(coupled[k], apart[k] + through, atol=1e-6) and float(through.detach().abs().max()) > 1e-5
    # Without the gradient through images and with maps that stay, it is deep language prompting beside fixed tokens.
    cut = loss([linear(p, w, a).detach() for p, (w, a) in zip(texts, maps, strict=True)])
    every = torch.autograd.grad(cut, [*texts, *(one for pair in maps for one in pair)], allow_unused=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(every[:depth], apart[:depth], strict=True))
    assert not any(one is not None for one in every[depth:])


@pytest.mark.parametrize("kind", pictured.KINDS)
def test_folding_the_maps_away_changes_no_bit(kind):
    goal = goal_of(kind)
    towers = goal.towers
    texts = [normal(goal.run, f"p{k}", towers, 2, towers.text_width) for k in range(3)]
    maps = linear_maps(goal.run, towers, 3)
    with torch.no_grad():
        images = [linear(p, w, a) for p, (w, a) in zip(texts, maps, strict=True)]
        now = Prompts(texts[0], texts[1:], images[0], images[1:])
        parts = deep_parts(now)
        stored = {p.site: torch.tensor(p.values) for p in parts}
        folded = Prompts(
            stored["text.context[0]"],
            [stored["text.context[1]"], stored["text.context[2]"]],
            stored["vision.context[0]"],
            [stored["vision.context[1]"], stored["vision.context[2]"]],
        )
        assert torch.equal(towers.texts(goal.rows, now), towers.texts(goal.rows, folded))
        assert torch.equal(towers.images(goal.pixels([0, 1]), now), towers.images(goal.pixels([0, 1]), folded))
    learned = goal.learned(*parts, method="maple")
    found = pictured.scores(learned, kind)
    with torch.no_grad():
        logits = (
            towers.scale * towers.images(goal.pixels(range(12)), now) @ towers.texts(goal.rows, now).T + towers.bias
        )
    assert np.allclose(found, logits, atol=1e-4)


@pytest.mark.parametrize(("depth", "count"), [(9, 3_555_072), (3, 1_185_024)])
def test_maple_trains_as_many_numbers_as_the_papers(depth, count):
    maps = linear_maps(whitebox.run_of(pictured.task(), pictured.model("clip")), Wide, depth)
    assert depth * 2 * 512 + sum(one.numel() for pair in maps for one in pair) == count


def test_cocoop_trains_as_many_numbers_as_the_papers():
    learned = pictured.fitted("clip", "cocoop", epochs=0.0, phrase="")
    (net,) = [p for p in learned.parts if isinstance(p, SiteModule)]
    (context,) = [p for p in learned.parts if isinstance(p, SiteTensors)]
    d, width = pictured.model("clip").towers().dimension, pictured.model("clip").towers().text_width
    inner = d // SQUEEZE
    assert {name: value.shape for name, value in net.arrays.items()} == {
        "down": (inner, d),
        "down_bias": (inner,),
        "up": (width, inner),
        "up_bias": (width,),
    } and context.values.shape == (4, width)
    d = width = 512  # ViT-B/16
    assert 4 * width + (d * 32 + 32) + (32 * width + width) == 35_360 and d // SQUEEZE == 32


def test_maps_start_as_the_papers_code_starts_them():
    run = whitebox.run_of(pictured.task(), pictured.model("clip"))
    maps = linear_maps(run, Wide, 9)
    bound = 1 / np.sqrt(512)
    for pair in maps:
        for one in pair:
            assert float(one.detach().abs().max()) <= bound and float(one.detach().std()) == pytest.approx(
                bound / 3**0.5, rel=0.1
            )
    assert all(torch.equal(a, b) for pair in maps[2:] for a, b in zip(pair, maps[1], strict=True))
    assert not torch.equal(maps[0][0], maps[1][0]) and maps[1][0] is not maps[2][0]
    apart = linear_maps(run, Wide, 3, copies=False)
    assert not torch.equal(apart[1][0], apart[2][0])


@pytest.mark.parametrize("depth", [1, 3])
def test_prompts_lengthen_images_and_not_texts(depth, monkeypatch):
    from promptology.injection import towers as injected

    goal, seen, real = goal_of("clip"), [], injected.run

    def run(layer, hidden, **more):
        seen.append(hidden.shape[1])
        return real(layer, hidden, **more)

    monkeypatch.setattr(injected, "run", run)
    texts = [normal(goal.run, f"p{k}", goal.towers, 2, goal.towers.text_width) for k in range(depth)]
    images = [normal(goal.run, f"q{k}", goal.towers, 2, goal.towers.image_width) for k in range(depth)]
    now = Prompts(texts[0], texts[1:], images[0], images[1:])
    with torch.no_grad():
        goal.towers.images(goal.pixels([0]), now)
        assert seen == [10 + 2] * 4
        seen.clear()
        goal.towers.texts(goal.rows, now)
    front, longest = 3, max(map(len, goal.rows.ids))
    assert seen == [front] * 2 + [longest - front] * 3  # what stands before the names, but for the last layer; the rest


@pytest.mark.parametrize(
    ("slug", "settings"), [("maple", {}), ("ivlp", {}), ("maple", {"depth": 0}), ("ivlp", {"depth": 4})]
)
def test_towers_with_fewer_layers_are_refused(slug, settings):
    with pytest.raises(UsageError, match="has 3 layers for texts and 4 for images, so 1 to 3 can have prompts"):
        pictured.fitted("clip", slug, **settings)


def test_settings_that_cannot_be_are_one_line():
    for slug, settings, says in (
        ("coop", {"position": "behind"}, "position 'behind' is unknown; there are end, middle, front"),
        ("coop", {"length": 0}, "has nothing to learn"),
        ("coop", {"length": 1, "position": "middle", "phrase": ""}, "has no middle"),
        ("coop", {"length": 40, "phrase": ""}, "leave no room"),
        ("coop", {"views": -1}, "views is -1"),
        ("coop", {"views": 2, "fresh": True}, "views is 2, and fresh draws a new one for every epoch"),
        ("coop", {"flip": 1.5}, "flip is 1.5"),
        ("cocoop", {"constant": True, "fresh": True}, "fresh views have no vectors that stay"),
        ("coop", {"epochs": -1.0}, "epochs -1.0"),
        ("coop", {"optimizer": "adagrad"}, "unknown optimizer 'adagrad'"),
        ("ivlp", {"length": 0, "image_length": 0, "depth": 1}, "one of them must be 1 or more"),
    ):
        with pytest.raises(UsageError, match=says):
            pictured.fitted("clip", slug, **settings)


def test_a_context_longer_than_its_phrase_starts_at_random_and_says_so():
    notes = []
    run = whitebox.run_of(pictured.task(), pictured.model("clip"))
    real = run.log
    run.log = lambda step, **values: notes.append(values.get("note")) or real(step, **values)
    learned = create("coop", {"length": 9, "phrase": "dog", "epochs": 0.0}).fit(run)
    assert notes[0] == "no words of the phrase 'dog' make 9 tokens: it starts at random"
    assert 0.01 < next(p for p in learned.parts if p.kind == "tensors").values.std() < 0.03


def test_random_views_are_drawn_once_and_stand_for_the_images_in_turn():
    views, again, fresh = (goal_of("clip", course=CoOp(**given)) for given in [{"views": 3}] * 2 + [{"fresh": True}])
    assert torch.equal(views.pixels([0, 12, 24]), again.pixels([0, 12, 24]))
    assert not torch.equal(views.pixels([0]), views.pixels([12]))
    with torch.no_grad():
        own = views.towers.images(views.pixels(range(36)))
    assert torch.allclose(views.features, own, atol=1e-5) and len(views.features) == 36
    assert [views.numbers([1, 5], epoch) for epoch in (0, 2, 3)] == [[1, 5], [25, 29], [1, 5]]
    assert fresh.numbers([1, 5], 7) == [7 * 12 + 1, 7 * 12 + 5]
    assert torch.equal(fresh.pixels([12, 25]), views.pixels([12, 25]))
    assert torch.allclose(fresh.seen([12, 25]), views.seen([12, 25]), atol=1e-5)
    with pytest.raises(UsageError, match="no vectors that stay"):
        _ = fresh.features


@pytest.mark.parametrize("kind", pictured.KINDS)
@pytest.mark.parametrize("slug", ["coop", "cocoop", "ivlp", "maple"])
def test_fresh_views_learn_what_as_many_kept_views_as_epochs_do(kind, slug, monkeypatch):
    seen = pictured.Losses(monkeypatch)
    settings = {"epochs": 3.0, "batch": 5, "rate": 0.1, "phrase": "", "flip": 0.3}
    settings |= {"depth": 2} if slug in ("ivlp", "maple") else {}
    settings |= {"image_length": 0} if slug == "ivlp" else {}
    kept = pictured.arrays(pictured.fitted(kind, slug, views=3, **settings))
    fresh = pictured.arrays(pictured.fitted(kind, slug, fresh=True, **settings))
    assert seen.found[0] == pytest.approx(seen.found[1], abs=1e-5) and len(seen.found[0]) == 6
    assert all(np.allclose(kept[name], fresh[name], atol=1e-5) for name in kept)
    pictured.fitted(kind, slug, **settings)
    assert seen.found[2] != pytest.approx(seen.found[1], abs=1e-4)


@pytest.mark.parametrize("slug", ["coop", "cocoop", "ivlp", "maple"])
@pytest.mark.parametrize("seen", [{}, {"views": 2}, {"fresh": True}])
def test_what_is_planned_is_what_is_charged(slug, seen):
    settings = {"epochs": 2.0, "batch": 5, "phrase": "", **seen}
    settings |= {"depth": 2} if slug in ("ivlp", "maple") else {}
    for more in [{}, {"length": 0}, {"image_length": 0}] if slug == "ivlp" else [{}]:
        run, method = whitebox.run_of(pictured.task(), pictured.model("clip")), create(slug, {**settings, **more})
        method.fit(run)
        assert run.meter.charged.passes == method.plan(run.task).passes


def test_a_course_of_one_epoch_says_that_it_hardly_moves():
    for epochs, said in ((1.0, True), (2.0, False)):
        run = whitebox.run_of(pictured.task(), pictured.model("clip"))
        create("coop", {"epochs": epochs, "phrase": ""}).fit(run)
        notes = [note for note in run.warnings if "all steps are of the first epoch" in note]
        assert bool(notes) is said


def test_a_class_name_that_does_not_fit_behind_the_context_is_refused():
    names = ("dog", "a very long name of a small river in the garden", "cat")
    with pytest.raises(
        UsageError, match=r"class 'a very long name .*: its wording has \d+ tokens and .* reads 20; give"
    ):
        pictured.fitted("clip", "coop", on=pictured.task(names), length=4, phrase="", epochs=1.0)


def test_several_classes_an_image_are_refused():
    from dataclasses import replace

    task = pictured.task()
    several = replace(task.signature, output="classes")
    items = [i.with_target((i.target,)) for i in task.train]
    run = whitebox.run_of(type(task)(items, items[:4], items[:4], signature=several, name="x"), pictured.model("clip"))
    with pytest.raises(UsageError, match="told apart by one class each"):
        create("coop", {}).fit(run)
