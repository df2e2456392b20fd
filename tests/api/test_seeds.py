"""compare with several seeds: one row per arm, the rows by seed kept, one seed as before."""

from __future__ import annotations

import json

import pytest

import promptology as pt
from promptology.api.running import Ray, parse_seeds, parse_workers
from promptology.errors import UsageError
from promptology.evidence.report import render


def copycat(prompt):
    question = prompt.rstrip().splitlines()[-1]
    for block in prompt.split("Input: ")[1:]:
        source, _, rest = block.partition("\nOutput: ")
        if source.split()[0] == question.split()[0]:
            return rest.splitlines()[0]
    return "red"


def test_one_row_per_arm_and_one_per_seed(colours):
    comparison = pt.compare(colours, copycat, [pt.FewShot(shots=2), "manual"], budget="500calls", seeds=3)
    doc = comparison.document
    few, manual = doc["arms"]
    assert doc["seeds"] == [0, 1, 2]
    assert [r.run for r in comparison.results] == [s["run"] for a in doc["arms"] for s in a["seeds"]]
    assert len({r.run for r in comparison.results}) == 6
    scores = [r.evidence.found.value for r in comparison.results[:3]]
    assert len(set(scores)) > 1  # else there is nothing to average
    assert few["score"]["value"] == pytest.approx(sum(scores) / 3)
    assert few["difference"]["value"] == pytest.approx(sum(scores) / 3 - doc["start"]["score"]["value"])
    assert few["difference"]["low"] < few["difference"]["value"] < few["difference"]["high"]
    assert few["p"] == few["p_adjusted"]  # the only arm that is tested
    assert few["learning"]["calls"] == -(-sum(r.learning.calls for r in comparison.results[:3]) // 3)
    assert sum(e["charged"]["calls"] for e in few["ledger"]) == sum(r.charged.calls for r in comparison.results[:3])
    assert (manual["verdict"], manual["difference"], manual["p"]) == ("start", None, None)
    assert [(r["method"], r["seeds"]) for r in comparison.rows()] == [("few-shot", 3), ("manual", 3)]
    by_seed = [(r["method"], r["seed"], r["score"]) for r in comparison.rows(by_seed=True)]
    assert by_seed[:3] == [("few-shot", s, v) for s, v in zip((0, 1, 2), scores, strict=True)]
    json.dumps(doc, allow_nan=False)
    assert "seeds 0, 1, 2" in str(comparison)
    page = render(doc)
    assert "By seed" in page
    assert all(r.run in page for r in comparison.results)
    assert page.count('class="dot"') == 6


def test_holm_over_arms_not_over_seeds(colours):
    methods = [pt.FewShot(shots=6), pt.FewShot(shots=5)]
    arms = pt.compare(colours, copycat, methods, budget="500calls", seeds=[4, 9]).document["arms"]
    ps = sorted(a["p"] for a in arms)
    assert sorted(a["p_adjusted"] for a in arms) == pytest.approx([2 * ps[0], max(2 * ps[0], ps[1])])
    assert {a["verdict"] for a in arms} == {"better"}


def test_one_seed_is_the_comparison_of_before(colours):
    plain = pt.compare(colours, copycat, ["few-shot"], budget="500calls", seed=7)
    for seeds in (1, [7], "1"):
        same = pt.compare(colours, copycat, ["few-shot"], budget="500calls", seed=7, seeds=seeds)
        assert same.rows() == plain.rows()
        assert same.results[0].run == plain.results[0].run
        assert same.document.keys() == plain.document.keys()
        assert "seeds" not in same.document["arms"][0]
    assert same.rows(by_seed=True) == [{**plain.rows()[0], "seed": 7}]


def test_a_seed_without_budget_is_named(colours):
    arm = pt.compare(colours, copycat, ["few-shot"], budget="1calls", evidence_share=0.0, seeds=2).document["arms"][0]
    assert arm["verdict"] == "not measured: budget"
    assert "seeds 0, 1: not measured: budget" in arm["warnings"]
    assert arm["score"] is None


def test_seeds_are_read():
    assert parse_seeds(None, 3) == [3]
    assert parse_seeds(3) == parse_seeds("3") == parse_seeds("0, 1,2") == [0, 1, 2]
    assert parse_seeds("2", 5) == [5, 6]
    assert parse_seeds((7, 1)) == [7, 1]
    for bad in (0, -1, True, "", "a", "1,,2", "1.5", [], [0, 0], ["0"], 2.0, 10**6, "1,1"):
        with pytest.raises(UsageError, match="seeds"):
            parse_seeds(bad)
    with pytest.raises(UsageError, match="seed 4 is not among seeds 0,1"):
        parse_seeds([0, 1], 4)


def test_workers_are_read():
    assert parse_workers(None) is None
    assert (parse_workers("ray"), parse_workers("ray:4")) == (Ray(None), Ray(4))
    for bad in (8, "8", "ray:0", "ray:", "rays", "ray:x", "dask", True):
        with pytest.raises(UsageError, match="requests in flight are a setting of the model"):
            parse_workers(bad)
