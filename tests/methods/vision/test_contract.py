"""The promises of all methods, kept by those for two-tower models."""

from __future__ import annotations

import pytest

from promptology.testing import check_method

SETTINGS = {
    "coop": {"epochs": 2.0, "batch": 5, "own": True, "views": 2, "checks": 1},
    "cocoop": {"epochs": 1.0, "batch": 4},
    "ivlp": {"epochs": 1.0, "depth": 2, "length": 0},
    "maple": {"epochs": 1.0, "depth": 2, "checks": 1},
    "zero-shot": {"templates": "seven"},
}


@pytest.mark.parametrize("slug", SETTINGS)
def test_promises(slug):
    checked = check_method(slug, settings=SETTINGS[slug])
    assert {"access", "same result", "budget", "plan", "resume", "artifact"} <= {*checked.promises}, checked
