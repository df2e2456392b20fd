"""Label words that are found instead of given: those which the model itself expects at the gap of a class's texts.

T. Gao, A. Fisch, D. Chen, "Making Pre-trained Language Models Better Few-shot Learners", ACL 2021, arXiv:2012.15723,
section 5.1 (LM-BFF): k words a class by their mean log-probability at the gap, then the combination that classifies
most training texts rightly, before anything is trained.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptology.errors import UsageError
from promptology.run.engine import Run

TOP = 100
"""k (LM-BFF, code)."""
COMBINED = 20_000
"""Combinations that are looked at, at most; with many classes each keeps fewer words."""
BLOCK = 1000
"""Combinations that are looked at together."""


def found_words(run: Run, goal: Any, count: int = 1) -> list[list[str]]:
    """Return a label word for each class, in their order, of a `ClozeObjective`'s labelled texts; the `count` best.

    Costs one pass for each of them, which is kept by the store. Raises UsageError where a class has no labelled text.
    """
    import torch

    body, names = goal.body, goal.signature.class_names
    gold = goal.gold.cpu().numpy()
    lacking = [name for n, name in enumerate(names) if not (gold == n).any()]
    if lacking:
        raise UsageError(f"words cannot be found for {lacking[0]!r}: it has no labelled text; name them with words=...")
    words = vocabulary(body, goal.before)

    def work() -> dict[str, Any]:
        with body.quiet():
            logs = [
                torch.log_softmax(goal.slot_logits(goal.rows[at : at + 32]), dim=1) for at in range(0, len(gold), 32)
            ]
            return {"values": torch.cat(logs)[:, list(words)].float().cpu().numpy()}

    values = run.model().compute(["label words", goal.rows], len(gold), work)["values"]
    spellings = list(words.values())
    spelled = [[spellings[n] for n in chosen] for chosen in best_words(values, gold, len(names), count=count)]
    run.log("label words", **dict(zip(names, spelled[0], strict=True)))
    return spelled


def vocabulary(body: Any, before: str = " ") -> dict[int, str]:
    """Return the tokens of a model that are whole words in small letters, with their spelling.

    `before`: what stands before a word at the gap.
    """
    found: dict[int, str] = {}
    for n in range(min(len(body.tokenizer), len(body.embeddings))):
        text = str(body.tokenizer.decode([n]))
        word = text.strip()
        # A word's token is the one that it has behind what stands before the gap, a blank say.
        if len(word) > 1 and word.isalpha() and word.islower():
            ids = body.tokenizer(f"{before}{word}", add_special_tokens=False)["input_ids"]
            if ids == [n]:
                found[n] = word
    return found


def best_words(
    values: NDArray[Any], gold: NDArray[Any], classes: int, top: int = TOP, count: int = 1
) -> list[list[int]]:
    """Return the columns of the classes' words, of log p(word) per text, (n, words), and the texts' classes, (n,).

    They are the `count` best combinations: of those that classify most texts rightly the ones with the highest mean
    log-probability of the right class. Ours: where there are too many to look at, those of a class's `top` words take
    part that are likelier in its texts than in others' by most.
    """
    means = np.stack([values[gold == c].mean(axis=0) for c in range(classes)])
    kept = max(2, min(top, int(COMBINED ** (1 / classes))))
    # A word that is likely everywhere says nothing: what counts is how much likelier it is in its own class.
    ranked = [np.argsort(-means[c], kind="stable")[:top] for c in range(classes)]
    others = [(means.sum(axis=0) - means[c]) / max(classes - 1, 1) for c in range(classes)]
    own = [r[np.argsort(others[c][r] - means[c][r], kind="stable")][:kept].tolist() for c, r in enumerate(ranked)]
    combined = [list(some) for some in itertools.product(*own) if len({*some}) == classes]
    if not combined:
        raise UsageError("no words of one token tell the classes apart; name them with words=...")
    figures = np.concatenate(
        [_figures(values, gold, np.array(combined[at : at + BLOCK])) for at in range(0, len(combined), BLOCK)]
    )
    order = np.lexsort((-figures[:, 1], -figures[:, 0]))  # of equal ones the first stays first
    return [combined[n] for n in order[:count]]


def _figures(values: NDArray[Any], gold: NDArray[Any], combined: NDArray[Any]) -> NDArray[Any]:
    """Return accuracy and mean log-probability of the right class of combinations (m, classes): (m, 2)."""
    scores = values[:, combined]  # (n, m, classes)
    right = scores[np.arange(len(gold)), :, gold] - np.logaddexp.reduce(scores, axis=2)
    return np.stack([(scores.argmax(axis=2) == gold[:, None]).mean(axis=0), right.mean(axis=0)], axis=1)
