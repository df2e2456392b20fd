"""PromptAgent's claims are measured as their entries describe them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from promptology.claims.announced import entries
from promptology.claims.measuring import measurements
from promptology.claims.methods import promptagent
from promptology.data.parcels import parcels_task
from promptology.models.simulated import WORLDS, SimulatedChat
from promptology.models.simulated import parcels as world

BY_ID = {entry.id: entry for entry in entries()}


def test_every_entry_of_promptagent_is_measured_and_nothing_else():
    announced = {id for id, entry in BY_ID.items() if entry.method == "promptagent"}
    assert {id for id in measurements() if id.startswith("promptagent-")} == announced
    assert set(promptagent.TRAP) == set(BY_ID["promptagent-trap"].arms)
    assert set(promptagent.CHAIN) == set(BY_ID["promptagent-limit"].arms)


def test_the_worlds_are_those_of_the_entries():
    assert (world.SHORTCUT, world.BREAKS, world.CAP) == (0.35, 0.08, 0.45)
    assert [len(WORLDS[name].features) for name in ("trap", "chain")] == [5, 12]
    assert SimulatedChat("trap").rewrite == SimulatedChat("chain").rewrite == 0.6
    assert SimulatedChat("trap").top == 1.0
    task = parcels_task("simulated:trap?seed=0&train=70&validation=30&test=80")
    assert (promptagent.TRAIN, promptagent.REWARD, promptagent.TEST) == (70, 30, 80)
    assert [len(s) for s in (task.train, task.validation, task.open_test())] == [70, 30, 80]


def test_the_settings_are_those_of_the_entries():
    for arms, prompts in ((promptagent.TRAP, 150), (promptagent.CHAIN, 200)):
        for name, method in arms.items():
            assert method.prompts == (60 if name == "mcts_60" else prompts)
            assert (method.batch, method.items, method.depth_limit, method.min_depth) == (5, 30, 8, 2)
            assert method.width == (1 if name == "greedy" else 3)
            assert (method.exploration, method.returns, method.output) == (2.5, "sum", "node")


@pytest.mark.parametrize("arm", promptagent.TRAP)
def test_every_arm_scores_as_many_prompts_as_it_says(arm, monkeypatch):
    monkeypatch.setitem(promptagent.TRAP, arm, replace(promptagent.TRAP[arm], prompts=20))
    found = promptagent.trap(arm, 1, None)
    assert found["prompts"] == 20 and 0 <= found["accuracy"] <= 1
    assert found == promptagent.trap(arm, 1, None) and next(iter(found)) == "accuracy"
    assert found["calls"] >= 20 * 30 + 19


def test_the_model_sees_no_test_item(monkeypatch):
    task = parcels_task("simulated:trap?seed=1&train=70&validation=30&test=80")
    test = {item.inputs["text"] for item in task.open_test()}
    seen = []
    whole = SimulatedChat.reply
    monkeypatch.setattr(SimulatedChat, "reply", lambda self, m, *a: seen.append(m[-1][1]) or whole(self, m, *a))
    monkeypatch.setitem(promptagent.TRAP, "mcts_60", replace(promptagent.TRAP["mcts_60"], prompts=10))
    promptagent.trap("mcts_60", 1, None)
    assert len(seen) > 300 and not any(text in message for text in test for message in seen)
