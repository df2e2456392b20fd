"""Sequential halving: fixed-budget best-arm identification (Karnin et al. 2013; for prompts, arXiv:2402.09723)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from promptology.data.items import Item
from promptology.prompts.learned import Learned
from promptology.run.engine import Run
from promptology.search.race import Race
from promptology.search.scoring import score


def sequential_halving(run: Run, candidates: Sequence[Learned], items: Sequence[Item], evaluations: int) -> Race:
    """Return the best of K candidates and its mean score, at about `evaluations` candidate-item scores.

    ceil(log2 K) rounds share the budget equally: each scores the surviving candidates on the same items and keeps the
    better half. Items grow from round to round and contain those of the round before, so earlier scores stay paired;
    the last round uses as many items as its share allows. Missing answers: see `Race`.
    """
    order = run.rng("halving items").permutation(len(items))
    alive = list(candidates)
    rounds = max(1, math.ceil(math.log2(len(alive)))) if len(alive) > 1 else 1
    best, used, spent = float("nan"), 0, 0
    for n in range(rounds):
        size = int(np.clip(evaluations / rounds / len(alive), 1, len(items)))
        seen, used = used, max(used, size)
        spent += len(alive) * (used - seen)
        scores = score(run, alive, [items[i] for i in order[:used]])
        ranked = scores.order
        best = float(scores.means[ranked[0]])
        run.log("halving", round=n + 1, candidates=len(alive), items=used, best=best)
        alive = [alive[i] for i in ranked[: max(1, len(alive) // 2)]]
        run.keep(alive[0])
    return Race(alive[:1], [best], spent)
