"""The bandit's bounds by hand, and what it spends."""

from __future__ import annotations

import math
from itertools import groupby

import numpy as np
import pytest

import promptology as pt
from promptology.errors import UsageError
from promptology.prompts import Learned, Readout, Text
from promptology.run.engine import Run
from promptology.run.handles import Handle
from promptology.run.meter import Limits, Meter
from promptology.run.store import memory_store
from promptology.search.bandit import Arms, ucb_rank

TASK = pt.Task([(f"number {n}", "odd" if n % 2 else "even") for n in range(100)])
nan = math.nan


class Skilled:
    """Right on the share of items that the prompt states; notes who was asked what."""

    local, name, identity = False, "skilled", "skilled"

    def __init__(self):
        self.asked = []

    def generate(self, requests, attempts=1):
        for at, request in enumerate(requests):
            text = request.messages[-1][1]
            skill, n = int(text.split("skill ")[1].split()[0]), int(text.split()[-1])
            self.asked.append((skill, n))
            yield at, pt.Answer(("odd" if n % 2 else "even") if (n * 37) % 100 < skill else "neither")


def rank(skills, items=100, seed=0, **settings):
    model = Skilled()
    meter = Meter(memory_store(), limits=Limits(missing=1.0))
    run = Run(TASK, {"model": Handle(meter, "model", model)}, meter, seed=seed)
    candidates = [Learned((Text(f"odd or even? skill {s} ."), Readout("answer")), TASK.signature) for s in skills]
    pool = [*TASK.train, *TASK.validation, *TASK.open_test()][:items]
    found = ucb_rank(run, candidates, pool, **settings)
    return found, model, [int(p.instruction.split("skill ")[1].split()[0]) for p in found.survivors]


def test_bounds_by_hand():
    arms = Arms(4)
    arms.update([0, 1], np.array([[1, 1, 0, 0], [1, 1, 1, 0]]))
    arms.update([1, 2], np.array([[1, 1, 1, nan], [nan, nan, nan, nan]]))
    assert arms.means.tolist()[:2] == [0.5, 6 / 7] and math.isnan(arms.means[2])
    # ln 1 = 0: in the first pull the means alone count.
    assert arms.bounds(1, 1.0).tolist() == [0.5, 6 / 7, -math.inf, math.inf]
    second = arms.bounds(2, 1.0)
    assert second[0] == pytest.approx(0.5 + math.sqrt(math.log(2) / 4))
    assert second[1] == pytest.approx(6 / 7 + math.sqrt(math.log(2) / 7))
    assert arms.bounds(8, 0.5)[0] == pytest.approx(0.5 + 0.5 * math.sqrt(math.log(8) / 4))
    assert arms.choose(3, 2, 1.0, [3, 2, 1, 0]) == [3, 1, 0]
    # At c = 4 what is little known comes before what is good.
    assert arms.choose(2, 8, 4.0, [0, 1, 2, 3]) == [3, 0]


def test_pulls_share_their_items_and_spend_the_budget():
    found, model, _ = rank(range(10, 100, 5), pulls=3, arms=4, block=8)
    assert found.evaluations == len(model.asked) == 3 * 4 * 8
    pulls = [model.asked[i : i + 32] for i in (0, 32, 64)]
    shown = [[[n for _, n in some] for _, some in groupby(pull, key=lambda pair: pair[0])] for pull in pulls]
    assert all(len(pull) == 4 and all(items == pull[0] for items in pull) for pull in shown)
    assert len({n for pull in shown for n in pull[0]}) == 24


def test_all_are_tried_before_any_is_tried_again_and_the_unknown_come_last():
    found, model, order = rank(range(10, 100, 5), pulls=2, arms=4, block=5)
    asked = [skill for skill, _ in groupby(s for s, _ in model.asked)]
    assert len(set(asked)) == 8
    assert all(not math.isnan(m) for m in found.means[:8]) and all(math.isnan(m) for m in found.means[8:])
    assert order[8:] == sorted(order[8:])
    assert sorted(order) == list(range(10, 100, 5))


def test_the_good_ones_get_the_pulls_and_come_first():
    skills = [20, 25, 30, 35, 90, 40, 45, 95]
    _, model, order = rank(skills, pulls=10, arms=2, block=10)
    assert set(order[:2]) == {90, 95}
    times = {s: sum(1 for skill, _ in model.asked if skill == s) for s in skills}
    assert min(times[90], times[95]) > max(times[s] for s in skills if s < 90)


def test_few_items_are_used_up_and_bought_once():
    found, model, order = rank([20, 80, 50], items=6, pulls=5, arms=3, block=4)
    assert found.evaluations == 5 * 3 * 4
    assert len(model.asked) == 3 * 6
    assert order[0] == 80
    found, model, _ = rank([20, 80], items=3, pulls=4, arms=8, block=32)
    assert len(model.asked) == 2 * 3


def test_the_same_seed_gives_the_same_order():
    one, two, other = (rank(range(5, 100, 5), seed=s, pulls=3, arms=4, block=3)[1].asked for s in (0, 0, 1))
    assert one == two != other


def test_nothing_to_choose_from_is_one_clear_line():
    for skills, settings in (([], {}), ([50], {"items": 0}), ([50], {"pulls": 0})):
        with pytest.raises(UsageError, match="a bandit needs"):
            rank(skills, **settings)
