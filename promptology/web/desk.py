"""A session as a page sees it: what a person does goes in at once, models are asked by a thread of their own.

A person's event never waits for a model. While the models are asked, events change the state that is shown, and are
told once more to the state that the models return, for `tell` is a function of state and event alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from promptology.data.edits import words
from promptology.errors import PromptologyError, UsageError
from promptology.feedback.sessions import Conversing, Event, Session, State, at, round_of
from promptology.prompts.learned import Learned
from promptology.prompts.saving import save
from promptology.run.cost import Cost
from promptology.web.asking import Models

FORMAT = 1
ELSEWHERE = "This text was changed in another window meanwhile; what you wrote here is kept."
EDITED = "You have changed the draft: “Done editing” keeps your changes, “Undo to draft” sets them aside."
GONE = "This round is not being edited any more: it was ended or dropped in another window."
CHANGED = "This preference was changed in another window meanwhile; below is how it stands now."
NEEDED: Mapping[str, tuple[str, ...]] = {
    "open": (),
    "drafted": ("draft", "used", "neighbours"),
    "edited": ("draft", "final", "cost"),
    "closed": ("draft", "final", "cost", "preference"),
}
"""What a round has at each stage, beside id, inputs and context."""


class Stale(Exception):
    """What a person did was meant for another state than the present one; its text is one line for the person."""


class Look(NamedTuple):
    """What a page shows: the state, the page's own notes in it, whether models are at work, what they could not do."""

    state: State
    notes: Mapping[str, Any]
    busy: bool
    problem: str

    def note(self, id: str) -> Mapping[str, Any]:
        """Return the page's notes on a round: `time` of its beginning, `text` being edited and its `version`."""
        return dict(self.notes["rounds"].get(id, {}))


def new_notes(fields: Sequence[str]) -> dict[str, Any]:
    """Return a page's notes for a session without rounds.

    `fields` of the task; `rounds`: see `Look.note`; `never`: preferences that are not to be used, with the rounds they
    were learned from; `charged`: what the session has cost.
    """
    return {"format": FORMAT, "fields": list(fields), "rounds": {}, "never": [], "charged": Cost().to_json()}


