"""Full evaluation, and a race as CAPO's authors describe it (arXiv:2504.16005): in plain code."""

import numpy as np
from scipy.special import stdtr


def choose(spec, stopwatch):
    """Return each rule's choices and the scores it spent, by the table."""
    rules = {"full evaluation": full} | {
        f"CAPO race, keep {keep}": lambda values, keep=keep: capo(values, keep, spec["alpha"], spec["block"])
        for keep in spec["keep"]
    }
    tables = [np.array(table, float) for table in spec["tables"]]
    with stopwatch.running():
        return {"found": {name: [rule(values) for values in tables] for name, rule in rules.items()}}


def full(values):
    """Score all on all items."""
    return int(np.argmax(values.mean(axis=1))), values.size


def capo(values, keep, alpha, block):
    """Score block by block; whoever has `keep` significantly better rivals (paired t, no correction) leaves."""
    alive, used, spent = np.arange(len(values)), 0, 0
    while len(alive) > keep and used < values.shape[1]:
        size = min(block, values.shape[1] - used)
        used, spent = used + size, spent + size * len(alive)
        seen = values[alive, :used]
        difference = seen[None, :, :] - seen[:, None, :]
        with np.errstate(divide="ignore", invalid="ignore"):
            t = difference.mean(axis=2) / (difference.std(axis=2, ddof=1) / np.sqrt(used))
        better = stdtr(used - 1, -t) < alpha  # of no difference t is no number, and nobody is better
        alive = alive[better.sum(axis=1) < keep]
    return int(alive[np.argmax(values[alive, :used].mean(axis=1))]), spent
