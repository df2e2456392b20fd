"""B8: its counter and figures by hand, what its shims read and write, and a short search of every side."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest

from benchmarks import b08_search as b08
from benchmarks.common import Session, run_side
from benchmarks.environments import PEERS, ROOT
from benchmarks.table import lines_of


def shared(name):
    """Return a module of drivers/shared."""
    folder = str(ROOT / "benchmarks" / "drivers" / "shared")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(name)


def course(*kept, best=1.0, used=100, proposals=0, usable=0):
    return b08.Course([n for n, _ in kept], [t for _, t in kept], best, used, proposals, usable)


def test_the_counter_ends_a_search_and_notes_what_it_would_return():
    searching = shared("searching")
    counter = searching.Counter(2)
    counter.keep("a")
    counter.take()
    counter.keep("b")
    counter.keep("b")
    counter.take()
    counter.proposed("Mind it.", ["Mind"])
    counter.proposed("<prompt> Mind it.", ["Mind"])
    with pytest.raises(searching.Spent):
        counter.take()
    assert counter.to_json() == {"calls": 2, "kept": [[0, "a"], [1, "b"]], "proposals": 2, "usable": 1}
    assert not issubclass(searching.Spent, Exception)


@pytest.mark.parametrize(
    "text", ["", "Other words.", "Say it. ```", "Say it.\nInput: a", "[Say it.]", '{"a": "Say it."}']
)
def test_what_is_no_prompt_of_a_world(text):
    assert not shared("searching").usable(text, ["Say it."])
    assert shared("searching").usable("Say it. And more.", ["Say it."])


def test_figures_by_hand():
    found = course((0, 0.1), (40, 0.96), (60, 0.5), best=1.0)
    assert (found.at(0), found.at(39), found.at(40), found.at(99)) == (0.1, 0.1, 0.96, 0.5)
    assert found.reached() == 40  # that it lost the prompt again shows in its regret
    lost = course((0, 0.1), (10, 0.85), best=0.9)
    assert lost.reached() is None and course((0, 0.855), best=0.9).reached() == 0
    assert b08.counted([found, lost]) == [40.0, 2000.0] and b08.never([found, lost]) == 1
    assert b08.regret([found, lost], 5) == pytest.approx(100 * (0.9 + 0.8) / 2)
    assert b08.parsed([course(proposals=3, usable=2), course(proposals=1, usable=1)]) == 0.75
    line = b08.row("x", [found, lost])
    assert line[:3] == ["x", "1020", "1 of 2"] and line[3] == line[7] == f"{100 * (0.5 + 0.05) / 2:.1f}"
    assert line[8:] == ["67.5", "–"] and b08.row("x", [lost])[1] == "–" and len(line) == len(b08.HEAD)


def test_a_peer_that_is_not_understood_voids_the_benchmark(monkeypatch):
    done = {"cpu": 0.0, "found": [{"calls": 9, "kept": [[0, "a"]], "proposals": 100, "usable": 94}]}
    monkeypatch.setattr(b08, "once", lambda *_: done)
    world = b08.World("w", {}, lambda n, prompt: 0.5, [1.0])
    with pytest.raises(b08.BenchError, match=r"only 94\.0% of the proposals of p"):
        b08.searched(Session("B8"), world, {"p": b08.theirs("OPRO")})
    assert b08.searched(Session("B8"), world, {"p": b08.ours("opro")})["p"][0].at(0) == 0.5


def test_a_search_is_run_once(monkeypatch, tmp_path):
    ran = []
    monkeypatch.setattr(b08, "BENCH", tmp_path)
    monkeypatch.setattr(b08, "run_side", lambda side, do, told, limit: ran.append(told["n"]) or {"found": [len(ran)]})
    given = [b08.once({"n": n}, b08.theirs(name)) for n, name in ((1, "OPRO"), (1, "OPRO"), (2, "OPRO"), (1, "CAPO"))]
    assert ran == [1, 2, 1] and [g["found"][0] for g in given] == [1, 1, 2, 3]


def test_seeds_are_apart_and_cases_differ():
    assert not set(b08.DEVELOPMENT) & set(b08.FRESH) and len(b08.FRESH) == len(b08.DEVELOPMENT) == 20
    for name in b08.SIMULATED:
        world = b08.simulated(name, [3, 4])
        one, two = world.spec["cases"]
        texts = [{x for x, _ in case[split]} for case in (one, two) for split in ("train", "validation")]
        assert [len(t) for t in texts] == [60] * 4 and not texts[0] & texts[1] and texts[0] != texts[2]
        assert world.true(0, world.spec["start"]) < b08.ENOUGH * world.best[0]


def test_requests_in_fields_are_read_back():
    fields = shared("fields")
    system = (
        "Your input fields are:\n1. `text` (str):\nYour output fields are:\n1. `label` (str):\nAll interactions are so."
        "\n\n[[ ## text ## ]]\n{text}\nIn adhering to this structure, your objective is: \n      Say it.\n      Now."
    )
    turns = [
        ("user", "[[ ## text ## ]]\nlate"),
        ("assistant", "[[ ## label ## ]]\ndelivery\n\n[[ ## completed ## ]]"),
        ("user", "[[ ## text ## ]]\nbroken\n\nRespond with the field `[[ ## label ## ]]`."),
    ]
    assert fields.fields(system) == ["label"] and fields.fields("nothing") == []
    assert fields.read_back(system, turns) == ("Say it. Now.\n\nInput: late\nOutput: delivery", "broken")
    assert fields.read("label", fields.filled({"label": "delivery"})) == "delivery" and fields.read("x", "y") == ""


TABLE = {
    "table": {
        "wordings": [
            f'Compare "{u}" with "{t}".' for u in ("INPUT", "a text: INPUT") for t in ("LABEL", "it is LABEL")
        ],
        "scores": [[1, 0], [0, 1], [1, 1], [0, 0]],
        "texts": ["late", "broken"],
        "labels": ["delivery", "faulty"],
    },
    "classes": ["delivery", "faulty", "refund"],
}


def test_the_table_answers_and_rewrites():
    chat = shared("wordings").TableChat(TABLE, 0)
    words = TABLE["table"]["wordings"]
    said = [[chat.reply([("user", f"{w}\n\nClasses: ...\n\n{x}")]) for x in ("late", "broken")] for w in words]
    assert said == [["delivery", "refund"], ["faulty", "faulty"], ["delivery", "faulty"], ["faulty", "refund"]]
    asked = f"Improve the prompt.\n\n<prompt>\n{words[0]}\n</prompt>\n\nWrite it between <prompt> and </prompt>."
    made = {chat.reply([("user", asked)], seed, 1.0) for seed in range(40)}
    assert made == {f"<prompt>{w}</prompt>" for w in (words[1], words[2])}  # one of the two templates is another
    merge = f"Merge the two prompts:\nPrompt 1: {words[1]}\nPrompt 2: {words[2]}\n\nReturn <prompt>new prompt</prompt>"
    made = {chat.reply([("user", merge)], seed, 1.0) for seed in range(40)}
    assert made == {f"<prompt>{w}</prompt>" for w in (words[0], words[3])}


@pytest.mark.parametrize("name", ["ours: gepa", "promptolution CAPO", "released gepa", "dspy MIPROv2"])
def test_a_short_search_of_every_side(name):
    """What is spent is what is allowed, what is noted begins with the start, and every proposal is a prompt."""
    entry = {**b08.ENTRANT, **b08.THEIRS}[name]
    if entry.side != "ours" and not PEERS[entry.side].python.is_file():
        pytest.skip(f"the environment {entry.side} is not installed")
    spec = {**b08.simulated("chain", [0]).spec, "calls": 700, **entry.told}
    (one,) = run_side(entry.side, entry.do, spec)["found"]
    assert one["kept"][0] == [0, spec["start"]] and one["calls"] <= 700
    assert one["proposals"] == one["usable"] > 0
    assert sorted(n for n, _ in one["kept"]) == [n for n, _ in one["kept"]]


def test_tables_of_a_record():
    session = Session("B8")
    session.table("w", ["method", "calls"], [["a", "3"]])
    assert lines_of(session.tables[0]) == ["w:", "", "| method | calls |", "|---|---|", "| a | 3 |", ""]


def test_halving_on_a_table():
    """One wording of four is right throughout: halving finds it, and no wording is scored on an item twice."""
    scores = np.zeros((4, 8))
    scores[2] = 1.0
    table = {**TABLE["table"], "scores": scores.tolist(), "texts": list("abcdefgh"), "labels": ["delivery"] * 8}
    spec = {**TABLE, "table": table, "start": table["wordings"][0], "settings": {"share": 0.5}, "calls": 100}
    (one,) = run_side("ours", "search.halving", {**spec, "cases": [{"seed": 0, "columns": list(range(8))}]})["found"]
    assert one["kept"][-1][1] == table["wordings"][2] and one["calls"] <= 18
