"""CoCoOp's claims: a context that depends on the image keeps classes that were not learned, and it does so by that.

The fixtures in the entries' words. The mean normalised feature of the training images is of unit length again, as the
features of images are.
"""

from __future__ import annotations

from typing import Any

from promptology.claims.measuring import Bench, measures
from promptology.claims.vision import MODEL, NARROW, TEMPLATE, measured
from promptology.methods.vision.cocoop import CoCoOp
from promptology.methods.vision.coop import CoOp
from promptology.methods.vision.zero_shot import ZeroShot


def method_of(arm: str, rate: float) -> Any:
    """Return an arm's method."""
    if arm == "zero_shot":
        return ZeroShot(TEMPLATE)
    if arm == "coop":
        return CoOp(rate=rate, **NARROW.course)
    return CoCoOp(rate=rate, constant=arm == "constant", **NARROW.course)


@measures("cocoop-new", needs=(MODEL,))
@measures("cocoop-condition", needs=(MODEL,))
def narrow(arm: str, seed: int, bench: Bench) -> dict[str, float]:
    """Return the accuracy of an arm on new and on base classes."""
    trained = arm != "zero_shot"
    return measured(bench, NARROW, arm, seed, lambda rate: method_of(arm, rate), "new", "base", trained=trained)
