"""Proposals: asking a model for another prompt, reading what it says, and refusing what cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from promptology.prompts.learned import Learned
from promptology.prompts.parsing import conclusion, declines, extract, torn
from promptology.prompts.render import placeholders
from promptology.run.engine import Run
from promptology.run.lengths import tokens
from promptology.search.pool import Pool, normal

__all__ = ["ASKED", "LONGEST", "REPAIR", "TOO_LONG", "brief", "distinct", "normal", "propose"]

REPAIR = """Your last reply could not be used: {reason}

{request}

Reply again. Put the complete prompt between <prompt> and </prompt>, and nothing else inside them."""
TOO_LONG = "it is too long"
REFUSED = "it declined to write one."
ASKED = 1024
"""Tokens that a reply of the optimizer may have."""
LONGEST = 4 * ASKED
"""Tokens, as estimated, of the longest text that is taken from it all the same; every score would pay for more."""


def propose(
    run: Run,
    requests: Sequence[str],
    parent: Learned | Sequence[Learned],
    *,
    role: str = "optimizer",
    temperature: float = 1.0,
    known: Collection[str] = (),
    keep: Callable[[str], bool] | None = None,
    tag: str = "prompt",
    why: Sequence[str] = (),
) -> list[Learned | None]:
    """Ask for one prompt per request and return the candidates; None where nothing usable came, after one repair.

    `parent`: one for all requests, or one for each. A proposal is usable when it is not empty, keeps the parent's input
    placeholders, is no longer than the run allows (and `LONGEST`), holds no broken tags, does not begin as a refusal,
    and is neither its parent nor in `known` (texts, or a `Pool`). Each request is a fresh sample. A method that drops
    proposals instead of asking again gives `keep`: it gets the text of each usable one in turn, and decides in place of
    `known`. `why`: for each request what led to it, for the lineage.
    """
    parents = [parent] * len(requests) if isinstance(parent, Learned) else list(parent)
    tried: Collection[str] = () if keep else known if isinstance(known, Pool) else Pool(known)
    texts = run.model(role).generate(list(requests), temperature=temperature, max_tokens=ASKED, fresh=True)
    candidates: list[Learned | None] = []
    broken: dict[int, str] = {}
    for n, text in enumerate(texts):
        candidate, reason = _read(run, text, parents[n], tried, tag, again=bool(keep))
        candidates.append(candidate)
        if reason:
            broken[n] = reason
    if broken:
        again = [REPAIR.format(reason=reason, request=requests[n]) for n, reason in broken.items()]
        repaired = run.model(role).generate(again, temperature=temperature, max_tokens=ASKED, fresh=True)
        for n, text in zip(broken, repaired, strict=True):
            candidates[n], reason = _read(run, text, parents[n], tried, tag, again=bool(keep))
            run.log("repair", reason=broken[n], mended=not reason)
            run.tally["too long"] += reason.startswith(TOO_LONG)
            run.tally["declined"] += reason == REFUSED
    if keep:
        candidates = [c if c is not None and keep(c.instruction) else None for c in candidates]
    for candidate, origin, reason in zip(candidates, parents, why or [""] * len(parents), strict=True):
        if candidate is not None:
            run.lineage.born(candidate, origin, reason)
    unanswered = sum(text is None for text in texts)
    run.tally.update(proposals=len(candidates), unanswered=unanswered, usable=sum(c is not None for c in candidates))
    return candidates


def distinct(candidates: Iterable[Learned | None]) -> list[Learned]:
    """Return the usable proposals, of those with the same words the first."""
    pool, found = Pool(), []
    for candidate in candidates:
        if candidate is not None and candidate.instruction not in pool:
            pool.add(candidate.instruction)
            found.append(candidate)
    return found


def brief(text: str | None) -> str:
    """Return what an optimizer wrote for another request, cut where it is longer than anything it was asked for."""
    return (text or "")[: 4 * LONGEST]


def _read(
    run: Run, text: Any, parent: Learned, tried: Collection[str], tag: str, again: bool
) -> tuple[Learned | None, str]:
    """Return the candidate, or why there is none; an answer that never came is not repaired.

    `again`: whether the parent's own text will do.
    """
    if text is None:
        return None, ""
    prompt = extract(conclusion(text, tag), tag)
    if not prompt:
        return None, "it held no prompt."
    if declines(prompt):
        return None, REFUSED
    if torn(prompt, tag) and not torn(parent.instruction, tag):
        return None, "its tags are broken."
    needed = placeholders(parent.instruction, [f.name for f in parent.signature.fields])
    lost = [name for name in needed if "{" + name + "}" not in prompt]
    if lost:
        return None, "it must keep " + ", ".join("{" + name + "}" for name in lost) + ", where the input is put in."
    if prompt in tried or (not again and normal(prompt) == normal(parent.instruction)):
        note = tried.note(prompt) if isinstance(tried, Pool) else ""
        return None, f"it repeats a prompt that was tried before{f'; {note}' if note else ''}."
    if (length := tokens(prompt)) > LONGEST:
        return None, f"{TOO_LONG} ({length} tokens, {run.max_prompt_tokens or LONGEST} are allowed)."
    candidate = parent.with_instruction(prompt)
    if not run.fits(candidate):
        length = run.model().length(candidate).tokens
        return None, f"{TOO_LONG} ({length} tokens, {run.max_prompt_tokens} are allowed)."
    return candidate, ""
