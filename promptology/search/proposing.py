"""Proposals: asking a model for another prompt, reading what it says, and refusing what cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from promptology.prompts.learned import Learned
from promptology.prompts.parsing import conclusion, extract
from promptology.prompts.render import placeholders
from promptology.run.engine import Run

REPAIR = """Your last reply could not be used: {reason}

{request}

Reply again. Put the complete prompt between <prompt> and </prompt>, and nothing else inside them."""
TOO_LONG = "it is too long"


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
) -> list[Learned | None]:
    """Ask for one prompt per request and return the candidates; None where nothing usable came, after one repair.

    `parent`: what the proposals are made from, one prompt for all requests or one for each. A proposal is usable when
    it is not empty, keeps its parent's input placeholders, is no longer than the run allows and neither in `known`
    (normalised text) nor a parent. Each request is a fresh sample. A method that drops proposals instead of asking
    again gives `keep`: it gets the text of each usable one in turn, and decides in place of `known`.
    """
    parents = [parent] * len(requests) if isinstance(parent, Learned) else list(parent)
    seen = set() if keep else {normal(text) for text in [*known, *(p.instruction for p in parents)]}
    texts = run.model(role).generate(list(requests), temperature=temperature, max_tokens=1024, fresh=True)
    candidates: list[Learned | None] = []
    broken: dict[int, str] = {}
    for n, text in enumerate(texts):
        candidate, reason = _read(run, text, parents[n], seen, tag)
        candidates.append(candidate)
        if reason:
            broken[n] = reason
    if broken:
        again = [REPAIR.format(reason=reason, request=requests[n]) for n, reason in broken.items()]
        repaired = run.model(role).generate(again, temperature=temperature, max_tokens=1024, fresh=True)
        for n, text in zip(broken, repaired, strict=True):
            candidates[n], reason = _read(run, text, parents[n], seen, tag)
            run.log("repair", reason=broken[n], mended=not reason)
            run.tally["too long"] += reason.startswith(TOO_LONG)
    if keep:
        candidates = [c if c is not None and keep(c.instruction) else None for c in candidates]
    for candidate, made_from in zip(candidates, parents, strict=True):
        if candidate is not None:
            run.lineage.born(candidate, made_from)
    unanswered = sum(text is None for text in texts)
    run.tally.update(proposals=len(candidates), unanswered=unanswered, usable=sum(c is not None for c in candidates))
    return candidates


def distinct(candidates: Iterable[Learned | None]) -> list[Learned]:
    """Return the usable proposals, of equal texts (normalised) the first."""
    first: dict[str, Learned] = {}
    for candidate in candidates:
        if candidate is not None:
            first.setdefault(normal(candidate.instruction), candidate)
    return list(first.values())


def _read(run: Run, text: Any, parent: Learned, seen: set[str], tag: str) -> tuple[Learned | None, str]:
    """Return the candidate, or why there is none; an answer that never came is not repaired."""
    if text is None:
        return None, ""
    prompt = extract(conclusion(text, tag), tag)
    if not prompt:
        return None, "it held no prompt."
    needed = placeholders(parent.instruction, [f.name for f in parent.signature.fields])
    lost = [name for name in needed if "{" + name + "}" not in prompt]
    if lost:
        return None, "it must keep " + ", ".join("{" + name + "}" for name in lost) + ", where the input is put in."
    if normal(prompt) in seen:
        return None, "it repeats a prompt that was tried before."
    candidate = parent.with_instruction(prompt)
    if not run.fits(candidate):
        length = run.model().length(candidate).tokens
        return None, f"{TOO_LONG} ({length} tokens, {run.max_prompt_tokens} are allowed)."
    return candidate, ""


def normal(text: str) -> str:
    """Return a text in the form in which two prompts are the same prompt."""
    return " ".join(text.casefold().split())
