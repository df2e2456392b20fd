"""Sequential halving: fixed-budget best-arm identification (Karnin et al. 2013; for prompts, arXiv:2402.09723)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from promptology.data.items import Item
from promptology.prompts.learned import Learned
from promptology.run.engine import Run
from promptology.search.race import Finish, Race, Scorer, Table, race_of, scorer_of
from promptology.search.scoring import Scores


def sequential_halving(run: Run, candidates: Sequence[Learned], items: Sequence[Item], evaluations: int) -> Race:
    """Return the best of K candidates and its mean score, for at most about `evaluations` candidate-item scores.

    ceil(log2 K) rounds share the scores equally: each scores the surviving candidates on further items, the same for
    all, and keeps the better half by all items so far, so that earlier scores count and stay paired. Every round scores
    one item at least, so a very small number can be exceeded. Missing answers: see `Race`.
    """

    def looked(alive: list[int], values: Table) -> None:
        best = float(Scores(values[alive]).means[0])
        run.log("halving", candidates=len(alive), items=values.shape[1], best=best)
        run.keep(candidates[alive[0]])

    end = halve(scorer_of(run, candidates, items, "halving items"), len(candidates), len(items), evaluations, looked)
    return race_of(candidates, end)


def halve(
    scorer: Scorer,
    candidates: int,
    items: int,
    evaluations: int,
    looked: Callable[[list[int], Table], None] = lambda alive, values: None,
) -> Finish:
    """Halve candidates whose scores `scorer` returns; see `sequential_halving`."""
    values = np.full((candidates, items), np.nan)
    alive, used, spent = list(range(candidates)), 0, 0
    rounds = max(1, math.ceil(math.log2(candidates)))
    for _ in range(rounds):
        size = int(np.clip(evaluations / rounds / len(alive), 1, items - used)) if used < items else 0
        columns = range(used, used + size)
        if size:
            values[np.ix_(alive, columns)] = scorer(alive, columns)
        used, spent = used + size, spent + size * len(alive)
        alive = [alive[i] for i in Scores(values[alive, :used]).order]
        looked(alive, values[:, :used])
        alive = alive[: max(1, len(alive) // 2)]
    return Finish(alive, values, spent)
