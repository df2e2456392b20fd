"""The one training loop: any loss over any parameters, within a budget, continued after a kill as if there was none.

A training is a stretch of a run: its steps are charged as they are made, a row of the run stands for every hundredth of
them (a tick), and its state lies in a file beside the store. A run that is executed again takes the training up from
that file, or has its result at once where it had ended.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from promptology.errors import BudgetEnded, UsageError
from promptology.run.cost import Cost
from promptology.run.engine import Run
from promptology.run.handles import INSIDE
from promptology.training.keeping import Keeper
from promptology.training.schedules import Schedule, check_schedule, factor
from promptology.training.sizing import Sizing, timed
from promptology.training.stepping import Stepper

PASSES = 3
"""Passes that a training item costs: forward once, backward about twice as much."""
LINES = 10
"""Lines about its loss that a training leaves in the history, beside one for each evaluation."""


@dataclass(frozen=True)
class Group:
    """Parameters that learn at one rate: name to `torch.nn.Parameter`, in float32 unless there is a reason.

    At a rate of 0 they stay as they are.
    """

    name: str
    parameters: Mapping[str, Any]
    rate: float
    weight_decay: float = 0.0


class Trained(NamedTuple):
    """How a training ended: steps made, the step of the state that was kept and its value, the loss of every step.

    `best_value` is nan where nothing was evaluated. `stopped` says why it ended before its last step: "budget",
    "patience" or a line about a loss that was not finite; empty where it did not. "budget" also where the budget had
    covered fewer steps than were asked for.
    """

    steps: int
    best_step: int
    best_value: float
    losses: tuple[float, ...]
    stopped: str


class Carried(Protocol):
    """What batches remember from one step to the next, as the state of a training that is written and taken up.

    Rollouts that several steps learn from, say, and a coefficient that follows from them.
    """

    def pack(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return everything that changes: JSON-like values, and tensors of torch by name."""
        ...

    def unpack(self, doc: dict[str, Any], tensors: dict[str, Any]) -> None:
        """Put back what `pack` returned."""
        ...


def train(
    run: Run,
    step: Callable[[list[Any]], Any],
    batches: Callable[[int], list[Any]],
    groups: Sequence[Group],
    *,
    steps: int,
    schedule: Schedule = "linear",
    warmup: float = 0,
    clip: float = 1.0,
    evaluate: Callable[[], float] | None = None,
    every: int = 0,
    patience: int = 0,
    better_by: float = 0.0,
    role: str = "model",
    label: str = "training",
    cost: Callable[[list[Any]], Cost] | None = None,
    optimizer: str = "adamw",
    bf16: bool = False,
    micro: int = 0,
    after_backward: Callable[[int], None] | None = None,
    generators: Sequence[Any] = (),
    beside: bool = False,
    carried: Carried | None = None,
) -> Trained:
    """Minimise a loss over groups of parameters; they then hold the best state, or the last where none is evaluated.

    `step(items)`: a scalar loss, the mean over the items; `batches(k)`: the items of step k from 0, the same ones each
    time it is asked (see `Batches`), rollouts from metered handles included. `steps`: at most; fewer where the passes
    left, or the seconds, cover fewer, and the schedule (`schedules.factor`) then ends there too. `warmup`: steps, or a
    share of them below 1. `clip`: norm of all gradients together, 0 for none. `evaluate()`, higher is better, without
    gradients: after every `every` steps (0: at the end only) and at the end; more than `better_by` above the best so
    far is a new best, and after `patience` evaluations without one the training ends (0: never). `cost(items)`: what a
    batch costs, by default 3 passes an item. `micro`: items at once, 0 for the whole batch; it halves itself where
    memory is too small. `after_backward(k)`: sees whole gradients before they are clipped. `generators`: of numpy or
    torch, drawn from in `step`; torch's own generator is seeded anew for each step. `beside`: the parameters stand
    beside the model, as a network on its vectors does: they need no access to its inside, and a step costs no pass.

    After it comes nothing that may not be lost, if the budget ended: `run.keep` what it learned at once. Raises
    BudgetEnded where no step is covered, ModelError where one item does not fit into memory, UsageError for settings
    that cannot be. Of what `step`, `batches` and `evaluate` remember, a continued run restores what is `carried` only.
    """
    _check(groups, steps, schedule, warmup)
    groups = [group for group in groups if group.rate]
    handle = run.model(role)
    if not (beside or {*INSIDE} & {*handle.access}):
        handle.frozen()  # raises, and says what is lacking
    number = run.trainings[label] = run.trainings[label] + 1
    draw = run.rng(f"{label}/{number}")
    spec = [label, number, _spec(groups), steps, str(schedule), warmup, clip, every, patience, better_by]
    spec += [optimizer, bf16]
    how: dict[str, Any] = {"optimizer": optimizer, "clip": clip, "bf16": bf16, "micro": micro, "label": label}
    how |= {"generators": generators, "after_backward": after_backward, "seed": int(draw.integers(2**48))}
    stepper = Stepper(step, groups, say=lambda text: run.log(label, note=text), **how)
    loop = _Loop(run, stepper, batches, groups, Sizing(run.meter, steps, every, evaluate is not None))
    loop.schedule, loop.warmup, loop.evaluate, loop.patience = schedule, warmup, evaluate, patience
    loop.better_by, loop.label, loop.role, loop.carried = better_by, label, role, carried
    loop.cost = cost or (lambda items: Cost(passes=0 if beside else PASSES * len(items)))
    with Keeper(run, stepper, f"{label}/{number}", role, [role, handle.identity, *spec]) as loop.keeper:
        return loop.run_all()


