"""Lineage: what was made from what, and what came of it; bounded, and the same in every run of a seed."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

import promptology as pt
from promptology.data.items import Field, Signature
from promptology.prompts import Learned, Readout, Text
from promptology.prompts.learned import Demonstrations, Example
from promptology.run.cost import Cost
from promptology.run.lineage import CUT, MOST, Lineage, _thinned, by_role, counts

SIGNATURE = Signature((Field("text"),))


def prompt(text, *parts):
    return Learned((Text(text), *parts, Readout("answer")), SIGNATURE)


def shots(text):
    return Demonstrations((Example({"text": text}, "yes"),))


def nodes(lineage, found, most=40):
    return {n["number"]: n for n in lineage.to_json(found, most)["nodes"]}


def test_a_chain_by_hand():
    start, one, two = (prompt(t) for t in ("start", "one", "two"))
    lineage = Lineage(start)
    lineage.scored(start, [0.0, 1.0])
    lineage.born(one, start)
    lineage.scored(one, [1.0, 1.0, math.nan])
    lineage.kept(one, Cost(calls=5, tokens_in=7, tokens_out=3, seconds=1.5))
    lineage.born(two, one)
    lineage.scored(two, [0.0])
    lineage.scored(two, [1.0, 1.0])
    doc = lineage.to_json(one)
    assert (doc["count"], doc["found"]) == (3, 1)
    assert [(n["number"], n["parent"], n["text"]) for n in doc["nodes"]] == [
        (0, None, "start"),
        (1, 0, "one"),
        (2, 1, "two"),
    ]
    assert [(n["score"], n["items"]) for n in doc["nodes"]] == [(0.5, 2), (1.0, 2), (pytest.approx(2 / 3), 3)]
    assert [n["kept"] for n in doc["nodes"]] == [None, {"calls": 5, "tokens": 10}, None]


def test_what_led_to_a_prompt_stands_beside_it_at_a_bounded_length():
    start, one, two = (prompt(t) for t in ("start", "one", "two"))
    lineage = Lineage(start)
    lineage.born(one, start, "an error")
    lineage.born(two, one, "e" * 10_000)
    lineage.born(one, two, "another")  # the first birth stands
    found = nodes(lineage, two)
    assert "why" not in found[0] and found[1]["why"] == "an error" and found[2]["why"] == "e" * 4000


def test_the_first_parent_and_the_first_keeping_stand():
    start, one = prompt("start"), prompt("one")
    lineage = Lineage(start)
    lineage.born(one, start)
    lineage.born(start, one)
    lineage.born(one, one)
    lineage.kept(one, Cost(calls=1))
    lineage.kept(one, Cost(calls=9))
    assert nodes(lineage, one)[1] == {
        "number": 1,
        "parent": 0,
        "text": "one",
        "score": None,
        "items": 0,
        "kept": {"calls": 1},
    }
    assert lineage.count == 2


def test_a_proposal_that_gets_demonstrations_before_it_is_scored_is_one_candidate():
    start, worded = prompt("start"), prompt("worded")
    lineage = Lineage(start)
    lineage.born(worded, start)
    first = prompt("worded", shots("a"))
    lineage.scored(first, [1.0])
    lineage.scored(prompt("worded", shots("b")), [0.0])
    found = nodes(lineage, first)
    assert "[example] a" in found[1]["text"]
    assert [n["parent"] for n in found.values()] == [None, 0, 1]
    assert lineage.to_json(first)["found"] == 1


def test_what_nobody_proposed_stems_from_the_start():
    lineage = Lineage(prompt("start"))
    for text in ("b", "c"):
        lineage.scored(prompt(text), [0.5])
    assert [n["parent"] for n in nodes(lineage, prompt("b")).values()] == [None, 0, 0]
    assert lineage.to_json(prompt("never tried"))["found"] is None


def test_a_document_keeps_the_line_the_kept_and_the_best():
    start = prompt("start")
    lineage = Lineage(start)
    parent = start
    for k in range(100):
        child = prompt(f"candidate {k}")
        lineage.born(child, parent)
        lineage.scored(child, [k % 10 / 10])
        parent = child if k in (10, 50) else parent
    lineage.kept(prompt("candidate 30"), Cost(calls=3))
    doc = lineage.to_json(prompt("candidate 60"), most=12)
    numbers = [n["number"] for n in doc["nodes"]]
    assert len(numbers) == 12 and numbers == sorted(numbers)
    assert {0, 11, 51, 61, 31} <= set(numbers)  # the start, the line, what was kept
    assert {n["parent"] for n in doc["nodes"]} <= {None, *numbers}
    assert doc["count"] == 101


def test_a_node_says_how_many_between_it_and_its_parent_are_left_out():
    texts = [prompt(f"candidate {k}") for k in range(10)]
    lineage = Lineage(texts[0])
    for parent, child in pairwise(texts):
        lineage.born(child, parent)
    lineage.scored(texts[4], [1.0])
    doc = lineage.to_json(prompt("never tried"), most=3)  # the start, the best scored, the latest
    assert [(n["number"], n["parent"], n.get("gap", 0)) for n in doc["nodes"]] == [(0, None, 0), (4, 0, 3), (9, 4, 4)]
    once = {n.number: n for n in _thinned(lineage._nodes, 6, 4)}
    assert [(n.number, n.parent, n.gap) for n in _thinned(once, 2, 9)] == [(0, None, 0), (9, 0, 8)]


def test_memory_is_bounded_and_the_best_is_remembered():
    lineage = Lineage(prompt("start"))
    best = prompt("best" + "x" * 2 * CUT)
    lineage.scored(best, [1.0])
    for k in range(2 * MOST + 500):
        lineage.scored(prompt(f"candidate {k}"), [0.1])
    assert len(lineage._nodes) <= 2 * MOST + 1
    assert lineage.count == 2 * MOST + 502
    doc = lineage.to_json(best)
    assert doc["found"] == 1
    assert len(doc["nodes"]) == 40 and len(doc["nodes"][1]["text"]) == CUT


def test_counts_leave_the_clock_out():
    assert counts(Cost(calls=2, tokens_in=3, tokens_out=4, usd=0.5, passes=1, seconds=9.0)) == {
        "calls": 2,
        "tokens": 7,
        "usd": 0.5,
        "passes": 1,
    }
    assert counts(Cost(seconds=3.0)) == {}


def test_counts_of_each_role_in_a_phase():
    cost = Cost(calls=2, tokens_in=3, seconds=1.0)
    ledger = {("model", "learning"): (cost, cost), ("encoder", "learning"): (Cost(passes=4), Cost())}
    ledger["model", "evidence"] = (Cost(calls=9), Cost())
    assert by_role(ledger) == {"model": {"calls": 2, "tokens": 3}, "encoder": {"passes": 4}}
    assert by_role(ledger, "evidence") == {"model": {"calls": 9}}


@pytest.mark.parametrize("method", ["spo", "opro", "random-search"])
def test_methods_leave_a_lineage_and_costs_whatever_the_workers(method, tmp_path, monkeypatch):
    settings = {"opro": {"steps": 2, "samples": 3, "items": 8}, "spo": {"rounds": 6}}.get(method, {"candidates": 4})
    found = []
    for workers in (1, 8):
        monkeypatch.setenv("PROMPTOLOGY_HOME", str(tmp_path / str(workers)))
        model = pt.model("simulated:tickets", workers=workers)
        found.append(pt.fit("tickets", model, method, settings=settings, budget="900calls"))
    one, other = found
    assert (one.history, one.lineage) == (other.history, other.lineage)
    assert len(one.lineage["nodes"]) > 2
    assert any(node["kept"] for node in one.lineage["nodes"])
    assert one.spent == other.spent
    charged = [spent.get("calls", 0) for spent in one.spent]
    assert charged == sorted(charged) and charged[-1] <= one.learning.calls
    for spent in one.spent:  # the roles are what was charged in all
        assert sum(of.get("calls", 0) for of in spent["roles"].values()) == spent.get("calls", 0)
    assert one.spent[-1]["roles"].keys() >= {"model", "optimizer"}
    assert one.lineage["found"] is not None
