"""B19: DePT's short prompt with offsets against a long prompt of as many parameters, ours and plainly prepended.

DePT (arXiv:2309.05173) trades prompt tokens for low-rank offsets of the input's embeddings. Where prompts are really
prepended (an encoder) that saves what it promises; where a causal prompt is run once for the whole batch, a long prompt
costs little to begin with.
"""

from __future__ import annotations

from typing import Any

from benchmarks.common import Bar, Session
from benchmarks.ratios import ratio
from benchmarks.soft import SAID, Case, compare, llama

TITLE = "DePT against a prompt of 100 tokens, equal parameters"
PEERS = ()
BAR = Bar("≤", 0.8)
SIDES = ("bare", "ours")


def run(session: Session) -> None:
    """Measure."""
    shapes: dict[str, tuple[Any, float, int]] = {
        "T5": (llama(8000, "t5", layers=4), 1.0, 48),
        "GPT-2": ({**llama(8000, "gpt2", layers=4), "width": 128}, 0.02, 40),
    }
    cases: dict[str, Case] = {}
    for name, (shape, scale, rank) in shapes.items():
        base = {"shape": shape, "scale": scale, "steps": 4, "forward": True}
        cases[f"prompt of 100, {name}"] = {**base, "kind": "prompt", "tokens": 100}
        cases[f"DePT, {name}"] = {**base, "kind": "dept", "tokens": 40, "rank": rank}
        # m d + r (s + d) = l d
        assert 40 * shape["width"] + rank * (64 + shape["width"]) == 100 * shape["width"]
    taken = compare(session, cases, dict.fromkeys(cases, (None, None)), SIDES)
    for what, (said, _) in SAID.items():
        for name in shapes:
            for side in SIDES:
                short, long = (taken[what][f"{side}, {kind}, {name}"] for kind in ("DePT", "prompt of 100"))
                bar = BAR if side == "ours" and what != "forward" else None
                session.figure(f"{said}, {name}, DePT ÷ prompt of 100, {side}", ratio(short, long), "×", bar)
            short, long = taken[what][f"ours, DePT, {name}"], taken[what][f"bare, prompt of 100, {name}"]
            session.figure(f"{said}, {name}, DePT, ours ÷ prompt of 100, bare", ratio(short, long), "×")
    session.notes.append("bare: every row's prompt concatenated to its embeddings, logits at the targets' places only")
