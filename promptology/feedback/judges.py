"""A pairwise judge: which of two sets of outputs serves the request better, with the positions swapped fairly."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from promptology.data.items import Item, Signature
from promptology.prompts.parsing import conclusion, parse_class, tagged
from promptology.prompts.render import frame, input_text
from promptology.run.handles import Handle

JUDGE = """Two assistants answered the same inputs. Compare their outputs and decide which assistant serves the request better.

<request>
{requirements}
</request>

<outputs_a>
{first}
</outputs_a>

<outputs_b>
{second}
</outputs_b>

Judge only the outputs; the order in which they stand means nothing. Write one or two sentences of analysis between <analysis> and </analysis>, then the better one, A or B, between <choice> and </choice>."""

VERDICT = 60
"""Tokens of a typical verdict, for plans."""


class Votes(NamedTuple):
    """Votes of one duel: for the challenger, for the incumbent, and votes that were missing or unreadable."""

    challenger: int
    incumbent: int
    void: int

    @property
    def accepted(self) -> bool:
        """Whether more votes went to the challenger; a tie keeps the incumbent."""
        return self.challenger > self.incumbent


class Duel(NamedTuple):
    """Two sets of outputs on the same items; `swaps[i]`: whether vote i shows the challenger second."""

    items: Sequence[Item]
    challenger: Sequence[str | None]
    incumbent: Sequence[str | None]
    swaps: Sequence[bool]


def compare_outputs(
    judge: Handle, duels: Sequence[Duel], signature: Signature, *, requirements: str, temperature: float = 0.3
) -> list[Votes]:
    """Let the judge vote in every duel, all votes in one batch of fresh samples."""
    prompts: list[str] = []
    for duel in duels:
        new = show(duel.items, duel.challenger, signature)
        old = show(duel.items, duel.incumbent, signature)
        for swapped in duel.swaps:
            first, second = (old, new) if swapped else (new, old)
            prompts.append(frame(JUDGE, {"requirements": requirements, "first": first, "second": second}))
    texts = iter(judge.generate(prompts, temperature=temperature, max_tokens=512, fresh=True))
    return [count((read_choice(next(texts)) for _ in duel.swaps), duel.swaps) for duel in duels]


def count(choices: Iterable[str | None], swaps: Sequence[bool]) -> Votes:
    """Map choices back to the two sides and count them; an unreadable vote is void."""
    counts = [0, 0, 0]
    for choice, swapped in zip(choices, swaps, strict=True):
        counts[2 if choice is None else int((choice == "A") == swapped)] += 1
    return Votes(*counts)


def balanced(votes: int) -> list[bool]:
    """Return a schedule that shows the challenger first and second equally often (to one vote).

    A judge who always names the first answer then ties, and a tie keeps the incumbent.
    """
    return [n % 2 == 1 for n in range(votes)]


def read_choice(text: str | None) -> str | None:
    """Return A or B, None where the vote is missing, names neither, or breaks off in the analysis.

    What the analysis quotes from the outputs is no vote.
    """
    if text is None:
        return None
    said = conclusion(text, "choice")
    return parse_class(tagged(said, "choice") or said, ("A", "B"))


def show(items: Sequence[Item], outputs: Sequence[str | None], signature: Signature) -> str:
    """Return inputs and outputs as the judge and the optimizer see them."""
    blocks = [
        f"Input {n}: {input_text(item.inputs, signature)}\nOutput {n}: {'(no answer)' if text is None else text}"
        for n, (item, text) in enumerate(zip(items, outputs, strict=True), 1)
    ]
    return "\n\n".join(blocks)