def taken_up(session: Session, method: Conversing, fields: Sequence[str]) -> State:
    """Return the state of a session, new or as it was left; raises UsageError where it is not one of this page."""
    state, fresh = session.load(), method.begin()
    if state is None:
        return {**fresh, "page": new_notes(fields)}
    other = "give another --session"
    if state.get("method") != fresh["method"]:
        raise UsageError(f"{session.path} is a session of {state.get('method')!r}, not of {fresh['method']!r}; {other}")
    notes = state.get("page", new_notes(fields))
    try:
        for r in state["rounds"]:
            _ = [r[name] for name in ("id", "inputs", "context", *NEEDED[r["status"]])]
        form, before = notes["format"], notes["fields"]
        _ = notes["rounds"].items(), [n["rounds"] for n in notes["never"]], Cost.from_json(notes["charged"])
        _ = [str(text) for text in state["pinned"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{session.path} is damaged ({type(error).__name__}: {error}); {other}") from None
    if form != FORMAT:
        raise UsageError(f"{session.path} has a page of format {form!r}; this version reads {FORMAT}")
    if state["rounds"] and before != list(fields):
        raise UsageError(
            f"{session.path} has texts with {', '.join(before)}, the task has {', '.join(fields)}; {other}"
        )
    return {**state, "page": {**notes, "fields": list(fields)}}


class Desk:
    """A session being worked on. `opens` makes the models, in the thread that asks them; `out`: the prompt folder."""

    def __init__(
        self, method: Conversing, session: Session, state: State, opens: Callable[[Cost], Models], out: Path
    ) -> None:
        self.method, self.session, self.out = method, session, out
        self._opens = opens
        self._state = state
        self._changed = threading.Condition()
        self._since: list[Event] = []
        self._due, self._busy, self._anew, self._ended = True, False, False, False
        self._problem = ""
        self._fault: BaseException | None = None
        self._saved: Learned | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        """Open the models and begin with what is due; raises what opening them raises."""
        with self._changed:
            self._thread.start()
            self._changed.wait_for(lambda: self._fault or not self._due)
        if self._fault:
            raise self._fault

    def close(self, patience: float = 2.0) -> None:
        """End, after an answer that comes soon."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join(patience)

    def look(self) -> Look:
        """Return what there is to be seen now."""
        with self._changed:
            return Look(self._state, self._state["page"], self._busy or self._due, self._problem)

    def wait(self, seconds: float) -> None:
        """Wait for the models, as long as this."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._busy or self._due), seconds)

    def open_round(self, id: str, inputs: Mapping[str, str], context: str) -> None:
        """Open a round; one that is there already, because a form was sent twice, stays as it is."""
        with self._changed:
            if not any(r["id"] == id for r in self._state["rounds"]):
                event = {"event": "context", "id": id, "inputs": dict(inputs), "context": context}
                self._tell([event], {id: {"time": datetime.now().astimezone().isoformat(timespec="minutes")}})

    def write(self, id: str, text: str, version: int) -> int:
        """Keep the text as it is being edited; return its new version. Raises Stale where the version is not the last.

        The same text sent again is no conflict: the answer to the first try may have been lost.
        """
        with self._changed:
            note = self._checked(id, text, version)
            if text != note.get("text"):
                note = {**note, "text": text, "version": note.get("version", 0) + 1}
                self._keep(self._state, {id: note})
            return int(note.get("version", 0))

    def finish(self, id: str, text: str, version: int) -> None:
        """End a round with a text; raises Stale as `write` does. A form that was sent twice is no matter."""
        with self._changed:
            if any(r["id"] == id and r.get("final") == text for r in self._state["rounds"]):
                return
            self._checked(id, text, version)
            ended = {"text": None, "version": None, "before": None}
            self._tell([{"event": "edit", "id": id, "final": text}], {id: ended})

    def accept(self, id: str, text: str, version: int) -> None:
        """End a round with its draft as it is; raises Stale as `write` does, and where the text has other words."""
        with self._changed:
            draft = next((r["draft"] for r in self._state["rounds"] if r["id"] == id and "draft" in r), None)
            if draft is None:
                raise Stale(GONE)
            if words(text) != words(draft):
                self._checked(id, text, version)
                raise Stale(EDITED)
            self.finish(id, draft, version)

    def undo(self, id: str, text: str, version: int) -> None:
        """Go back to the draft; what was made of it is kept beside it."""
        with self._changed:
            self._keep(self._state, {id: self._set_aside(id, text, version)})

    def again(self, id: str, text: str, version: int) -> None:
        """Have the draft written anew; what was made of it is kept beside it."""
        with self._changed:
            aside = self._set_aside(id, text, version)
            self._anew = True
            self._tell([{"event": "again", "id": id}], {id: aside})

    def _set_aside(self, id: str, text: str, version: int) -> dict[str, Any]:
        note = self._checked(id, text, version)
        before = text if text.strip() and text != round_of(self._state, id)["draft"] else note.get("before")
        return {"text": None, "version": note.get("version", 0) + 1, "before": before}

    def drop(self, id: str, version: int | None = None) -> None:
        """Forget a round; one that is gone already is no matter. Raises Stale for another version of its text."""
        with self._changed:
            if any(r["id"] == id for r in self._state["rounds"]):
                if version is not None and version != self.look().note(id).get("version", 0):
                    raise Stale(ELSEWHERE)
                self._tell([{"event": "drop", "id": id}], {id: None})

    def retry(self) -> None:
        """Ask the models again for what they could not do."""
        with self._changed:
            self._anew = True
            self._wake()

    def prefer(self, ids: Sequence[str], before: str, text: str, never: bool = False) -> None:
        """Put another wording in place of a preference, empty for none; raises Stale where it is another one now.

        `never`: it can be taken back, and the same preference learned again later is not used either.
        """
        with self._changed:
            there = {r["id"]: r.get("preference") for r in at(self._state, "closed")}
            if not ids or any(there.get(id) != before for id in ids):
                raise Stale(CHANGED)
            listed = [n for n in self._state["page"]["never"] if n["text"] != before]
            some = [*listed, {"text": before, "rounds": list(ids)}] if never else listed
            self._tell([{"event": "prefer", "id": id, "preference": text} for id in ids], never=some)

    def use_again(self, text: str) -> None:
        """Take back that a preference is never to be used."""
        with self._changed:
            empty = {r["id"] for r in at(self._state, "closed") if not r["preference"]}
            rest, ids = [], list[str]()
            for entry in self._state["page"]["never"]:
                if entry["text"] == text:
                    ids += [id for id in entry["rounds"] if id in empty]
                else:
                    rest.append(entry)
            self._tell([{"event": "prefer", "id": id, "preference": text} for id in ids], never=rest)

    def pin(self, text: str, on: bool) -> None:
        """Make a preference hold everywhere, or not any more."""
        with self._changed:
            self._tell([{"event": "pin" if on else "unpin", "preference": text}])

    def _checked(self, id: str, text: str, version: int) -> dict[str, Any]:
        """Return the notes on a round that is being edited; raises Stale where the version is not the last one."""
        if not any(r["id"] == id and r["status"] == "drafted" for r in self._state["rounds"]):
            raise Stale(GONE)
        note = dict(self._state["page"]["rounds"].get(id, {}))
        if version != note.get("version", 0) and text != note.get("text"):
            raise Stale(ELSEWHERE)
        return note

    def _tell(
        self,
        events: Sequence[Event],
        notes: Mapping[str, Mapping[str, Any] | None] | None = None,
        never: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Make events part of the state, durably, and have the models do what they make due."""
        state = self._state
        for event in events:
            state = self.method.tell(state, event)
        self._keep(state, notes, never)
        self._since += events
        self._wake()

    def _keep(
        self,
        state: State,
        notes: Mapping[str, Mapping[str, Any] | None] | None = None,
        never: Sequence[Mapping[str, Any]] | None = None,
        charged: Cost | None = None,
    ) -> None:
        """Make a state the present one, once it is on the disk. `notes`: changes by round, None to forget them."""
        page = dict(self._state["page"])
        rounds = dict(page["rounds"])
        for id, changes in (notes or {}).items():
            some = {**rounds.pop(id, {}), **(changes or {})}
            if changes is not None:
                rounds[id] = {name: value for name, value in some.items() if value is not None}
        page["rounds"] = rounds
        page |= {} if never is None else {"never": list(never)}
        page |= {} if charged is None else {"charged": charged.to_json()}
        state = {**state, "page": page}
        self.session.save(state)
        self._state = state

    def _wake(self) -> None:
        self._due = True
        self._changed.notify_all()

    def _work(self) -> None:
        """Ask the models for what is due, as long as the page stands."""
        try:
            models = self._opens(Cost.from_json(self._state["page"]["charged"]))
        except BaseException as error:  # told by `start`, in the thread of the caller
            with self._changed:
                self._fault = error
                self._changed.notify_all()
            return
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._due or self._ended)
                if self._ended:
                    break
                anew, before = self._anew, self._state
                self._due, self._anew, self._busy, self._since = False, False, True, []
                self._changed.notify_all()
            found, problem = models.ask(before, anew)
            with self._changed:
                self._problem = self._settled(models, found) or problem
                self._busy = False
                self._changed.notify_all()
        models.close()

    def _settled(self, models: Models, found: State) -> str:
        """Take in what the models found, with what the person did meanwhile; return in words what was not possible."""
        try:
            for event in self._since:
                found = self.method.tell(found, event)
            unwanted = {entry["text"] for entry in self._state["page"]["never"]}
            for r in at(found, "closed"):
                if r["preference"] in unwanted and r.get("by") != "person":
                    found = self.method.tell(found, {"event": "prefer", "id": r["id"], "preference": ""})
            self._keep(found, charged=models.charged)
            self._save(models.learned(found))
            return ""
        except PromptologyError as error:
            return f"{str(error)[:1].upper()}{str(error)[1:]}."

    def _save(self, learned: Learned) -> None:
        """Write the prompt folder where something was learned since it was written."""
        if self._saved is None and not (at(self._state, "closed") or self._state["pinned"] or self.out.exists()):
            return
        if self._saved is None or not learned.same_as(self._saved):
            save(learned, self.out)
            self._saved = learned
