"""Schedules against numbers worked out by hand, and against torch where it has the same."""

from __future__ import annotations

import pytest
import torch

from promptology.errors import UsageError
from promptology.training.schedules import CosineEpochs, check_schedule, factor


@pytest.mark.parametrize(
    ("schedule", "total", "warmup", "expected"),
    [
        ("constant", 4, 2, [0.5, 1.0, 1.0, 1.0]),
        ("linear", 4, 0, [1.0, 0.75, 0.5, 0.25]),
        ("linear", 6, 2, [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]),
        ("cosine", 4, 0, [1.0, 0.8535533906, 0.5, 0.1464466094]),
        ("cosine", 6, 2, [0.5, 1.0, 1.0, 0.8535533906, 0.5, 0.1464466094]),
        ("exponential", 3, 0, [1.0, 0.1, 0.01]),
        ("exponential", 5, 0, [1.0, 0.316227766, 0.1, 0.0316227766, 0.01]),
        ("exponential", 1, 0, [1.0]),
        ("linear", 1, 0, [1.0]),
        # Rises to step 2 (0.3 * 10 - 1) and falls to step 9, from 1/25 to 1 to 1/250000.
        ("one-cycle", 10, 0, [0.04, 0.52, 1.0, 0.9504846320, 0.8117456539, 0.6112620219]),
    ],
)
def test_values(schedule, total, warmup, expected):
    assert [factor(schedule, k, total, warmup) for k in range(len(expected))] == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("total", [4, 10, 37, 100])
def test_one_cycle_is_that_of_torch(total):
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([p], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=total, cycle_momentum=False)
    theirs = []
    for _ in range(total):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(theirs) < total:
            scheduler.step()
    assert [factor("one-cycle", k, total) for k in range(total)] == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("schedule", ["linear", "constant", "cosine", "exponential", "one-cycle"])
@pytest.mark.parametrize("total", [1, 2, 3, 50])
def test_no_step_stands_still_or_exceeds_its_rate(schedule, total):
    values = [factor(schedule, k, total, 0) for k in range(total)]
    assert all(0 < v <= 1 for v in values)


def test_what_cannot_be_is_refused():
    with pytest.raises(UsageError, match="unknown schedule 'step'; there are linear"):
        check_schedule("step", 0)
    with pytest.raises(UsageError, match="below 0"):
        check_schedule("linear", -1)
    with pytest.raises(UsageError, match="leave warmup at 0"):
        check_schedule("one-cycle", 5)


def test_epochs_along_a_cosine_are_those_of_coop():
    schedule = CosineEpochs(epoch=4, epochs=5, first=1e-5 / 0.0035)
    rates = [0.0035 * factor(schedule, k, 20) for k in range(20)]
    assert rates[::4] == pytest.approx([1e-5, 0.0035, 0.003166, 0.002291, 0.001209], abs=1e-6)
    assert all(rates[k] == rates[k - k % 4] for k in range(20))
    check_schedule(schedule, 0)
    with pytest.raises(UsageError, match="leave warmup at 0"):
        check_schedule(schedule, 0.1)
    assert repr(schedule) == repr(CosineEpochs(4, 5, 1e-5 / 0.0035))
