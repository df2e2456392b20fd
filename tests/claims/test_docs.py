"""The page of claims says what the record says, with what was not reproduced and what is not there yet."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from promptology.claims.announced import entries
from promptology.claims.recording import source
from promptology.claims.running import judged
from promptology.claims.wording import figure, ranged

ROOT = Path(__file__).resolve().parents[2]
KNOWN = entries()


@pytest.fixture(scope="module")
def docs():
    spec = importlib.util.spec_from_file_location("claims_docs", ROOT / "scripts" / "claims_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_script_makes_of_the_record(docs):
    page = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    assert page == docs.current(), "run python scripts/claims_docs.py"


def test_a_claim_stands_with_its_figures_placebo_and_source(docs):
    entry = next(e for e in KNOWN if e.id == "spo-no-labels")
    values = {"spo": [0.3, 0.2], "accept_all": [0.1, 0.1], "coin": [0.2, 0.3], "start": [0.0, 0.0]}
    found = judged(entry, {arm: {"hidden quality": some * 20} for arm, some in values.items()}, 150.0)
    about = {**source(), "commit": "0123456789ab", "dirty": True, "date": "2026-01-02"}
    there = {e.id: e.method == "spo" for e in KNOWN}
    page = docs.page(KNOWN, {entry.id: {**found, **about}}, there)
    assert "1 claim: 1 not reproduced, 2 not recorded, 74 of methods not there yet." in page
    assert "| [`spo-no-labels`](#spo-no-labels) | spo | **not reproduced** | 0.150 [" in page
    assert "| `spo-cost` | spo | not recorded |  |" in page
    assert "**Not reproduced.** The paper: Duels between outputs" in page and "The placebo is coin." in page
    assert "| coin (placebo) | spo: judge right with probability 0.5 | 0.250 [" in page
    assert "| `better(spo, coin)` (against the placebo) | 0 [" in page and "] | no |" in page
    assert "| start | the starting prompt | 0 |" in page
    assert "40 seeds, 2.5 min; 2026-01-02, promptology 0.1.0, commit 0123456789ab with changes, Python 3." in page
    assert "74 announced effects of 31 methods that this version does not have." in page
    assert "| `dept-quality` | dept | soft |" in page
    assert "prompting &lt; imitation" in page  # shown, and not taken for a tag


def test_figures_are_written_as_people_read_them():
    assert [figure(x) for x in (0.0, 75.0, 1669.0, 2293.7, 0.30700000000000005, 12.345, -0.05, 0.00012)] == [
        "0",
        "75",
        "1,669",
        "2,294",
        "0.307",
        "12.3",
        "-0.050",
        "1.2e-04",
    ]
    assert ranged(0.5, 0.5, 0.5) == "0.500" and ranged(1, 0.25, 1.75) == "1 [0.250, 1.750]"
