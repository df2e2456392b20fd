"""Sessions: events change a state and nothing else does; the file is whole after a kill at any moment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from promptology.errors import UsageError
from promptology.feedback.sessions import Session, begun, changed, memory_of, packed, round_of, told, unpacked


def opened(id="1"):
    return {"event": "context", "id": id, "inputs": {"text": "notes"}, "context": "notes"}


def drafted(state, id="1", draft="one two three", used="short"):
    vector = packed(np.array([0.6, 0.8], np.float32))
    return changed(state, id, {"draft": draft, "used": used, "status": "drafted", "vector": vector})


def edit(final, id="1"):
    return {"event": "edit", "id": id, "final": final}


def test_an_accepted_draft_stores_the_preference_that_was_used():
    state = drafted(told(begun("cipher"), opened()))
    after = round_of(told(state, edit(" one two\nthree")), "1")
    assert (after["cost"], after["accepted"], after["status"], after["preference"]) == (0, True, "closed", "short")
    assert round_of(state, "1")["status"] == "drafted"  # the state before is as it was


def test_an_edit_waits_until_it_is_understood_and_delta_lets_small_ones_pass():
    state = drafted(told(begun("cipher"), opened()))
    after = round_of(told(state, edit("one two four five")), "1")
    assert (after["cost"], after["accepted"], after["status"]) == (2, False, "edited")
    assert "preference" not in after
    assert round_of(told(state, edit("one two four five"), 2), "1")["status"] == "closed"
    assert round_of(told(state, edit("one two four five"), 1), "1")["status"] == "edited"


def test_the_person_changes_drops_and_pins_preferences():
    state = told(drafted(told(begun("cipher"), opened())), edit("one two three"))
    state = told(state, {"event": "prefer", "id": "1", "preference": "in verse"})
    state = told(told(state, {"event": "pin", "preference": "kind"}), {"event": "pin", "preference": "kind"})
    memory = memory_of(state)
    assert [n.preference for n in memory.notes] == ["in verse"] and memory.pinned == ("kind",)
    assert np.allclose(memory.vectors, [[0.6, 0.8]])
    state = told(told(state, {"event": "unpin", "preference": "kind"}), {"event": "drop", "id": "1"})
    assert memory_of(state).notes == () and memory_of(state).pinned == ()


def test_what_is_pinned_is_not_learned_again():
    state = told(drafted(told(begun("cipher"), opened()), used="kind; in rhyme; short"), edit("one two three"))
    assert round_of(state, "1")["preference"] == "kind; in rhyme; short"
    pinned = told(
        drafted(told(begun("cipher"), opened()), used="kind; in rhyme; short"),
        {"event": "pin", "preference": "kind; in rhyme"},
    )
    assert round_of(told(pinned, edit("one two three")), "1")["preference"] == "short"


def test_a_draft_is_written_anew():
    state = drafted(told(begun("cipher"), opened()))
    again = round_of(told(state, {"event": "again", "id": "1"}), "1")
    assert again["status"] == "open" and again["inputs"] == {"text": "notes"} and again["vector"]
    assert not {"draft", "used", "neighbours"} & set(again)


def test_a_session_is_readable_by_its_owner_alone(tmp_path):
    session = Session(tmp_path / "session.json")
    session.save(begun("cipher"))
    assert session.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"event": "dance"}, "no event 'dance'; there are context, edit"),
        ({}, "no event None"),
        (edit("x", "7"), "no round '7'"),
        (edit("x"), "round '1' is open, not drafted"),
        (opened(), "round '1' is there already"),
        ({"event": "prefer", "id": "1", "preference": ""}, "is open, not closed"),
    ],
)
def test_what_cannot_be_is_one_line(event, said):
    with pytest.raises(UsageError, match=said):
        told(told(begun("cipher"), opened()), event)


def test_a_state_is_plain_json_and_vectors_come_back_bit_for_bit(tmp_path):
    vector = np.random.default_rng(0).normal(size=50).astype(np.float32)
    assert (unpacked(packed(vector)) == vector).all()
    state = drafted(told(begun("cipher"), opened()), draft="<script>\ud83d\x00{text}</script>")
    session = Session(tmp_path / "deep" / "session.json")
    assert session.load() is None
    session.save(state)
    assert session.load() == state == json.loads(json.dumps(state))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"format": 2, "rounds": []}', "format 2; this version reads 1"),
        ('{"rounds": []}', "format None"),
        ("[1]", "format None"),
        ('{"format": 1, "rou', "cannot be read as a session"),
        ("[" * 100_000, "cannot be read as a session"),
    ],
)
def test_another_version_and_rubbish_are_refused_and_stay_as_they_are(tmp_path, content, said):
    path = tmp_path / "session.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=said):
        Session(path).load()
    assert path.read_text() == content


def test_what_cannot_be_written_leaves_the_old_state(tmp_path):
    session = Session(tmp_path / "session.json")
    session.save(begun("cipher"))
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        Session(tmp_path / "file" / "session.json").save(begun("cipher"))
    with pytest.raises(TypeError):
        session.save({**begun("cipher"), "encoder": object()})
    assert session.load() == begun("cipher")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "session.json"]


SAVING = """
import sys
from promptology.feedback.sessions import Session, begun
session, n = Session(sys.argv[1]), 0
while True:
    n += 1
    session.save({**begun("cipher"), "pinned": [str(n)] * 20000})
"""


def test_a_kill_at_any_moment_leaves_a_whole_state(tmp_path):
    path = tmp_path / "session.json"
    for n in range(4):
        process = subprocess.Popen([sys.executable, "-c", SAVING, path])
        before, begin = (path.stat().st_mtime_ns if path.exists() else 0), time.monotonic()
        while not (path.exists() and path.stat().st_mtime_ns > before) and time.monotonic() - begin < 30:
            time.sleep(0.01)
        time.sleep(0.013 * n)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        pinned = Session(path).load()["pinned"]
        assert len(pinned) == 20000 and len(set(pinned)) == 1
