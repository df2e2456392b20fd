"""Racing by paired test: candidates meet on the same items and leave when they are clearly worse than the best.

The idea is Hoeffding races (Maron and Moore 1994) and F-race (Birattari et al. 2002); for prompts, CAPO
(arXiv:2504.16005) races with a paired t-test. The exact test for right-or-wrong scores and the correction are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from promptology.data.items import Item
from promptology.errors import UsageError
from promptology.prompts.learned import Learned
from promptology.run.engine import Run
from promptology.search.race import Finish, Race, Scorer, Table, race_of, scorer_of
from promptology.search.scoring import Scores


def paired_race(
    run: Run,
    candidates: Sequence[Learned],
    items: Sequence[Item],
    *,
    block: int = 10,
    alpha: float = 0.05,
    evaluations: int | None = None,
    survivors: int = 1,
) -> Race:
    """Score candidates block by block on the same items and drop those that are significantly worse than the best.

    Ends with that many survivors (or fewer), when the items are used up, or before `evaluations` candidate-item scores
    are exceeded.
    The probability that the truly best candidate is dropped at any time is at most `alpha`: each test is one-sided at
    alpha / ((K - 1) * looks), since at each look the best of K candidates meets one of K - 1 others. Tests: the exact
    sign test (McNemar) where both have only scores of 0 and 1, else the paired t-test. Missing answers: a pair counts
    only where both answered; see also `Race`. This promise has its price: of a close field sequential halving and
    `ucb_race` keep as good a candidate for fewer scores, without the promise.
    """

    def looked(alive: list[int], values: Table) -> None:
        best = float(Scores(values[alive]).means[0])
        run.log("race", candidates=len(alive), items=values.shape[1], best=best)
        run.keep(candidates[alive[0]])

    scorer = scorer_of(run, candidates, items, "racing items")
    end = race(scorer, len(candidates), len(items), block, alpha, evaluations, survivors, looked)
    return race_of(candidates, end)


def race(
    scorer: Scorer,
    candidates: int,
    items: int,
    block: int = 10,
    alpha: float = 0.05,
    evaluations: int | None = None,
    survivors: int = 1,
    looked: Callable[[list[int], Table], None] = lambda alive, values: None,
) -> Finish:
    """Race candidates whose scores `scorer` returns; see `paired_race`."""
    if min(candidates, block, survivors) < 1 or not 0 < alpha < 1:
        raise UsageError(
            "a race needs a candidate, a block of at least 1 item, a survivor and an alpha between 0 and 1"
        )
    level = alpha / max(1, (candidates - 1) * math.ceil(items / block))
    values = np.full((candidates, items), np.nan)
    alive, used, spent = list(range(candidates)), 0, 0
    while used < items and (len(alive) > survivors or used == 0):
        size = min(block, items - used)
        if evaluations is not None:
            size = min(size, (evaluations - spent) // len(alive))
        if size < 1:
            break
        columns = range(used, used + size)
        values[np.ix_(alive, columns)] = scorer(alive, columns)
        used, spent = used + size, spent + size * len(alive)
        alive = [alive[i] for i in Scores(values[alive, :used]).order]
        alive = [i for n, i in enumerate(alive) if n == 0 or p_worse(values[i], values[alive[0]]) > level]
        looked(alive, values[:, :used])
    return Finish(alive, values, spent)


def p_worse(scores: Table, best: Table) -> float:
    """Return the one-sided p of the paired test that the first is worse than the second; 1 without common answers."""
    both = ~np.isnan(scores) & ~np.isnan(best)
    difference = best[both] - scores[both]
    plus, minus = int((difference > 0).sum()), int((difference < 0).sum())
    binary = np.isin(scores[both], (0, 1)).all() and np.isin(best[both], (0, 1)).all()
    # Differences that do not vary have no t; their signs still tell.
    if binary or len(difference) < 2 or np.ptp(difference) == 0:
        return sign_test(plus, minus)
    from scipy.special import stdtr

    n = len(difference)
    return float(stdtr(n - 1, -difference.mean() / (difference.std(ddof=1) / math.sqrt(n))))


def sign_test(plus: int, minus: int) -> float:
    """Return P[Bin(plus + minus, 1/2) >= plus], exact; 1 where nothing differs."""
    n = plus + minus
    return math.fsum(math.comb(n, k) / 2**n for k in range(plus, n + 1)) if n < 1000 else _large(plus, n)


def _large(plus: int, n: int) -> float:
    from scipy.special import bdtrc

    return float(bdtrc(plus - 1, n, 0.5)) if plus else 1.0
