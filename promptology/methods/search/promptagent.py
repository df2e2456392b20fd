"""PromptAgent: planning in a tree of prompts. Wang et al. 2023, arXiv:2310.16427.

    s0 <- start, r0 <- reward(s0)                           reward: mean score on the fixed items S
    for t = 1..T:
        walk from s0 to a leaf, always to the child with the largest UCT = Q + w sqrt(ln(N(parent) + 1) / N)
        loop:  expand the node, unless it has children:     width times, each with a new mini-batch of train:
                   e <- errors of the node on the mini-batch (or what went right)
                   g <- O(node, e): feedback                the action
                   s <- O(node, e, g, ancestors)            the new state, with its reward
               go to the child with the best reward, until it beats all before it, lies too deep or is poor
        give each node of the path the sum of the rewards from it to the end of the path
    return the node with the highest reward

Calls: |S| (1 + children) + B a mini-batch for the task's model, 1 + n a mini-batch for the optimizer, and the
finalists'. Arms beside the tree, with the same actions: greedy (a step keeps the best child if it is better), beam
(the best `width` of `width` rewrites of each member; levels as the limit of depth, after a first one that expands the
start `width` times) and monte-carlo (children of the start alone).
Choices of ours: S and the mini-batches are disjoint (the published example lets them overlap), n rewrites are n
samples of one request, a prompt that was tried before is asked for once more and then dropped, and a node whose
rewrites all fail ends its path. The published output is the best node of the path with the best mean reward
(output=path); the best node of all was as good or better in the card's trials, and stands here. The best few are
scored again on validation items that the search never saw, and those scores choose (skipped where none are left).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from math import ceil, isnan
from typing import Any, TypeAlias

from promptology.data.task import Task
from promptology.methods.registry import method
from promptology.models.access import Generates, Scores
from promptology.prompts.learned import Learned
from promptology.run.cost import Cost
from promptology.run.engine import Run
from promptology.search.errors import FEEDBACK, REVISE, batches, error_items, examine, feedback, report_on, revise
from promptology.search.planning import (
    PROPOSAL,
    answer_tokens,
    estimated,
    fresh_after,
    labelled_selection,
    plain_start,
    scores,
)
from promptology.search.pool import Pool
from promptology.search.rescoring import fresh_items, rescore
from promptology.search.scoring import score, selection_items
from promptology.search.uct import Node, Tree

State: TypeAlias = Node[Learned]
ARMS = ("mcts", "greedy", "beam", "monte-carlo")


@method(
    "promptagent",
    family="search",
    learns="text",
    paper="arXiv:2310.16427",
    needs={"model": Generates | Scores, "optimizer": Generates},
)
@dataclass(frozen=True)
class PromptAgent:
    """Plan several rounds of error feedback ahead in a tree of prompts."""

    search: str = "mcts"
    """Strategy: mcts, or the arms greedy, beam and monte-carlo."""
    iterations: int = 12
    """T: paths through the tree (section 4, code)."""
    width: int = 3
    """Mini-batches an expansion (code: expand_width); of beam its width, and the rewrites of each member."""
    rewrites: int = 1
    """n: new prompts from one mini-batch (code); beam takes `width`."""
    depth_limit: int = 8
    """Depth of the tree at most (section 4, code)."""
    min_depth: int = 2
    """Depth down to which no path ends early (code)."""
    exploration: float = 2.5
    """w: weight of exploration in UCT (section 4, code)."""
    batch: int = 5
    """B: training items of a mini-batch (code)."""
    items: int = 150
    """|S|: labelled items that score every prompt (code)."""
    prompts: int = 289
    """Prompts that are scored at most, the start among them (ours: 1 + T * depth_limit * width at these defaults)."""
    temperature: float = 1.0
    """Temperature of the optimizer (code); the task model's is 0."""
    returns: str = "sum"
    """Return of a path: the sum of its rewards (code), or their mean, better in the card's trials."""
    output: str = "node"
    """What is returned: the best node, or (mcts only) path, the best node of the best path (section 4)."""
    finalists: int = 3
    """Best prompts that are scored again on as many fresh items at the end (ours); 1 turns it off."""
    patience: int = 10
    """Expansions in a row without a new prompt that end the search (ours)."""

    def __post_init__(self) -> None:
        if self.search not in ARMS:
            raise ValueError(f"search is one of {', '.join(ARMS)}, not {self.search!r}")
        if self.returns not in ("sum", "mean") or self.output not in ("node", "path"):
            raise ValueError("returns is sum or mean, output is node or path")
        counts = (self.iterations, self.width, self.rewrites, self.depth_limit, self.batch, self.items, self.finalists)
        if min(*counts, self.prompts, self.patience) < 1:
            raise ValueError("all counts are at least 1")
        if self.exploration < 0 or not 0 <= self.temperature <= 2:
            raise ValueError("exploration is at least 0, temperature lies between 0 and 2")

    @property
    def most(self) -> int:
        """Prompts that can be scored, the start among them."""
        most = 1 + self.iterations * self.depth_limit * self.width * self.rewrites
        if self.search == "beam":
            most = 1 + self.width**2 * (1 + self.depth_limit)
        return min(most, self.prompts)

    @property
    def samples(self) -> int:
        """Rewrites of one mini-batch."""
        return self.width if self.search == "beam" else self.rewrites

    def plan(self, task: Task) -> Cost:
        """Return the most that learning costs where every proposal is new; paths that end early cost less."""
        items = min(self.items, len(labelled_selection(task)))
        fresh = min(self.items, fresh_after(task, items))
        new = self.most - 1
        looks = ceil(new / self.samples)
        finals = min(self.finalists, 1 + new)
        answered = items * (1 + new) + looks * self.batch + (finals * fresh if finals > 1 else 0)
        shown = plain_start(task).instruction + "x" * 4 * self.batch * (20 + 2 * answer_tokens(task))
        asked = estimated(looks, [FEEDBACK + shown], PROPOSAL).plus(estimated(new, [REVISE + shown], PROPOSAL))
        return scores(task, answered).plus(asked)

    def fit(self, run: Run) -> Learned:
        """Return the prompt with the best reward, confirmed on fresh items."""
        planner = Planner(self, run)
        arms = {"mcts": self.plan_ahead, "greedy": self.climb, "beam": self.beam, "monte-carlo": self.sample}
        arms[self.search](planner)
        if planner.idle >= self.patience:
            run.log("advice", text="the optimizer brought no new prompt any more: the search ended early")
        by_path = self.output == "path" and self.search == "mcts"
        ranked = planner.tree.best_path() if by_path else planner.tree.ranked()
        finalists = [node.state for node in ranked[: self.finalists]]
        best = rescore(run, finalists, fresh_items(run, planner.S, self.items)).best
        return replace(best, method="promptagent")

    def plan_ahead(self, planner: Planner) -> None:
        """Monte-Carlo tree search."""
        for t in planner.run.track(range(1, self.iterations + 1), "iterations"):
            if planner.left < 1:
                return
            path = planner.tree.iterate(planner.expand)
            numbers = " ".join(str(node.number) for node in path)
            planner.run.log("iteration", t=t, path=numbers, best=planner.tree.ranked()[0].reward)

    def climb(self, planner: Planner) -> None:
        """Greedy search: the best child of a step takes over where it is better."""
        node = planner.tree.root
        while planner.left > 0:
            new = planner.expand(node)
            node = max([node, *new], key=lambda n: n.reward)

    def beam(self, planner: Planner) -> None:
        """Beam search: of all children of a level the best `width` go on."""
        members = planner.expand(planner.tree.root)
        for _ in range(self.depth_limit):
            members = sorted(members, key=lambda n: -n.reward)[: self.width]
            members = [child for node in members for child in planner.expand(node, 1)]

    def sample(self, planner: Planner) -> None:
        """Single-step Monte-Carlo search: children of the start alone."""
        while planner.left > 0:
            planner.expand(planner.tree.root)


