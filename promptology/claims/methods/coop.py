"""CoOp's claim: a learned context beats wording by hand, and a random one, on the classes that it was learned on.

The fixture in the entry's words. The ensemble is all of Toyland's wording that names no style and no attribute; that
which calls a picture clean is left out, since it says more than the class.
"""

from __future__ import annotations

from typing import Any

from promptology.claims.measuring import Bench, measures
from promptology.claims.vision import MODEL, TEMPLATE, WIDE, measured
from promptology.methods.vision.coop import CoOp
from promptology.methods.vision.zero_shot import ZeroShot
from promptology.zoo.toyland.templates import CLEAN

LONG = WIDE._replace(batch=32, epochs=50.0)
"""The wide regime, with 400 steps on image features that are computed once."""


def method_of(arm: str, rate: float) -> Any:
    """Return an arm's method."""
    if arm == "coop":
        return CoOp(rate=rate, **LONG.course)
    if arm == "untrained":
        return CoOp(phrase="", epochs=0)
    return ZeroShot(TEMPLATE if arm == "zero_shot" else CLEAN)


@measures("coop-base", needs=(MODEL,))
def base(arm: str, seed: int, bench: Bench) -> dict[str, float]:
    """Return the accuracy of an arm on base classes."""
    trained = arm == "coop"
    return measured(bench, LONG, arm, seed, lambda rate: method_of(arm, rate), "base", trained=trained)
