"""What the pages say of a state: the preferences a draft was written with, all that were learned, the rounds so far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from promptology.data.edits import edits, words
from promptology.data.items import Signature
from promptology.evidence.lineages import Piece, diff_of
from promptology.evidence.wording import visible
from promptology.feedback.sessions import State, at, round_of
from promptology.web.desk import Look
from promptology.web.drawing import WINDOW, curve

LIVE, LATER = 6_000, 8_000
"""Characters up to which differences are shown, while somebody writes and afterwards; longer texts take too long."""
COUNTED = 60_000
"""Characters up to which changed words are counted while somebody writes."""
SHOWN = 15
"""Rounds on a page of the history."""
SNIPPET = 90
Round = Mapping[str, Any]


class Source(NamedTuple):
    """A text that a preference was learned from, with its cosine to the text at hand where there is one."""

    id: str
    snippet: str
    cosine: float | None
    cost: int


class Preference(NamedTuple):
    """A preference, the rounds it was learned from, and how drafts fared that it was at hand for.

    `used`: so many drafts; `cost`: words changed in them on average, None where none is finished.
    """

    text: str
    sources: list[Source]
    pinned: bool
    used: int = 0
    cost: float | None = None

    @property
    def ids(self) -> str:
        """The rounds, as a form sends them."""
        return " ".join(source.id for source in self.sources)


class Past(NamedTuple):
    """A finished round in the history."""

    number: int
    round: Round
    time: str
    snippet: str
    pieces: list[Piece] | None


def snippet(text: str) -> str:
    """Return the beginning of a text as one line."""
    line = " ".join(text[: 4 * SNIPPET].split())
    return line if len(line) <= SNIPPET else f"{line[:SNIPPET].rstrip()} …"


def source(r: Round, cosine: float | None = None) -> Source:
    """Return what is shown of a finished round that something was learned from."""
    return Source(r["id"], snippet(r["context"]), cosine, int(r["cost"]))


def assumed(state: State, r: Round) -> list[Preference]:
    """Return the preferences that a draft was written with: those of similar texts, the nearest first, as they are now.

    Similar texts that have none are left out.
    """
    closed = {other["id"]: other for other in at(state, "closed")}
    near = [(closed[id], cosine) for id, cosine in r["neighbours"] if id in closed]
    return _grouped(((other["preference"], source(other, cosine)) for other, cosine in near), state["pinned"])


def preferences(state: State, query: str = "") -> list[Preference]:
    """Return all preferences that were learned, newest first, or those that hold these words."""
    rounds = state["rounds"]
    found = _grouped(((r["preference"], source(r)) for r in reversed(at(state, "closed"))), state["pinned"])
    used: dict[str, list[Round]] = {}
    for r in rounds:
        for id, _ in r.get("neighbours", ()):
            used.setdefault(id, []).append(r)
    return [
        _with_use(preference, [r for one in preference.sources for r in used.get(one.id, ())])
        for preference in found
        if all(word in preference.text.casefold() for word in query.casefold().split())
    ]


def _grouped(pairs: Iterable[tuple[str, Source]], pinned: Sequence[str]) -> list[Preference]:
    by_text: dict[str, list[Source]] = {}
    for text, one in pairs:
        if text:
            by_text.setdefault(text, []).append(one)
    return [Preference(text, sources, text in pinned) for text, sources in by_text.items()]


def _with_use(preference: Preference, drafts: Sequence[Round]) -> Preference:
    distinct = {r["id"]: r for r in drafts}.values()
    costs = [int(r["cost"]) for r in distinct if "cost" in r]
    return preference._replace(used=len(distinct), cost=sum(costs) / len(costs) if costs else None)


def unfinished(state: State) -> list[Round]:
    """Return the rounds that wait for a draft or for the person, newest first."""
    return [r for r in reversed(state["rounds"]) if r["status"] in ("open", "drafted")]


def finished(state: State) -> list[Round]:
    """Return the rounds that the person ended, in order."""
    return [r for r in state["rounds"] if r["status"] in ("edited", "closed")]


def average(state: State) -> float | None:
    """Return the words changed in the last rounds on average."""
    costs = [int(r["cost"]) for r in finished(state)[-WINDOW:]]
    return sum(costs) / len(costs) if costs else None


def writing(look: Look, id: str) -> dict[str, Any]:
    """Return what the page of a round shows while it is open or drafted."""
    r = round_of(look.state, id)
    note = look.note(id)
    draft = r.get("draft", "")
    text = str(note.get("text", draft))
    return {
        "round": r,
        "draft": draft,
        "text": text,
        "version": int(note.get("version", 0)),
        "before": note.get("before"),
        "cost": counted(draft, text),
        "average": average(look.state),
        "pieces": differences(draft, text, LIVE),
        "assumed": assumed(look.state, r) if r["status"] == "drafted" else [],
        "empty": sum(not other["preference"] for other in _near(look.state, r)),
        "pinned": look.state["pinned"],
        "unseen": hidden(text),
    }


def _near(state: State, r: Round) -> list[Round]:
    near = {id for id, _ in r.get("neighbours", ())}
    return [other for other in at(state, "closed") if other["id"] in near]


def counted(draft: str, text: str) -> int | None:
    """Return the words changed, None where counting would take too long for a text that is being written."""
    return edits(draft, text) if max(len(draft), len(text)) <= COUNTED else None


def hidden(text: str) -> str:
    """Return the characters of a text that are not seen in a field, such as marks of direction, as escapes."""
    return " ".join(sorted({shown for c in text[:COUNTED] if (shown := visible(c)) != c}))


def history(look: Look, before: int | None) -> dict[str, Any]:
    """Return what the history shows: figures, the curve, and finished rounds up to a number, newest first."""
    past = finished(look.state)
    costs = [int(r["cost"]) for r in past]
    last = len(past) if before is None else max(0, min(before, len(past)))
    first = max(0, last - SHOWN)
    shown = [_past(look, n + 1, past[n]) for n in reversed(range(first, last))]
    lengths = [max(1, len(words(r["draft"][:COUNTED]))) for r in past[-WINDOW:]]
    return {
        "rounds": len(past),
        "accepted": sum(bool(r["accepted"]) for r in past),
        "average": average(look.state),
        "per_hundred": 100 * sum(costs[-WINDOW:]) / sum(lengths) if lengths else None,
        "curve": curve(costs),
        "past": shown,
        "older": first or None,
        "newer": last < len(past),
        "window": WINDOW,
    }


def _past(look: Look, number: int, r: Round) -> Past:
    time = str(look.note(r["id"]).get("time", ""))[:16].replace("T", " ")
    return Past(number, r, time, snippet(r["context"]), differences(r["draft"], r["final"]))


def differences(draft: str, text: str, most: int = LATER) -> list[Piece] | None:
    """Return the differences between two texts, None where they are too long or have little in common."""
    return _differences(draft, text) if max(len(draft), len(text)) <= most else None


@lru_cache(256)
def _differences(draft: str, text: str) -> list[Piece] | None:
    return diff_of(draft, text)


def learned_line(look: Look, id: str) -> str:
    """Return in words what the end of a round has led to."""
    r = next((r for r in look.state["rounds"] if r["id"] == id), None)
    if r is None or r["status"] not in ("edited", "closed"):
        return ""
    if r["status"] == "edited":
        return "Finding out what your changes say …" if look.busy else look.problem
    if r["accepted"]:
        return "Accepted as it was: what it was written with is confirmed."
    return (
        f"Learned from your changes: “{visible(r['preference'])}”" if r["preference"] else "Nothing to learn from it."
    )


def label_of(field: str) -> str:
    """Return how a field is called on the page."""
    return field.replace("_", " ").strip().capitalize() or field


def fields_of(signature: Signature, given: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return name, label and present value of each input."""
    return [(f.name, label_of(f.name), given.get(f.name, "")) for f in signature.fields]
