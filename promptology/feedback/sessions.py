"""Where a conversation with a person stands: plain JSON, changed by events alone, in a file that survives a kill.

A method driven by a person is a reducer: `tell(state, event)` takes in what the person did and needs no model, so that
nothing a person did waits for one; `ask(run, state)` lets the models do whatever is due. Both return a new state. The
state of writing rounds, which follows, is that of methods whose person edits drafts.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from promptology.data.edits import edits
from promptology.errors import UsageError
from promptology.models.access import Vectors
from promptology.prompts.learned import Learned
from promptology.prompts.memory import Memory, Note, unpinned
from promptology.run.engine import Run

FORMAT = 1
State = Mapping[str, Any]
Event = Mapping[str, Any]


@runtime_checkable
class Conversing(Protocol):
    """A method driven by a person."""

    def begin(self) -> State:
        """Return the state before the first event."""
        ...

    def tell(self, state: State, event: Event) -> State:
        """Return the state after an event."""
        ...

    def ask(self, run: Run, state: State) -> State:
        """Return the state after the models did what was due."""
        ...

    def learned(self, run: Run, state: State) -> Learned:
        """Return what was learned so far as a prompt."""
        ...


class Session:
    """A state in a file, written whole or not at all."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def load(self) -> State | None:
        """Return the state, None where there is no file yet; raises UsageError for what this version cannot read."""
        try:
            state = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            raise UsageError(f"{self.path} cannot be read as a session: {error}") from None
        found = state.get("format") if isinstance(state, dict) else None
        if found != FORMAT:
            raise UsageError(f"{self.path} is a session of format {found!r}; this version reads {FORMAT}")
        return dict(state)

    def save(self, state: State) -> None:
        """Make a state durable; raises UsageError where it cannot be written, and then the old one stands."""
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # What a person wrote is for nobody else on this machine to read.
            with open(draft, "w", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                json.dump(state, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, self.path)
        except OSError as error:
            raise UsageError(f"cannot write {self.path}: {error.strerror}") from None
        finally:
            with suppress(OSError):
                draft.unlink()


def begun(method: str) -> State:
    """Return a state without rounds.

    `rounds`, in order, each with `id`, `inputs`, `context` and `status`: open (to be drafted), drafted (with `draft`,
    the preference `used` in it and `neighbours`, pairs of a round's id and a cosine), edited (to infer from; with
    `final`, `cost` and `accepted`), closed (with `preference`); `pinned`: preferences that the person wants everywhere;
    `encoder`: whose vectors there are.
    """
    return {"format": FORMAT, "method": method, "encoder": "", "pinned": [], "rounds": []}


def told(state: State, event: Event, tolerance: int = 0) -> State:
    """Return the state after something that a person did.

    Events, by their "event": "context" (`id`, `inputs`, `context`) opens a round; "edit" (`id`, `final`) ends it, with
    at most `tolerance` word edits as if there were none: then the preference that was used is stored as it is, less
    what is pinned; "again" (`id`) has a draft written anew; "drop" (`id`) forgets a round; "prefer" (`id`,
    `preference`) puts the person's own wording in place of what was learned from a round, empty to never use it; "pin"
    and "unpin" (`preference`). Raises UsageError for any other, and for a round that is not there or not at that stage.
    """
    kind = event.get("event")
    if kind == "context":
        if any(r["id"] == event["id"] for r in state["rounds"]):
            raise UsageError(f"round {event['id']!r} is there already")
        opened = {"id": event["id"], "inputs": dict(event["inputs"]), "context": event["context"], "status": "open"}
        return {**state, "rounds": [*state["rounds"], opened]}
    if kind == "edit":
        ended = round_of(state, event["id"], "drafted")
        cost = edits(ended["draft"], event["final"])
        accepted = cost <= tolerance
        changes: dict[str, Any] = {"final": event["final"], "cost": cost, "accepted": accepted}
        used = unpinned(ended["used"], state["pinned"])
        changes |= {"status": "closed", "preference": used} if accepted else {"status": "edited"}
        return changed(state, event["id"], changes)
    if kind == "again":
        written = round_of(state, event["id"], "drafted")
        opened = {name: value for name, value in written.items() if name not in ("draft", "used", "neighbours")}
        opened["status"] = "open"
        return {**state, "rounds": [opened if r["id"] == event["id"] else r for r in state["rounds"]]}
    if kind == "drop":
        round_of(state, event["id"])
        return {**state, "rounds": [r for r in state["rounds"] if r["id"] != event["id"]]}
    if kind == "prefer":
        round_of(state, event["id"], "closed")
        return changed(state, event["id"], {"preference": event["preference"], "by": "person"})
    if kind in ("pin", "unpin"):
        rest = [text for text in state["pinned"] if text != event["preference"]]
        return {**state, "pinned": [*rest, event["preference"]] if kind == "pin" else rest}
    raise UsageError(f"a session knows no event {kind!r}; there are context, edit, again, drop, prefer, pin and unpin")


def round_of(state: State, id: str, status: str = "") -> Mapping[str, Any]:
    """Return a round; raises UsageError where it is not there, or not at this stage."""
    found = next((r for r in state["rounds"] if r["id"] == id), None)
    if found is None:
        raise UsageError(f"there is no round {id!r}")
    if status and found["status"] != status:
        raise UsageError(f"round {id!r} is {found['status']}, not {status}")
    return dict(found)


def changed(state: State, id: str, values: Mapping[str, Any]) -> State:
    """Return the state with other values in one round."""
    return {**state, "rounds": [{**r, **values} if r["id"] == id else r for r in state["rounds"]]}


def at(state: State, status: str) -> list[Mapping[str, Any]]:
    """Return the rounds at a stage, in order."""
    return [r for r in state["rounds"] if r["status"] == status]


def memory_of(state: State) -> Memory:
    """Return what was learned from the closed rounds."""
    closed = at(state, "closed")
    notes = tuple(Note(r["id"], r["context"], r["preference"], r["draft"], r["final"], r["cost"]) for r in closed)
    vectors = np.stack([unpacked(r["vector"]) for r in closed]) if closed else None
    return Memory(notes, vectors, state["encoder"], tuple(state["pinned"]))


def packed(vector: Vectors) -> str:
    """Return a vector as text: its float32 values in base 64."""
    return base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode("ascii")


def unpacked(text: str) -> Vectors:
    """Read back what `packed` wrote."""
    return np.frombuffer(base64.b64decode(text), "<f4")
