"""CIPHER's claims, in its simulated world: a writer who reads styles with errors, a person who wants one by context.

Protocol prequential, one item at a time: a draft is committed before the person sees it, and the edit that it costs is
the evidence. The learners that CIPHER is compared with are the same loop with another memory.

Two choices in this world decide how edits that are shown compare with preferences that are named. The writer misreads
styles as often when it imitates texts as when it describes them; one that imitates without an error has no use for
preferences, and then showing edits is cheaper. And it describes the whole style of a text, not only what was changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from promptology.claims.measuring import Bench, measures
from promptology.data.items import Signature
from promptology.data.task import Task
from promptology.evidence.streams import Stream
from promptology.feedback.people import SimulatedPerson, StyleWorld
from promptology.feedback.sessions import State, at, changed, memory_of, round_of
from promptology.methods.people.cipher import CIPHER, composed, context_event, phrases_behind
from promptology.models.access import offers
from promptology.models.simulated.styles import SimulatedWriter, style_in
from promptology.prompts.learned import Learned
from promptology.prompts.memory import Memory
from promptology.run.engine import Run
from promptology.run.handles import Handle
from promptology.run.meter import Meter
from promptology.run.store import memory_store
from promptology.testing.fixtures import HashingEncoder

ROUNDS = 120
SHOWN = 5
"""Rounds that the baselines look at."""
COST = "cost"


@dataclass(frozen=True)
class Nothing(CIPHER):
    """The plain task prompt in every round."""

    def infer(self, run: Run, state: State) -> State:
        """Close rounds without a preference."""
        for r in at(state, "edited"):
            state = changed(state, r["id"], {"preference": "", "status": "closed"})
        return state

    def learned(self, run: Run, state: State) -> Learned:
        """Return the start."""
        return composed(run, Memory(), {"k": 0})


@dataclass(frozen=True)
class ICLEdits(Nothing):
    """The nearest rounds are shown as draft and final text, and no preference is inferred."""

    def learned(self, run: Run, state: State) -> Learned:
        """Return the rounds as examples."""
        return composed(run, memory_of(state), {"k": SHOWN, "show": "edits"})


@dataclass(frozen=True)
class Continual(Nothing):
    """One preference for all contexts, inferred again in every round from the last five edits."""

    def infer(self, run: Run, state: State) -> State:
        """Infer from the last edits; where there was no new one, the question is the same and so is the answer."""
        state = super().infer(run, state)
        shown = self.looked_at(state)
        (phrase,) = phrases_behind(run, [shown]) if shown else [None]
        return state if phrase is None else {**state, "pinned": [phrase]}

    def looked_at(self, state: State) -> list[Mapping[str, Any]]:
        """Return the rounds to infer from."""
        return [r for r in at(state, "closed") if not r["accepted"]][-SHOWN:]

    def learned(self, run: Run, state: State) -> Learned:
        """Return the one preference."""
        return composed(run, Memory(pinned=tuple(state["pinned"])), {"k": 0})


@dataclass(frozen=True)
class Explore(Continual):
    """One preference for all contexts, inferred once from the first five rounds."""

    def looked_at(self, state: State) -> list[Mapping[str, Any]]:
        """Return the first rounds as soon as all of them are there."""
        first = at(state, "closed")[:SHOWN]
        return first if len(first) == SHOWN else []


LEARNERS: Mapping[str, CIPHER] = {
    "cipher_5": CIPHER(k=5),
    "cipher_1": CIPHER(k=1),
    "continual": Continual(),
    "explore": Explore(),
    "icl_edit": ICLEdits(),
    "none": Nothing(),
}


def play(
    learner: CIPHER,
    world: StyleWorld,
    seed: int,
    error: float,
    rounds: int = ROUNDS,
    imitate: float | None = None,
) -> dict[str, float]:
    """Return the word edits over all rounds, with what stands beside them.

    `accepted`: share of drafts that were let stand; `right`: share of rounds in which the preference that was used was
    the wanted one; `calls` of the model.
    """
    items = world.items(rounds)
    person = SimulatedPerson(world)
    meter = Meter(memory_store(), "stream", seed=seed)
    models = {"model": SimulatedWriter(seed=seed, error=error, imitate=imitate), "encoder": HashingEncoder()}
    handles = {role: Handle(meter, role, model, offers(model)) for role, model in models.items()}
    signature = Signature(instruction="Write a short message from these notes.")
    run = Run(Task(items, [], [], signature=signature, name="styles"), handles, meter, seed=seed)
    stream = Stream(meter, items)
    state, accepted, right, cost = learner.begin(), 0, 0, 0
    for item in stream.closed:
        state = learner.ask(run, learner.tell(state, context_event(run, item)))
        drafted = round_of(state, item.id, "drafted")
        stream.commit({item.id: drafted["draft"]})
        (opened,) = stream.open([item.id])
        right += style_in(drafted["used"]) == style_in(opened.target)
        final = person.edit(drafted["context"], drafted["draft"])
        state = learner.tell(state, {"event": "edit", "id": item.id, "final": final})
        cost += round_of(state, item.id)["cost"]
        accepted += round_of(state, item.id)["accepted"]
    shares = {"accepted": accepted / rounds, "right": right / rounds}
    return {COST: -float(cost), **shares, "calls": float(meter.charged.calls)}


@measures("cipher-lowest-cost")
def lowest_cost(arm: str, seed: int, bench: Bench) -> Mapping[str, float]:
    """Return the negated word edits, with an inferrer that errs on one trait in ten."""
    return play(LEARNERS[arm], StyleWorld(seed), seed, 0.1)


@measures("cipher-votes")
def votes(arm: str, seed: int, bench: Bench) -> Mapping[str, float]:
    """Return the negated word edits, with an inferrer that errs on one trait in five."""
    return play(LEARNERS[arm], StyleWorld(seed), seed, 0.2)


@measures("cipher-needs-context", together=True)
def needs_context(seed: int, bench: Bench) -> Mapping[str, Mapping[str, float]]:
    """Return the negated word edits as a share of those of the plain prompt, with one preference for all contexts."""
    arms = ("cipher_5", "continual", "none")
    found = {arm: play(LEARNERS[arm], StyleWorld(seed, alike=True), seed, 0.1) for arm in arms}
    plain = -found["none"][COST]
    return {arm: {**values, COST: values[COST] / plain} for arm, values in found.items()}
