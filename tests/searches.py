"""Every search over texts at settings under which a whole run is short, and a bag-of-words encoder for the others."""

from __future__ import annotations

from importlib.util import find_spec

SMALL = {
    "ape": {"subsets": 2, "samples": 3, "demos": 2, "items": 8},
    "evoprompt": {"population": 3, "generations": 2, "items": 8},
    "mipro": {"candidates": 4, "shots": 1, "items": 8, "minibatch": 4, "trials": 5, "finalists": 2},
    "gepa": {"metric_calls": 60, "items": 6, "finalists": 2},
    "opro": {"steps": 2, "samples": 3, "items": 8},
    "protegi": {
        **{"rounds": 2, "beam": 2, "minibatch": 6, "gradients": 1, "errors": 2, "paraphrases": 1, "children": 3},
        **{"pulls": 2, "arms": 4, "block": 5},
    },
    "promptagent": {"prompts": 8, "items": 8},
    "random-search": {"candidates": 3, "shots": 2, "items": 8},
    "spo": {"rounds": 6},
}
"""Methods whose optimizer is a model, with settings."""
LACKING = [slug for slug, package in (("mipro", "optuna"),) if find_spec(package) is None]
"""Methods whose package is not installed."""
