"""Operators of evolution: prompts from one, two or four others, each by one request to a model.

Rewording is APE's resampling (arXiv:2211.01910, section 3.3); the other two are EvoPrompt's (arXiv:2309.08532, figures
1 and 2): a genetic algorithm's cross-over with mutation, and a step of differential evolution. All three ask in words
of their own, in one batch, and return one candidate per request, None where nothing usable came.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from promptology.prompts.learned import Learned
from promptology.prompts.render import frame
from promptology.run.engine import Run
from promptology.search.proposing import propose

REWORD = """Below is an instruction that is given to an assistant together with an input. Say the same thing in \
another way: keep its meaning, everything it asks for and every {placeholder}, change the wording and the order of \
thoughts. Write the complete reworded instruction between <prompt> and </prompt>.

<prompt>
{instruction}
</prompt>"""
CROSS = """Below are two instructions for the same task of an assistant.

<prompt_1>
{first}
</prompt_1>

<prompt_2>
{second}
</prompt_2>

Go through these steps and write down what comes of each between <analysis> and </analysis>.
1. Cross the two: make one instruction that takes some of its points from prompt 1 and the others from prompt 2.
2. Mutate it: change one of its points, or add one that helps with the task.
Then write the complete new instruction, which must differ from both, between <prompt> and </prompt>."""
DIFFER = """Below are four instructions for the same task of an assistant. Number 3 is the one that did best so far.

<prompt_1>
{first}
</prompt_1>

<prompt_2>
{second}
</prompt_2>

<prompt_3>
{best}
</prompt_3>

<prompt_4>
{member}
</prompt_4>

Go through these steps and write down what comes of each between <analysis> and </analysis>.
1. List the points in which prompt 1 and prompt 2 differ.
2. Mutate each of these points: turn it into something else that may help with the task.
3. Put the mutated points into prompt 3, in place of what it says on the same matter.
4. Cross the outcome with prompt 4: take some points from the one and the others from the other.
Then write the complete new instruction, which must differ from all four, between <prompt> and </prompt>."""


class Difference(NamedTuple):
    """What one step of differential evolution is made from: two donors, the best member, and the member at hand."""

    first: Learned
    second: Learned
    best: Learned
    member: Learned


def reword(
    run: Run, prompts: Sequence[Learned], *, known: Collection[str] = (), temperature: float = 1.0
) -> list[Learned | None]:
    """Return the same in other words, for each prompt."""
    requests = [frame(REWORD, {"instruction": p.instruction}) for p in prompts]
    return propose(run, requests, prompts, known=known, temperature=temperature)


def cross(
    run: Run, pairs: Sequence[tuple[Learned, Learned]], *, known: Collection[str] = (), temperature: float = 0.5
) -> list[Learned | None]:
    """Return a mutated cross of each pair; in the lineage it stems from the first of the two."""
    requests = [frame(CROSS, {"first": a.instruction, "second": b.instruction}) for a, b in pairs]
    why = [f"Crossed with:\n\n{b.instruction}" for _, b in pairs]
    return propose(run, requests, [a for a, _ in pairs], known=known, temperature=temperature, why=why)


def differ(
    run: Run, steps: Sequence[Difference], *, known: Collection[str] = (), temperature: float = 0.5
) -> list[Learned | None]:
    """Return what a step of differential evolution makes of each member, from which it stems in the lineage."""
    requests = [frame(DIFFER, {name: p.instruction for name, p in s._asdict().items()}) for s in steps]
    why = [
        f"What differs in two others:\n\n{s.first.instruction}\n\n{s.second.instruction}\n\n"
        f"The best one, into which it was put:\n\n{s.best.instruction}"
        for s in steps
    ]
    return propose(run, requests, [s.member for s in steps], known=known, temperature=temperature, why=why)