def _check(groups: Sequence[Group], steps: int, schedule: Schedule, warmup: float) -> None:
    check_schedule(schedule, warmup)
    if steps < 1:
        raise UsageError(f"a training of {steps} steps learns nothing; at least 1 is due")
    for group in groups:
        if group.rate < 0 or not math.isfinite(group.rate):
            raise UsageError(f"the rate of {group.name} is {group.rate}; 0 (it stays) or a number above is due")
    if not any(group.parameters and group.rate for group in groups):
        raise UsageError("there are no parameters to train")


def _spec(groups: Sequence[Group]) -> list[Any]:
    """Return what a method says of its parameters, as plain JSON."""
    return [
        [g.name, g.rate, g.weight_decay, [[n, list(p.shape), str(p.dtype)] for n, p in g.parameters.items()]]
        for g in groups
    ]


class _Loop:
    """A training under way. Everything that changes is saved by its `keeper`, or follows from what is."""

    schedule: Schedule
    warmup: float
    evaluate: Callable[[], float] | None
    patience: int
    better_by: float
    label: str
    role: str
    cost: Callable[[list[Any]], Cost]
    keeper: Keeper
    carried: Carried | None

    def __init__(
        self, run: Run, stepper: Stepper, batches: Callable[[int], list[Any]], groups: Sequence[Group], sizing: Sizing
    ) -> None:
        self.run, self.stepper, self.batches, self.groups, self.sizing = run, stepper, batches, groups, sizing
        self.asked = sizing.total
        self.k = 0
        self.losses: list[float] = []
        self.best: list[Any] | None = None
        self.best_step, self.best_value, self.waited = 0, math.nan, 0
        self.said, self.stopped, self.until = 0, "", 0
        self._batch: list[Any] | None = None

    def run_all(self) -> Trained:
        """Go from wherever the training stands to its end."""
        keeper = self.keeper
        if not keeper.restore(self):
            try:
                self._go()
            except KeyboardInterrupt:
                keeper.interrupted(self)
                raise
            self._end()
        return Trained(self.k, self.best_step, self.best_value, tuple(self.losses), self.stopped)

    def _go(self) -> None:
        try:
            if self.k == 0 and self.keeper.span is None:
                self._size_by_passes()
            while self.k < self.sizing.total and not self.stopped:
                if self.keeper.span is None:
                    self._open()
                    self.keeper.settle(self)
                self._one()
        except BudgetEnded:
            if self.k == 0:
                raise
            self.stopped = "budget"
        if self.keeper.span is not None:
            self._close()

    def _one(self) -> None:
        """Make a step, and whatever is due after it."""
        batch, self._batch = self._batch if self._batch is not None else self.batches(self.k), None
        cost, span = self.cost(batch), self.keeper.span
        assert span is not None
        span.check(cost)
        moved, seconds = timed(lambda: self._step(batch))
        span.charge(cost._replace(seconds=seconds))
        if not moved:
            return
        self.sizing.took(seconds)
        self.k += 1
        self.run.progress(self.label, self.k, self.sizing.total)
        if self.k == self.until:
            self._close()
        if self._due():
            self._evaluate()
        elif self.k >= (self.said + 1) * self.sizing.total / LINES:
            self._say()
        if self.keeper.span is None and self.k < self.sizing.total and not self.stopped:
            self._open()
        self.keeper.settle(self)

    def _step(self, batch: list[Any]) -> bool:
        """Move the parameters; False where loss or gradient are not finite, and nothing moved."""
        total = self.sizing.total
        share = factor(self.schedule, self.k, total, self._warmup(total))
        loss, norm = self.stepper.gradients(self.k, batch)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self._not_finite("loss" if not math.isfinite(loss) else "gradient", share)
            return False
        self.keeper.unsettle()
        self.stepper.update(share)
        self.losses.append(loss)
        return True

    def _warmup(self, total: int) -> int:
        """Return the steps of warm-up; of a training that was cut short the same share."""
        return round(self.warmup * total if self.warmup < 1 else self.warmup * total / self.asked)

    def _due(self) -> bool:
        if self.evaluate is None:
            return False
        return self.k == self.sizing.total or bool(self.sizing.every and self.k % self.sizing.every == 0)

    def _evaluate(self) -> None:
        """Evaluate, keep the state if it is the best, stop where patience has ended."""
        import torch

        assert self.evaluate is not None
        before = self.run.meter.charged.passes
        with torch.no_grad():
            value, seconds = timed(self.evaluate)
        self.sizing.evaluation_took(seconds)
        value = float(value)
        if not math.isnan(value) and (self.best is None or value > self.best_value + self.better_by):
            self.best = [p.detach().clone() for p in self.stepper.parameters]
            self.best_step, self.best_value, self.waited = self.k, value, 0
        else:
            self.waited += 1
        self._say(value=value)
        if self.patience and self.waited >= self.patience and self.k < self.sizing.total:
            self.stopped = "patience"
        if not self.keeper.evaluated:
            # What an evaluation costs is known only now.
            self.keeper.evaluated = True
            self._resize(self.run.meter.charged.passes - before)

    def _say(self, **values: float) -> None:
        """Note the mean loss since the last line."""
        recent = self.losses[self.keeper.line :]
        self.keeper.line = len(self.losses)
        self.said = int(self.k * LINES / self.sizing.total)
        loss = {"loss": math.fsum(recent) / len(recent)} if recent else {}
        self.run.log(self.label, at=self.k, **loss, **values)

    def _size_by_passes(self) -> None:
        self._batch = self.batches(0)
        self.keeper.per_step = self.cost(self._batch).passes
        self._resize(0)
        if self.sizing.total == 0:
            self.run.meter.stopped = True
            raise BudgetEnded

    def _resize(self, per_evaluation: int) -> None:
        before = self.sizing.total
        self.sizing.by_passes(self.k, self.keeper.per_step, per_evaluation)
        self._say_size(before, "passes")

    def _say_size(self, before: int, what: str) -> None:
        total = self.sizing.total
        if total < before:
            self.run.log(self.label, steps=total, asked=self.asked, limit=what)

    def _open(self) -> None:
        self.keeper.open(self.k)
        self.until = self.sizing.until(self.k)

    def _close(self) -> None:
        before = self.sizing.total
        self.keeper.close(self.sizing.at_tick(self.k, self.keeper.note))
        self._say_size(before, "seconds")

    def _not_finite(self, what: str, share: float) -> None:
        rates = ", ".join(f"{g.name} {g.rate * share:g}" for g in self.groups)
        kept = f"the best state, of step {self.best_step}," if self.best is not None else f"the state of step {self.k}"
        self.stopped = f"the {what} of step {self.k + 1} was not finite (rate: {rates}); {kept} is kept"
        self.run.log(self.label, note=self.stopped)
        self.run.warn(f"{self.label}: {self.stopped}; a lower rate may help")

    def _end(self) -> None:
        """Leave the best state in the parameters, and write down that the training has ended."""
        import torch

        if self.best is not None:
            with torch.no_grad():
                for p, kept in zip(self.stepper.parameters, self.best, strict=True):
                    p.copy_(kept)
        else:
            self.best_step = self.k
        total = self.sizing.total
        if total < self.asked:
            self.stopped = self.stopped or "budget"
            self.run.warn(f"{self.label}: the budget covers {total} of {self.asked} steps; the schedule ends there")
        self.stepper.optimizer.zero_grad(set_to_none=True)
        self.keeper.finish(self)
