"""The contract of a store: what every implementation of `promptology.run.store.Store` must keep.

A store of your own passes it in one test:

    def test_my_store(tmp_path):
        check_store(lambda: MyStore(tmp_path / "store"))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from promptology.errors import UsageError
from promptology.run.store import Event, Store

Make = Callable[[], Store]
_AWKWARD = ("plain", "", "naïve 漢字 🙂", "a\0b", "lone \ud800 surrogate", "quote ' \" \\ %_", "line\r\nend")
_LARGE = 3_000_000


def check_store(make: Make) -> None:
    """Raise AssertionError, saying which promise is broken, where a store does not keep the contract.

    `make` opens one and the same place anew at each call, and the place is empty at first; the check writes to it.
    """
    first, second = make(), make()
    try:
        assert first.runs() == [], "the place must be empty: this check writes to it"
        assert isinstance(first.where, str) and first.where, "`where` must name the place"
        for check in (_answers, _values, _events, _commit, _runs, _openings, _writers, _alone, _size, _delete):
            check(first, second)
    finally:
        first.close()
        second.close()
    _reopen(make)


def _key(text: str) -> bytes:
    return text.encode().ljust(16, b"\0")


def _answers(first: Store, second: Store) -> None:
    """Check that answers come back, the first one stays, and a batch of any size can be asked for."""
    assert first.answers([]) == {}, "no keys, no answers"
    first.put_answer(_key("a"), b"1")
    assert first.answers([_key("a"), _key("absent")]) == {_key("a"): b"1"}, "a store must see its own answers at once"
    first.put_answer(_key("a"), b"2")
    first.commit()
    assert first.answers([_key("a")]) == {_key("a"): b"1"}, "the first answer must win within one commit"
    first.put_answer(_key("a"), b"3")
    assert first.answers([_key("a")]) == {_key("a"): b"1"}, "a stored answer must win over one to be committed"
    first.commit()
    assert second.answers([_key("a")]) == {_key("a"): b"1"}, "the first answer must win over later commits"
    second.put_answer(_key("a"), b"4")
    second.commit()
    assert first.answers([_key("a")]) == {_key("a"): b"1"}, "the first answer must win over other connections"
    many = {_key(f"many{n}"): str(n).encode() for n in range(2500)}
    for key, body in many.items():
        first.put_answer(key, body)
    first.commit()
    assert second.answers([*many, *many]) == many, "many keys at once, repeated ones too, must be answered"


def _values(first: Store, second: Store) -> None:
    """Check that any bytes are a key and a body, of any length."""
    odd = [
        b"",
        b"\0",
        b"\0" * 16,
        b"\xff" * 16,
        bytes(range(256)),
        b"'; --",
        b"long" * 100 + b"1",
        b"long" * 100 + b"2",
    ]
    for key in odd:
        first.put_answer(key, key + b"\0body\xff")
    first.put_answer(b"empty", b"")
    first.put_answer(b"large", b"\0\xfe" * (_LARGE // 2))
    first.commit()
    found = second.answers([*odd, b"empty", b"large"])
    for key in odd:
        assert found.get(key) == key + b"\0body\xff", f"key {key[:20]!r} and its body must come back byte for byte"
    assert found.get(b"empty") == b"", "an empty body is an answer"
    assert found.get(b"large") == b"\0\xfe" * (_LARGE // 2), f"a body of {_LARGE:,} bytes must come back"


def _events(first: Store, second: Store) -> None:
    """Check that events come back by position, are replaced, and belong to their run alone."""
    assert first.events("none") == {}, "a run without events has none"
    for n, text in enumerate(_AWKWARD):
        first.put_event("texts", n, Event(_key("e"), "done", "[1]", "[0]", text))
    first.put_event("texts", 2**40, Event(b"", "stop"))
    assert first.events("texts")[0].note == "plain", "a store must see its own events at once"
    first.commit()
    found = second.events("texts")
    assert set(found) == {*range(len(_AWKWARD)), 2**40}, "events must come back by position"
    for n, text in enumerate(_AWKWARD):
        assert found[n] == Event(_key("e"), "done", "[1]", "[0]", text), f"the note {text!r} must come back as it was"
    assert found[2**40] == Event(b"", "stop"), "an event of few fields must come back"
    for state in ("sent", "done"):
        first.put_event("again", 7, Event(_key("e"), state))
    first.put_event("other", 7, Event(_key("e"), "failed"))
    first.commit()
    assert second.events("again") == {7: Event(_key("e"), "done")}, "the last event of a position must win"
    first.put_event("again", 7, Event(_key("f"), "failed", note="later"))
    assert first.events("again")[7].state == "failed", "an event must replace the one before at once"
    first.commit()
    later = {7: Event(_key("f"), "failed", note="later")}
    assert second.events("again") == later, "an event must replace the one before, over commits too"
    assert second.events("other") == {7: Event(_key("e"), "failed")}, "events of one run must not touch another's"


def _commit(first: Store, second: Store) -> None:
    """Check that what is not committed is invisible to others, and what is committed is not."""
    first.create_run("commit", {})
    first.put_answer(_key("c"), b"1")
    first.put_event("commit", 0, Event(_key("c"), "done"))
    assert second.answers([_key("c")]) == {}, "an answer must be invisible to others before commit"
    assert second.events("commit") == {}, "an event must be invisible to others before commit"
    first.commit("commit", 12.5)
    assert second.answers([_key("c")]) == {_key("c"): b"1"}, "an answer must be visible to others after commit"
    assert 0 in second.events("commit"), "an event must be visible to others after commit"
    row = second.run("commit")
    assert row is not None and row.elapsed == 12.5, "commit must store the seconds of its run"
    first.commit()
    first.commit("commit", 99.0)
    second.commit()


def _runs(first: Store, second: Store) -> None:
    """Check that runs are made once, found by a unique beginning, and keep status and result."""
    spec = {"texts": list(_AWKWARD), "n": 1.5, "none": None}
    made = first.create_run("abc1", spec)
    assert (made.id, made.spec, made.status, made.elapsed, made.result) == ("abc1", spec, "running", 0.0, None), (
        f"a new run must come back with its specification, running, at 0 seconds: {made}"
    )
    assert first.create_run("abc1", {"other": 1}).spec == spec, "a run that is there must keep its specification"
    first.create_run("abd2", {})
    first.create_run("abd", {})
    for asked, id in {"abc1": "abc1", "abc": "abc1", "abd": "abd"}.items():
        row = second.run(asked)
        assert row is not None and row.id == id, f"run {id} must be found by {asked}, its id or unique beginning"
    for asked in ("ab", "", "%", "a_c1", "ABC", "x"):
        assert second.run(asked) is None, f"{asked!r} is no unique beginning of a run id"
    second.set_status("abc1", "done", {"text": _AWKWARD[2], "ok": True})
    row = first.run("abc1")
    assert row is not None and row.status == "done", "a status must be durable at once"
    assert row.result == {"text": _AWKWARD[2], "ok": True}, "a result must come back"
    first.set_status("abc1", "running")
    row = second.run("abc1")
    assert row is not None and row.result == {"text": _AWKWARD[2], "ok": True}, (
        "a status without a result must leave the result"
    )
    times = [row.created for row in first.runs()]
    assert {"abc1", "abd2", "abd"} <= {row.id for row in first.runs()}, "all runs must be listed"
    assert times == sorted(times, reverse=True), "runs must be listed newest first"


def _openings(first: Store, second: Store) -> None:
    """Check that an opening counts runs, not repeats."""
    counts = [store.open_test("task", run) for store, run in ((first, "a"), (second, "b"), (first, "a"), (first, "c"))]
    assert counts == [1, 2, 2, 3], f"openings must count runs of a task, not repeats: {counts}"
    assert second.open_test("other task", "a") == 1, "openings belong to their task"


def _writers(first: Store, second: Store) -> None:
    """Check that two writers on different runs, with answers in common, neither block nor mix."""
    shared = [_key(f"shared{n}") for n in range(20)]
    for store, run, keys in ((first, "one", shared), (second, "two", shared[::-1])):
        for n, key in enumerate(keys):
            store.put_answer(key, run.encode())
            store.put_event(run, n, Event(key, "done", note=run))
    second.commit()
    first.commit()
    for store in (first, second):
        assert set(store.answers(shared).values()) == {b"two"}, "of two writers the first to commit must win"
        for run in ("one", "two"):
            notes = {event.note for event in store.events(run).values()}
            assert notes == {run} and len(store.events(run)) == 20, "each writer's events must be whole"


@contextmanager
def _refused(promise: str) -> Iterator[None]:
    try:
        yield
    except UsageError:
        return
    raise AssertionError(promise)


@contextmanager
def _granted(store: Store, run: str, promise: str) -> Iterator[None]:
    lock = store.alone(run)
    try:
        lock.__enter__()
    except UsageError:
        raise AssertionError(promise) from None
    with ExitStack() as stack:
        stack.push(lock)
        yield


def _alone(first: Store, second: Store) -> None:
    """Check that the lock of a run keeps all others off it, and nothing else."""
    with first.alone("run"):
        with _refused("a second connection must not get a run that is going on"), second.alone("run"):
            pass
        with _refused("the same store must not get a run twice"), first.alone("run"):
            pass
        with _granted(second, "another/run \ud800", "a lock must hold for its run only"):
            second.put_answer(_key("locked"), b"1")
            second.commit()
    free = "a lock must end with its block"
    with _granted(second, "run", free), _refused("a lock must hold for whoever takes it next"), first.alone("run"):
        pass
    try:
        with first.alone("run"):
            raise KeyError("inside")
    except KeyError:
        pass
    else:
        raise AssertionError("an error inside the lock must come out")
    with _granted(second, "run", "a lock must end with an error inside its block"):
        pass


def _size(first: Store, second: Store) -> None:
    """Check that the size grows with what is stored."""
    before = second.size()
    first.create_run("large", {})
    first.put_answer(_key("size"), b"\1" + bytes(range(256)) * (_LARGE // 256))
    first.commit()
    after = second.size()
    assert after.runs == before.runs + 1, "size must count runs"
    assert after.answers == before.answers + 1, "size must count answers"
    assert after.bytes > before.bytes > 0, "size must tell the bytes taken"


def _delete(first: Store, second: Store) -> None:
    """Check that a deleted run is gone with its events, and with those answers alone that were meant."""
    for run, keys in (("gone", "pqs"), ("stays", "qr"), ("gone too", "t")):
        first.create_run(run, {"some": "text"})
        for n, name in enumerate(keys):
            first.put_answer(_key(name), b"body")
            first.put_event(run, n, Event(_key(name), "done", "[1]", "[1]"))
    first.put_answer(_key("free"), b"of no run")
    opened = first.open_test("deleted", "gone")
    every = [_key(name) for name in ("p", "q", "r", "s", "t", "free")]
    freed = first.delete_run("gone")
    assert (freed.runs, freed.events, freed.answers) == (1, 3, 0), f"a deletion must tell what it took away: {freed}"
    assert freed.bytes > 0, "a deletion must tell the bytes that stood in it"
    assert second.run("gone too") is not None and second.run("gone") == second.run("gone too"), "one run must be gone"
    assert second.events("gone") == {}, "the events of a deleted run must be gone"
    assert len(second.answers(every)) == 6, "answers must stay where their deletion was not asked for"
    assert second.open_test("deleted", "later") == opened + 1, "openings of a deleted run must stay counted"
    assert first.delete_run("gone")[:3] == (0, 0, 0), "nothing can be deleted twice"
    first.create_run("gone", {})
    for n, name in enumerate("pqs"):
        first.put_event("gone", n, Event(_key(name), "done"))
    freed = second.delete_run("gone", answers=True)
    assert freed.answers == 0 and len(second.answers(every)) == 6, "events that were never committed cannot count"
    first.commit()
    freed = second.delete_run("gone", answers=True)
    assert freed.answers == 2, f"answers of the deleted run alone must go: {freed}"
    assert set(first.answers(every)) == {_key(name) for name in ("q", "r", "t", "free")}, "and no others"
    freed = first.delete_unused()
    assert freed.answers > 0 and freed.bytes > 0, "answers that no run uses must be deleted when asked for"
    assert set(second.answers(every)) == {_key(name) for name in ("q", "r", "t")}, "answers in use must stay"
    assert len(second.events("stays")) == 2, "other runs must be whole after a deletion"


def _reopen(make: Make) -> None:
    """Check that closing commits, and that all is there for whoever opens the place next."""
    store = make()
    store.put_answer(_key("closing"), b"1")
    store.close()
    store = make()
    try:
        assert store.answers([_key("closing")]) == {_key("closing"): b"1"}, "closing must commit"
        assert store.answers([_key("q")]) and store.run("abc1"), "all must be there after opening again"
    finally:
        store.close()
