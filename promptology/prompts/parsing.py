"""Reading model output, tolerantly: answers into classes or text, proposals into prompts."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

_FENCE = re.compile(r"```[\w-]*\n?(.*?)```", re.DOTALL)
_ANSWER_LINE = re.compile(r"^\W*(?:final )?(?:answer|label|class|category|output)\W*\s*[:=]\s*(.+?)\s*$", re.I | re.M)
THOUGHTS = ("analysis", "modification")
_DECLINES = re.compile(
    r"\W*(?:(?:(?:i'm |i am )?(?:so |very )?sorry|unfortunately|as an? (?:ai|assistant|language model)\b[^,.]*)"
    r"[\s,.;:]*(?:but )?)*(?:i|i'm|i am) (?:cannot|can't|can not|won't|will not|unable to|not able to)\b"
)
_CLOSING = re.compile(r"</\s*([^<>\s]+)\s*>\W*\Z")
_EDGES = " \t\r\n\"'`*_.,;:!()[]{}<>#-"


def tagged(text: str, tag: str) -> str | None:
    """Return the content of the last complete <tag>...</tag>, or of an opened one that was never closed."""
    name = re.escape(tag)
    found = re.findall(rf"<{name}>(.*?)</{name}>", text, re.DOTALL | re.I)
    if found:
        return str(found[-1]).strip()
    opened = re.search(rf"<{name}>(.*)\Z", text, re.DOTALL | re.I)
    return opened[1].strip() if opened else None


def conclusion(text: str, tag: str) -> str:
    """Return a reply without the sections in which the model thinks aloud before its <tag>.

    There it may quote what it was shown, tags and all. A reply that breaks off in such a section concludes nothing.
    """
    for name in THOUGHTS:
        opened = re.search(rf"<{name}>", text, re.I)
        answered = re.search(rf"<{re.escape(tag)}>", text, re.I)
        if not opened or (answered and answered.start() < opened.start()):
            continue
        closed = re.search(rf"</{name}>", text[opened.end() :], re.I)
        if closed:
            text = text[: opened.start()] + text[opened.end() + closed.end() :]
        elif not text.rstrip().casefold().endswith(f"</{tag.casefold()}>"):
            return text[: opened.start()]
    return text


def extract(text: str, tag: str) -> str:
    """Return a named field of a model's output: tags, else fences, else JSON, else the whole text; may be empty.

    JSON inside a fence is read as JSON.
    """
    if (value := tagged(text, tag)) is not None:
        return value
    fences = _FENCE.findall(text)
    body = str(fences[-1]) if fences else text
    as_json = _json_field(body, tag)
    return (body if as_json is None else as_json).strip()


def declines(text: str) -> bool:
    """Whether a text that should be a prompt begins as a refusal does: "I cannot ...", "I'm sorry, but I can't ...".

    A rule of thumb in English and nothing more: any other refusal is taken for a prompt, and its scores tell.
    """
    return bool(_DECLINES.match(text.replace("’", "'").casefold()))


def torn(text: str, tag: str) -> bool:
    """Whether a text still holds a piece of its own tag, or ends in the end of something that never began."""
    if re.search(rf"</?\s*{re.escape(tag)}\b", text, re.I):
        return True
    closing = _CLOSING.search(text)
    return closing is not None and not re.search(rf"<\s*{re.escape(closing[1])}\b", text, re.I)


def _json_field(text: str, name: str) -> str | None:
    match = re.search(r"\{.*\}", text, re.DOTALL)
    if not match:
        return None
    try:
        doc = json.loads(match[0])
    except (ValueError, RecursionError):
        return None
    value = json_fields(doc).get(name.casefold()) if isinstance(doc, dict) else None
    return value if isinstance(value, str) else None


def json_fields(doc: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a JSON object by their names in small letters."""
    return {str(k).casefold(): v for k, v in doc.items()}


def parse_class(text: str, names: Sequence[str]) -> str | None:
    """Return the class that an answer names, None where it names none or leaves it open.

    In this order: the whole answer; a tagged, JSON or "Answer:" value; the last line; the only class that is
    mentioned anywhere.
    """
    exact = {name.casefold(): name for name in names}
    if (found := exact.get(text.strip().casefold())) is not None:
        return found
    by_name = {normal_name(name): name for name in names}
    candidates: list[Any] = [text, tagged(text, "answer"), tagged(text, "label"), _json_any(text)]
    candidates += [line for line in reversed(_ANSWER_LINE.findall(text))][:1]
    for candidate in candidates:
        if isinstance(candidate, str) and (found := by_name.get(normal_name(candidate))):
            return found
    lines = [line for line in text.splitlines() if line.strip()]
    for part in [*candidates[1:], lines[-1] if lines else "", text]:
        if isinstance(part, str):
            names_there = mentioned(part, names)
            if len(names_there) == 1:
                return names_there[0]
    return None


def _json_any(text: str) -> str | None:
    for name in ("label", "class", "category", "answer", "output"):
        if (value := _json_field(text, name)) is not None:
            return value
    return None


def normal_name(text: str) -> str:
    """Return a class name without case, signs around it, and dashes or underscores for spaces."""
    return " ".join(text.casefold().strip(_EDGES).replace("_", " ").replace("-", " ").split()) or text.strip()


def mentioned(text: str, names: Sequence[str]) -> list[str]:
    """Return the classes that occur as whole words; a name inside a longer matched name does not count."""
    rest = f" {text.casefold()} "
    found: list[str] = []
    for name in sorted(names, key=len, reverse=True):
        pattern = rf"(?<!\w){re.escape(name.casefold())}(?!\w)"
        if re.search(pattern, rest):
            found.append(name)
            rest = re.sub(pattern, " \0 ", rest)
    return found


def parse_text(text: str) -> str:
    """Return the answer of a free-text task: an <answer> tag, else an "Answer:" line, else the whole text."""
    if (value := tagged(text, "answer")) is not None:
        return value
    found = re.findall(r"^\W*(?:final )?answer\W*\s*:\s*(.+?)\s*$", text, re.I | re.M)
    return str(found[-1]) if found else text.strip()
