"""Prompts across tasks and models: scores by hand, cells without a score, one budget, the page and the table."""

from __future__ import annotations

import html.parser
import json

import browser
import numpy as np
import pytest
import separable
import tiny

import promptology as pt
from promptology.errors import ModelError, UsageError
from promptology.evidence.grids import Cell, figure_of, format_grid, harmonic_mean, render, write
from promptology.prompts import Readout, Text
from promptology.prompts.learned import Learned

HOSTILE = [
    "</td></script><script>alert(1)</script>",
    '<img src="http://example.com/x.png" onerror="alert(1)">',
    "&lt;b&gt; &amp; {{ 7*7 }} {% raw %}",
    "right\u202eto left\u200b",
    "\x1b[31mred\x07 bell",
    "x" * 10_000,
]
COLOURS = {"red": "rose", "green": "grass", "blue": "sky"}
SHADES = {"black": "coal", "white": "snow"}


def task(things, name, n=10):
    rows = [(f"{thing} number {k}", colour) for colour, thing in things.items() for k in range(n)]
    return pt.Task(train=rows[::2], validation=(), test=rows, name=name)


BASE, NOVEL = task(COLOURS, "base"), task(SHADES, "novel")
KNOWN = {thing: colour for colour, thing in {**COLOURS, **SHADES}.items()}


def knows(prompt):
    """Know every thing but snow past number 4; without "please" everything is red."""
    thing, _, number = prompt.rstrip().splitlines()[-1].split()[-3:]
    if "please" not in prompt:
        return "red"
    return "grey" if thing == "snow" and int(number) > 4 else KNOWN[thing]


def learned(text, signature=BASE.signature):
    return Learned((Text(text), Readout("answer")), signature, {"model": "generates"}, "by-hand")


POLITE, RUDE = learned("Which colour, please?"), learned("Which colour?")


# Several named tasks


def test_each_task_has_its_score_and_the_classes_of_each_are_bound():
    found = pt.evaluate({"base": BASE, "novel": NOVEL}, knows, POLITE)
    assert {name: (c.score.value, c.score.n) for name, c in found.scores.items()} == {
        "base": (1.0, 30),
        "novel": (0.75, 20),
    }
    assert found.harmonic_mean.value == pytest.approx(2 / (1 / 1.0 + 1 / 0.75))
    # All of base is right, so only novel moves: 0.75 +- 0.19 of 20 items.
    assert 0.65 < found.harmonic_mean.low < 0.78 < 0.9 < found.harmonic_mean.high < 1.0
    assert found.scores["novel"].measured.parse_rate == 0.75  # "grey" is no class of the task at hand
    alone = pt.evaluate(NOVEL, knows, POLITE)
    assert alone.score == found.scores["novel"].score
    assert "harmonic mean        0.857" in str(found)
    json.dumps(found.document, allow_nan=False)


def test_what_was_learned_may_stand_first():
    tasks = {"base": BASE, "novel": NOVEL}
    assert pt.evaluate(POLITE, tasks, knows).document["cells"] == pt.evaluate(tasks, knows, POLITE).document["cells"]


def test_a_head_trained_for_other_classes_has_no_score_and_a_nearest_label_has_one():
    words = [*KNOWN, *KNOWN.values()]  # a thing and its colour have one direction

    def vector(text):
        return (
            [float(word in text) for word in words[:5]]
            if text.split()[0] in KNOWN
            else [float(word == text) for word in words[5:]]
        )

    model = pt.model(lambda texts: np.array([vector(text) for text in texts]), embeds=True)
    head = Readout("head", {"classes": [*COLOURS], "features": "embed"}, {"weight": np.eye(3, 5, dtype=np.float32)})
    probe = Learned((head,), BASE.signature, {"model": "embeds"}, "probe")
    found = pt.evaluate({"base": BASE, "novel": NOVEL}, model, probe)
    assert found.scores["base"].score.value == 1.0
    assert "it has none for black, white" in found.scores["novel"].reason
    assert "undefined: novel has no score (readout head was trained" in found.harmonic_mean.reason
    plain = pt.evaluate({"base": BASE, "novel": NOVEL}, model)
    assert [c.score.value for c in plain.scores.values()] == [1.0, 1.0]
    assert plain.harmonic_mean.value == 1.0


def test_the_harmonic_mean_of_a_zero_is_zero_and_says_where_it_is_undefined():
    rude = pt.evaluate({"base": BASE, "novel": NOVEL}, knows, RUDE)
    assert [c.score.value for c in rude.scores.values()] == [1 / 3, 0.0]
    assert (rude.harmonic_mean.value, rude.harmonic_mean.low) == (0.0, None)
    mixed = pt.evaluate({"base": BASE, "novel": NOVEL.with_metric("macro-f1")}, knows, POLITE)
    assert "undefined: the tasks are scored by different metrics (accuracy, macro_f1)" in mixed.harmonic_mean.reason
    below = Cell(rude.scores["base"].measured, rude.scores["base"].score._replace(value=-0.1))
    figure = harmonic_mean({"base": BASE, "novel": NOVEL}, {"base": rude.scores["base"], "novel": below})
    assert figure.reason == "undefined: the score of novel is negative"


