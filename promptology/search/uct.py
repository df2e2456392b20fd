"""A search tree with UCT: select, expand, simulate, back-propagate, over states of any kind with known rewards.

    UCT(c) = Q(c) + w sqrt( ln(N(parent) + 1) / max(1, N(c)) )

N(x): returns that were back-propagated to x; Q(x): their mean, the reward of x where there is none yet. The rules of
when a path ends are those of PromptAgent (arXiv:2310.16427); UCT is of Kocsis and Szepesvári (2006).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass
class Node(Generic[T]):
    """A state with its reward; `returns`: what was back-propagated to it; `dead`: nothing can be made from it."""

    number: int
    state: T
    reward: float
    parent: Node[T] | None = None
    children: list[Node[T]] = field(default_factory=list)
    returns: list[float] = field(default_factory=list)
    dead: bool = False

    @property
    def depth(self) -> int:
        """Steps from the root."""
        return len(self.line) - 1

    @property
    def line(self) -> list[Node[T]]:
        """The nodes from the root to this one."""
        line = [self]
        while line[-1].parent is not None:
            line.append(line[-1].parent)
        return line[::-1]

    @property
    def q(self) -> float:
        """Q: the mean return, or the reward where no return has come yet."""
        return math.fsum(self.returns) / len(self.returns) if self.returns else self.reward


Expand = Callable[[Node[T]], object]
"""Adds children to a node, perhaps none (`Tree.add`)."""


class Tree(Generic[T]):
    """The tree of one search; `nodes` in the order in which they came, the root first.

    `exploration`: w; `depth_limit`: no node lies deeper; `min_depth`: down to it a path neither ends early nor for a
    poor reward; `mean`: a return is the mean of the rewards on the rest of its path, not their sum.
    """

    def __init__(
        self,
        root: T,
        reward: float,
        *,
        exploration: float = 2.5,
        depth_limit: int = 8,
        min_depth: int = 2,
        mean: bool = False,
    ) -> None:
        self.root = Node(0, root, reward)
        self.nodes = [self.root]
        self.paths: list[list[Node[T]]] = []
        self.best_so_far = reward
        """The best reward on the paths so far."""
        self.exploration, self.depth_limit, self.min_depth, self.mean = exploration, depth_limit, min_depth, mean

    def add(self, parent: Node[T], state: T, reward: float) -> Node[T]:
        """Add a child."""
        node = Node(len(self.nodes), state, reward, parent)
        parent.children.append(node)
        self.nodes.append(node)
        return node

    def uct(self, node: Node[T]) -> float:
        """Return UCT(node); a parent to which nothing was returned yet explores nothing, since ln(0 + 1) = 0."""
        visits = len(node.parent.returns) if node.parent else 0
        return node.q + self.exploration * math.sqrt(math.log(visits + 1) / max(1, len(node.returns)))

    def ended(self, node: Node[T]) -> bool:
        """Whether nothing is to be made from a node: too deep, dead, or poorer than half-way from root to parent."""
        if node.dead or node.depth >= self.depth_limit:
            return True
        poor = node.parent is not None and node.reward < (self.root.reward + node.parent.reward) / 2
        return poor and node.depth > self.min_depth

    def iterate(self, expand: Expand[T]) -> list[Node[T]]:
        """Select a leaf, go on from it, return what that gave to the nodes of the path, and return the path."""
        path = self.select()
        if not self.ended(path[-1]):
            self.expanded(path[-1], expand)
            self.simulate(path, expand)
        self.back_propagate(path)
        self.paths.append(path)
        return path

    def select(self) -> list[Node[T]]:
        """Return the path from the root to a leaf or an ended node, always to the child with the largest UCT."""
        path = [self.root]
        while path[-1].children and not self.ended(path[-1]):
            path.append(max(path[-1].children, key=self.uct))
        return path

    def expanded(self, node: Node[T], expand: Expand[T]) -> None:
        """Expand a node; one that stays without children is dead."""
        expand(node)
        node.dead = not node.children

    def simulate(self, path: list[Node[T]], expand: Expand[T]) -> None:
        """Lengthen the path by the child with the best reward, until it is better than all so far, or ends.

        Nodes that come up on the way stay in the tree.
        """
        while True:
            node = path[-1]
            early = node.reward > self.best_so_far and node.depth > self.min_depth
            self.best_so_far = max(self.best_so_far, node.reward)
            if early or self.ended(node):
                return
            if not node.children:
                self.expanded(node, expand)
            if not node.children:
                return
            path.append(max(node.children, key=lambda child: child.reward))

    def back_propagate(self, path: list[Node[T]]) -> None:
        """Give each node of a path its return: the sum (or mean) of the rewards from it to the end of the path."""
        for n, node in enumerate(path):
            rest = [later.reward for later in path[n:]]
            node.returns.append(math.fsum(rest) / (len(rest) if self.mean else 1))

    def ranked(self) -> list[Node[T]]:
        """Return all nodes from best to worst reward; among equals the oldest comes first."""
        return sorted(self.nodes, key=lambda node: -node.reward)

    def best_path(self) -> list[Node[T]]:
        """Return the nodes of the path with the best mean reward (the first of equals), ranked as `ranked`."""
        paths = self.paths or [[self.root]]
        best = max(paths, key=lambda path: math.fsum(node.reward for node in path) / len(path))
        return sorted(best, key=lambda node: (-node.reward, node.number))
