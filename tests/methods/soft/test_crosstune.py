"""CrossTune: each text and description is read once, a new class needs its description alone, the switch protects."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tiny
import torch
from whitebox import WORDS, many_classes, one_class, run_of, untouched, weights_of

import promptology as pt
from promptology.data.items import ClassLabel, Signature
from promptology.errors import UsageError
from promptology.methods.soft.crosstune import CrossTune
from promptology.models.access import offers
from promptology.models.local import open_local
from promptology.predict import bind
from promptology.prompts.networks import Network, make_network
from promptology.run.engine import Run
from promptology.run.handles import Handle
from promptology.run.meter import Meter
from promptology.run.store import memory_store
from promptology.testing.fixtures import HashingEncoder
from promptology.training import loop
from promptology.training.attention import heads_for
from promptology.training.objectives import score_of

torch.set_num_threads(1)
ABOUT = {name: f"It has words like {words}." for name, words in WORDS.items()}
SHORT = {"epochs": 12, "rate": 0.003}


class Counted(HashingEncoder):
    """The hashing encoder, which remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def embed(self, texts):
        self.asked += texts
        return super().embed(texts)


def described(task, names=tuple(WORDS), about=ABOUT):
    labels = tuple(ClassLabel(n, about.get(n, "")) for n in names)
    signature = Signature(task.signature.fields, "class", labels)
    keep = lambda items: [i for i in items if i.target in names]  # noqa: E731
    return pt.Task(keep(task.train), keep(task.validation), keep(task.open_test()), signature=signature)


def roles_run(task, seed=0, **models):
    meter = Meter(memory_store())
    return Run(task, {r: Handle(meter, r, m, offers(m)) for r, m in models.items()}, meter, seed=seed)


def writer(make):
    """A chat model that writes what `make(class name)` gives."""

    def write(prompt):
        name = re.search(r"<class>\n(.*?)\n</class>", prompt)[1]
        return "\n".join(f"<text>{text}</text>" for text in make(name))

    return pt.model(write, identity=str(id(make)))


def test_every_text_is_asked_for_once():
    task, model = described(one_class()), Counted()
    run = run_of(task, model)
    learned = CrossTune(**SHORT).fit(run)
    assert len(model.asked) == len({*model.asked}) == 24 + 12 + 4
    assert run.meter.charged.passes == 40 == CrossTune().plan(task).passes
    bind(learned, run.model()).predict(task.test)
    assert len(model.asked) == 40 + 12


def test_it_starts_as_slices_of_one_orthogonal_matrix():
    net = heads_for(HashingEncoder().embed(["a", "b c"]), 4, 0, np.random.default_rng(0))
    assert net["query"].shape == (4, 16, 64)
    rows = net["query"].reshape(64, 64)
    np.testing.assert_allclose(rows @ rows.T, np.eye(64), atol=1e-5)
    np.testing.assert_array_equal(net["query"], net["key"])
    assert net["query"] is not net["key"]


def test_one_epoch_is_adamw_on_the_cross_entropy(monkeypatch):
    """Against plain torch on the same vectors."""
    task = described(one_class(train=8, validation=0))
    run = run_of(task, HashingEncoder())
    method = CrossTune(epochs=3, batch=8, decay=0.1, rate=0.01, heads=2)
    seen = []
    train = loop.train

    def watched(run, step, batches, groups, **settings):
        seen.append([batches(k) for k in range(3)])
        return train(run, step, batches, groups, **settings)

    monkeypatch.setattr(loop, "train", watched)
    part = method.fit(run).part(Network)
    vectors = HashingEncoder().embed([i.inputs["text"] for i in task.train])
    h = torch.from_numpy(HashingEncoder().embed([c.description for c in task.signature.classes]))
    net = make_network("label-attention", {}, heads_for(vectors, 2, 0, run.rng("projections")))
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.1)
    y = torch.tensor([list(WORDS).index(i.target) for i in task.train])
    # A word that no text has gives gradients that are rounding, which Adam makes as large as any other.
    clear = {name: torch.ones_like(p, dtype=torch.bool) for name, p in net.named_parameters()}
    for batch in seen[0]:
        optimizer.zero_grad()
        (-net(torch.from_numpy(vectors)[batch], h)[torch.arange(8), y[batch]]).mean().backward()
        for name, p in net.named_parameters():
            clear[name] &= p.grad.abs() > 1e-5
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    for name, p in net.named_parameters():
        assert clear[name].sum() > 500
        apart = np.abs(part.arrays[name] - p.detach().numpy())
        assert apart[clear[name].numpy()].max() < 1e-6


def test_it_learns_and_keeps_the_best_state():
    task = described(one_class(train=32, validation=24, test=40))
    run = run_of(task, HashingEncoder())
    learned = CrossTune(epochs=30, rate=0.003).fit(run)
    values = [h["values"]["value"] for h in run.history if "value" in h["values"]]
    assert score_of(run, learned, task.validation) == pytest.approx(max(values))
    assert score_of(run, learned, task.open_test()) > 0.8


