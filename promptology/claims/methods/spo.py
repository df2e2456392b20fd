"""SPO's claims, in the simulated world `features`: the true quality of a prompt is computed from its text.

A required sentence shows a feature, a harmful one hides it for good, and the start has none. The simulated model is
executor, rewriter and judge at once; it never sees a label.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from promptology.claims.measuring import Bench, measures, run_of
from promptology.data.items import Item, Signature
from promptology.data.scoring import ByItem
from promptology.data.task import Task
from promptology.feedback.judges import Votes
from promptology.methods.search.opro import OPRO
from promptology.methods.search.spo import SPO
from promptology.models.simulated import WORLDS, SimulatedChat
from promptology.prompts.learned import Learned
from promptology.run.engine import Run

WORLD = WORLDS["features"]
JUDGE = 0.75
"""How often the judge prefers the better output."""
REWRITE = 0.4
"""How often a proposal adds a missing required sentence."""
ITEMS = 200
STEPS = 20
DUELS = 200


@dataclass(frozen=True)
class AcceptAll(SPO):
    """SPO whose duels are held, and paid for, and then ignored: every proposal becomes the incumbent."""

    def duel(self, *args: Any, **named: Any) -> Votes:
        """Return a majority for the challenger, whatever the judge said."""
        return Votes(sum(super().duel(*args, **named)), 0, 0)


def hidden_quality(prompt: Learned) -> float:
    """Return the share of the required features that a prompt shows and does not hide, 0 to 1."""
    return WORLD.hidden_quality(prompt.instruction)


def run_in_world(task: Task, seed: int, *, judge: float = JUDGE, bias: float = 0.0, **options: Any) -> Run:
    """Return a run whose three roles are the simulated model of a seed."""
    model = SimulatedChat(WORLD.name, seed=seed, rewrite=REWRITE, judge=judge, bias=bias)
    return run_of(task, dict.fromkeys(("model", "optimizer", "judge"), model), seed, **options)


def inputs_alone() -> Task:
    """Return the world's task: its inputs, without a label."""
    return Task(unlabeled=WORLD.inputs, signature=Signature(instruction=WORLD.start), name=WORLD.name)


@measures("spo-no-labels")
def no_labels(arm: str, seed: int, bench: Bench) -> Mapping[str, float]:
    """Return the hidden quality of the returned prompt; the calls that it took stand beside it."""
    methods = {"spo": SPO(), "accept_all": AcceptAll(), "coin": SPO()}
    run = run_in_world(inputs_alone(), seed, judge=0.5 if arm == "coin" else JUDGE)
    found = methods[arm].fit(run) if arm in methods else run.start
    return {"hidden quality": hidden_quality(found), "calls": run.meter.charged.calls}


class NoisyQuality(ByItem):
    """Item score: 1 with the hidden quality that an answer shows as its probability, else 0.

    The draw belongs to seed, item and answer alone, so that scoring an answer again gives the same.
    """

    name = "shown"

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def item(self, prediction: Any, target: Any) -> float:
        """Score the answer to the item whose number is its target."""
        answer = str(prediction or "")
        quality = sum(feature.mark in answer for feature in WORLD.features) / len(WORLD.features)
        key = hashlib.blake2b(f"{self.seed}\0{target}\0{answer}".encode(), digest_size=16).digest()
        return float(np.random.default_rng(int.from_bytes(key, "big")).random() < quality)


def labelled(seed: int) -> Task:
    """Return 200 labelled validation items: the world's messages, each under several order numbers."""
    numbers = np.random.default_rng(seed).permutation(9000)[:ITEMS] + 1000
    texts = [f"{WORLD.inputs[n % len(WORLD.inputs)]} Order {number}." for n, number in enumerate(numbers)]
    items = [Item(f"validation-{n}", {"text": text}, str(n)) for n, text in enumerate(texts)]
    signature = Signature(instruction=WORLD.start)
    return Task(validation=items, test=(), signature=signature, metric=NoisyQuality(seed), name=WORLD.name)


class _ReachedError(Exception):
    """The search that is compared with has reached the quality."""


@measures("spo-cost", together=True)
def cost(seed: int, bench: Bench) -> Mapping[str, Mapping[str, float]]:
    """Return the calls of SPO, and OPRO's until its best validation prompt is as good; 20 steps where it never is."""
    task = labelled(seed)
    run = run_in_world(task, seed)
    reached = hidden_quality(SPO().fit(run))
    steps = 0

    def stop(event: str, values: Mapping[str, Any]) -> None:
        nonlocal steps
        if event == "step":
            steps += 1
            if other.kept is not None and hidden_quality(other.kept) >= reached:
                raise _ReachedError

    other = run_in_world(task, seed, on_log=stop)
    with suppress(_ReachedError):
        OPRO(steps=STEPS, items=ITEMS, finalists=1).fit(other)
    kept = other.kept or other.start
    return {
        "spo": {"calls": run.meter.charged.calls, "hidden quality": reached},
        "opro": {"calls": other.meter.charged.calls, "hidden quality": hidden_quality(kept), "steps": steps},
    }


@measures("spo-judge-bias")
def judge_bias(arm: str, seed: int, bench: Bench) -> Mapping[str, float]:
    """Return the share of challengers accepted: runs of ten rounds, the last one shorter, until 200 duels are held."""
    method = SPO(swaps=arm)
    duels, accepted, calls, runs = 0, 0, 0, 0
    while duels < DUELS:
        run = run_in_world(inputs_alone(), 1000 * seed + runs, bias=1.0)
        replace(method, rounds=min(method.rounds, 1 + DUELS - duels)).fit(run)
        outcomes = [h["values"]["outcome"] for h in run.history if h["step"] == "round"]
        accepted += outcomes.count("accepted")
        duels += outcomes.count("accepted") + outcomes.count("rejected")
        calls, runs = calls + run.meter.charged.calls, runs + 1
    return {"accepted": accepted / duels, "calls": calls}
