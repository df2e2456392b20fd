"""PromptAgent's claims, in the simulated worlds `trap` and `chain`: what a prompt is worth is computed from its text.

The simulated model is task model and optimizer at once; as optimizer it sees nothing but the request, and only errors
that are shown there let it mend one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from promptology.claims.measuring import Bench, measures, run_of
from promptology.data.parcels import parcels_task
from promptology.methods.search.promptagent import PromptAgent
from promptology.models.simulated import SimulatedChat

TRAIN, REWARD, TEST = 70, 30, 80
SETTINGS = PromptAgent(
    iterations=10_000, width=3, depth_limit=8, min_depth=2, batch=5, items=REWARD, finalists=1, patience=1000
)
"""The number of scored prompts alone ends a search, equal in all arms; no items are left to score the best again."""
GREEDY = replace(SETTINGS, search="greedy", width=1)
TRAP = {
    "mcts_150": replace(SETTINGS, prompts=150),
    "mcts_60": replace(SETTINGS, prompts=60),
    "greedy": replace(GREEDY, prompts=150),
    "greedy_3": replace(GREEDY, width=3, prompts=150),
    "monte_carlo": replace(SETTINGS, search="monte-carlo", prompts=150),
    "beam": replace(SETTINGS, search="beam", prompts=150),
}
CHAIN = {"greedy": replace(GREEDY, prompts=200), "mcts": replace(SETTINGS, prompts=200)}


def found_in(world: str, method: PromptAgent, seed: int) -> Mapping[str, float]:
    """Return the accuracy of the returned prompt on the world's test items; what it took stands beside it."""
    task = parcels_task(f"simulated:{world}?seed={seed}&train={TRAIN}&validation={REWARD}&test={TEST}")
    model = SimulatedChat(world, seed=seed)
    run = run_of(task, {"model": model, "optimizer": model}, seed)
    found = method.fit(run).instruction
    right = [model.right(found, item.inputs["text"]) for item in task.open_test()]
    prompts = [h["values"]["prompts"] for h in run.history if h["step"] == "expansion"]
    return {"accuracy": sum(right) / len(right), "prompts": prompts[-1], "calls": run.meter.charged.calls}


@measures("promptagent-trap")
def trap(arm: str, seed: int, bench: Bench) -> Mapping[str, float]:
    """Return the figures of a search in the world with a dead end."""
    return found_in("trap", TRAP[arm], seed)


@measures("promptagent-limit")
def limit(arm: str, seed: int, bench: Bench) -> Mapping[str, float]:
    """Return the figures of a search in the world that needs twelve rules."""
    return found_in("chain", CHAIN[arm], seed)