def test_a_class_that_was_never_trained_is_known_by_its_description():
    whole = one_class(train=48, validation=24, test=80)
    seen = [n for n in WORDS if n != "refund"]
    learned = CrossTune(**SHORT).fit(run_of(described(whole, seen), HashingEncoder()))
    task = described(whole)
    predictor = bind(learned, HashingEncoder(), signature=task.signature)
    new = [i for i in task.open_test() if i.target == "refund"]
    found = predictor.predict(new)
    assert np.mean([o == "refund" for o in found.outputs]) > 1 / len(WORDS)
    np.testing.assert_allclose(np.exp(found.scores).sum(axis=1), 1.0, atol=1e-5)


def test_vectors_are_the_same_fresh_or_from_the_store(tmp_path):
    task = described(one_class())
    both = [pt.fit(task, HashingEncoder(), "crosstune", settings=SHORT, store=tmp_path / "s", seed=3) for _ in (0, 1)]
    fresh = pt.fit(task, HashingEncoder(), "crosstune", settings=SHORT, store=tmp_path / "t", seed=3)
    assert both[0].learned.same_as(both[1].learned)
    assert fresh.learned.same_as(both[0].learned)


def test_what_the_chat_model_writes_is_read_and_what_repeats_is_dropped():
    task = described(one_class(train=4, validation=4))
    first = task.train[0].inputs["text"]
    test = task.test[0].inputs["text"] + " and so on it goes for ever"
    made = writer(lambda name: [f"{name} one", first, f"{name} one!", f"{name}\n two", test])
    run = roles_run(task, model=HashingEncoder(), optimizer=made)
    more = CrossTune(generated=5, at_once=5)._written(run, [(first, "late")])
    expected = {(f"{n} {k}", n) for n in WORDS for k in ("one", "two")}
    assert {*more} - {(test, "late parcel")} == expected


def noisy(share, seed):
    """Return a few-shot task, 160 texts with the classes that are meant, a share of them wrong, and the right ones."""
    rng = np.random.default_rng(seed)
    pairs = [(i.inputs["text"], i.target) for i in one_class(train=160, validation=0, test=0, seed=seed + 100).train]
    wrong, names = {*rng.permutation(160)[: int(share * 160)].tolist()}, list(WORDS)
    more = [
        (text, names[(names.index(right) + 1 + int(rng.integers(3))) % 4] if n in wrong else right)
        for n, (text, right) in enumerate(pairs)
    ]
    return described(one_class(train=16, validation=16, test=60, seed=seed)), more, dict(pairs)


def test_the_teacher_takes_texts_that_are_what_they_were_meant_to_be():
    for seed in range(3):
        task, more, right = noisy(0.5, seed)
        labelled = [(i.inputs["text"], i.target) for i in task.train]
        kept = CrossTune()._agreed(run_of(task, HashingEncoder()), labelled, more)
        assert np.mean([right[text] == meant for text, meant in kept]) > 0.9
        assert len(kept) > 20


@pytest.mark.parametrize("switch", [True, False])
def test_the_switch_decides_by_validation_items(switch, monkeypatch):
    task, more, _ = noisy(0.0, 1)
    made = writer(lambda name: [text for text, meant in more if meant == name])
    for without, used in ((0.9, False), (0.7, True), (0.6, True)):
        run = roles_run(task, model=HashingEncoder(), optimizer=made)
        values = iter((without, 0.7))
        plain, other = (CrossTune(epochs=n).fit(run_of(task, HashingEncoder())) for n in (1, 2))
        found = iter((plain, other))
        monkeypatch.setattr(CrossTune, "_train", lambda *a, f=found, v=values: (next(f), next(v)))
        learned = CrossTune(switch=switch, generated=160, at_once=160).fit(run)
        monkeypatch.undo()
        assert learned is (other if used or not switch else plain)


def test_a_teacher_of_its_own_reads_the_texts():
    task, teacher = described(one_class(train=16)), Counted()
    made = writer(lambda name: [f"{WORDS[name]} {n} more" for n in range(3)])
    run = roles_run(task, model=HashingEncoder(), optimizer=made, teacher=teacher)
    CrossTune(**SHORT, generated=3).fit(run)
    assert len(teacher.asked) == 16 + 12
    assert next(h["values"]["role"] for h in run.history if h["step"] == "teacher") == "teacher"


def test_a_chat_model_that_says_nothing_usable_changes_nothing():
    task = described(one_class())
    plain = CrossTune(**SHORT).fit(run_of(task, HashingEncoder()))
    run = roles_run(task, model=HashingEncoder(), optimizer=writer(lambda name: []))
    assert CrossTune(**SHORT).fit(run).same_as(plain)


