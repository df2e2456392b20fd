"""MaPLe's claims: prompts in both towers, tied to each other, serve new classes better than CoCoOp, and than untied.

The fixtures in the entries' words.
"""

from __future__ import annotations

from typing import Any

from promptology.claims.measuring import Bench, measures
from promptology.claims.vision import DEEP, MODEL, WIDE, measured
from promptology.methods.vision.cocoop import CoCoOp
from promptology.methods.vision.coop import CoOp
from promptology.methods.vision.ivlp import IVLP
from promptology.methods.vision.maple import MaPLe


def method_of(arm: str, rate: float) -> Any:
    """Return an arm's method."""
    course = {"rate": rate, **WIDE.course}
    if arm == "maple":
        return MaPLe(**DEEP, **course)
    if arm == "ivlp":
        return IVLP(**DEEP, image_length=DEEP["length"], **course)
    return CoCoOp(**course) if arm == "cocoop" else CoOp(**course)


@measures("maple-new", needs=(MODEL,))
def new(arm: str, seed: int, bench: Bench) -> dict[str, float]:
    """Return the accuracy of an arm on new and on base classes."""
    return measured(bench, WIDE, arm, seed, lambda rate: method_of(arm, rate), "new", "base")


@measures("maple-coupling", needs=(MODEL,))
def coupling(arm: str, seed: int, bench: Bench) -> dict[str, float]:
    """Return the harmonic mean of an arm's accuracies on base and on new classes."""
    return measured(bench, WIDE, arm, seed, lambda rate: method_of(arm, rate), "h")
