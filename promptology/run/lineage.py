"""Lineage: the prompts that a run tried, what each was made from, and what came of it.

It is written by what methods call anyway: `propose` says what was made from what, `score` how it did, `Run.keep` what
became the best so far. A method that is executed again writes the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from promptology.data.items import digest
from promptology.prompts.learned import Learned
from promptology.run.cost import Cost

MOST = 2000
"""Prompts that are remembered; of twice as many, the less important half is forgotten."""
CUT = 4000
"""Characters of a prompt that are remembered, and of what led to it."""


@dataclass(frozen=True)
class Node:
    """A prompt that was tried: its number in order of appearance (0: the start) and that of its parent.

    `total` and `items`: sum of its item scores and how many there were. `kept`: what had been charged when it first
    was the best so far. `raw`: nothing but proposed so far. `why`: what its proposer was told, errors for instance.
    `gap`: how many prompts between it and that parent are forgotten.
    """

    number: int
    parent: int | None
    text: str
    total: float = 0.0
    items: int = 0
    kept: Mapping[str, float] | None = None
    raw: bool = False
    why: str = ""
    gap: int = 0

    @property
    def score(self) -> float | None:
        """Mean score over all items on which the search scored it, None where there was none."""
        return self.total / self.items if self.items else None

    def to_json(self) -> dict[str, Any]:
        """Return what a document keeps of it."""
        doc: dict[str, Any] = {"number": self.number, "parent": self.parent, "text": self.text}
        doc |= {"score": self.score, "items": self.items, "kept": dict(self.kept) if self.kept else None}
        return doc | ({"why": self.why} if self.why else {}) | ({"gap": self.gap} if self.gap else {})


class Lineage:
    """The prompts of one run; see the module."""

    def __init__(self, start: Learned) -> None:
        self.count = 1
        """Different prompts that the run tried, the start among them."""
        self._nodes = {0: Node(0, None, start.as_text()[:CUT])}
        self._numbers = {_key(start): 0}
        self._wordings: dict[str, int] = {}

    def born(self, child: Learned, parent: Learned, why: str = "") -> None:
        """Note that a prompt was made from another, and what led to it."""
        if _key(child) not in self._numbers:
            self._add(child, self._find(parent), raw=True, why=why[:CUT])

    def scored(self, prompt: Learned, scores: Iterable[float]) -> None:
        """Note item scores of a prompt; NaN is an answer that is missing."""
        came = [float(s) for s in scores if not math.isnan(s)]
        node = self._nodes[self._find(prompt)]
        total, items = node.total + math.fsum(came), node.items + len(came)
        self._nodes[node.number] = replace(node, total=total, items=items, raw=False)

    def kept(self, prompt: Learned, charged: Cost) -> None:
        """Note that a prompt is the best so far."""
        node = self._nodes[self._find(prompt)]
        if node.kept is None:
            self._nodes[node.number] = replace(node, kept=counts(charged), raw=False)

    def to_json(self, found: Learned, most: int = 40) -> dict[str, Any]:
        """Return the prompts, at most so many, and the number of the one that was found."""
        result = self._numbers.get(_key(found))
        nodes = _thinned(self._nodes, most, result or 0)
        return {"count": self.count, "found": result, "nodes": [n.to_json() for n in nodes]}

    def _find(self, prompt: Learned) -> int:
        """Return the number of a prompt; an unknown one stems from the proposal of its wording, or from the start.

        What a proposal becomes before anybody scores it (with demonstrations added, say) is that proposal.
        """
        key = _key(prompt)
        if key not in self._numbers:
            like = self._nodes[self._wordings.get(prompt.instruction, 0)]
            if not like.raw:
                return self._add(prompt, like.number)
            self._nodes[like.number] = replace(like, text=prompt.as_text()[:CUT], raw=False)
            self._numbers[key] = like.number
        return self._numbers[key]

    def _add(self, prompt: Learned, parent: int, raw: bool = False, why: str = "") -> int:
        number, self.count = self.count, self.count + 1
        self._nodes[number] = Node(number, parent, prompt.as_text()[:CUT], raw=raw, why=why)
        self._numbers[_key(prompt)] = number
        if raw:
            self._wordings[prompt.instruction] = number
        if len(self._nodes) > 2 * MOST:
            self._nodes = {n.number: n for n in _thinned(self._nodes, MOST, number)}
            self._numbers = {key: n for key, n in self._numbers.items() if n in self._nodes}
            self._wordings = {text: n for text, n in self._wordings.items() if n in self._nodes}
        return number


def _key(prompt: Learned) -> str:
    return digest(prompt.to_json()["parts"])


def counts(cost: Cost) -> dict[str, float]:
    """Return what of a cost is the same whenever a run is repeated: all but the seconds."""
    used = {"calls": cost.calls, "tokens": cost.tokens, "usd": cost.usd, "passes": cost.passes}
    return {unit: value for unit, value in used.items() if value}


def by_role(ledger: Mapping[tuple[str, str], tuple[Cost, Cost]], phase: str = "learning") -> dict[str, Any]:
    """Return the counts of what each role was charged in a phase."""
    return {role: counts(charged) for (role, of), (charged, _) in ledger.items() if of == phase}


def _thinned(nodes: Mapping[int, Node], most: int, found: int) -> list[Node]:
    """Return the more important nodes in order: the line to what was found, the kept, the best scored, the latest.

    Where a parent is left out, its nearest ancestor takes its place.
    """
    if len(nodes) <= most:
        return list(nodes.values())
    line: list[int] = []
    at: int | None = found
    while at is not None:
        line.append(at)
        at = nodes[at].parent
    kept = [n for n, node in reversed(list(nodes.items())) if node.kept is not None]
    best = sorted((n for n, node in nodes.items() if node.items), key=lambda n: -(nodes[n].score or 0.0))
    some = {*list(dict.fromkeys([0, *line, *kept, *best[: most // 2], *reversed(nodes)]))[:most]}

    def nearer(node: Node) -> Node:
        parent, gap = node.parent, node.gap
        while parent is not None and parent not in some:
            gap += 1 + nodes[parent].gap
            parent = nodes[parent].parent
        return replace(node, parent=parent, gap=gap)

    return [nearer(node) for number, node in nodes.items() if number in some]
