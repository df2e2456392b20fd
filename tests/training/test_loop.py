"""The loop: updates by hand, micro-batches, best state, early stopping, faults, budgets."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from training_method import run_of

from promptology.errors import AccessError, BudgetEnded, ModelError, UsageError
from promptology.run.cost import Cost
from promptology.run.engine import learn
from promptology.training.loop import Group, train


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def parameter(*values):
    return torch.nn.Parameter(torch.tensor(values, dtype=torch.float32))


def quadratic(p, centre=0.0):
    return lambda items: ((p - centre) ** 2).sum() * sum(items) / len(items)


def ones(k):
    return [1.0] * 4


def adamw_by_hand(x, gradient, steps, rates, decays, clip):
    """Loshchilov and Hutter, arXiv:1711.05101, algorithm 2, in float64."""
    m, v = [0.0] * len(x), [0.0] * len(x)
    for k in range(steps):
        g = gradient(x)
        norm = math.sqrt(sum(d * d for d in g))
        g = [d * clip / norm for d in g] if clip and norm > clip else g
        for i in range(len(x)):
            m[i], v[i] = 0.9 * m[i] + 0.1 * g[i], 0.999 * v[i] + 0.001 * g[i] ** 2
            right_m, right_v = m[i] / (1 - 0.9 ** (k + 1)), v[i] / (1 - 0.999 ** (k + 1))
            rate = rates[i] * (1 - k / steps)
            x[i] -= rate * decays[i] * x[i] + rate * right_m / (math.sqrt(right_v) + 1e-8)
    return x


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_two_groups_move_as_by_hand(clip):
    a, b = parameter(1.0, -2.0), parameter(3.0)
    groups = [Group("a", {"a": a}, 0.1), Group("b", {"b": b}, 0.01, 0.5)]
    train(run_of(), lambda items: (a**2).sum() + 5 * (b**2).sum(), ones, groups, steps=12, clip=clip)
    expected = adamw_by_hand(
        [1.0, -2.0, 3.0], lambda x: [2 * x[0], 2 * x[1], 10 * x[2]], 12, [0.1, 0.1, 0.01], [0, 0, 0.5], clip
    )
    assert [*a.tolist(), *b.tolist()] == pytest.approx(expected, abs=2e-6)


def test_adafactor_moves_at_the_given_rate_whatever_the_size_of_the_parameter():
    p = torch.nn.Parameter(torch.full((4, 3), 100.0))
    train(run_of(), lambda items: p.sum(), ones, [Group("p", {"p": p}, 0.3)], steps=1, clip=0, optimizer="adafactor")
    assert p.detach().numpy() == pytest.approx(np.full((4, 3), 99.7), abs=1e-4)


def test_sgd_has_momentum_and_a_schedule_may_be_a_function():
    p, factors = torch.nn.Parameter(torch.zeros(2)), [0.5, 1.0, 0.25]
    groups = [Group("p", {"p": p}, 0.2)]
    by = lambda k, total: factors[k]  # noqa: E731
    train(run_of(), lambda items: p.sum(), ones, groups, steps=3, clip=0, optimizer="sgd", schedule=by)
    # The gradient is 1: velocities 1, 1.9, 2.71.
    assert p.detach().numpy() == pytest.approx(np.full(2, -0.2 * (0.5 * 1 + 1.0 * 1.9 + 0.25 * 2.71)), abs=1e-6)


@pytest.mark.parametrize("micro", [1, 2, 3, 4])
def test_micro_batches_give_the_batch(micro):
    def result(size):
        p = parameter(0.5, -1.0)
        batches = lambda k: [1.0, 2.0, 3.0, 10.0]  # noqa: E731
        found = train(run_of(), quadratic(p, 1.0), batches, [Group("p", {"p": p}, 0.1)], steps=7, micro=size)
        return p.tolist(), found.losses

    (p, losses), (whole, theirs) = result(micro), result(0)
    assert p == pytest.approx(whole, abs=1e-6)
    assert losses == pytest.approx(theirs, rel=1e-6)


def test_out_of_memory_halves_the_micro_batch_and_keeps_the_batch():
    p, seen = parameter(0.5), []

    def step(items):
        seen.append(len(items))
        loss = quadratic(p)(items)
        if len(items) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return loss

    run = run_of()
    batches = lambda k: [float(i) for i in range(12)]  # noqa: E731
    train(run, step, batches, [Group("p", {"p": p}, 0.1)], steps=3)
    assert seen == [12, 6, *[3] * 12]
    notes = [h["values"]["note"] for h in run.history if "note" in h["values"]]
    assert notes == [
        "out of memory with 12 items at once: now 6 at a time, the batch stays 12",
        "out of memory with 6 items at once: now 3 at a time, the batch stays 12",
    ]
    q = parameter(0.5)
    train(run_of(), quadratic(q), batches, [Group("q", {"q": q}, 0.1)], steps=3, micro=3)
    assert p.tolist() == q.tolist()


def test_out_of_memory_draws_the_same_noise_again():
    def result(full):
        p, rng, generator = parameter(0.5), np.random.default_rng(0), torch.Generator().manual_seed(1)

        def step(items):
            drawn = rng.standard_normal() + torch.randn((), generator=generator) + torch.randn(())
            if len(items) > full:
                raise RuntimeError("DefaultCPUAllocator: not enough memory")
            return ((p - drawn) ** 2).sum()

        train(run_of(), step, ones, [Group("p", {"p": p}, 0.1)], steps=5, micro=2, generators=[rng, generator])
        return p.tolist()

    def after(full, micro):
        p, rng = parameter(0.5), np.random.default_rng(0)

        def step(items):
            drawn = rng.standard_normal() + torch.randn(())
            if len(items) > full:
                raise RuntimeError("DefaultCPUAllocator: not enough memory")
            return ((p - drawn) ** 2).sum()

        train(run_of(), step, ones, [Group("p", {"p": p}, 0.1)], steps=5, micro=micro, generators=[rng])
        return p.tolist()

    assert result(2) == result(2)
    assert after(2, 4) == after(4, 2)


def test_one_item_too_large_is_one_clear_line():
    p = parameter(0.5)

    def step(items):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")

    with pytest.raises(ModelError, match="training: out of memory with one item at a time on cpu; shorten"):
        train(run_of(), step, ones, [Group("p", {"p": p}, 0.1)], steps=3)


def test_other_faults_are_not_taken_for_memory():
    with pytest.raises(RuntimeError, match="must match the size"):
        train(run_of(), lambda items: torch.zeros(2) + torch.zeros(3), ones, one_group(), steps=3)


def one_group():
    return [Group("p", {"p": parameter(0.5)}, 0.1)]


@pytest.mark.parametrize("evaluated", [False, True])
def test_a_loss_that_is_not_finite_stops_and_keeps_a_finite_state(evaluated):
    p, count = parameter(1.0), []

    def step(items):
        count.append(1)
        return (p**2).sum() * (math.nan if len(count) == 8 else 1.0)

    run = run_of()
    options = {"evaluate": lambda: -abs(p.item() - 0.8), "every": 1} if evaluated else {}
    found = train(run, step, ones, [Group("p", {"p": p}, 0.1)], steps=20, schedule="constant", **options)
    assert found.steps == 7
    assert "the loss of step 8 was not finite (rate: p 0.1)" in found.stopped
    assert len(found.losses) == 7
    assert all(map(math.isfinite, found.losses))
    (warning,) = run.warnings
    assert warning.startswith("training: the loss of step 8 was not finite")
    # Constant AdamW on x squared moves by nearly its rate: 0.8 after two steps, about 0.3 after seven.
    assert found.best_step == (2 if evaluated else 7)
    assert p.item() == pytest.approx(0.8 if evaluated else 0.31, abs=0.02)


def test_a_gradient_that_is_not_finite_stops_too():
    p = parameter(0.0)
    found = train(run_of(), lambda items: torch.sqrt(p).sum(), ones, [Group("p", {"p": p}, 0.1)], steps=5)
    assert found.steps == 0
    assert "the gradient of step 1 was not finite" in found.stopped
    assert p.item() == 0.0


def values_of(*values):
    left = list(values)
    return lambda: left.pop(0)


def test_the_best_state_is_kept():
    p = parameter(1.0)
    seen = []

    def evaluate():
        seen.append(p.item())
        return [0.1, 0.5, 0.4, math.nan, 0.5][len(seen) - 1]

    found = train(run_of(), quadratic(p), ones, [Group("p", {"p": p}, 0.05)], steps=9, evaluate=evaluate, every=2)
    assert (found.steps, found.best_step, found.best_value, found.stopped) == (9, 4, 0.5, "")
    assert len(set(seen)) == 5
    assert p.item() == seen[1]


def test_without_an_evaluation_the_last_state_is_left():
    found = train(run_of(), quadratic(p := parameter(1.0)), ones, [Group("p", {"p": p}, 0.1)], steps=3)
    assert found.best_step == 3
    assert math.isnan(found.best_value)
    assert p.item() == pytest.approx(1 - 0.1 - 0.0667 - 0.0333, abs=0.01)


def test_patience_ends_it():
    evaluate = values_of(0.1, 0.3, 0.3, 0.304, 0.9)
    found = train(run_of(), lambda i: one.sum(), ones, [Group("p", {"p": (one := parameter(1.0))}, 0.1)],
                  steps=50, evaluate=evaluate, every=5, patience=2, better_by=0.005)  # fmt: skip
    assert (found.steps, found.best_step, found.stopped) == (20, 10, "patience")


def test_hooks_see_whole_gradients_before_they_are_clipped():
    p, seen = parameter(3.0), []

    def hook(k):
        seen.append((k, p.grad.item()))
        p.grad.zero_()

    train(run_of(), quadratic(p), ones, [Group("p", {"p": p}, 0.1)], steps=2, micro=1, after_backward=hook)
    assert seen == [(0, 6.0), (1, 6.0)]
    assert p.item() == 3.0


def test_the_random_numbers_of_torch_are_the_runs_and_are_given_back():
    def result(seed):
        p = parameter(1.0)
        step = lambda items: (torch.nn.functional.dropout(p.expand(64), 0.5) ** 2).sum()  # noqa: E731
        train(run_of(seed=seed), step, ones, [Group("p", {"p": p}, 0.1)], steps=5, clip=0)
        return p.item()

    torch.manual_seed(7)
    before = torch.get_rng_state()
    one = result(0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    assert result(0) == one
    assert result(1) != one


def test_an_item_costs_three_passes_and_what_evaluation_asks():
    run = run_of()
    model = run.model()
    texts = [f"text {n}" for n in range(5)]
    evaluate = lambda: float(model.states([f"{t} {run.meter.charged.passes}" for t in texts])[0, 0])  # noqa: E731
    train(run, quadratic(p := parameter(1.0)), ones, [Group("p", {"p": p}, 0.1)],
          steps=6, evaluate=evaluate, every=3)  # fmt: skip
    assert run.meter.charged.passes == 6 * 4 * 3 + 2 * 5
    assert run.meter.ledger["model", "learning"][0].passes == run.meter.charged.passes


def test_a_cost_of_its_own():
    run = run_of()
    train(run, quadratic(p := parameter(1.0)), ones, [Group("p", {"p": p}, 0.1)], steps=2,
          cost=lambda items: Cost(passes=7))  # fmt: skip
    assert run.meter.charged.passes == 14


@pytest.mark.parametrize(("budget", "steps"), [(12, 1), (13, 1), (59, 4), (60, 5), (119, 9), (120, 10)])
def test_steps_and_schedule_are_sized_to_the_passes(budget, steps):
    p, q, run = parameter(1.0), parameter(1.0), run_of(budget=f"{budget}passes")
    found = train(run, quadratic(p), ones, [Group("p", {"p": p}, 0.1)], steps=10, warmup=2)
    assert found.steps == steps
    assert run.meter.charged.passes == 12 * steps <= budget
    # The same as a training of that many steps, with its share of warm-up.
    train(run_of(), quadratic(q), ones, [Group("q", {"q": q}, 0.1)], steps=steps, warmup=round(2 * steps / 10))
    assert p.item() == q.item()
    said = f"training: the budget covers {steps} of 10 steps; the schedule ends there"
    assert run.warnings == ([said] if steps < 10 else [])
    assert found.stopped == ("budget" if steps < 10 else "")


def test_no_step_covered_ends_the_run_with_its_start():
    class Method:
        def fit(self, run):
            train(run, quadratic(p := parameter(1.0)), ones, [Group("p", {"p": p}, 0.1)], steps=5)

    run = run_of(budget="11passes")
    assert learn(Method(), run) is run.start
    assert run.meter.stopped
    assert run.meter.charged.passes == 0


def test_what_is_held_back_is_left():
    run = run_of(budget="120passes")
    run.meter.held_back = {"passes": 60.0}
    found = train(run, quadratic(p := parameter(1.0)), ones, [Group("p", {"p": p}, 0.1)], steps=10)
    assert found.steps == 5


def test_evaluations_are_in_the_size_as_soon_as_one_was_seen():
    run = run_of(budget="400passes")
    model, count = run.model(), []

    def evaluate():
        count.append(1)
        model.states([f"{n} {len(count)}" for n in range(20)])
        return float(len(count))

    found = train(run, quadratic(p := parameter(1.0)), ones, [Group("p", {"p": p}, 0.1)],
                  steps=30, evaluate=evaluate, every=5)  # fmt: skip
    # 25 steps of 12 and 5 evaluations of 20.
    assert (found.steps, found.best_step, len(count)) == (25, 25, 5)
    assert run.meter.charged.passes == 400


def test_a_budget_that_ends_in_an_evaluation_keeps_what_there_is():
    run = run_of(budget="130passes")
    model = run.model()
    found = train(run, quadratic(p := parameter(1.0)), ones, [Group("p", {"p": p}, 0.1)], steps=10, every=5,
                  evaluate=lambda: float(model.states([str(n) for n in range(100)])[0, 0]))  # fmt: skip
    assert (found.steps, found.stopped) == (5, "budget")
    assert p.item() < 1.0
    with pytest.raises(BudgetEnded):
        model.states([str(n) for n in range(100)])


def test_batches_of_different_sizes_never_exceed_the_budget():
    run = run_of(budget="100passes")
    found = train(run, quadratic(p := parameter(1.0)), lambda k: [1.0] * (k + 1), [Group("p", {"p": p}, 0.1)], steps=33)
    assert found.steps == 7  # 3 * (1 + ... + 7) = 84, and the eighth costs 24
    assert found.stopped == "budget"
    assert run.meter.charged.passes == 84


def test_a_clock_that_has_run_out_leaves_what_was_learned():
    p, run, nap = parameter(1.0), run_of(budget="2s"), 0.02

    def step(items):
        time.sleep(nap)
        return quadratic(p)(items)

    found = train(run, step, ones, [Group("p", {"p": p}, 0.001)], steps=5000)
    # A step takes its nap at least, so more than these do not fit, a tick that was begun included.
    assert 1 <= found.steps <= 1.6 * 2 / nap
    assert found.stopped == "budget"
    assert p.item() < 1.0


def test_a_group_at_rate_0_stays():
    p, q = parameter(1.0), parameter(1.0)
    groups = [Group("p", {"p": p}, 0.1), Group("q", {"q": q}, 0)]
    train(run_of(), lambda batch: (p**2 + q**2).sum(), ones, groups, steps=3)
    assert q.item() == 1.0 and p.item() < 1.0


def test_what_cannot_be_is_refused():
    with pytest.raises(UsageError, match="0 steps"):
        train(run_of(), quadratic(parameter(1.0)), ones, one_group(), steps=0)
    with pytest.raises(UsageError, match="the rate of p is -1"):
        train(run_of(), quadratic(p := parameter(1.0)), ones, [Group("p", {"p": p}, -1)], steps=1)
    with pytest.raises(UsageError, match="no parameters"):
        train(run_of(), quadratic(p := parameter(1.0)), ones, [Group("p", {"p": p}, 0)], steps=1)
    with pytest.raises(UsageError, match="no parameters"):
        train(run_of(), quadratic(parameter(1.0)), ones, [], steps=1)
    with pytest.raises(UsageError, match="batch of step 1 is empty"):
        train(run_of(), quadratic(p := parameter(1.0)), lambda k: [], [Group("p", {"p": p}, 0.1)], steps=1)
    with pytest.raises(UsageError, match="unknown optimizer 'lion'"):
        train(run_of(), quadratic(parameter(1.0)), ones, one_group(), steps=1, optimizer="lion")
    with pytest.raises(AccessError, match="role 'judge'"):
        train(run_of(), quadratic(parameter(1.0)), ones, one_group(), steps=1, role="judge")


def test_history_is_short():
    run = run_of()
    train(run, quadratic(p := parameter(1.0)), ones, [Group("p", {"p": p}, 0.001)], steps=1000)
    assert [h["values"]["at"] for h in run.history] == [100 * n for n in range(1, 11)]
    assert all(math.isfinite(h["values"]["loss"]) for h in run.history)


def test_bf16_on_a_cpu_is_said_and_not_used():
    run = run_of()
    train(run, quadratic(p := parameter(1.0)), ones, [Group("p", {"p": p}, 0.1)], steps=1, bf16=True)
    assert "runs in float32" in run.history[0]["values"]["note"]
