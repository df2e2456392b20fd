"""PromptAgent: the card's exact invariants, its arms, and optimizers that bring nothing."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from itertools import count, islice, pairwise

import pytest

import promptology as pt
from promptology.claims.measuring import run_of
from promptology.data.parcels import parcels_task
from promptology.methods.search.promptagent import Planner, PromptAgent
from promptology.models.simulated import SimulatedChat
from promptology.search.errors import batches


def rows(numbers):
    return [(f"number {n}", "odd" if n % 2 else "even") for n in numbers]


TASK = pt.Task(rows(range(200)), rows(range(200, 210)), rows(range(300, 320)), instruction="Odd or even? skill 2 .")


class Scripted:
    """Right on the items whose number ends below the "skill" of its prompt; as optimizer, says what `skill` gives.

    `skill` maps the number of a rewrite (from 0) to that of the new prompt.
    """

    local = False
    name = identity = "scripted"

    def __init__(self, skill=lambda n: 2, reply=None):
        self.skill, self.fixed, self.numbers = skill, reply, count()
        self.asked = []

    def generate(self, requests, attempts=1):
        for n, request in enumerate(requests):
            text = request.messages[-1][1]
            kind = "feedback" if "_use>" in text else "rewrite" if "cases>" in text else "task"
            self.asked.append((kind, text))
            yield n, pt.Answer(self.reply(kind, text))

    def reply(self, kind, text):
        if kind == "feedback":
            return "it is not clear enough"
        if kind == "rewrite":
            n = next(self.numbers)
            return self.fixed or f"<prompt>Odd or even, version {n}? skill {self.skill(n)} .</prompt>"
        number = int(text.rstrip().split()[-1])
        right = "odd" if number % 2 else "even"
        return right if number % 10 < int(re.findall(r"skill (\d+)", text)[-1]) else {"odd": "even"}.get(right, "odd")


def search(model, task=TASK, **settings):
    """Return the prompt that was found, and the run."""
    run = run_of(task, {"model": model, "optimizer": model}, 0)
    return PromptAgent(**settings).fit(run), run


def planned(model, task=TASK, **settings):
    """Return the planner after its search."""
    method = PromptAgent(**settings)
    planner = Planner(method, run_of(task, {"model": model, "optimizer": model}, 0))
    {"mcts": method.plan_ahead, "greedy": method.climb, "beam": method.beam, "monte-carlo": method.sample}[
        method.search
    ](planner)
    return planner


def skill_of(node):
    return int(re.findall(r"skill (\d+)", node.state.instruction)[0])


@pytest.mark.parametrize("settings", [{}, {"iterations": 3, "depth_limit": 3, "batch": 4}, {"width": 2, "items": 7}])
def test_calls_follow_the_cards_formula(settings):
    model = Scripted(lambda n: 2 + n % 5)
    _, run = search(model, finalists=1, **settings)
    children = [h["values"]["prompts"] for h in run.history if h["step"] == "expansion"][-1] - 1
    method = PromptAgent(**settings)
    kinds = Counter(kind for kind, _ in model.asked)
    looks = kinds["feedback"]
    scored = min(method.items, 10)
    assert looks == kinds["rewrite"] == children and children % method.width == 0
    repeated = kinds["task"] - scored * (1 + children) - method.batch * looks
    # A prompt that meets a training item twice (at the end of an epoch) is not asked again.
    assert -0.05 * method.batch * looks <= repeated <= 0
    assert children <= method.iterations * method.depth_limit * method.width
    assert run.meter.charged.calls == len(model.asked)


def test_the_plan_is_what_a_search_of_so_many_prompts_costs():
    for settings in ({"prompts": 13}, {"prompts": 20, "search": "greedy"}, {"search": "beam", "prompts": 40}):
        method = PromptAgent(**settings, finalists=1)
        model = Scripted()
        _, run = search(model, **settings, finalists=1)
        assert method.plan(TASK).calls == run.meter.charged.calls == len(model.asked)


def test_rewards_are_scores_on_the_reward_items_and_the_trace_is_uct():
    planner = planned(Scripted(lambda n: 2 + n % 7), iterations=4, width=2, depth_limit=3)
    tree = planner.tree
    assert all(node.reward == pytest.approx(skill_of(node) / 10) for node in tree.nodes)
    assert len(tree.paths) == 4
    for path in tree.paths:
        assert path[0] is tree.root and all(b.parent is a for a, b in pairwise(path))
    for node in tree.nodes:
        through = [p for p in tree.paths if node in p]
        expected = [sum(n.reward for n in p[p.index(node) :]) for p in through]
        assert node.returns == pytest.approx(expected)
        assert node.depth <= 3


def test_the_test_split_is_never_shown_and_training_and_reward_items_are_disjoint():
    model = Scripted(lambda n: 2 + n % 5)
    search(model, iterations=2)
    shown = [int(n) for kind, text in model.asked if kind != "task" for n in re.findall(r"number (\d+)", text)]
    solved = [int(text.rstrip().split()[-1]) for kind, text in model.asked if kind == "task"]
    assert shown and max(shown) < 200 and max(solved) < 210


def test_the_trajectory_grows_with_the_depth():
    model = Scripted(lambda n: 3)
    search(model, iterations=1, width=1, depth_limit=4)
    versions = [len(re.findall(r"^Version \d+:", text, re.M)) for kind, text in model.asked if kind == "rewrite"]
    assert versions == [0, 1, 2, 3]


def test_the_best_node_is_returned_or_that_of_the_best_path():
    # Twice along the first child (0.2, 0.9, 0.1), then along the second (0.2, 0.8, 0.8), whose mean is higher.
    skills = [9, 8, 1, 1, 8, 1]
    for output, expected in (("node", "skill 9"), ("path", "skill 8")):
        settings = {"iterations": 3, "width": 2, "depth_limit": 2, "finalists": 1, "output": output}
        found, run = search(Scripted(lambda n: skills[n]), **settings)
        paths = [h["values"]["path"] for h in run.history if h["step"] == "iteration"]
        assert paths == ["0 1 3", "0 1 3", "0 2 5"]
        assert expected in found.instruction and found.method == "promptagent"
        assert "skill 9" in run.kept.instruction


def test_the_best_few_are_scored_again_on_fresh_items():
    task = pt.Task(rows(range(100)), rows(range(200, 240)), rows([300]), instruction="Odd or even? skill 2 .")
    model = Scripted(lambda n: 6)
    _, run = search(model, task, items=20, prompts=7, finalists=3)
    (last,) = [h["values"] for h in run.history if h["step"] == "rescored"]
    assert last["candidates"] == 3 and last["items"] == 20
    assert len(model.asked) == PromptAgent(items=20, prompts=7).plan(task).calls


def test_greedy_moves_where_a_child_is_better_only():
    skills = [1, 4, 3, 4, 6, 2]
    planner = planned(Scripted(lambda n: skills[n]), search="greedy", width=1, prompts=7)
    assert [node.parent.number for node in planner.tree.nodes[1:]] == [0, 0, 2, 2, 2, 5]


def test_arms_without_paths_return_the_best_node():
    for arm in ("greedy", "beam", "monte-carlo"):
        found, _ = search(Scripted(lambda n: 3 + n), search=arm, output="path", prompts=6, finalists=1)
        assert "skill 7" in found.instruction


def test_monte_carlo_makes_children_of_the_start_alone():
    planner = planned(Scripted(lambda n: n % 9), search="monte-carlo", prompts=12)
    assert len(planner.tree.nodes) == 12 and {n.depth for n in planner.tree.nodes} == {0, 1}


def test_beam_keeps_the_best_of_each_level():
    model = Scripted(lambda n: n % 9)
    planner = planned(model, search="beam", width=2, depth_limit=2)
    levels = [[n for n in planner.tree.nodes if n.depth == d] for d in (1, 2, 3)]
    assert [len(level) for level in levels] == [4, 4, 4]
    for level, below in pairwise(levels):
        best = sorted(level, key=lambda n: -n.reward)[:2]
        assert {n.parent.number for n in below} == {n.number for n in best}
    kinds = Counter(kind for kind, _ in model.asked)
    assert (kinds["feedback"], kinds["rewrite"]) == (2 + 2 + 2, 12)


@pytest.mark.parametrize("arm", ["mcts", "greedy", "beam", "monte-carlo"])
@pytest.mark.parametrize(
    "reply", [" ", "<prompt></prompt>", "Odd or even? skill 2 .", "<prompt>Always this. skill 1 .</prompt>"]
)
def test_an_optimizer_that_brings_nothing_new_ends_the_search(arm, reply):
    found, run = search(Scripted(reply=reply), search=arm)
    assert found.instruction == "Odd or even? skill 2 ."
    assert len(run.lineage.to_json(found)["nodes"]) <= 2
    assert run.meter.charged.calls < 1000


def test_answers_that_never_come_are_missing_from_their_own_mini_batch_alone():
    class Silent(Scripted):
        def generate(self, requests, attempts=1):
            for n, outcome in super().generate(requests, attempts):
                number = requests[n].messages[-1][1].rstrip().split()[-1]
                gone = number.isdigit() and int(number) < 200 and int(number) % 4 == 0
                yield n, pt.Failure("gone", transient=False) if gone else outcome

    model = Silent(lambda n: 2)
    run = run_of(TASK, {"model": model, "optimizer": model}, 0)
    run.meter.limits = replace(run.meter.limits, missing=1.0)
    planner = Planner(PromptAgent(prompts=7), run)
    drawn = list(islice(batches(run, TASK.train, 5), 6))
    PromptAgent(prompts=7).plan_ahead(planner)
    shown = [re.findall(r"number (\d+)", text) for kind, text in model.asked if kind == "feedback"]
    numbers = [[item.inputs["text"].split()[1] for item in batch] for batch in drawn]
    assert shown == [[n for n in some if int(n) % 4 and int(n) % 10 >= 2] for some in numbers]


def test_three_validation_items_are_enough():
    task = pt.Task(rows(range(40)), rows(range(200, 203)), rows([300]), instruction="Odd or even? skill 2 .")
    found, _ = search(Scripted(lambda n: 9), task, prompts=5)
    assert "skill 9" in found.instruction


def test_a_shorter_search_is_the_beginning_of_a_longer_one():
    task = parcels_task("simulated:trap?seed=5&validation=30")

    def texts(prompts):
        planner = planned(SimulatedChat("trap", seed=5), task, prompts=prompts, iterations=100)
        return [node.state.instruction for node in planner.tree.nodes]

    short, long = texts(30), texts(60)
    assert len(short) == 30 and len(long) == 60 and long[:30] == short


@pytest.mark.parametrize(
    "settings",
    [{"search": "dfs"}, {"returns": "max"}, {"output": "last"}, {"width": 0}, {"prompts": 0}, {"exploration": -1.0}],
)
def test_settings_that_mean_nothing_are_refused(settings):
    with pytest.raises(ValueError, match=r"search|returns|counts|exploration"):
        PromptAgent(**settings)
