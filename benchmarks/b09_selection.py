"""B9: choosing the best of many prompts: what our races spend and lose, against full evaluation, CAPO's race, optuna.

Two kinds of tables of scores, prompts by items: generated ones (32 prompts whose accuracies differ by about 6 points,
200 items whose difficulty they share), where each prompt's accuracy is known; and real ones, wordings of template
search on MiniLM, of which 32 and 200 are drawn anew for each repeat and the rest of the items says how good a wording
is. The settings of all rules were fixed on generated tables of other seeds.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import Bar, Session, run_side
from benchmarks.ratios import bootstrap

TITLE = "choosing among 32 prompts on 200 items: evaluations at equal regret"
PEERS = ("optuna",)
SIDES = ("bare", "optuna", "ours")
PROMPTS, ITEMS, SPREAD, MEAN, REPEATS = 32, 200, 0.06, 0.7, 120
SETTINGS = {
    "alpha": 0.2,  # of CAPO's race, as its authors have it
    "block": 20,
    "keep": [1, 6, 8],
    "p": 0.1,  # of the pruner: its default
    "startup": 20,  # its exact test of ten ties takes half a second
    "every": 10,
    "shares": [0.125, 0.45],
}
FULL, OURS, RACE = "full evaluation", "ucb race", "CAPO race, keep 8"
EQUAL = 0.1  # points of regret
Table = NDArray[np.float64]


class Case(NamedTuple):
    """A table of scores, and how good each of its prompts is."""

    scores: Table
    true: Table


def run(session: Session) -> None:
    """Measure."""
    session.repeats = 10 if session.quick else REPEATS
    measure(session, "generated", [generated(seed) for seed in range(session.repeats)])
    for task in ("reviews", "tickets"):
        scores = np.array(run_side("ours", "selection.table", {"task": task})["scores"])
        measure(session, task, [drawn(scores, seed) for seed in range(session.repeats)])
    session.notes += [
        f"regret: points of accuracy below the best of the {PROMPTS}; equal: at most {EQUAL:g} more on average; "
        f"figures are means over {session.repeats} tables, the same for all rules",
        f"settings were fixed on other generated tables: CAPO's race at alpha {SETTINGS['alpha']}, blocks of "
        f"{SETTINGS['block']}; the pruner at its p of {SETTINGS['p']}, asked after every {SETTINGS['every']} items "
        f"from {SETTINGS['startup']} on; ours as they come",
        "nothing is timed: other work on the machine does not matter; the pruner is shown its trials' items in random "
        "order, and a pruned trial counts with its mean so far, as its documentation has it",
        "paired race: ours with the exact test, which promises not to lose the truly best prompt and pays for it",
        "reviews, tickets: 64 wordings on MiniLM, labelled training and validation items; what was not drawn is the "
        "measure of a wording",
    ]


def generated(seed: int) -> Case:
    """Return right or wrong of prompts on items of shared difficulty; ability and difficulty are normal."""
    from scipy.special import ndtr, ndtri

    rng = np.random.default_rng(seed)
    true = np.clip(rng.normal(MEAN, SPREAD, PROMPTS), 0.01, 0.99)
    # The mean of ndtr(ability - difficulty) over standard normal difficulties is ndtr(ability / sqrt 2).
    chance = ndtr(ndtri(true)[:, None] * np.sqrt(2.0) - rng.normal(size=ITEMS))
    return Case((rng.random(chance.shape) < chance).astype(float), true)


def drawn(scores: Table, seed: int) -> Case:
    """Return some rows and columns of a table, and the means of the other columns."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(scores))[:PROMPTS]
    columns = rng.permutation(scores.shape[1])
    return Case(scores[np.ix_(rows, columns[:ITEMS])], scores[np.ix_(rows, columns[ITEMS:])].mean(axis=1))


def measure(session: Session, name: str, cases: list[Case]) -> None:
    """Let every rule choose in every table, and record what it spent and lost."""
    tables = [case.scores.astype(int).tolist() for case in cases]
    found: dict[str, list[list[int]]] = {}
    for side in SIDES:
        done = run_side(side, "selection.choose", {"tables": tables, **SETTINGS}, limit=3600.0)
        session.say(f"{name}: {side} took {done['wall']:.0f} s")
        found |= done["found"]
    best = [int(np.argmax(case.scores.mean(axis=1))) for case in cases]
    unpruned = found.pop("optuna, no pruner")
    sides: dict[str, list[Any]] = {"by hand": best, "bare": [i for i, _ in found[FULL]]}
    session.equal(f"choices of full evaluation, {name}", sides)
    session.equal(f"scores spent by full evaluation, {name}", {"bare": spent(found[FULL]), "optuna": spent(unpruned)})
    regret = {
        rule: [100.0 * float(case.true.max() - case.true[i]) for case, (i, _) in zip(cases, chosen, strict=True)]
        for rule, chosen in found.items()
    }
    for rule, chosen in found.items():
        share = bootstrap(lambda ours, full: 100.0 * ours / full, spent(chosen), spent(found[FULL]), centre="mean")
        session.figure(f"{name}: evaluations, {rule}", share, "%")
        session.figure(f"{name}: mean regret, {rule}", bootstrap(lambda r: r, regret[rule], centre="mean"), "points")
    for rule in found:
        if rule not in (FULL, OURS):
            more = bootstrap(lambda a, b: a - b, regret[rule], regret[FULL], centre="mean")
            session.figure(f"{name}: regret, {rule} − {FULL}", more, "points")
    more = bootstrap(lambda a, b: a - b, regret[OURS], regret[FULL], centre="mean")
    session.figure(f"{name}: regret, {OURS} − {FULL}", more, "points", Bar("≤", EQUAL))
    for rule, limit in ((FULL, 0.45), (RACE, 0.8), ("CAPO race, keep 6", None), ("WilcoxonPruner", None)):
        ratio = bootstrap(lambda a, b: a / b, spent(found[OURS]), spent(found[rule]), centre="mean")
        session.figure(f"{name}: evaluations, {OURS} ÷ {rule}", ratio, "×", Bar("≤", limit) if limit else None)


def spent(chosen: list[list[int]]) -> list[float]:
    """Return the scores that a rule spent, by the table."""
    return [float(n) for _, n in chosen]
