"""The page over plain HTTP, in a process of its own: rounds, stale forms, hostile texts, models that fail, kills."""

from __future__ import annotations

import json

import pytest
from documents import HOSTILE
from paging import Visitor, paged

import promptology as pt
from promptology.prompts.memory import Memory

pytest.importorskip("fastapi", reason="the page needs the extra web")

NOTES, LIKE = "parcel late voucher of ten euros", "parcel late again voucher of five"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A page whose model says what the file `mood` tells it."""
    folder = tmp_path_factory.mktemp("moody")
    with paged(folder, model="own_models:moody", env={"PROMPTOLOGY_HOME": str(folder / "home")}) as served:
        served.mood = lambda text: (folder / "mood").write_text(text, encoding="utf-8")
        served.mood("")
        yield served


def rounds(visitor):
    return {r["id"]: r for r in json.loads(visitor.get("/session.json")[2])["rounds"]}


def test_a_round_teaches_and_the_folder_is_used_by_apply(tmp_path, home):
    with paged(tmp_path) as page:
        visitor = Visitor(page)
        where = visitor.begin(NOTES)
        assert visitor.text == "Parcel late voucher of ten. Euros."
        status, headers, _ = visitor.post(where, do="done", text=visitor.text.lower(), version=visitor.version)
        visitor.settle(where)
        assert (status, headers["location"]) == (303, "/new?after=0123456789ab")
        again = visitor.begin(LIKE, "00000000000b")
        text = visitor.get(again)[2]
        assert visitor.text == "parcel late again voucher of. five."
        assert "lower case, at most 12 words" in text and "from a similar text, cosine 0." in text
        status, _, text = visitor.post(again, do="accept", text="typed, and not to be lost", version=visitor.version)
        assert status == 409 and "You have changed the draft" in text and "typed, and not to be lost" in text
        visitor.get(again)
        visitor.post(again, do="accept", text=visitor.text, version=visitor.version)
        visitor.settle(again)
        assert rounds(visitor)["00000000000b"]["final"] == "parcel late again voucher of. five."
        history = visitor.get("/history")[2]
        assert "Round 2" in history and 'role="img"' in history and "<del>Parcel</del>" in history
        assert "2 rounds. Words changed in the first 2, on average: 1.0; in the last 2: 1.0; at most 2." in history
        for path in ("/history?before=1", "/history?before=0", "/history?before=99999", "/history?before=x"):
            assert visitor.get(path)[0] == 200
        assert "1 draft, in which you changed 0.0 words" in visitor.get("/preferences")[2]
        assert "Nothing is found." in visitor.get("/preferences?q=verse")[2]
    learned = pt.load(tmp_path / "session-prompt")
    assert [note.preference for note in learned.part(Memory).notes] == ["lower case, at most 12 words"] * 2


def test_a_form_that_is_sent_twice_opens_one_round_and_an_empty_one_none(shared):
    visitor = Visitor(shared)
    before = len(rounds(visitor))
    visitor.get("/new")
    for _ in range(2):
        where = visitor.begin("rain all day", "0000000000a1")
    assert len(rounds(visitor)) == before + 1
    visitor.post(where, do="drop", version=visitor.version)
    visitor.get("/new")
    status, _, text = visitor.post("/rounds", id="0000000000a2", **{"field-text": " \n"})
    assert status == 400 and "Fill in every field first" in text
    assert visitor.post("/rounds", id="../../x", **{"field-text": "x"})[0] == 400
    assert len(rounds(visitor)) == before


def test_a_stale_form_changes_nothing_and_loses_nothing(shared):
    one, other = Visitor(shared), Visitor(shared)
    where = one.begin(NOTES, "0000000000b1")
    other.get(where)
    assert json.loads(one.post(f"{where}/text", text="Mine <b>", version=one.version)[2])["version"] == 1
    status, _, text = other.post(f"{where}/text", text="Theirs", version=other.version)
    assert status == 409 and json.loads(text)["version"] == 1
    status, _, text = other.post(where, do="done", text="Theirs, longer", version=other.version)
    assert status == 409 and "was changed in another window meanwhile" in text
    assert "Theirs, longer" in text and "Mine &lt;b&gt;" in text and "Use this instead" in text
    assert rounds(one)["0000000000b1"]["status"] == "drafted"
    other.get(where)
    assert (other.version, other.text) == ("1", "Mine <b>")
    assert other.post(where, do="save", text="Theirs, longer", version="1")[0] == 303
    one.get(where)
    assert one.text == "Theirs, longer"
    assert one.post(where, do="done", text=one.text, version=one.version)[0] == 303
    status, _, text = other.post(where, do="done", text="too late <i>", version="2")  # the round is over
    assert status == 409 and "ended or dropped in another window" in text and "too late &lt;i&gt;" in text
    assert other.post(where, do="dance", text="x", version="2")[0] == 500


def test_a_preference_that_was_changed_elsewhere_is_not_overwritten(shared):
    visitor = Visitor(shared)
    where = visitor.begin("harbour storm warning", "0000000000c1")
    visitor.post(where, do="done", text=visitor.text.lower(), version=visitor.version)
    visitor.settle(where)
    visitor.get("/preferences")
    was = rounds(visitor)["0000000000c1"]["preference"]
    change = {"do": "edit", "ids": "0000000000c1", "was": was}
    visitor.get("/preferences")
    assert visitor.post("/preferences", **change, text="in  verse")[0] == 303
    assert rounds(visitor)["0000000000c1"]["preference"] == "in verse"
    visitor.get("/preferences")
    status, _, text = visitor.post("/preferences", **change, text="in prose")
    assert status == 409 and "This preference was changed in another window" in text and "in prose" in text
    status, _, text = visitor.post("/preferences", do="edit", ids="0000000000c1", was="in verse", text="x" * 300)
    assert status == 400 and "at most 200 characters. This one has 300." in text and "x" * 300 in text
    assert visitor.post("/preferences", do="edit", ids="0000000000c1", was="in verse", text=" ")[0] == 400
    assert visitor.post("/preferences", do="delete", ids="0000000000c1", was="in verse")[0] == 303
    assert rounds(visitor)["0000000000c1"]["preference"] == ""


def test_hostile_texts_stand_on_every_page_as_text(shared):
    visitor = Visitor(shared)
    hostile = "\n".join([*HOSTILE[:4], "\u202ereversed", "</textarea><script>alert(1)</script>", "x" * 100_000])
    shared.mood(f"say {hostile}")
    where = visitor.begin(hostile, "0000000000d1")
    shared.mood(f"say <preference>{HOSTILE[0]} \u202e</preference>")
    assert visitor.text.rstrip("x").endswith("</script>\n") and "\u202ereversed" in visitor.text
    assert r"characters that are not seen: \u" in visitor.get(where)[2]
    visitor.post(where, do="done", text=visitor.text + " more", version=visitor.version)
    visitor.settle(where)
    shared.mood("")
    for path in (f"/new?after={where[-12:]}", "/preferences", "/history", "/preferences?q=%3Cscript%3E"):
        text = visitor.get(path)[2]
        assert text.count("<script") == 1  # our own
        assert "<img" not in text and "onerror=" not in text.replace("onerror=&#34;", "").replace("onerror=alert", "")
    visitor.get("/history")
    visitor.post(where, do="forget")
    assert "0000000000d1" not in rounds(visitor)


@pytest.mark.parametrize(
    ("mood", "said"),
    [("fail", "The model gave no draft (nobody is there)."), ("say  \n", "The model gave an empty draft.")],
)
def test_a_model_that_fails_leaves_the_round_open_to_try_again(shared, mood, said):
    visitor = Visitor(shared)
    shared.mood(mood)
    where = visitor.begin("drought in spring", f"0000000000e{len(mood)}")
    text = visitor.get(where)[2]
    assert said in text and "Try again" in text and "No draft yet" in text
    shared.mood("")
    assert visitor.post(where, do="retry")[0] == 303
    visitor.settle(where)
    visitor.get(where)
    assert visitor.text.casefold().startswith("drought in spring")
    shared.mood("fail")
    visitor.post(where, do="done", text="something else entirely", version=visitor.version)
    visitor.settle(where)
    text = visitor.get("/history")[2]
    assert "What an edit says could not be found out (nobody is there)." in text
    shared.mood("")
    visitor.post(where, do="understand")
    visitor.settle(where)
    assert rounds(visitor)[where[-12:]]["status"] == "closed"


def test_nobody_listening_is_one_line(tmp_path, home):
    with paged(tmp_path, model="openai:m@http://127.0.0.1:9/v1") as page:
        visitor = Visitor(page)
        where = visitor.begin(NOTES)
        text = visitor.get(where)[2]
        assert "127.0.0.1:9" in text and "Try again" in text


def test_a_kill_at_any_moment_loses_nothing(tmp_path, home):
    with paged(tmp_path) as page:
        visitor = Visitor(page)
        where = visitor.begin(NOTES)
        visitor.post(f"{where}/text", text="half a sen", version=visitor.version)
        page.kill()
    with paged(tmp_path) as page:
        assert "session.json (0 rounds finished)" in "".join(page.said)
        visitor = Visitor(page)
        visitor.get("/")
        assert (visitor.text, visitor.version) == ("half a sen", "1")
        visitor.post(where, do="done", text="half a sentence", version="1")
        page.kill()  # whether the change was understood by now or not
    with paged(tmp_path) as page:
        visitor = Visitor(page)
        visitor.settle(where)
        (r,) = rounds(visitor).values()
        assert (r["final"], r["status"], r["preference"]) == (
            "half a sentence",
            "closed",
            "lower case, at most 12 words",
        )
