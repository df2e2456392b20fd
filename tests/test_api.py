"""The public calls as a user writes them."""

from __future__ import annotations

import json

import pytest

import promptology as pt
from promptology.errors import AccessError, UsageError
from promptology.evidence.fitting import held_back
from promptology.run.budget import Budget


def colour_of(prompt):
    question = prompt.rstrip().splitlines()[-1]
    named = {"rose": "red", "grass": "green", "sky": "blue"}
    return named[question.split()[0]] if "thing" in prompt else "red"


def better(prompt):
    return "<prompt>Look at the thing, then name its colour.</prompt>"


def test_fit_predict_save_report(colours, tmp_path):
    result = pt.fit(
        *(colours, colour_of, pt.RandomSearch(candidates=1, shots=0)),
        helpers={"optimizer": better},
        prompt="Name it.",
        budget="500calls",
    )
    assert str(result.evidence).endswith("better")
    assert result.predict(["sky", "rose"]) == ["blue", "red"]
    result.save(tmp_path / "p")
    assert pt.load(tmp_path / "p").bind(colour_of).predict(["grass"]).outputs == ["green"]
    assert result.report(tmp_path / "r.html").read_text().startswith("<!doctype html>")
    assert result.charged.calls == sum(e["charged"]["calls"] for e in result.ledger)
    assert json.loads((result.folder / "result.json").read_text())["arms"][0]["verdict"] == "better"


def test_the_same_call_again_pays_nothing(colours):
    calls = []

    def model(prompt):
        calls.append(prompt)
        return colour_of(prompt)

    first = pt.fit(colours, pt.model(model, identity="m"), "few-shot", budget="300calls")
    paid = len(calls)
    second = pt.fit(colours, pt.model(model, identity="m"), "few-shot", budget="300calls")
    assert len(calls) == paid
    assert second.run == first.run
    assert second.evidence.found == first.evidence.found
    third = pt.fit(colours, pt.model(model, identity="m"), "few-shot", budget="301calls")
    assert (third.paid.calls, third.charged.calls) == (0, first.charged.calls)
    pt.fit(colours, pt.model(model, identity="m"), "few-shot", budget="300calls", cache=False)
    assert len(calls) == 2 * paid


def test_compare_pairs_all_arms_with_one_start(colours):
    methods = [pt.FewShot(shots=1), pt.FewShot(shots=6), "manual"]
    comparison = pt.compare(colours, copycat, methods, budget="500calls")
    rows = comparison.rows()
    assert [r["method"] for r in rows] == ["few-shot shots=1", "few-shot shots=6", "manual"]
    assert rows[1]["verdict"] == "better"
    assert rows[1]["p_holm"] >= comparison.results[1].evidence.difference.p
    assert rows[2]["verdict"] == "start"
    assert "few-shot shots=6" in str(comparison)
    with pytest.raises(UsageError, match="at least one method"):
        pt.compare(colours, copycat, [])


def copycat(prompt):
    question = prompt.rstrip().splitlines()[-1]
    for block in prompt.split("Input: ")[1:]:
        source, _, rest = block.partition("\nOutput: ")
        if source.split()[0] == question.split()[0]:
            return rest.splitlines()[0]
    return "red"


def test_evaluate(colours):
    result = pt.evaluate(colours, colour_of, prompt="Look at the thing.")
    assert result.score.value == 1.0
    assert result.score.low < 1.0
    assert result.measured.parse_rate == 1.0
    with pytest.raises(UsageError, match="no labelled test items"):
        pt.evaluate(pt.Task(test=["a"]), colour_of)
    with pytest.raises(UsageError, match="does not cover a single item"):
        pt.evaluate(colours, lambda p: "red", budget="0calls")
    with pytest.raises(UsageError, match="unknown split"):
        pt.evaluate(colours, colour_of, split="dev")


def test_the_start_is_kept_when_validation_prefers_it(colours):
    worse = pt.model(lambda prompt: "<prompt>Never mind.</prompt>", identity="worse")
    rows = pt.Task(colours.train, (), colours.open_test(), signature=colours.signature)
    first = pt.fit(
        *(colours, colour_of, pt.RandomSearch(candidates=1, shots=0)),
        helpers={"optimizer": worse},
        prompt="Look at the thing.",
        budget="500calls",
    )
    assert first.learned.same_as(first.start)
    assert first.evidence.verdict == "start"
    assert rows.validation == ()


