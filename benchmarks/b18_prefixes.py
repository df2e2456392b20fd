"""B18: a training step of prefix tuning, of P-tuning, and of prompt tuning on GPT-2 and T5, against peft."""

from __future__ import annotations

from typing import Any

from benchmarks.common import Bar, Session
from benchmarks.soft import Case, compare, llama

TITLE = "prefix tuning and P-tuning steps, prompt tuning on GPT-2 and T5, against peft"
PEERS = ("peft",)


def run(session: Session) -> None:
    """Measure."""
    cases: dict[str, Case] = {
        "prefix tuning, Llama": {"shape": llama(8000), "kind": "prefix", "steps": 4},
        "P-tuning, Llama": {"shape": llama(8000), "kind": "p-tuning", "hidden": 256, "steps": 4},
        "prompt tuning, GPT-2": {"shape": llama(8000, family="gpt2"), "kind": "prompt", "steps": 4},
        # The prompt begins at the spread of T5's embeddings, as the others' does.
        "prompt tuning, T5": {"shape": llama(8000, "t5", layers=4), "kind": "prompt", "scale": 1.0, "steps": 4},
    }
    bars: dict[str, Any] = dict.fromkeys(cases, (None, None))
    bars |= dict.fromkeys(("prefix tuning, Llama", "P-tuning, Llama"), (Bar("≤", 0.85), None))
    compare(session, cases, bars)
