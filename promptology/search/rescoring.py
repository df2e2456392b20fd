"""Scoring the best few again on fresh items, against the winner's curse.

The best of many noisy scores is too high: with 50 items and 100 candidates that are all right 70 times in 100, the
best looks right 85 times. Items that took no part in the selection know nothing of that luck.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from promptology.data.items import Item, identity
from promptology.prompts.learned import Learned
from promptology.run.engine import Run
from promptology.search.planning import divided, fresh_pool
from promptology.search.race import Race
from promptology.search.scoring import scores_of, selection_items


def apart(run: Run, most: int, fresh: int) -> tuple[list[Item], list[Item]]:
    """Return random selection items for a search, at most `most`, and others for its finalists, at most `fresh`.

    How many of each: see `planning.divided`. Raises UsageError where there is nothing to select on.
    """
    pool = selection_items(run)
    used, kept = divided(run.task, most, fresh)
    items = [pool[i] for i in run.rng("items").permutation(len(pool))[:used]]
    return items, fresh_items(run, items, kept)


def fresh_items(run: Run, used: Iterable[Item], count: int | None = None) -> list[Item]:
    """Return items of the fresh pool whose inputs are not among `used`, in random order, at most `count`.

    May be empty: then nothing fresh is left, and the search's own scores are all there is.
    """
    seen = {_inputs(item) for item in used}
    fresh = [item for item in fresh_pool(run.task) if _inputs(item) not in seen]
    order = run.rng("fresh items").permutation(len(fresh))
    return [fresh[i] for i in order[:count]]


def _inputs(item: Item) -> str:
    return json.dumps(dict(item.inputs), sort_keys=True, default=identity)


def rescore(run: Run, candidates: Sequence[Learned], items: Sequence[Item]) -> Race:
    """Score candidates, given from best to worst by the search, on fresh items; ties keep the order of the search.

    Without items (or with one candidate) the search's order stands and the means are NaN: nothing was measured.
    """
    if not items or len(candidates) < 2:
        return Race(list(candidates), [float("nan")] * len(candidates), 0)
    scores = scores_of(run, candidates, items)
    ranked, means = scores.order, scores.means
    run.log("rescored", candidates=len(candidates), items=len(items), best=float(means[ranked[0]]))
    return Race([candidates[i] for i in ranked], [float(means[i]) for i in ranked], len(candidates) * len(items))