def test_a_duel_is_evidence_without_labels():
    task = pt.Task(unlabeled=[f"q{n}" for n in range(6)], test=[f"t{n}" for n in range(30)])

    def model(prompt):
        return "long and helpful" if "helpful" in prompt.split("\n\n")[0] else "short"

    def judge(prompt):
        first = prompt.split("<outputs_a>")[1].split("</outputs_a>")[0]
        return "<choice>A</choice>" if "helpful" in first else "<choice>B</choice>"

    result = pt.fit(
        *(task, model, pt.SPO(rounds=2)),
        helpers={"optimizer": lambda p: "<prompt>Be helpful.</prompt>", "judge": judge},
        prompt="Answer.",
        budget="500calls",
    )
    assert result.learned.instruction == "Be helpful."
    assert result.evidence.protocol == "duel"
    assert result.evidence.found.value == 1.0
    assert result.evidence.verdict == "better"
    tied = pt.fit(
        *(task, model, pt.SPO(rounds=2)),
        helpers={"optimizer": lambda p: "<prompt>Be helpful.</prompt>", "judge": lambda p: "A"},
        prompt="Answer.",
        budget="500calls",
    )
    assert tied.evidence.verdict == "start"


def test_apply_asks_only_what_was_not_answered(colours):
    asked = []

    def model(prompt):
        asked.append(prompt)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return "red"

    learned = pt.fit(colours, colour_of, "manual", budget="10calls").learned
    inputs = [f"rose {n}" for n in range(100, 110)]
    with pytest.raises(KeyboardInterrupt):
        pt.apply(learned, pt.model(model, identity="m"), inputs)
    assert pt.apply(learned, pt.model(model, identity="m"), inputs).outputs == ["red"] * 10
    assert len(asked) == 11
    with pytest.raises(UsageError, match="does not cover 10 predictions"):
        pt.apply(learned, pt.model(model, identity="other"), inputs, budget="9calls")


def test_no_budget_for_evidence_says_so(colours):
    result = pt.fit(colours, colour_of, "few-shot", budget="1calls", evidence_share=0.0)
    assert result.evidence.verdict == "not measured: budget"
    assert "not measured" in str(result.evidence)
    assert result.charged.calls <= 1


def test_evidence_gets_its_share_and_no_more_than_it_can_use(colours):
    assert held_back(colours, Budget.parse("100calls"))["calls"] == 40
    assert held_back(colours, Budget.parse("10000calls"))["calls"] == 2 * (24 + 12)


def test_wrong_arguments_are_one_line(colours):
    with pytest.raises(UsageError, match="not a method"):
        pt.fit(colours, colour_of, 7)
    with pytest.raises(UsageError, match="unknown protocol"):
        pt.fit(colours, colour_of, "manual", protocol="guess")
    with pytest.raises(UsageError, match="give a text"):
        pt.fit(colours, colour_of, "manual", prompt=7)
    with pytest.raises(AccessError, match="offers embeds"):
        pt.fit(pt.Task(unlabeled=["a"]), pt.model(lambda t: [[1.0]] * len(t), embeds=True), "spo")


def test_two_processes_on_one_run(colours, home):
    from promptology.run.store import using_store

    result = pt.fit(colours, colour_of, "manual")
    with using_store() as store, store.alone(result.run), pytest.raises(UsageError, match="another process"):
        pt.fit(colours, colour_of, "manual")


def test_inside_a_running_event_loop(colours):
    import asyncio

    async def notebook():
        return pt.fit(colours, "simulated:tickets", "manual", budget="100calls")

    assert asyncio.run(notebook()).evidence.n > 0


def test_openings_of_a_test_split_are_counted(colours):
    first = pt.fit(colours, lambda prompt: "red", "manual", budget="200calls")
    second = pt.fit(colours, lambda prompt: "red", "manual", budget="200calls", seed=1)
    again = pt.fit(colours, lambda prompt: "red", "manual", budget="200calls", seed=1)
    assert [r.evidence.openings for r in (first, second, again)] == [1, 2, 2]


def test_a_metric_may_be_a_function():
    task = pt.Task([(f"{n}", str(n)) for n in range(10)], metric=lambda p, t: float(p == t))
    assert task.signature.output == "text"
    assert pt.evaluate(task, lambda prompt: prompt.splitlines()[-1]).score.value == 1.0
