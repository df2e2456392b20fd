"""The desk: events go in at once, also while models are at work; nothing is lost, and what is stale is said."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

import promptology as pt
from promptology.data.items import Signature
from promptology.errors import UsageError
from promptology.feedback.sessions import Session, at, begun, changed, round_of, told
from promptology.methods.people.cipher import CIPHER
from promptology.models.simulated.styles import SimulatedWriter
from promptology.prompts.memory import Memory
from promptology.run.store import memory_store
from promptology.testing.fixtures import HashingEncoder
from promptology.web.asking import Models, asking
from promptology.web.desk import CHANGED, EDITED, ELSEWHERE, GONE, Desk, Stale, new_notes, taken_up


class Writer(SimulatedWriter):
    """A writer that can be held up, and that answers nothing where it is told so."""

    def __init__(self):
        super().__init__(error=0.0)
        self.free = threading.Event()
        self.free.set()
        self.asked = threading.Event()
        self.empty = False

    def reply(self, messages, seed=None, temperature=0.0):
        self.asked.set()
        assert self.free.wait(20)
        return "" if self.empty else super().reply(messages, seed, temperature)


class Open:
    """A desk on a session of its own."""

    def __init__(self, folder, budget="1000calls", **fields):
        self.writer, self.method = Writer(), CIPHER(**fields)
        task = pt.Task(signature=Signature(instruction="Write."), name="letters")
        what = asking(task, self.method, self.writer, {"encoder": HashingEncoder()}, budget, None)
        self.session, self.out = Session(folder / "s.json"), folder / "prompt"
        state = taken_up(self.session, self.method, ["text"])
        self.desk = Desk(self.method, self.session, state, lambda charged: Models(what, charged), self.out)
        self.desk.start()

    def draft(self, text, id):
        self.desk.open_round(id, {"text": text}, text)
        return self.drafted(id)

    def drafted(self, id):
        self.desk.wait(20)
        return self.round(id)["draft"]

    def round(self, id):
        return round_of(self.desk.look().state, id)

    def finish(self, id, text, version=0):
        self.desk.finish(id, text, version)
        self.desk.wait(20)


@pytest.fixture
def opened(tmp_path):
    made = []

    def make(**fields):
        made.append(Open(tmp_path, **fields))
        return made[-1]

    yield make
    for one in made:
        one.writer.free.set()
        one.desk.close(20)


def test_an_edit_becomes_a_preference_of_similar_texts_and_a_prompt_folder(opened):
    one = opened()
    assert not one.out.exists()
    draft = one.draft("parcel late voucher", "a")
    one.finish("a", draft.lower())
    assert one.round("a")["preference"] == "lower case, at most 12 words"
    assert one.draft("parcel late again", "b") == "parcel late again."
    assert one.round("b")["used"] == "lower case, at most 12 words"
    assert [id for id, _ in one.round("b")["neighbours"]] == ["a"]
    learned = pt.load(one.out)
    assert [note.id for note in learned.part(Memory).notes] == ["a"]
    assert one.session.load() == one.desk.look().state


def test_what_a_person_does_while_models_work_is_kept(opened):
    one = opened()
    draft = one.draft("parcel late voucher", "a")
    one.draft("train strike refund", "b")
    one.writer.free.clear()
    one.writer.asked.clear()
    one.desk.finish("a", draft.lower(), 0)
    assert one.writer.asked.wait(20)  # what it says is being found out, and that is held up
    one.desk.open_round("c", {"text": "rain"}, "rain")
    one.desk.pin("kind", True)
    assert one.desk.write("b", "My own words", 0) == 1
    one.desk.drop("b")
    look = one.desk.look()
    assert look.busy and [r["status"] for r in look.state["rounds"]] == ["edited", "open"]
    assert one.session.load() == look.state  # durable before any model has answered
    one.writer.free.set()
    assert one.drafted("c")
    state = one.desk.look().state
    assert [r["id"] for r in state["rounds"]] == ["a", "c"] and state["pinned"] == ["kind"]
    assert one.round("a")["status"] == "closed" and one.round("c")["used"] == "kind; lower case, at most 12 words"
    assert one.session.load() == state


def test_texts_have_versions_and_the_same_text_is_no_conflict(opened):
    one = opened()
    draft = one.draft("parcel late voucher", "a")
    assert one.desk.write("a", "first", 0) == 1
    assert one.desk.write("a", "first", 0) == 1  # the answer was lost, it is sent again
    with pytest.raises(Stale, match=ELSEWHERE[:30]):
        one.desk.write("a", "second", 0)
    for late in (one.desk.finish, one.desk.accept, one.desk.again, one.desk.undo):
        with pytest.raises(Stale, match=ELSEWHERE[:30]):
            late("a", "second", 0)
    one.desk.undo("a", "first", 1)
    note = one.desk.look().note("a")
    assert note["before"] == "first" and "text" not in note and note["version"] == 2
    with pytest.raises(Stale, match=EDITED[:20]):
        one.desk.accept("a", f"{draft} More.", 2)
    with pytest.raises(Stale, match=ELSEWHERE[:30]):
        one.desk.drop("a", 1)
    for _ in range(2):  # pressed twice
        one.desk.accept("a", f" {draft}\n", 2)
        one.desk.wait(20)
    assert one.round("a")["final"] == draft and one.round("a")["accepted"]
    with pytest.raises(Stale, match=GONE[:30]):
        one.desk.write("a", "late", 2)
    assert set(one.desk.look().note("a")) == {"time"}


def test_a_draft_written_again_follows_what_was_changed_since(opened):
    one = opened()
    one.finish("a", one.draft("parcel late voucher", "a").lower())
    assert one.draft("parcel late again", "b") == "parcel late again."
    one.desk.prefer(["a"], "lower case, at most 12 words", "a greeting")
    one.desk.again("b", "what I typed", 0)
    assert one.drafted("b").startswith("Hello there,") and one.desk.look().note("b")["before"] == "what I typed"
    with pytest.raises(Stale, match=CHANGED[:30]):
        one.desk.prefer(["a"], "lower case, at most 12 words", "short")


def test_what_is_never_to_be_used_stays_away_until_it_is_taken_back(opened):
    one = opened()
    phrase = "lower case, at most 12 words"
    one.finish("a", one.draft("parcel late voucher", "a").lower())
    one.desk.prefer(["a"], phrase, "", never=True)
    one.desk.wait(20)
    assert one.draft("parcel late again", "b").startswith("Parcel")
    one.finish("b", one.round("b")["draft"].lower())  # it says the same once more
    assert one.round("b")["preference"] == ""
    one.desk.use_again(phrase)
    assert [one.round(id)["preference"] for id in "ab"] == [phrase, ""]
    assert one.desk.look().notes["never"] == []


def test_an_empty_draft_leaves_the_round_open_and_is_asked_for_again(opened):
    one = opened()
    one.writer.empty = True
    one.desk.open_round("a", {"text": "rain"}, "rain")
    one.desk.wait(20)
    assert one.round("a")["status"] == "open" and one.desk.look().problem == "The model gave an empty draft."
    one.writer.empty = False
    one.desk.retry()  # the empty answer is stored, and must not be found again
    assert one.drafted("a") == "Rain." and one.desk.look().problem == ""


def test_the_budget_is_for_the_session_and_its_end_is_one_line(opened, tmp_path):
    one = opened(budget="2calls")
    one.finish("a", one.draft("parcel late voucher", "a").lower())
    one.desk.open_round("b", {"text": "rain"}, "rain")
    one.desk.wait(20)
    assert one.desk.look().problem.startswith("The budget of 2calls is used up.")
    assert one.round("a")["status"] == "closed" and one.round("b")["status"] == "open"
    one.desk.close(20)
    again = opened(budget="2calls")  # the same session in another process has no more
    again.desk.wait(20)
    assert again.round("b")["status"] == "open" and again.desk.look().notes["charged"]["calls"] == 2
    again.desk.close(20)
    more = opened(budget="3calls")
    assert more.drafted("b") == "rain."


def test_a_state_that_cannot_be_written_is_not_taken_in(opened, monkeypatch):
    one = opened()
    one.draft("rain", "a")
    before = one.desk.look().state

    def full(state):
        raise UsageError("cannot write s.json: No space left on device")

    monkeypatch.setattr(one.session, "save", full)
    for act in (lambda: one.desk.write("a", "x", 0), lambda: one.desk.finish("a", "x", 0), lambda: one.desk.drop("a")):
        with pytest.raises(UsageError, match="No space"):
            act()
    assert one.desk.look().state == before


def test_models_that_cannot_be_opened_are_told_to_whoever_starts(tmp_path):
    def refuse(charged):
        raise UsageError("no store")

    method, session = CIPHER(), Session(tmp_path / "s.json")
    desk = Desk(method, session, taken_up(session, method, ["text"]), refuse, tmp_path / "prompt")
    with pytest.raises(UsageError, match="no store"):
        desk.start()


DRAFTED = {"id": "a", "inputs": {}, "context": "", "status": "drafted", "draft": "x", "used": "", "neighbours": []}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 7}, "is a session of format 7; this version reads 1"),
        ({"method": "other"}, "is a session of 'other', not of 'cipher'"),
        ({"rounds": [{"id": "a"}]}, r"is damaged \(KeyError"),
        ({"rounds": [{**DRAFTED, "status": "lost"}]}, r"is damaged \(KeyError: 'lost'"),
        ({"rounds": 3}, "is damaged"),
        ({"page": {"format": 1}}, "is damaged"),
        ({"page": {**new_notes(["text"]), "format": 2}}, "has a page of format 2"),
        ({"page": new_notes(["notes", "tone"]), "rounds": [DRAFTED]}, "has texts with notes, tone, the task has text"),
    ],
)
def test_another_or_a_damaged_session_is_one_line_and_stays(tmp_path, changes, said):
    session, method = Session(tmp_path / "s.json"), CIPHER()
    session.save({**method.begin(), "page": new_notes(["text"]), **changes})
    before = session.path.read_bytes()
    with pytest.raises(UsageError, match=said):
        taken_up(session, method, ["text"])
    assert session.path.read_bytes() == before


@dataclass(frozen=True)
class Shouting:
    """Drafts in capitals and learns nothing: what a page needs of a method, and no more."""

    card = SimpleNamespace(slug="shouting", needs={"model": ("generates",)}, optional={})

    def begin(self):
        return begun("shouting")

    def tell(self, state, event):
        return told(state, event)

    def ask(self, run, state):
        for r in at(state, "open"):
            (draft,) = run.model().generate([r["context"].upper()])
            state = changed(state, r["id"], {"draft": draft, "used": "", "neighbours": [], "status": "drafted"})
        for r in at(state, "edited"):
            state = changed(state, r["id"], {"preference": "capitals", "status": "closed"})
        return state

    def learned(self, run, state):
        return run.start


def test_any_method_of_this_form_can_stand_behind_a_page(tmp_path):
    method, session = Shouting(), Session(tmp_path / "s.json")
    task = pt.Task(signature=Signature(), name="t")
    what = asking(task, method, pt.model(lambda prompt: prompt), {}, None, None)
    state = taken_up(session, method, ["text"])
    desk = Desk(method, session, state, lambda charged: Models(what, charged), tmp_path / "prompt")
    desk.start()
    try:
        desk.open_round("a", {"text": "rain"}, "rain")
        desk.wait(20)
        desk.finish("a", "RAIN!", 0)
        desk.wait(20)
        (r,) = desk.look().state["rounds"]
        assert (r["draft"], r["status"], r["preference"]) == ("RAIN", "closed", "capitals")
    finally:
        desk.close(20)


def test_a_session_of_the_library_alone_is_taken_up(tmp_path):
    session, method = Session(tmp_path / "s.json"), CIPHER()
    session.save({**method.begin(), "rounds": [DRAFTED]})
    state = taken_up(session, method, ["text"])
    assert [r["id"] for r in at(state, "drafted")] == ["a"] and state["page"] == new_notes(["text"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": pt.SPO()}, "'spo' does not learn from a person at a page"),
        ({"task": pt.Task([("a", "x"), ("b", "y"), ("c", "x")] * 4)}, "does not turn texts into a text"),
        ({"budget": "10m"}, "a page waits for a person"),
        ({"budget": "1usd"}, "needs the price of model"),
    ],
)
def test_what_a_page_cannot_ask_is_refused(given, said):
    task = given.get("task", pt.Task(signature=Signature(), name="t"))
    helpers = {} if "method" in given else {"encoder": HashingEncoder()}
    with pytest.raises(UsageError, match=said):
        asking(task, given.get("method", CIPHER()), Writer(), helpers, given.get("budget"), memory_store())
