"""Protocols of generalisation: exact means and harmonic means, what each learns from and tests, and its refusals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import tiny_towers

import promptology as pt
from promptology.data.items import ClassLabel, Field, Item, Signature
from promptology.data.shots import draw_shots, halves
from promptology.data.task import Task
from promptology.errors import UsageError
from promptology.evidence.generalising import plan_lessons
from promptology.methods.registry import method
from promptology.models.access import Embeds
from promptology.prompts.learned import Learned, Readout

NAMES = ("ant", "bee", "cat", "dog", "elk", "fox")
SEEN: list[tuple[tuple[str, ...], int, int]] = []


class Letters:
    """A model whose vectors say which class a text names; of a text with a number above the mark, the next class."""

    name = identity = "letters"
    local, simulated = True, False

    def embed(self, texts):
        return np.eye(len(NAMES), dtype=np.float32)[[self._class(text) for text in texts]]

    @staticmethod
    def _class(text):
        word, _, number = text.partition(" ")
        at = NAMES.index(word)
        return (at + 1) % len(NAMES) if number.isdigit() and int(number) % 4 == 0 else at


@method("noting", family="search", learns="readout", needs={"model": Embeds})
@dataclass(frozen=True)
class Noting:
    """Return the start, and note what there was to learn from."""

    right: bool = True
    """Whether the labels are worded so that they are found."""

    def fit(self, run):
        SEEN.append((run.task.signature.class_names, len(run.task.train), run.seed))
        told = run.task.signature
        wording = "{label}" if self.right else "ant {label}"
        return Learned(
            (Readout("nearest-label", {"label_template": wording, "input_template": "{input}"}),),
            told,
            {"model": "embeds"},
        )


def letters(names=NAMES, train=5, test=4, name="letters", first=0):
    rows = {
        split: [Item(f"{split}-{c}-{n}", {"text": f"{c} {n + first}"}, c) for c in names for n in range(k)]
        for split, k in (("train", train), ("test", test))
    }
    signature = Signature((Field("text"),), "class", tuple(map(ClassLabel, names)))
    return Task(**rows, validation=[], signature=signature, name=name)


@pytest.fixture(autouse=True)
def forget():
    SEEN.clear()


def test_base_to_novel_learns_half_the_classes_and_tests_both():
    result = pt.protocol("base-to-novel", letters(), Letters(), ["noting"], shots=2, seeds=2)
    assert [(NAMES[:3], 6, 1), (NAMES[:3], 6, 2)] == SEEN
    # Of 4 test items a class the one with number 0 is taken for the next class, in both halves.
    assert result.cell("noting", "base").score.value == result.cell("noting", "new").score.value == 0.75
    assert result.cell("noting", "base").score.n == 12
    figures = {f.name: f.value for f in result.figures}
    assert figures == {"harmonic mean, (start)": 0.75, "harmonic mean, noting": 0.75}
    assert result.rows == ("(start)", "noting") and result.columns == ("base", "new")
    assert "2 fits, each with its own budget; seeds 1, 2" in result.document["notes"]


def test_the_harmonic_mean_is_that_of_the_two_means():
    new = letters(NAMES[3:], test=8, first=4)  # numbers 4 to 11: a quarter wrong
    base = letters(NAMES[:3], test=2, first=0)  # numbers 0 and 1: half wrong
    result = pt.protocol("base-to-novel", base, Letters(), ["noting"], on={"others": new}, shots=1, seeds=[5])
    assert [(NAMES[:3], 3, 5)] == SEEN
    assert [result.cell("noting", c).score.value for c in ("base", "new")] == [0.5, 0.75]
    harmonic = next(f for f in result.figures if f.name == "harmonic mean, noting")
    assert harmonic.value == pytest.approx(2 * 0.5 * 0.75 / 1.25) and harmonic.low < harmonic.value < harmonic.high


def test_few_shot_is_a_curve_over_shots():
    result = pt.protocol("few-shot", letters(), Letters(), ["noting"], shots=[1, 3], seeds=[1, 2])
    assert SEEN == [(NAMES, 6, 1), (NAMES, 18, 1), (NAMES, 6, 2), (NAMES, 18, 2)]
    assert result.columns == ("1 shot", "3 shots") and result.figures == ()
    assert all(cell.score.value == 0.75 for row in result.cells for cell in row)
    SEEN.clear()
    short = pt.protocol("few-shot", letters(), Letters(), ["noting"], seeds=1)
    assert [n for _, n, _ in SEEN] == [6, 12, 24, 30, 30] and short.columns[-1] == "16 shots"
    assert any("seed 1: classes with fewer training items than 16 shots" in note for note in short.document["notes"])


def test_other_tasks_are_tested_among_their_own_classes():
    other = letters(NAMES[4:], test=3, first=1, name="other")  # numbers 1 to 3: none wrong
    result = pt.protocol("cross-dataset", letters(), Letters(), ["noting"], on={"there": other}, seeds=[1], shots=0)
    assert SEEN == [(NAMES, 30, 1)] and result.columns == ("letters", "there")
    assert [c.score.value for c in result.cells[1]] == [0.75, 1.0]
    assert {f.name: f.value for f in result.figures}["mean over the others, noting"] == 1.0
    again = pt.protocol("domain-shift", letters(), Letters(), ["noting"], on={"there": other}, seeds=[1], shots=0)
    assert again.cell("noting", "there").score.value == 1.0
    assert len(SEEN) == 2 and again.folder != result.folder


def test_several_methods_have_rows_of_their_own_and_settings():
    result = pt.protocol(
        "few-shot", letters(), Letters(), ["noting", Noting(right=False)], shots=[1], seeds=[3],
    )  # fmt: skip
    assert result.rows == ("(start)", "noting", "noting right=False")
    good, bad = (result.cell(row, "1 shot").score.value for row in result.rows[1:])
    assert good == 0.75 and bad < 0.3
    assert [r["seed"] for r in result.document["runs"]] == [3, 3]


def test_a_finished_protocol_is_found_again():
    first = pt.protocol("few-shot", letters(), Letters(), ["noting"], shots=[1], seeds=[1])
    again = pt.protocol("few-shot", letters(), Letters(), ["noting"], shots=[1], seeds=[1])
    assert again.folder == first.folder and again.document["charged"]["passes"] == first.document["charged"]["passes"]
    assert again.document["paid"]["passes"] == first.document["paid"]["passes"]
    assert [c.to_json() for row in again.cells for c in row] == [c.to_json() for row in first.cells for c in row]


def test_shots_are_drawn_before_the_classes_are_cut():
    task = letters()
    plan = plan_lessons("base-to-novel", task, {}, [2], [1, 2, 3])
    for lesson in plan.lessons:
        assert lesson.task.train == halves(draw_shots(task, 2, lesson.seed))[0].train
    assert len({lesson.task.fingerprint() for lesson in plan.lessons}) == 3


def test_a_budget_that_ends_is_told():
    result = pt.protocol("few-shot", letters(), Letters(), ["noting"], shots=[1], seeds=[1], budget="30passes")
    assert result.document["charged"]["passes"] <= 30 and result.cell("noting", "1 shot").score.n < 24


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("base-to-new", {}, "there are base-to-novel, few-shot"),
        ("base-to-novel", {"shots": [1, 2]}, "takes one number of shots"),
        ("few-shot", {"shots": [1, 1]}, "different numbers"),
        ("few-shot", {"shots": []}, "different numbers"),
        ("few-shot", {"on": {"x": letters()}}, "no further task beside"),
        ("base-to-novel", {"on": {"x": letters(), "y": letters()}}, "one task of new classes"),
        ("cross-dataset", {}, "--on NAME=SPEC"),
        ("domain-shift", {"on": {"x": letters(("gnu", "ant"))}}, "class 'gnu' is none of 'letters'"),
        ("few-shot", {"methods": []}, "at least one method"),
        ("few-shot", {"noise_floor": 2}, "noise_floor"),
        ("cross-dataset", {"on": {"x": Task([("a", "x"), ("b", "y")] * 2, [], [])}}, "no labelled test items"),
    ],
)
def test_refusals(name, settings, words):
    methods = settings.get("methods", ["noting"])
    given = {k: v for k, v in settings.items() if k != "methods"}
    with pytest.raises(UsageError) as caught:
        pt.protocol(name, letters(), Letters(), methods, **{"seeds": [1], **given})
    assert words in str(caught.value), str(caught.value)


def test_images_of_towers(tmp_path):
    model = pt.model(f"hf:{tiny_towers.tiny_towers_folder(tmp_path / 'clip', 'clip')}")
    result = pt.protocol(
        "base-to-novel",
        "toyland:few-shot?shots=4&test=2",
        model,
        ["zero-shot", "linear-probe"],
        shots=2,
        seeds=[1],
    )
    assert result.cell("zero-shot", "new").score.n == 16
    assert "it has none for" in result.cell("linear-probe", "new").reason
    assert next(f for f in result.figures if f.name.endswith("linear-probe")).value is None
    page = result.report(tmp_path / "report.html").read_text()
    assert "zero-shot" in page and "harmonic mean" in page
