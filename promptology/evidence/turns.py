"""One budget over learning and evidence, also where they take turns; and whether learning lived at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from promptology.data.task import Task
from promptology.errors import TooManyMissing
from promptology.evidence.guards import within
from promptology.evidence.protocols import choosing_items
from promptology.methods.registry import Card
from promptology.prompts.learned import Learned
from promptology.run.budget import Budget
from promptology.run.cost import ZERO, Cost
from promptology.run.engine import Method, Run, learn
from promptology.run.meter import Meter
from promptology.search.proposing import LONGEST


class Turns:
    """Shares a run's budget between `fits` turns of learning and the evidence before, between and after them.

    `reserved`: what evidence keeps of each limit. The k-th learning may have used k / fits of the rest by its end, so
    what one leaves goes to those after it; evidence never takes what learning has still to come. `ended`: how many
    turns the budget cut short.
    """

    def __init__(self, meter: Meter, reserved: Mapping[str, float], fits: int) -> None:
        self.meter = meter
        self.reserved = dict(reserved)
        self.fits = fits
        self.done = 0
        self.ended = 0

    def charged(self, phase: str) -> Cost:
        """Return what one phase was charged so far."""
        total = ZERO
        for (_, of), (charged, _) in self.meter.ledger.items():
            total = total.plus(charged) if of == phase else total
        return total

    def learn(self, method: Method, run: Run) -> Learned:
        """Let a method learn with this turn's share; the budget's end returns what it kept, else the start."""
        self.done += 1
        self.meter.phase, self.meter.stopped = "learning", False
        self.meter.held_back = {r: limit - self._until(r, limit) for r, limit in self.meter.budget.limits.items()}
        found = within(run, learn(method, run))
        self.ended += self.meter.stopped
        self.meter.stopped = False
        return found

    def _until(self, resource: str, limit: float) -> float:
        """Return up to where the run's whole use of a resource may go in this turn of learning."""
        kept = self.reserved.get(resource, 0.0)
        learning = (limit - kept) * self.done / self.fits
        if resource == "seconds":  # the clock cannot tell who used it
            return learning + kept * self.done / (self.fits + 1)
        return learning + float(getattr(self.charged("evidence"), resource))

    @contextmanager
    def evidence(self) -> Iterator[None]:
        """Hold back what learning has still to come; the clock's last turn belongs to whoever needs it."""
        spent = self.charged("learning")
        self.meter.phase = "evidence"
        self.meter.held_back = {
            r: max(0.0, limit - self.reserved.get(r, 0.0) - float(getattr(spent, r)))
            for r, limit in self.meter.budget.limits.items()
            if r != "seconds"
        }
        yield


def held_back(task: Task, budget: Budget, again: int = 0, each: int = 1) -> dict[str, float]:
    """Return what learning must leave for evidence: its share of each limit, and of calls no more than it can use.

    `again`: items that are asked a second time, for the noise floor; `each`: calls that a prediction by what was found
    takes at most.
    """
    share = {resource: limit * budget.evidence_share for resource, limit in budget.limits.items()}
    if "calls" in share:
        items = len(task.test) + len(choosing_items(task))
        scored = task.labelled or not getattr(task.metric, "labels", True)
        # A judge grades every answer.
        graded = len(task.metric.needs)
        most = items * (1 + graded) + (items + again) * (each + graded) if scored else (3 + each) * len(task.test)
        share["calls"] = min(int(share["calls"]), most)
    return share


def check_alive(card: Card, run: Run, meter: Meter, found: Learned) -> None:
    """Raise where every step of a search failed: that is an error, never a success with the starting prompt.

    What was found without any proposal (other demonstrations, say) stands.
    """
    count = run.tally
    if not found.same_as(run.start):
        return
    if count["proposals"] and count["proposals"] == count["unanswered"]:
        raise TooManyMissing(
            f"the optimizer answered none of {count['proposals']} requests of {card.slug} (last: "
            f"{meter.last_failure}); when it answers again, resume with --retry-failed"
        )
    if count["proposals"] and not count["usable"]:
        fit = f" of at most {run.max_prompt_tokens or LONGEST} tokens" if count["too long"] else ""
        declined = f" ({count['declined']} declined)" if count["declined"] else ""
        raise TooManyMissing(
            f"every one of {count['proposals']} proposals of {card.slug} was unusable{declined}: the optimizer's "
            f"answers hold no new prompt{fit}; try another --optimizer, or a start that says more"
        )
    if count["votes"] and count["votes"] == count["void"]:
        raise TooManyMissing(
            f"every one of {count['votes']} votes in {card.slug} was void: the judge's answers name neither side; "
            "try another --judge"
        )