@pytest.mark.parametrize("kind", ["llama", "t5", "masked", "encoder"])
def test_it_works_on_any_model_that_embeds(kind, tmp_path):
    make = {"llama": tiny.tiny_llama, "t5": tiny.tiny_t5, "masked": tiny.tiny_bert}
    folder = make[kind](tmp_path / kind) if kind in make else tiny.tiny_bert(tmp_path / kind, head=False)
    model, task = open_local(folder), described(one_class(train=8, validation=4, test=4))
    before = weights_of(model)
    learned = CrossTune(epochs=2, heads=2).fit(run_of(task, model))
    assert learned.readout.options["features"] == ("embed" if kind == "encoder" else "state")
    assert untouched(model, before)
    assert bind(learned, model).predict(task.test).scores.shape == (4, 4)


def test_states_are_the_maximum_of_the_last_layers_at_the_mask(tmp_path):
    model = open_local(tiny.tiny_bert(tmp_path / "masked"))
    body, text = model.frozen(), "my parcel is late"
    row, at = body.reader.masked(body.reader.ids([text])[0])
    with torch.no_grad():
        states = body.model(torch.tensor([row]), output_hidden_states=True).hidden_states
    expected = torch.stack([s[0, at] for s in states[-2:]]).amax(dim=0)
    np.testing.assert_allclose(model.states([text, "a"], None, 2)[0], expected.numpy(), atol=1e-5)
    llama = open_local(tiny.tiny_llama(tmp_path / "llama"))
    row = llama.frozen().reader.ids([text])[0]
    with torch.no_grad():
        states = llama.frozen().model(torch.tensor([row]), output_hidden_states=True).hidden_states
    expected = torch.stack([s[0, -1] for s in states[-2:]]).amax(dim=0)
    np.testing.assert_allclose(llama.states(["a", text], None, 2)[1], expected.numpy(), atol=1e-5)


def test_faults():
    task, model = described(one_class()), HashingEncoder()
    with pytest.raises(UsageError, match="tells one class from others; the output of this task is classes"):
        CrossTune().fit(run_of(many_classes(), model))
    with pytest.raises(UsageError, match="no labelled training items"):
        CrossTune().fit(run_of(pt.Task([], task.validation, task.open_test(), signature=task.signature), model))
    with pytest.raises(UsageError, match="labels are descriptions or names and features auto, embed or state"):
        CrossTune(labels="words").fit(run_of(task, model))
    with pytest.raises(UsageError, match="8 heads of width 300 do not fit vectors of width 64"):
        CrossTune(width=300).fit(run_of(task, model))
    run = run_of(described(one_class(), about={}), model)
    CrossTune(epochs=1).fit(run)
    assert "4 classes have no description, so their names stand for them" in run.warnings[0]


def test_descriptions_that_are_equal_are_said_and_share_alike():
    task = described(one_class(), about={**ABOUT, "late": ABOUT["refund"]})
    run = run_of(task, HashingEncoder())
    learned = CrossTune(epochs=2).fit(run)
    assert run.warnings == ["late, refund have the same description, so they cannot be told apart: reword it"]
    scores = bind(learned, HashingEncoder()).predict(task.test).scores
    np.testing.assert_allclose(scores[:, 1], scores[:, 2], atol=1e-6)


def test_the_defaults_are_the_cards():
    method = CrossTune()
    assert (method.layers, method.heads, method.width, method.epochs, method.patience) == (4, 8, 0, 100, 10)
    assert (method.generated, method.confidence, method.switch) == (100, 0.5, True)
    assert 1e-4 <= method.rate <= 1e-3 and 0.01 <= method.decay <= 0.1


def test_a_class_without_examples_and_a_single_class_are_no_trouble():
    whole = one_class(train=16, validation=8)
    for keep in (["late", "refund"], ["late"]):
        items = [i for i in whole.train if i.target in keep]
        task = pt.Task(items, whole.validation, whole.open_test(), signature=described(whole).signature)
        made = writer(lambda name: [f"{WORDS[name]} {n} more" for n in range(3)])
        run = roles_run(task, model=HashingEncoder(), optimizer=made)
        learned = CrossTune(**SHORT, generated=3).fit(run)
        assert np.isfinite(bind(learned, HashingEncoder()).predict(task.test).scores).all()
        # Of the classes that it knows no example of, the teacher takes no text.
        assert next(h["values"]["agreed"] for h in run.history if h["step"] == "teacher") <= 3 * len(keep)


def test_a_loss_that_is_not_finite_ends_the_training_and_the_start_is_kept():
    run = run_of(described(one_class()), HashingEncoder())
    learned = CrossTune(rate=1e30, epochs=5).fit(run)
    assert any("was not finite" in w for w in run.warnings)
    assert np.isfinite(learned.part(Network).arrays["query"]).all()
