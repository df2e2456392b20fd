"""Protocol stages: the figures of a matrix counted by hand, what a method sees in a stage, one budget, going on."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

import numpy as np
import pytest

import promptology as pt
from promptology.data.items import SEALED
from promptology.errors import UsageError
from promptology.evidence.grids import Cell, render
from promptology.evidence.measuring import Measured
from promptology.evidence.stages import average, backward, figures_of, forgetting, forward
from promptology.evidence.statistics import Interval
from promptology.models.access import Generates
from promptology.run.cost import Cost
from promptology.run.store import home

R = np.array(
    [
        [0.1, 0.2, 0.3],  # the start
        [0.9, 0.4, 0.2],
        [0.7, 0.8, 0.5],
        [0.6, 0.85, 0.9],
    ]
)


def test_figures_of_a_matrix_by_hand():
    assert average(R) == pytest.approx((0.6 + 0.85 + 0.9) / 3)
    assert backward(R) == pytest.approx(((0.6 - 0.9) + (0.85 - 0.8)) / 2)
    assert forward(R) == pytest.approx(((0.4 - 0.2) + (0.5 - 0.3)) / 2)
    # The best before the last stage: 0.9 of task 1 after stage 1, 0.8 of task 2 after stage 2.
    assert forgetting(R) == pytest.approx(((0.9 - 0.6) + (0.8 - 0.85)) / 2)
    both = np.stack([R, R[:, ::-1]])
    for figure in (average, backward, forward, forgetting):
        assert figure(both).shape == (2,)
        assert figure(both)[0] == pytest.approx(figure(R))


def test_two_tasks_are_the_smallest_matrix():
    small = np.array([[0.0, 0.5], [1.0, 0.25], [0.5, 1.0]])
    found = [float(figure(small)) for figure in (average, backward, forward, forgetting)]
    assert found == [0.75, -0.5, -0.25, 0.5]


def scored(right, n=10):
    """A cell of a prompt that is right on the first so many of n items."""
    outputs = ["a"] * right + ["b"] * (n - right)
    measured = Measured(outputs, ["a"] * n, [str(i) for i in range(n)], 0, 1.0, Cost())
    return Cell(measured, Interval(right / n, 0.0, 1.0, n))


def two_tasks():
    rows = [(f"word {n}", "ab"[n % 2]) for n in range(20)]
    return [pt.Task(rows, name=name, split_seed=n) for n, name in enumerate("xy")]


def test_figures_with_intervals_and_where_a_score_is_missing():
    cells = [[scored(1), scored(5)], [scored(10), scored(5)], [scored(6), scored(10)]]
    found = {f.name: f for f in figures_of(two_tasks(), cells)}
    assert {n: round(f.value, 6) for n, f in found.items()} == {
        "average accuracy": 0.8,
        "backward transfer": -0.4,
        "forward transfer": 0.0,
        "forgetting": 0.4,
    }
    mine = found["backward transfer"]
    assert mine.low < -0.4 < mine.high < 0  # 4 of 10 items changed: 0 to 8 of them in most resamples
    assert (mine.low, mine.high) == (-found["forgetting"].high, -found["forgetting"].low)
    assert (found["forward transfer"].low, found["forward transfer"].high) == (None, None)  # no resample differs
    cells[2][0] = Cell(None, None, "its head has no such class")
    found = {f.name: f for f in figures_of(two_tasks(), cells)}
    assert [f.value is None for f in found.values()] == [True, True, False, True]
    assert "a score that it needs is not there" in found["forgetting"].reason


# The protocol


@pt.method("by-heart", family="search", learns="text", needs={"model": Generates})
@dataclass(frozen=True)
class ByHeart:
    """Name the task that was learned last, and those that were learned before."""

    def fit(self, run):
        assert all(item._target is SEALED for task in run.tasks.values() for item in task.test)
        SEEN.append((run.task.name, [*run.tasks], [s.instruction for s in run.sources]))
        run.model().generate([f"learn {run.task.name}"])
        if len(SEEN) == CRASH:
            raise KeyboardInterrupt
        return run.start.with_instruction(f"I know {run.task.name}.")


SEEN = []
CRASH = 0


@pytest.fixture(autouse=True)
def nothing_seen():
    SEEN.clear()


def task(name, n=20, **more):
    rows = [(f"{name} {k}", "even" if k % 2 == 0 else "odd") for k in range(n)]
    return pt.Task(train=rows[: n // 2], validation=(), test=rows[n // 2 :], name=name, **more)


def three():
    return {name: task(name) for name in ("ants", "bees", "cats")}


def model(prompt):
    """Know what the prompt knows, half of it for bees once ants are known, and call the rest even."""
    kind, number = prompt.rstrip().split()[-2:]
    knows = prompt.split("I know ")[1].split(".")[0] if "I know" in prompt else ""
    if number.isdigit() and (knows == kind or ((knows, kind) == ("ants", "bees") and int(number) >= 16)):
        return "odd" if int(number) % 2 else "even"
    return "even"


def fit(**more):
    given = {"budget": "400calls", **more}
    return pt.fit_stages(given.pop("tasks", None) or three(), given.pop("model", model), ByHeart(), **given)


def test_a_matrix_as_counted_by_hand():
    result = fit()
    values = [[cell.score.value for cell in row] for row in result.cells]
    assert values == [[0.5, 0.5, 0.5], [1.0, 0.7, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, 1.0]]
    assert {f.name: round(f.value, 6) for f in result.figures} == {
        "average accuracy": round(2 / 3, 6),
        "backward transfer": -0.5,
        "forward transfer": 0.1,
        "forgetting": 0.5,
    }
    assert SEEN == [
        ("ants", ["ants"], []),
        ("bees", ["bees", "ants"], ["I know ants."]),
        ("cats", ["cats", "ants", "bees"], ["I know ants.", "I know bees."]),
    ]
    assert [p.instruction for p in result.learned] == ["I know ants.", "I know bees.", "I know cats."]
    assert result.cell("ants", "bees").score.value == 0.7
    assert result.figure("forgetting").low > 0
    assert {cell.score.n for row in result.cells for cell in row} == {10}
    assert "average accuracy     0.667" in str(result)
    with pytest.raises(UsageError, match="no figure 'regret'; there are average accuracy"):
        result.figure("regret")
    with pytest.raises(UsageError, match="no cell 'dogs', 'ants'"):
        result.cell("dogs", "ants")


def test_the_run_leaves_prompts_document_and_page(tmp_path):
    result = fit(out=tmp_path / "mine")
    folder = result.folder
    names = ("stage-1", "stage-2", "prompt")
    assert [pt.load(folder / name).instruction for name in names] == [p.instruction for p in result.learned]
    assert pt.load(tmp_path / "mine").instruction == "I know cats."
    doc = json.loads((folder / "result.json").read_text())
    assert doc == json.loads(json.dumps(result.document))
    assert (doc["rows"], doc["columns"]) == (["(start)", "ants", "bees", "cats"], ["ants", "bees", "cats"])
    assert doc["tasks"]["bees"]["test_openings"] == 1
    page = render(doc)
    assert page.count('class="heat"') == 12
    assert "forgetting" in page


@pytest.mark.parametrize("crash", [1, 3])
def test_interrupted_and_continued_is_the_uninterrupted(tmp_path, monkeypatch, crash):
    whole = fit()
    monkeypatch.setenv("PROMPTOLOGY_HOME", str(tmp_path / "other"))
    SEEN.clear()
    calls = []

    def counted(prompt):
        calls.append(prompt)
        return model(prompt)

    with monkeypatch.context() as here:
        here.setattr(sys.modules[__name__], "CRASH", crash)
        with pytest.raises(KeyboardInterrupt):
            fit(model=counted)
    SEEN.clear()
    again = fit(model=counted)
    assert len(calls) == again.document["charged"]["calls"] == whole.document["charged"]["calls"]
    assert again.document["cells"] == whole.document["cells"]
    assert again.document["figures"] == whole.document["figures"]
    assert [p.to_json() for p in again.learned] == [p.to_json() for p in whole.learned]


def test_one_budget_is_never_passed_and_every_score_gets_a_part():
    result = fit(budget="100calls")  # 40 for 12 scores
    assert result.document["charged"]["calls"] <= 100
    sizes = {cell["n"] for row in result.document["cells"] for cell in row}
    assert sizes == {3}
    unmeasured = fit(budget="20calls").document["cells"]
    assert {cell["reason"] for row in unmeasured for cell in row} == {"the budget does not cover it"}


def test_another_order_is_another_run():
    assert fit().run != fit(tasks=dict(reversed(three().items()))).run
    assert fit().run == fit().run


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        ({"a": task("a")}, "needs two tasks or more, got 1"),
        ({"a": task("a"), "b": pt.Task(unlabeled=["x", "y"], name="b")}, "stage 'b' has no labelled test items"),
        (
            {"a": pt.Task(test=[("x", "even"), ("y", "odd")], name="a"), "b": task("b")},
            "stage 'a' has no labelled training items",
        ),
        ({"a": task("a"), "b": task("b", metric="macro-f1")}, "one metric, these have accuracy, macro_f1"),
    ],
)
def test_faults_are_one_line_before_anything_is_asked(tasks, words):
    with pytest.raises(UsageError, match=words):
        fit(tasks=tasks)
    assert SEEN == []
    assert not (home() / "runs").exists()
