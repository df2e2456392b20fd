"""The fixtures of PTEC's claims, shrunken: sizes, labels, what is equal. Verdicts are not tested, they are measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from promptology.claims.fixtures import learned_by
from promptology.claims.methods import ptec
from promptology.injection import attach
from promptology.predict import bind
from promptology.prompts.sites import SiteTensors
from promptology.training.objectives import TextObjective, by_frequency, class_weights

SMALL = {"train": 24, "validation": 6, "test": 9}


class Chosen:
    """A bench that has chosen the first setting of each grid."""

    def once(self, name, make):
        return ptec.GRIDS[name.removeprefix("rates of ")][0]


@pytest.fixture
def small(monkeypatch):
    """Few items and steps."""
    monkeypatch.setattr(ptec, "SIZES", SMALL)
    monkeypatch.setattr(ptec, "LABELS", {"train": 24, "test": 9})
    monkeypatch.setattr(ptec, "COURSE", {"batch": 8, "steps": 2})
    monkeypatch.setattr(ptec, "SHORT", {"steps": 2})


def prompt_of(learned):
    return learned.part(SiteTensors).values


def test_the_fixture_is_the_entry_s():
    assert ptec.SIZES == {"train": 600, "validation": 150, "test": 600}
    assert ptec.LABELS == {"train": 600, "test": 300}
    task = ptec.task_of(0, ptec.SIZES)
    assert [len(s) for s in (task.train, task.validation, task.test)] == [600, 150, 600]
    names = sorted(ptec.KINDS["topic"].class_names)[:12]
    assert list(task.signature.class_names) == names
    assert len({i.inputs["text"] for i in (*task.train, *task.validation, *task.test)}) == 1350
    shares = np.bincount([len(i.target) for i in task.train], minlength=4)[1:] / 600
    assert shares == pytest.approx([1 / 3] * 3, abs=0.06)
    assert all(i.inputs["text"].count(". ") + 1 == len(i.target) for i in task.train)
    assert all(len(grid) == 4 for grid in ptec.GRIDS.values())


def test_arms_read_the_same_and_have_equal_parameters(small):
    task, body = ptec.task_of(1, SMALL), ptec.model().frozen()
    head = replace(ptec.head_method(ptec.GRIDS["ptec"][0], cap=50.0), steps=0, epochs=0)
    text = replace(ptec.text_method(ptec.GRIDS["pt"][0]), steps=0)
    one, _ = learned_by(head, task, ptec.model(), 1)
    other, _ = learned_by(text, task, ptec.model(), 1)
    assert one.readout.options["input_template"] == other.readout.options["input_template"] == "{input} It belongs to:"
    d = body.dimension
    assert prompt_of(one).size + one.readout.arrays["weight"].size == prompt_of(other).size == 32 * d
    item = task.train[0]
    (request,) = bind(other, ptec.model()).requests([item])
    assert request.messages == (("user", item.inputs["text"] + " It belongs to:"),)
    assert body.encode(request.messages) == body.encode(item.inputs["text"] + " It belongs to:")
    assert (head.steps, text.checks, head.select) == (0, 0, False)


def test_written_labels_are_the_most_frequent_first_and_parted_by_semicolons():
    task, body = ptec.task_of(0, SMALL), ptec.model().frozen()
    _, run = learned_by(replace(ptec.text_method({}), steps=0), task, ptec.model(), 0)
    goal = TextObjective(run, body, "answer", template=ptec.TEMPLATE)
    counts = {n: sum(n in i.target for i in task.train) for n in task.signature.class_names}
    said = [body.tokenizer.decode(row[:-1]).strip() for row in goal.targets]
    for item, text, row in zip(task.train, said, goal.targets, strict=True):
        assert text == "; ".join(sorted(item.target, key=lambda n: (-counts[n], n)))
        assert row[-1] == body.tokenizer.eos_token_id
    assert any(text.count("; ") == 2 for text in said)


def test_only_exact_label_strings_count():
    names = ("art", "law", "money")
    assert ptec.labels_in("law; art; law; cash", names) == ("law", "art")
    assert ptec.labels_in("the law of art", names) == ()
    for text, whole in (("law; art", True), ("art", True), ("", False), ("law; law", False), ("law, art", False)):
        assert ptec.valid(text, names) is whole
    assert not ptec.valid("law; Art", names)


def test_all_arms_of_a_seed_come_at_once_and_the_trie_has_the_weights_of_pt(small, monkeypatch):
    seen = []
    score = ptec.macro_f1

    def watched(arm, learned, run, items):
        seen.append((arm, learned, run, len(items)))
        return score(arm, learned, run, items)

    monkeypatch.setattr(ptec, "macro_f1", watched)
    found = ptec.quality(0, Chosen())
    assert set(found) == {"ptec", "pt", "trie", "frozen"}
    by_arm = {arm: learned for arm, learned, _, _ in seen}
    assert by_arm["trie"].readout.options == {**by_arm["pt"].readout.options, "trie": True, "before": " "}
    np.testing.assert_array_equal(prompt_of(by_arm["trie"]), prompt_of(by_arm["pt"]))
    start = ptec.head_method({"rate": 0.0, "head_rate": 0.01}, steps=0, epochs=0)
    untrained, _ = learned_by(start, ptec.task_of(0, SMALL), ptec.model(), 0)
    np.testing.assert_array_equal(prompt_of(by_arm["frozen"]), prompt_of(untrained))
    assert (prompt_of(by_arm["ptec"]) != prompt_of(untrained)).any()
    assert {n for *_, n in seen} == {9}
    charged = {arm: run.meter.charged.passes for arm, _, run, _ in seen if arm == "ptec"}
    assert charged["ptec"] == 3 * 2 * 8 + 9


def test_the_trie_keeps_an_untrained_prompt_to_labels_none_twice(small):
    learned, run = learned_by(ptec.text_method({}, steps=0, trie=True), ptec.task_of(0, SMALL), ptec.model(), 0)
    plain, _ = learned_by(ptec.text_method({}, steps=0), ptec.task_of(0, SMALL), ptec.model(), 0)
    np.testing.assert_array_equal(prompt_of(learned), prompt_of(plain))
    assert prompt_of(plain).shape[0] == 20 + 12
    said = ptec.written(learned, run, run.task.open_test())
    assert all(ptec.valid(text, run.task.signature.class_names) for text in said)
    assert set(ptec.labels("trie", 0, None)) == set(ptec.labels("plain", 0, None)) == {"valid"}
    held = ptec.with_options(plain, max_tokens=2)
    body = ptec.model().frozen()
    assert all(len(body.tokenizer(t)["input_ids"]) <= 3 for t in ptec.written(held, run, run.task.open_test()))


def test_the_order_moves_the_loss_of_a_written_answer_alone(small):
    found = {arm: ptec.labels(arm, 0, None)["order"] for arm in ("ptec", "pt")}
    assert found["ptec"] == 0.0 < found["pt"]
    task = ptec.task_of(0, ptec.LABELS)
    several = [i for i in task.open_test() if len(i.target) > 1]
    learned, run = learned_by(ptec.head_method({}, steps=0, epochs=0), task, ptec.model(), 0)
    losses = ptec.losses_of("ptec", learned, task, 0, by_frequency(task.train))
    scores = bind(learned, run.model()).predict(several).scores.astype(np.float64)
    weights = class_weights(task.train)
    names = task.signature.class_names
    for item, row, loss in zip(several, scores, losses, strict=True):
        each = [
            weights[n] * np.log1p(np.exp(-s)) if n in item.target else np.log1p(np.exp(s))
            for n, s in zip(names, row, strict=True)
        ]
        assert loss == pytest.approx(np.mean(each), rel=1e-4)


def test_a_prediction_is_one_pass_or_eight_tokens(monkeypatch):
    made = ptec.Answers(0)
    assert np.shape(made.rows) == (16, 32)
    assert made.prefix.length == 50
    with attach(made.body.model, [], prefixes=[made.prefix]):
        assert np.shape(made.classes(made.rows)) == (16, 12)
        assert [a.tokens_out for a in made.texts(made.rows)] == [8] * 16
        assert [a.text for a in made.texts(made.rows[:1])] == [made.texts(made.rows)[0].text]
    monkeypatch.setattr(ptec, "interleaved", lambda arms: {name: float(len(work())) for name, work in arms.items()})
    counts = {"single": 1.0, "batch": 16.0}
    assert ptec.inference(0, None) == {"ptec": counts, "pt": counts}
