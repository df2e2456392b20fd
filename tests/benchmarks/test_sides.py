"""The sides of the benchmarks inside a model agree with each other at sizes of a few milliseconds."""

from __future__ import annotations

import importlib
import math
from importlib.util import find_spec

import pytest

from benchmarks.__main__ import WHERE
from benchmarks.b13_scoring import tokens
from benchmarks.b15_start import PEERS as STARTED
from benchmarks.common import Session, run_side
from benchmarks.environments import PEERS, BenchError
from benchmarks.soft import shapes
from benchmarks.towers import predicted, tuned

needs_torch = pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed")
SIZES = {"tokens": 3, "text": 6, "labels": 2, "batch": 2, "scale": 0.02, "rank": 2}
LLAMA = {"family": "llama", "vocab": 50, "width": 16, "layers": 2, "heads": 2}


def test_every_benchmark_says_what_it_is():
    assert list(WHERE) == sorted(WHERE, key=lambda name: int(name[1:]))
    for name, where in WHERE.items():
        module = importlib.import_module(f"benchmarks.{where}")
        assert where.startswith(f"b{int(name[1:]):02}_")
        assert module.TITLE
        assert set(module.PEERS) <= set(PEERS)
        assert callable(module.run)


def test_peers_with_extras_and_peers_that_bring_torch():
    assert PEERS["lm-eval"].requirement == f"lm-eval[hf]=={PEERS['lm-eval'].version}"
    assert PEERS["peft"].requirement == f"peft=={PEERS['peft'].version}"
    assert not {"peft", "lm-eval"} & set(STARTED)  # starting is compared without torch


def test_no_timing_where_numbers_are_not_near():
    session = Session("B10")
    session.near("losses", {"a": [1.0, 200.0], "b": [1.000005, 200.001]}, 1e-5)
    assert session.equality == ["losses: 2 equal to 5e-06, at most 1e-05 allowed (a, b)"]
    with pytest.raises(BenchError, match=r"a and b differ in losses by 0\.0001 at place 1: 1\.0 and 1\.0001"):
        session.near("losses", {"a": [1.0, 1.0], "b": [1.0, 1.0001]}, 1e-5)
    with pytest.raises(BenchError, match="differ in losses by nan"):
        session.near("losses", {"a": [1.0], "b": [math.nan]}, 1e-5)


def test_tokens_of_prompts_and_of_their_prefix_tree():
    assert tokens({"candidates": 64, "items": 64}) == (64 * 64 * 80, 64 * 64 + 64 * 64 * 16)
    said = shapes({"one": {**SIZES, "shape": LLAMA}})
    assert said == "one: llama 2 x 16, V = 50, batch 2, 6 text, 3 prompt and 2 label tokens"


@needs_torch
def test_our_training_steps_equal_plain_ones():
    cases = {
        f"{kind} {family}": {**SIZES, "shape": {**LLAMA, "family": family}, "kind": kind}
        for kind, family in (
            ("prompt", "t5"),
            ("dept", "gpt2"),
            ("dept", "t5"),
            ("behind", "llama"),
        )
    }
    cases["prompt t5"]["scale"] = cases["dept t5"]["scale"] = 1.0
    spec = {"cases": cases, "steps": 7}
    found = {side: run_side(side, "soft.losses", spec) for side in ("bare", "ours")}
    session = Session("B19")
    for name in cases:
        session.near(name, {side: one["losses"][name] for side, one in found.items()}, 1e-5)
        assert len(found["ours"]["losses"][name]) == 7
        assert len(set(found["ours"]["losses"][name])) == 7


@needs_torch
def test_our_steps_of_clip_equal_the_authors():
    shape = {"text": (16, 2, 2), "vision": (24, 3, 2), "px": 16, "patch": 8, "positions": 20, "vocab": 40}
    base = {"shape": shape, "classes": 4, "batch": 3, "length": 2}
    cases = {kind: {**base, "kind": kind, "views": "cached"} for kind in ("coop", "cocoop")}
    cases |= {"fresh": {**base, "kind": "coop", "views": "fresh"}, "maple": {**base, "kind": "maple", "depth": 2}}
    spec = {"cases": cases, "steps": 5}
    found = {side: run_side(side, "towers.losses", spec) for side in ("bare", "ours")}
    for name in cases:
        Session("B11").near(name, {side: one["losses"][name] for side, one in found.items()}, 1e-4)
        assert len(set(found["ours"]["losses"][name])) == 5
    assert predicted({**base, "kind": "coop", "views": "cached"}) > predicted(
        {**base, "kind": "coop", "views": "fresh"}
    )


@needs_torch
def test_an_image_that_is_adapted_to_has_the_authors_cosines():
    shape = {"text": (16, 2, 2), "vision": (24, 3, 2), "px": 16, "patch": 8, "positions": 20, "vocab": 40}
    base = {"shape": shape, "kind": "tpt", "classes": 4, "batch": 20, "length": 2}
    cases = {str(steps): {**base, "steps": steps} for steps in (0, 1, 3)}
    found = {side: run_side(side, "towers.answers", {"cases": cases})["cosines"] for side in ("bare", "ours")}
    for name in cases:
        Session("B24").near(name, {side: one[name] for side, one in found.items()}, 1e-5)
    moved = [abs(a - b) for a, b in zip(found["ours"]["0"], found["ours"]["1"], strict=True)]
    assert max(moved) > 1e-3 and tuned(cases["1"]) < tuned(cases["3"]) < 20 / 5


@needs_torch
def test_our_scores_equal_plain_ones():
    base = {"candidates": 2, "items": 3, "labels": 4, "shared": 8, "own": 2}
    cases = {f"{n} tokens": {**base, "label_tokens": n} for n in (1, 2)}
    spec = {"shape": LLAMA, "batch": 4, "cases": cases, "keep": True}
    found = {side: run_side(side, "scoring.score", spec) for side in ("bare", "ours")}
    for name in cases:
        Session("B13").near(name, {side: one["scores"][name] for side, one in found.items()}, 1e-5)
        assert len(found["ours"]["scores"][name]) == 2 * 3 * 4


@needs_torch
def test_batches_by_length_change_no_value():
    spec = {"shape": LLAMA, "tokens": 3, "labels": 2, "batch": 4, "scale": 0.02, "items": 16}
    values = run_side("ours", "lengths.values", spec)["values"]
    Session("B21").near("values", values, 1e-5)
    assert len(set(values["buckets"])) == 16