def test_an_interval_leaves_out_resamples_without_a_figure():
    figure = figure_of("f", 0.5, np.array([0.4, np.nan, 0.6]))
    assert (figure.value, figure.low, figure.high) == (0.5, pytest.approx(0.405), pytest.approx(0.595))
    assert figure_of("f", float("nan"), np.array([0.4])).value is None


# The matrix


def test_prompts_by_tasks_by_models_as_counted_by_hand():
    def white(prompt):
        return "white"

    grid = pt.transfer({"polite": POLITE, "rude": RUDE}, [BASE, NOVEL], {"knows": knows, "white": white})
    assert grid.columns == ("base · knows", "novel · knows", "base · white", "novel · white")
    values = [[cell.score.value for cell in row] for row in grid.cells]
    assert values == [[1.0, 0.75, 0.0, 0.5], [1 / 3, 0.0, 0.0, 0.5]]
    assert [cell.score.n for cell in grid.cells[0]] == [30, 20, 30, 20]
    assert grid.cell("polite", "novel · knows").score.value == 0.75
    assert len(grid.to_rows()) == 8
    assert grid.to_rows()[1]["column"] == "novel · knows"
    assert [*pt.transfer([POLITE], [BASE], {"a": knows, "b": white}).columns] == ["a", "b"]
    assert [*pt.transfer([POLITE], [BASE, NOVEL], [knows]).columns] == ["base", "novel"]
    with pytest.raises(UsageError, match="no cell 'polite', 'base': polite, rude by base · knows"):
        grid.cell("polite", "base")


def test_folders_texts_and_the_plain_start_are_prompts(tmp_path):
    POLITE.save(tmp_path / "polite")
    grid = pt.transfer([tmp_path / "polite", str(tmp_path / "polite") + "/", "Say it, please.", None], [BASE], [knows])
    assert [row[0].score.value for row in grid.cells] == [1.0, 1.0, 1.0, 1 / 3]
    assert grid.rows[2:] == ("Say it, please.", "start")


def test_the_budget_is_over_all_cells_and_a_column_has_the_same_items():
    asked = []

    def counted(prompt):
        asked.append(prompt)
        return knows(prompt)

    grid = pt.transfer({"polite": POLITE, "rude": RUDE}, [BASE, NOVEL], [counted], budget="24calls")
    assert len(asked) == 24 == grid.document["charged"]["calls"]
    assert [[cell.score.n for cell in row] for row in grid.cells] == [[6, 6], [6, 6]]
    assert grid.cells[0][0].measured.ids == grid.cells[1][0].measured.ids
    with pytest.raises(UsageError, match="nothing could be measured: the budget does not cover it"):
        pt.transfer({"new": learned("Colour?")}, [BASE], [knows], budget="1tok")


def test_a_model_that_refuses_for_good_leaves_the_others_their_cells():
    class Refuses:
        name = identity = "refuses"
        local = False

        def generate(self, requests, attempts=1):
            raise ModelError("refuses: the key is wrong")
            yield

    grid = pt.transfer({"polite": POLITE}, [BASE], {"knows": knows, "refuses": Refuses()})
    assert grid.cell("polite", "knows").score.value == 1.0
    assert grid.cell("polite", "refuses").reason == "refuses: the key is wrong"
    assert "no score: refuses: the key is wrong" in render(grid.document)
    with pytest.raises(UsageError, match="nothing could be measured: refuses: the key is wrong"):
        pt.transfer({"polite": POLITE}, [BASE], {"refuses": Refuses()})


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    return tiny.tiny_gpt2(tmp_path_factory.mktemp("wide"), n_embd=2 * tiny.WIDTH)


def test_tensors_of_another_width_are_a_cell_with_a_reason_and_models_load_once(wide, monkeypatch):
    from promptology.models.local.classes import LocalModel

    soft = separable.fit("gpt2", "prompt-tuning").learned
    loads = []
    load = LocalModel._load

    def counted(self):
        loads.append(self.name)
        return load(self)

    monkeypatch.setattr(LocalModel, "_load", counted)
    tasks = {"one": separable.task(), "two": separable.without_validation()}
    models = {"narrow": f"hf:{separable.folder('gpt2')}", "wide": f"hf:{wide}"}
    grid = pt.transfer({"soft": soft, "start": None}, tasks, models, cache=False)
    assert len(loads) == 2
    assert [cell.score is not None for cell in grid.cells[0]] == [True, True, False, False]
    assert all(cell.score for cell in grid.cells[1])
    assert f"{tiny.WIDTH}" in grid.cells[0][2].reason
    assert "[1] " in str(grid)