class Planner:
    """What all strategies share: the tree, the reward items S, the mini-batches, the prompts tried, and the expansion."""

    def __init__(self, method: PromptAgent, run: Run) -> None:
        pool = selection_items(run)
        self.method, self.run = method, run
        self.S = [pool[i] for i in run.rng("items").permutation(len(pool))[: method.items]]
        self.batches = batches(run, error_items(run, self.S), method.batch)
        reward = float(score(run, [run.start], self.S).means[0])
        self.tree = Tree(
            run.start,
            0.0 if isnan(reward) else reward,
            exploration=method.exploration,
            depth_limit=method.depth_limit,
            min_depth=method.min_depth,
            mean=method.returns == "mean",
        )
        self.tried = Pool([run.start.instruction])
        self.idle = 0
        run.keep(run.start)

    @property
    def left(self) -> int:
        """How many more prompts may be scored; none where the search is stuck."""
        return self.method.most - len(self.tree.nodes) if self.idle < self.method.patience else 0

    def expand(self, node: State, width: int | None = None) -> list[State]:
        """Add the children of a node, one or more for each of `width` mini-batches, and return them."""
        method, run = self.method, self.run
        looks = min(width or method.width, ceil(self.left / method.samples))
        if looks < 1:
            return []
        drawn = list(islice(self.batches, looks))
        answered = {a.item.id: a for a in examine(run, node.state, [item for batch in drawn for item in batch])}
        reports = [report_on(node.state, [answered[i.id] for i in batch if i.id in answered]) for batch in drawn]
        shown = [r for r in reports if r is not None]
        reasons = feedback(run, shown, temperature=method.temperature)
        how: dict[str, Any] = {"known": self.tried, "samples": method.samples, "temperature": method.temperature}
        proposed = revise(run, shown, reasons, trajectory=[n.state for n in node.line[:-1]], **how)
        return self.grow(node, [p for p in proposed if p is not None][: self.left])

    def grow(self, node: State, proposed: list[Learned]) -> list[State]:
        """Score new prompts and add them to the tree; of equal ones the first, and none without a score."""
        new: list[Learned] = []
        for prompt in proposed:
            if prompt.instruction not in self.tried:
                self.tried.add(prompt.instruction)
                new.append(prompt)
        rewards = [float(mean) for mean in score(self.run, new, self.S).means]
        added: list[State] = []
        for prompt, reward in zip(new, rewards, strict=True):
            if not isnan(reward):
                self.tried.add(prompt.instruction, f"it scored {round(100 * reward)} of 100")
                added.append(self.tree.add(node, prompt, reward))
        self.idle = 0 if added else self.idle + 1
        best = self.tree.ranked()[0]
        self.run.keep(best.state)
        self.run.log("expansion", node=node.number, new=len(added), prompts=len(self.tree.nodes), best=best.reward)
        return added
