"""Hints to imitate: where the texts come from that a policy is first trained to write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from promptology.data.items import Item
from promptology.data.keyphrases import key_phrases
from promptology.data.scoring import references
from promptology.prompts.learned import Learned
from promptology.prompts.render import input_text
from promptology.run.engine import Run
from promptology.training.rewarding import SEPARATOR, worths
from promptology.training.rollouts import text_of

Hints = dict[int, str]
"""A hint by the number of its item; items without one are left out."""


def given_hints(items: Sequence[Item]) -> Hints:
    """Return the hints that items bring with them (meta `hint`)."""
    return {n: hint for n, item in enumerate(items) if (hint := str(item.meta.get("hint") or "").strip())}


def keyword_hints(run: Run, items: Sequence[Item]) -> Hints:
    """Return the key phrases of each input that its right text keeps, parted by "; " and closed by a full stop."""
    found = {}
    for n, item in enumerate(items):
        text = input_text(item.inputs, run.task.signature)
        if phrases := key_phrases(text, str(references(item.target)[0])):
            found[n] = f"{SEPARATOR} ".join(phrases) + "."
    return found


def trigger_hints(run: Run, learned: Learned, items: Sequence[Item], triggers: Sequence[str]) -> Hints:
    """Return for each item one of the sentences with which the model answers it best, none where no answer is worth
    anything.
    """
    many = [item for item in items for _ in triggers]
    scores = worths(run, learned, many, [*triggers] * len(items))
    rng, found = run.rng("triggers"), {}
    for n in range(len(items)):
        some = [score or 0.0 for score in scores[n * len(triggers) : (n + 1) * len(triggers)]]
        if best := [triggers[k] for k, score in enumerate(some) if score == max(some) > 0]:
            found[n] = best[int(rng.integers(len(best)))]
    return found


def check_written(run: Run, body: Any, hints: Sequence[str]) -> None:
    """Warn where the policy's tokenizer cannot write the hints that it is to imitate."""
    lost = [z for z in hints if text_of(body, body.continuation("", z)).split() != z.split()]
    if lost:
        shown = " ".join(lost[0].split())[:60]
        run.warn(f"{len(lost)} of {len(hints)} hints do not come back from {body.name}'s tokenizer, such as {shown!r}")