@pytest.mark.parametrize(
    ("prompts", "tasks", "models", "words"),
    [
        ([], [BASE], [knows], "at least one prompt"),
        ([POLITE], [], [knows], "at least one task"),
        ([POLITE], [BASE], [], "at least one model"),
        ([POLITE, RUDE], [BASE], [knows], "two prompts are named 'by-hand'"),
        ([POLITE], [BASE, BASE], [knows], "two tasks are named 'base'"),
        ([POLITE], [BASE], [knows, knows], "two models are named 'knows'"),
        ([3], [BASE], [knows], "a int is not a prompt"),
        ([POLITE], [pt.Task(unlabeled=["a", "b"], name="bare")], [knows], "'bare' has no labelled test items"),
    ],
)
def test_faults_are_one_line(prompts, tasks, models, words):
    with pytest.raises(UsageError, match=words):
        pt.transfer(prompts, tasks, models)


@pytest.mark.parametrize("guard", ["noise_floor", "max_prompt_tokens"])
def test_guards_of_one_prompt_are_refused(guard):
    for measure in (
        lambda **o: pt.transfer([POLITE], [BASE], [knows], **o),
        lambda **o: pt.evaluate(POLITE, {"a": BASE}, knows, **o),
    ):
        with pytest.raises(UsageError, match="are for one prompt on one task"):
            measure(**{guard: 5})
    if guard == "noise_floor":
        with pytest.raises(UsageError, match="is for one prompt on one task"):
            pt.fit_stages({"a": BASE, "b": task(COLOURS, "b")}, knows, "manual", noise_floor=5)


def test_a_split_that_is_not_there():
    with pytest.raises(UsageError, match="unknown split 'dev'"):
        pt.transfer([POLITE], [BASE], [knows], split="dev")


# Table and page


class Checker(html.parser.HTMLParser):
    """Notes tags, what is open, and where the page refers to."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.references = [], set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.references += [v for k, v in attrs if k in ("src", "href", "action")]
        if tag not in ("meta", "br", "link", "img", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def hostile():
    """A document whose every text is hostile."""
    cell = {"value": 0.5, "low": 0.25, "high": 0.75, "n": 12, "missing": 1, "parse_rate": 1.0, "reason": ""}
    none = {"value": None, "n": 0, "reason": HOSTILE[0] + HOSTILE[4]}
    return {
        "kind": "transfer",
        "title": HOSTILE[0],
        "says": HOSTILE[1],
        "created": "2024-05-01T00:00:00+00:00",
        "version": "1",
        "row_head": "prompt",
        "column_head": "task",
        "rows": [HOSTILE[3], HOSTILE[2]],
        "columns": [HOSTILE[1], HOSTILE[5]],
        "cells": [[cell, {**cell, "value": 0.9}], [none, {**cell, "low": None, "high": None}]],
        "figures": [{"name": HOSTILE[0], "value": None, "low": None, "high": None, "reason": HOSTILE[1]}],
        "metric": HOSTILE[2],
        "simulated": True,
        "budget": "no limit",
        "seed": 0,
        "command": HOSTILE[0],
        "charged": {"calls": 3},
        "notes": HOSTILE,
    }


def test_the_page_shows_hostile_text_as_text(hostile):
    page = render(hostile)
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert not {"script", "img", "iframe", "b"} & checker.tags
    assert all(reference.startswith("#") for reference in checker.references)
    assert "\u202e" not in page
    assert "\x1b" not in page
    assert "&lt;script&gt;" in page


def test_the_page_says_in_words_what_it_says_in_shades(hostile):
    page = render(hostile)
    assert page.count('scope="col"') == 3
    assert page.count('scope="row"') >= 2
    assert "0.250 to 0.750" in page
    assert "12 items, 1 missing" in page
    assert "--v:8" in page  # the lowest of the grid
    assert "--v:100" in page
    assert "no score: " in page
    one = render({**hostile, "cells": [[hostile["cells"][1][0]] * 2] * 2})
    assert "no score" in one


@pytest.mark.skipif(not browser.CHROMIUM, reason="needs chromium")
def test_a_browser_shows_the_page_without_errors_and_asks_nobody(hostile, tmp_path):
    write(hostile, tmp_path / "heat.html")
    with browser.Browser(tmp_path) as seen:
        for width in (1200, 400):
            seen.resize(width)
            for scheme in ("light", "dark"):
                seen.medium(scheme)
                seen.open(tmp_path / "heat.html")
                assert seen.said() == []
                assert seen.requests() == [(tmp_path / "heat.html").as_uri()]
                assert seen.run("document.documentElement.scrollWidth") <= width
                shades = "[...document.querySelectorAll('.heat')].map(c => getComputedStyle(c).backgroundColor)"
                assert len(set(seen.run(shades))) == 2  # 0.5 twice and 0.9


def test_the_table_shows_hostile_text_on_its_own_lines(hostile):
    lines = format_grid(hostile).splitlines()
    assert "\x1b" not in "".join(lines)
    assert any(line.startswith("[1] ") for line in lines)
    assert sum("0.500 (0.250 to 0.750) n 12" in line for line in lines) == 1
