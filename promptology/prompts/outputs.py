"""Kinds of output, each from both sides: the form that a prompt asks for, a right answer in it, and its reading."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from promptology.data.items import SEPARATORS, Signature
from promptology.prompts.lists import parse_classes, parse_ranking, parse_spans
from promptology.prompts.parsing import parse_class, parse_text


def answer_form(signature: Signature) -> str:
    """Return the sentence that says how to answer; empty for free text."""
    if signature.output == "class":
        return "Answer with the name of one class only."
    if signature.output == "classes":
        how = SEPARATORS[separator(signature)]
        none = "" if _has_none(signature) else "; answer none where no class applies"
        return f"Answer with the names of all classes that apply, separated by {how}{none}."
    if signature.output == "spans":
        return (
            'Answer with a JSON list of the texts, each copied word for word from the input, such as ["...", "..."]; '
            "answer [] where there is none."
        )
    if signature.output == "ranking":
        return "Answer with the numbers of all candidates in the right order, the best first, separated by commas."
    return ""


def separator(signature: Signature) -> str:
    """Return what parts several class names: the signature's own, else the first sign that no name contains."""
    names = signature.class_names
    return signature.separator or next((s for s in SEPARATORS if not any(s in name for name in names)), "\n")


def _joiner(signature: Signature) -> str:
    parted = separator(signature)
    return parted if parted == "\n" else f"{parted} "


def choices_of(signature: Signature, before: str = "", none: bool = False) -> tuple[tuple[str, ...], str]:
    """Return the class names as they stand in an answer, and what parts them: `separator.join` makes the answer.

    `before`: a blank, where a model's tokens begin with theirs; `none`: whether no class may apply. What parts them is
    empty where an answer is one name.
    """
    names = [*signature.class_names, *(["none"] if none and not _has_none(signature) else [])]
    parted = _joiner(signature) if signature.output == "classes" else ""
    return tuple(before + name for name in names), parted.rstrip(" ") if before else parted


def _has_none(signature: Signature) -> bool:
    return any(name.casefold() == "none" for name in signature.class_names)


def answer_text(target: Any, signature: Signature, inputs: Mapping[str, Any] | None = None) -> str:
    """Return a target, or a prediction, as the answer that the form asks for; of several right texts, the first."""
    if not isinstance(target, tuple | list):
        return str(target)
    if signature.output == "classes":
        return _joiner(signature).join(target) or "none"
    if signature.output == "spans":
        return json.dumps(list(target), ensure_ascii=False)
    if signature.output == "ranking":
        place = {str(c): n for n, c in enumerate((inputs or {}).get(signature.candidates, ()), 1)}
        if place and all(c in place for c in target):
            return ", ".join(str(place[c]) for c in target)
        return json.dumps(list(target), ensure_ascii=False)
    return str(target[0]) if target else ""


def parse_answer(text: str, signature: Signature, inputs: Mapping[str, Any]) -> Any:
    """Return what an answer says in the form of a target, None where it cannot be read."""
    if signature.output == "class":
        return parse_class(text, signature.class_names)
    if signature.output == "classes":
        return parse_classes(text, signature.class_names)
    if signature.output == "spans":
        return parse_spans(text, inputs)
    if signature.output == "ranking":
        return parse_ranking(text, inputs[signature.candidates])
    return parse_text(text)
