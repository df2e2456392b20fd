"""Parquet files wherever a table may stand, and their faults, each one line."""

from __future__ import annotations

import datetime
import decimal
import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from promptology.data.files import read_rows
from promptology.data.loaders import load_task
from promptology.errors import UsageError

ROWS = [{"text": f"text {n}", "label": "yes" if n % 2 else "no"} for n in range(20)]


def write(path, columns):
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), path)
    return path


def columns(rows):
    return {key: [row[key] for row in rows] for key in rows[0]}


def one_line(words, source, **settings):
    with pytest.raises(UsageError) as caught:
        load_task(source, **settings)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_a_parquet_file_loads_as_a_json_file_does(tmp_path):
    path = write(tmp_path / "d.parquet", columns(ROWS))
    (tmp_path / "d.json").write_text(json.dumps(ROWS))
    assert load_task(path).fingerprint() == load_task(tmp_path / "d.json").fingerprint()
    test = write(tmp_path / "held.PARQUET", columns(ROWS[:4]))
    assert len(load_task(path, test=test, validation=test).test) == 4


def test_a_folder_of_splits(tmp_path):
    write(tmp_path / "train.parquet", columns(ROWS))
    write(tmp_path / "dev.parquet", columns(ROWS[:6]))
    (tmp_path / "test.csv").write_text("text,label\nx,yes\n")
    task = load_task(tmp_path)
    assert [len(s) for s in (task.train, task.validation, task.test)] == [20, 6, 1]
    write(tmp_path / "validation.parquet", columns(ROWS[:6]))
    one_line(["more than one file for validation", "dev.parquet", "validation.parquet"], tmp_path)


def test_lists_numbers_dates_and_dictionaries(tmp_path):
    n = 20
    table = pa.table(
        {
            "text": pa.array([f"t{i}" for i in range(n)]).dictionary_encode(),
            "label": pa.array([[["a"], ["b", "a"], []][i % 3] for i in range(n)], pa.list_(pa.string())),
            "when": pa.array([datetime.datetime(2024, 1, 2)] * n),
            "price": pa.array([decimal.Decimal("1.50")] * n),
            "picture": pa.array([b"\x89PNG"] * n),
        }
    )
    path = write(tmp_path / "d.parquet", table)
    assert read_rows(path)[1] == {
        "text": "t1",
        "label": ["b", "a"],
        "when": "2024-01-02T00:00:00",
        "price": "1.50",
        "picture": b"\x89PNG",
    }
    task = load_task(path)
    assert (task.signature.output, task.signature.class_names) == ("classes", ("a", "b"))
    assert {i.target for i in task.train} == {("a",), ("a", "b"), ()}
    one_line(["d.parquet row 1", "'picture' holds bytes", "no text", "--image"], path, text="picture", label="label")


def test_numbers_become_the_class_names_that_a_csv_shows(tmp_path):
    path = write(
        tmp_path / "d.parquet", {"text": [f"t{n}" for n in range(20)], "label": [float(n % 2) for n in range(20)]}
    )
    assert load_task(path).signature.class_names == ("0", "1")
    missing = {"text": ["a", "b", "c"], "label": ["x", None, "y"]}
    one_line(["row 2", "missing"], write(tmp_path / "m.parquet", missing))


def test_faults(tmp_path):
    good = write(tmp_path / "d.parquet", columns(ROWS)).read_bytes()
    for name, content in (
        ("cut", good[:-20]),
        ("text", b"text,label\na,b\n"),
        ("empty", b""),
        ("mid", good[:40] + good[60:]),
    ):
        path = tmp_path / f"{name}.parquet"
        path.write_bytes(content)
        one_line([f"{name}.parquet", "not a readable Parquet file"], path)
    one_line(["d.parquet", "no rows"], write(tmp_path / "d.parquet", {"text": pa.array([], pa.string())}))
    twice = pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    one_line(["'text' appears twice"], write(tmp_path / "t.parquet", twice))
    one_line(["absent.parquet", "does not exist"], tmp_path / "absent.parquet")
    far = pa.table({"text": ["a"], "when": pa.array([2**30], pa.date32())})
    one_line(["f.parquet", "'when'", "date32[day]", "cannot be read"], write(tmp_path / "f.parquet", far))


BLOCKED = """
import sys
for name in {names!r}: sys.modules[name] = None
from promptology.cli import main
sys.argv = ["promptology", *{arguments!r}]
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("names", "task", "more", "words"),
    [
        (["pyarrow"], "d.parquet", [], ["d.parquet", "needs pyarrow", 'pip install "promptology[data]"']),
        (["datasets"], "hf:imdb", [], ["hf:imdb", "needs datasets", 'pip install "promptology[data]"']),
        (["rouge_score"], "d.csv", ["--metric", "rouge-l"], ["rouge-l", 'pip install "promptology[metrics]"']),
        (["sacrebleu"], "d.csv", ["--metric", "bleu"], ["bleu needs sacrebleu", 'pip install "promptology[metrics]"']),
    ],
)
def test_an_extra_that_is_not_installed_is_named(tmp_path, names, task, more, words):
    write(tmp_path / "d.parquet", columns(ROWS))
    (tmp_path / "d.csv").write_text("text,label\n" + "".join(f"q{n},answer {n}\n" for n in range(9)))
    arguments = ["evaluate", "--task", task, "--model", "simulated:tickets", *more]
    code = BLOCKED.format(names=names, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("note:")]
    assert (done.returncode, done.stdout, len(lines)) == (2, "", 1), done.stderr
    for word in words:
        assert word in lines[0]
