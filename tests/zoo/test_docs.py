"""The page of the embedded models says what their cards say, and shows what is short."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from promptology.zoo.folders import MODELS, RELEASED, card, check
from promptology.zoo.recipes import recipe
from promptology.zoo.recipes.cards import abilities, below, readme
from promptology.zoo.recipes.course import settings

ROOT = Path(__file__).resolve().parents[2]
CARD = {
    "name": "word-mlm",
    "class": "BertForMaskedLM",
    "says": "Fills gaps.",
    "data": "Wordland.",
    "limits": "Short on cloze; twice the steps gave 0.61.",
    "recipe": {"steps": 1200, "rate": 0.001},
    "parameters": 1234567,
    "training": {"device": "cpu", "threads": 2, "seconds": 600, "process_seconds": 1150, "torch": "2.13"},
    "files": {"model.safetensors": {"bytes": 2469134, "sha256": ""}, "config.json": {"bytes": 9, "sha256": ""}},
    "ability": {"cloze": 0.6, "held-out kinds": 0.4},
    "bar": {"cloze": 0.65},
}


@pytest.fixture(scope="module")
def docs():
    pytest.importorskip("PIL")
    spec = importlib.util.spec_from_file_location("zoo_docs", ROOT / "scripts" / "zoo_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_script_makes_of_the_cards(docs):
    page = (ROOT / "docs" / "zoo.md").read_text(encoding="utf-8")
    assert page == docs.page(docs.released()), "run python scripts/zoo_docs.py"


@pytest.mark.parametrize("name", MODELS)
def test_a_released_model_came_of_the_recipe_as_it_is(name):
    folder = RELEASED / name
    if not folder.is_dir():
        pytest.skip(f"{name} is not there; build it with `promptology zoo build {name} --out {folder}`")
    check(folder, name)
    about, made = card(folder, name), recipe(name)
    assert about["recipe"] == settings(made) and about["bar"] == dict(made.bars) and about["limits"] == made.limits
    assert set(about["bar"]) <= set(about["ability"])


def test_a_model_that_is_short_is_shown_short(docs):
    page = docs.page({"word-mlm": CARD})
    assert "| `word-mlm` | `BertForMaskedLM` | 1,234,567 | 2.5 MB |" in page
    assert "| **short**: cloze |" in page
    assert "| cloze | 0.600 | 0.650 | **no** |" in page and "| held-out kinds | 0.400 |  |  |" in page
    assert CARD["limits"] in page
    assert "Trained in 10.0 minutes, 19.2 of processor time, on cpu (torch 2.13), 1,200 steps." in page
    assert page.count("| not built |") == len(MODELS) - 1


def test_an_ability_that_was_not_measured_reaches_no_bar():
    assert below({}, {"cloze": 0.1}) == below({"cloze": float("nan")}, {"cloze": 0.1}) == ["cloze"]
    assert below({"cloze": 0.1}, {"cloze": 0.1}) == []
    assert "Not measured yet" in abilities({**CARD, "ability": {}})


def test_the_readme_shows_limits_and_recipe():
    text = readme(CARD)
    assert CARD["limits"] in text and "| rate | `0.001` |" in text and 'promptology.model("zoo:word-mlm")' in text
