"""EvoPrompt: evolution of prompts by a model. Guo et al. 2023, arXiv:2309.08532.

    P <- N prompts: the start and paraphrases of it         f: score on a fixed random set S of labelled items
    for t = 1..T:
        genetic algorithm:       N times draw two parents of P, each with a probability in proportion to its score
                                 p' <- M(cross the two, then mutate)
                                 P  <- the best N of P and all p'
        differential evolution:  for each p of P draw two others, a and b
                                 p' <- M(mutate what differs in a and b, put it into the best of P, cross with p)
                                 p  <- p' where f(p') > f(p)
    return argmax f

Calls: N - 1 + N |S| for the first population, N (1 + |S|) a generation, and the finalists'. Choices of ours: the two
parents are different prompts; scores that are all zero give every prompt the same chance (the public code divides by
their sum), and a score below zero is counted from the lowest one. A child that repeats any earlier prompt is made
again, of parents or donors newly drawn, so that the population never fills with copies and the cost is known
beforehand; where that brings nothing, the generation makes do with fewer. The paper's further prompts by hand are not
there: the first population is the start and paraphrases of it. The best few are scored again on items that the search
never saw (a third of the validation split is kept for them), against the winner's curse, and those scores choose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from promptology.data.items import Item
from promptology.data.task import Task
from promptology.methods.registry import method
from promptology.models.access import Generates, Scores
from promptology.prompts.learned import Learned
from promptology.run.cost import Cost
from promptology.run.engine import Run
from promptology.search.crossing import CROSS, DIFFER, REWORD, Difference, cross, differ, reword
from promptology.search.planning import PROPOSAL, divided, estimated, plain_start, scores
from promptology.search.pool import Pool
from promptology.search.ranking import Scored, best, noted, scored
from promptology.search.rescoring import apart, rescore
from promptology.search.scoring import score

Make = Callable[[Sequence[int]], list[Learned | None]]
"""Returns one proposal for each of these places, which may be known already or missing."""


@method(
    "evoprompt",
    family="search",
    learns="text",
    paper="arXiv:2309.08532",
    needs={"model": Generates | Scores, "optimizer": Generates},
)
@dataclass(frozen=True)
class EvoPrompt:
    """Let a model cross and mutate a population of instructions."""

    variant: str = "de"
    """Kind of evolution: ga, the genetic algorithm, or de, differential evolution (section 5: the better one mostly)."""
    population: int = 10
    """N: instructions in the population (section 4)."""
    generations: int = 10
    """T: generations (section 4)."""
    temperature: float = 0.5
    """Temperature of the optimizer (code)."""
    items: int = 200
    """|S|: labelled items that score every instruction (section 4: 200 for classification, 50 for BBH)."""
    finalists: int = 3
    """Best instructions that are scored again on as many fresh items at the end (ours); 1 turns it off."""
    patience: int = 3
    """Requests in a row for what a generation still lacks that bring nothing new, before it ends without (ours)."""

    def __post_init__(self) -> None:
        if self.variant not in ("ga", "de"):
            raise ValueError(f"variant is ga or de, not {self.variant!r}")
        if min(self.population, self.generations, self.items, self.finalists, self.patience) < 1:
            raise ValueError("population, generations, items, finalists and patience are at least 1")
        if not 0 <= self.temperature <= 2:
            raise ValueError("temperature lies between 0 and 2")

    def plan(self, task: Task) -> Cost:
        """Return the cost of learning where every child is a new instruction."""
        items, fresh = divided(task, self.items, self.items if self.finalists > 1 else 0)
        children = self.population * self.generations
        finals = min(self.finalists, self.population)
        graded = scores(task, items * (self.population + children) + finals * fresh)
        start = plain_start(task).instruction
        asked = CROSS + 2 * start if self.variant == "ga" else DIFFER + 4 * start
        first = estimated(self.population - 1, [REWORD + start], PROPOSAL)
        return graded.plus(first).plus(estimated(children, [asked], PROPOSAL))

    def fit(self, run: Run) -> Learned:
        """Return the instruction with the best score, confirmed on fresh items."""
        S, fresh = apart(run, self.items, self.items if self.finalists > 1 else 0)
        tried = Pool([run.start.instruction])

        def make(places: Sequence[int]) -> list[Learned | None]:
            return reword(run, [run.start] * len(places), known=tried, temperature=self.temperature)

        P = scored(run, [run.start], S) or [Scored(run.start, 0.0)]
        P += self.breed(run, make, self.population - 1, S, tried).values()
        run.keep(best(P, 1)[0].prompt)
        evolve = self.genetic if self.variant == "ga" else self.differential
        for t in run.track(range(1, self.generations + 1), "generations"):
            before = len(tried)
            P = evolve(run, P, S, tried, run.rng(f"generation {t}"))
            top, mean = best(P, 1)[0], float(np.mean([p.score for p in P]))
            run.keep(top.prompt)
            run.log("generation", t=t, new=len(tried) - before, best=top.score, mean=mean)
            if len(tried) == before:
                run.log("advice", text=f"the optimizer only repeated itself: the search ended in generation {t}")
                break
        finalists = [h.prompt for h in best(P, self.finalists)]
        return rescore(run, finalists, fresh).best

    def genetic(
        self, run: Run, P: Sequence[Scored], S: Sequence[Item], tried: Pool, rng: np.random.Generator
    ) -> list[Scored]:
        """Return the best N of the population and its children; among equals the older comes first."""

        def make(places: Sequence[int]) -> list[Learned | None]:
            drawn = [roulette([p.score for p in P], rng) for _ in places]
            pairs = [(P[a].prompt, P[b].prompt) for a, b in drawn]
            return cross(run, pairs, known=tried, temperature=self.temperature)

        children = self.breed(run, make, self.population, S, tried)
        return best([*P, *children.values()], self.population)

    def differential(
        self, run: Run, P: Sequence[Scored], S: Sequence[Item], tried: Pool, rng: np.random.Generator
    ) -> list[Scored]:
        """Return the population with each member replaced by its child where that scores higher."""
        top = best(P, 1)[0].prompt

        def make(places: Sequence[int]) -> list[Learned | None]:
            drawn = [(*donors(len(P), i, rng), i) for i in places]
            steps = [Difference(P[a].prompt, P[b].prompt, top, P[i].prompt) for a, b, i in drawn]
            return differ(run, steps, known=tried, temperature=self.temperature)

        children = self.breed(run, make, len(P), S, tried)
        return [c if (c := children.get(i)) and c.score > p.score else p for i, p in enumerate(P)]

    def breed(self, run: Run, make: Make, count: int, S: Sequence[Item], tried: Pool) -> dict[int, Scored]:
        """Return a new prompt with its score for each of so many places, as far as `make` brings new ones."""
        found: dict[int, Learned] = {}
        idle = 0
        while len(found) < count and idle < self.patience:
            left = [place for place in range(count) if place not in found]
            before = len(found)
            for place, proposal in zip(left, make(left), strict=True):
                if proposal is not None and proposal.instruction not in tried:
                    tried.add(proposal.instruction)
                    found[place] = replace(proposal, method="evoprompt")
            idle = 0 if len(found) > before else idle + 1
        order = sorted(found)
        means = score(run, [found[place] for place in order], S).means
        children = {
            place: Scored(found[place], float(mean))
            for place, mean in zip(order, means, strict=True)
            if not np.isnan(mean)
        }
        noted(tried, list(children.values()))
        return children


def roulette(fitness: Sequence[float], rng: np.random.Generator) -> tuple[int, int]:
    """Return two different members, each drawn in proportion to its fitness; of one member, that one twice.

    Where what is left to draw from has no fitness at all, all have the same chance.
    """
    weights = np.asarray(fitness, float) - min(0.0, *fitness) if len(fitness) > 1 else np.ones(1)
    first = _spin(weights, rng)
    if len(weights) == 1:
        return first, first
    rest = np.delete(np.arange(len(weights)), first)
    return first, int(rest[_spin(weights[rest], rng)])


def _spin(weights: np.ndarray, rng: np.random.Generator) -> int:
    total = weights.sum()
    return int(rng.choice(len(weights), p=weights / total if total > 0 else None))


def donors(members: int, i: int, rng: np.random.Generator) -> tuple[int, int]:
    """Return two different members that are not `i`; of fewer than three, what there is."""
    others = [j for j in range(members) if j != i]
    pool = others if len(others) > 1 else [*others, i, i]
    a, b = rng.permutation(pool)[:2] if len(others) > 1 else pool[:2]
    return int(a), int(b)
