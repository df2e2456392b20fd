"""Loading tasks: files, folders, rows, guesses; every fault is one line with file, line and what to do."""

from __future__ import annotations

import json
import math

import pytest

from promptology.data.items import ClassLabel, Item
from promptology.data.loaders import BUNDLED, bundled_tasks, load_task, read_rows
from promptology.errors import SealedSplitError, UsageError

ROWS = [{"text": f"text {n}", "label": "yes" if n % 2 else "no"} for n in range(20)]
CSV = "text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in ROWS)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def lines_of(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def one_line(words, source, **settings):
    with pytest.raises(UsageError) as caught:
        load_task(source, **settings)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def every(task):
    return {i.id: (dict(i.inputs), i.target) for i in (*task.train, *task.validation, *task.open_test())}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.csv", CSV),
        ("d.tsv", CSV.replace(",", "\t")),
        ("d.jsonl", lines_of(ROWS)),
        ("d.json", json.dumps(ROWS)),
        ("D.CSV", CSV),
        ("bom.csv", b"\xef\xbb\xbf" + CSV.encode()),
        ("crlf.csv", CSV.replace("\n", "\r\n")),
        ("unended.csv", CSV.rstrip("\n")),
    ],
)
def test_files_of_every_kind(tmp_path, name, content):
    task = load_task(write(tmp_path / name, content))
    assert sorted(inputs["text"] for inputs, _ in every(task).values()) == sorted(row["text"] for row in ROWS)
    assert [len(s) for s in (task.train, task.validation, task.test)] == [8, 4, 8]
    assert task.signature.class_names == ("no", "yes")
    assert task.name == name.split(".")[0]
    assert task.notes == ("columns guessed: text=text, label=label",)
    with pytest.raises(SealedSplitError):
        _ = task.test[0].target
    again = load_task(str(tmp_path / name))
    assert again.fingerprint() == task.fingerprint()
    assert load_task(tmp_path / name, split_seed=1).items_fingerprint() != task.items_fingerprint()


def test_settings_reach_the_task(tmp_path):
    task = load_task(
        write(tmp_path / "d.csv", CSV),
        metric="macro-f1",
        classes=[ClassLabel("yes", "It is so."), "no"],
        instruction="Decide.",
        system="Be brief.",
        name="mine",
    )
    assert (task.metric.name, task.name) == ("macro_f1", "mine")
    assert task.signature.class_names == ("yes", "no")
    assert (task.signature.instruction, task.signature.system) == ("Decide.", "Be brief.")


def test_folder(tmp_path):
    write(tmp_path / "train.csv", CSV)
    write(tmp_path / "test.jsonl", lines_of([{"text": "z", "label": "yes"}]))
    write(tmp_path / "unlabeled.tsv", "text\nfresh\n")
    task = load_task(tmp_path)
    assert [len(s) for s in (task.train, task.validation, task.test, task.unlabeled)] == [13, 7, 1, 1]
    write(tmp_path / "validation.json", json.dumps([{"text": "v", "label": "no"}]))
    assert [i.inputs["text"] for i in load_task(tmp_path).validation] == ["v"]
    write(tmp_path / "test.csv", CSV)
    one_line(["more than one file for test", "test.csv", "test.jsonl"], tmp_path)
    write(tmp_path / "empty" / "notes.txt", "x")
    one_line(["empty", "no train file", ".csv"], tmp_path / "empty")


def test_json_with_splits(tmp_path):
    doc = {"train": ROWS, "test": [{"text": "z", "label": "yes"}], "unlabeled": [{"text": "fresh"}]}
    task = load_task(write(tmp_path / "d.json", json.dumps(doc)))
    assert [len(s) for s in (task.train, task.validation, task.test, task.unlabeled)] == [13, 7, 1, 1]
    ids = [i.id for split in (task.train, task.validation, task.test, task.unlabeled) for i in split]
    assert len(set(ids)) == len(ids)
    doc["dev"] = doc.pop("test")
    one_line(["d.json", "'dev'", "validation"], write(tmp_path / "d.json", json.dumps(doc)))
    doc = {"train": ROWS, "test": [{"text": "z", "label": "maybe"}]}
    one_line(["d.json [test] entry 1", "'maybe'"], write(tmp_path / "d.json", json.dumps(doc)))


def test_cells_may_hold_newlines_quotes_and_commas(tmp_path):
    path = write(tmp_path / "d.csv", CSV + '"a ""quoted""\nword, and more",yes\nlast,\n')
    one_line(["d.csv line 24", "missing"], path)
    path = write(tmp_path / "d.csv", CSV + '"a ""quoted""\nword, and more",yes\n')
    assert every(load_task(path))["d-22"] == ({"text": 'a "quoted"\nword, and more'}, "yes")
    path = write(tmp_path / "d.csv", CSV + "x" * 300_000 + ",yes\n")
    assert len(every(load_task(path))["d-22"][0]["text"]) == 300_000
    separator = [{"text": "a\u2028b", "label": "yes"}, *ROWS]
    path = write(tmp_path / "d.jsonl", "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in separator))
    assert len(every(load_task(path))) == 21


def test_several_input_columns(tmp_path):
    text = "premise,hypothesis,label\n" + "".join(f"p{n},h{n},{'yes' if n % 2 else 'no'}\n" for n in range(20))
    path = write(tmp_path / "pairs.csv", text)
    for columns in ("premise,hypothesis", " premise , hypothesis ", ["premise", "hypothesis"]):
        task = load_task(path, text=columns)
        assert [f.name for f in task.signature.fields] == ["premise", "hypothesis"]
        assert task.notes == ("columns guessed: label=label",)
    one_line(["no column 'hypo'", "--text", "premise, hypothesis, label"], path, text="premise,hypo")
    one_line(["no column 'kind'", "--label", "premise, hypothesis, label"], path, text="premise", label="kind")
    one_line(["'premise'", "both", "--text", "--label"], path, text="premise", label="premise")
    path = write(tmp_path / "comma.csv", '"a,b",label\n' + "".join(f"t{n},{n % 2}\n" for n in range(20)))
    assert [f.name for f in load_task(path, text="a,b").signature.fields] == ["a,b"]


@pytest.mark.parametrize(
    ("header", "note"),
    [
        ("message,category", "text=message, label=category"),
        ("Sentence,Sentiment", "text=Sentence, label=Sentiment"),
        ("utterance,intent", "text=utterance, label=intent"),
        ("x,y", "text=x, label=y"),
        ("question,answer", "text=question, label=answer"),
    ],
)
def test_columns_are_guessed(tmp_path, header, note):
    rows = "".join(f"t{n},{'ab'[n % 2]}\n" for n in range(20))
    assert load_task(write(tmp_path / "d.csv", f"{header}\n{rows}")).notes == (f"columns guessed: {note}",)


def test_an_id_column_is_no_input(tmp_path):
    rows = "".join(f"k{n},t{n},{'ab'[n % 2]}\n" for n in range(20))
    task = load_task(write(tmp_path / "d.csv", f"id,utterance,label\n{rows}"))
    assert set(every(task)) == {f"k{n}" for n in range(20)}
    one_line(["d.csv line 22", "'k3'", "line 5", "unique"], write(tmp_path / "d.csv", f"id,u,label\n{rows}k3,t,a\n"))
    one_line(["d.csv line 22", "id is missing"], write(tmp_path / "d.csv", f"id,u,label\n{rows},t,a\n"))


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("text,label,target", ["several", "label, target", "--label"]),
        ("text,message,label", ["several", "text, message", "--text"]),
        ("a,b,label", ["no column looks like the text", "--text", "a, b, label"]),
        ("text,kind,more", ["no column looks like the label", "--label", "text, kind, more"]),
    ],
)
def test_a_guess_must_be_unique(tmp_path, header, words):
    one_line(["d.csv", *words], write(tmp_path / "d.csv", f"{header}\n1,2,3\n4,5,6\n"))


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ((1, 2), ("1", "2")),
        ((True, False), ("false", "true")),
        ((1.0, 2.5), ("1", "2.5")),
        ((" a ", "b"), ("a", "b")),
        (("😀", "😡"), ("😀", "😡")),
        (("none", "n/a"), ("n/a", "none")),
    ],
)
def test_labels_are_texts(tmp_path, labels, names):
    rows = [{"text": f"t{n}", "label": labels[n % 2]} for n in range(20)]
    assert load_task(write(tmp_path / "d.jsonl", lines_of(rows))).signature.class_names == names
    assert load_task(rows).signature.class_names == names


def test_a_csv_and_a_json_file_show_one_label_alike(tmp_path):
    rows = [{"text": f"t{n}", "label": n % 2} for n in range(20)]
    text = "text,label\n" + "".join(f"{row['text']}, {row['label']} \n" for row in rows)
    from_csv = load_task(write(tmp_path / "d.csv", text))
    from_json = load_task(write(tmp_path / "d.json", json.dumps(rows)))
    assert from_csv.signature == from_json.signature
    assert sorted(map(str, every(from_csv).values())) == sorted(map(str, every(from_json).values()))


def test_free_text(tmp_path):
    rows = [{"question": f"q{n}", "answer": f"a{n}"} for n in range(10)]
    task = load_task(write(tmp_path / "d.jsonl", lines_of(rows)), test=[{"question": "new", "answer": "unseen"}])
    assert (task.signature.output, task.metric.name) == ("text", "exact_match")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("d.csv", "", ["d.csv", "is empty"]),
        ("d.csv", "\ufeff \n", ["d.csv", "is empty"]),
        ("d.json", "", ["d.json"]),
        ("d.jsonl", "\n", ["d.jsonl", "is empty"]),
        ("d.csv", "text,label\n", ["d.csv", "header", "no rows"]),
        ("d.json", "[]", ["d.json", "is empty"]),
        ("d.csv", "text,text,label\na,b,c\n", ["d.csv line 1", "'text' appears twice"]),
        ("d.csv", "text,,label\na,b,c\n", ["d.csv line 1", "no name"]),
        ("d.csv", "text,label\na,x\nb,x\nc,x\n", ["d.csv", "every label in column 'label' is 'x'", "at least two"]),
        ("d.csv", b"text,label\nok,a\ncaf\xe9,b\n", ["d.csv line 3", "0xe9", "UTF-8"]),
        ("d.csv", "text,label\na,x\nb,nan\n", ["d.csv line 3", "label", "missing", "'nan'", "delete the row"]),
        ("d.csv", "text,label\na,x\nb,NaN\n", ["d.csv line 3", "missing", "'NaN'"]),
        ("d.csv", "text,label\na,x\nb,\n", ["d.csv line 3", "missing", "''"]),
        ("d.csv", "text,label\na,x\nb,  \n", ["d.csv line 3", "missing"]),
        ("d.csv", "text,label\na,x\n ,y\n", ["d.csv line 3", "'text' is empty", "delete the row"]),
        ("d.csv", "text,label\na,x\nb\n", ["d.csv line 3", "1 cells", "2"]),
        ("d.csv", "text,label\na,x\nb,y,z\n", ["d.csv line 3", "3 cells", "2"]),
        ("d.csv", 'text,label\na,x\n"b"c,y\n', ["d.csv line 3"]),
        ("d.jsonl", '{"text": "a", "label": "x"}\n\n{"text":\n', ["d.jsonl line 3", "not JSON"]),
        ("d.jsonl", '{"text": "a", "label": "x"}\n[1]\n', ["d.jsonl", "2", "an object", "a list"]),
        ("d.jsonl", '{"text": "a", "label": "x"}\n{"text": "b", "label": null}\n', ["d.jsonl line 2", "missing"]),
        ("d.jsonl", '{"text": "a", "label": "x"}\n{"text": "b"}\n', ["d.jsonl line 2", "label", "missing"]),
        ("d.jsonl", '{"text": "a", "label": "x"}\n{"label": "y"}\n', ["d.jsonl line 2", "'text' is empty"]),
        ("d.jsonl", '{"text": NaN, "label": "x"}\n', ["d.jsonl line 1", "'text' is empty"]),
        ("d.jsonl", '{"text": "a", "label": ["x", "y"]}\n', ["d.jsonl line 1", "'label' holds a list"]),
        ("d.jsonl", '{"text": {"a": 1}, "label": "x"}\n', ["d.jsonl line 1", "'text' holds a dict"]),
        ("d.json", '[{"text": "a",\n "label": }]', ["d.json line 2", "not JSON"]),
        ("d.json", '[{"text": "a", "label": "x"}, {"text": "b", "label": ""}]', ["d.json entry 2", "missing"]),
        ("d.json", '{"text": "a"}', ["d.json", "list of objects"]),
        ("d.json", "[1, 2]", ["d.json", "entry 1", "an object", "a number"]),
        ("d.txt", "a", ["d.txt", ".txt", ".csv, .tsv, .json, .jsonl"]),
        ("d", "a", ["d", ".csv, .tsv, .json, .jsonl"]),
    ],
)
def test_faults_of_files(tmp_path, name, content, words):
    one_line(words, write(tmp_path / name, content))


def test_files_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "data.csv", CSV)
    one_line(["task file dta.csv does not exist", "did you mean 'data.csv'"], "dta.csv")
    one_line(["nowhere", "does not exist", "check the path"], "nowhere/else.csv")
    one_line(["test file", "tset.csv", "check the path"], path, test="tset.csv")
    one_line(["test", "is a folder", "give a file"], path, test=tmp_path)
    one_line(["unknown task 'ticket'", "did you mean 'tickets'"], "ticket")
    one_line(["unknown task 'zzz'", *bundled_tasks()], "zzz")


def test_labels_of_a_given_test_file_must_be_known(tmp_path):
    train = write(tmp_path / "train.csv", CSV)
    test = write(tmp_path / "test.csv", "text,label\na,yes\nb,no\nc,maybe\n")
    one_line(["test.csv line 4", "label 'maybe' does not occur in", "train.csv", "no, yes"], train, test=test)
    one_line(["test.csv line 4", "'maybe' is not among classes="], train, test=test, classes=["no", "yes"])
    rows = [{"text": "v", "label": "maybe"}]
    task = load_task(train, test=test, validation=rows)
    assert task.signature.class_names == ("maybe", "no", "yes")
    one_line(["test.csv", "no column 'label'", "text, kind"], train, test=write(test, "text,kind\na,yes\n"))


def test_classes_given_must_be_two(tmp_path):
    path = write(tmp_path / "d.csv", CSV)
    one_line(["classes= names 'yes'", "at least two"], path, classes=["yes"])
    one_line(["classes= names none"], path, classes=[])
    one_line(["d.csv line 2", "'no'", "classes=", "maybe, yes"], path, classes=["yes", "maybe"])


def test_test_inputs_in_the_training_data_are_told(tmp_path):
    task = load_task(ROWS, test=[*ROWS[:3], {"text": "new", "label": "yes"}])
    assert "3 of 4 test inputs also stand in the training data" in task.notes[1]
    assert load_task(ROWS, test=[{"text": "new", "label": "yes"}]).notes == task.notes[:1]
    repeated = load_task([*ROWS, *ROWS])
    assert len(repeated.notes) == 1


def test_data_without_labels(tmp_path):
    path = write(tmp_path / "d.csv", "text,label\n" + "".join(f"t{n},secret\n" for n in range(10)))
    task = load_task(path, label="", text="text", unlabeled=[{"text": "fresh"}])
    assert [len(s) for s in (task.train, task.validation, task.unlabeled, task.test)] == [0, 0, 7, 4]
    assert not task.labelled
    assert all(i.target is None and "label" not in i.inputs for i in (*task.unlabeled, *task.test))
    given = load_task(path, label="", text="text", test=[{"text": "fresh"}])
    assert [len(s) for s in (given.train, given.validation, given.unlabeled, given.test)] == [0, 0, 10, 1]
    assert load_task(write(tmp_path / "one.csv", "utterance\na\nb\nc\n"), label="").notes == (
        "columns guessed: text=utterance",
    )


def test_an_unlabelled_split_does_not_carry_labels(tmp_path):
    task = load_task(ROWS, unlabeled=[{"text": "fresh", "label": "yes", "source": "web"}])
    assert task.unlabeled[0].target is None
    assert dict(task.unlabeled[0].meta) == {"source": "web", "line": 1}
    assert all("label" not in i.meta for i in task.test)


def test_python_rows():
    pairs = [(row["text"], row["label"]) for row in ROWS]
    items = [Item(f"i{n}", {"text": row["text"]}, row["label"]) for n, row in enumerate(ROWS)]
    expected = sorted(map(str, every(load_task(ROWS)).values()))
    for rows in (pairs, items, iter(pairs), tuple(ROWS), {"train": ROWS}):
        assert sorted(map(str, every(load_task(rows)).values())) == expected
    two = [Item(str(n), {"a": f"{n}", "b": "x"}, "yn"[n % 2]) for n in range(10)]
    task = load_task(two)
    assert [f.name for f in task.signature.fields] == ["a", "b"]
    assert task.notes == ()
    assert len(load_task([Item("1", {"a": "x"}), Item("2", {"a": "y"})]).unlabeled) == 1
    assert len(load_task(["one", "two", "three"], label="").test) == 1
    assert len(load_task({"train": ROWS, "test": ROWS[:4]}).test) == 4
    one_line(["train row 2", "label", "missing"], [("a", "x"), ("b", None)])
    one_line(["train entry 1", "an object"], [3])
    one_line(["train is empty"], [])
    one_line(["NoneType is not a task"], None)
    one_line(["'dev'", "validation"], {"train": ROWS, "dev": ROWS})
    one_line(["no split 'train'", "'test'"], {"test": ROWS})


class Pandas:
    """What pandas' DataFrame offers."""

    columns = ("text", "label")

    def __init__(self, rows):
        self.rows = rows

    def to_dict(self, orient="dict"):
        assert orient == "records"
        return self.rows


class Datasets:
    """What datasets' Dataset offers."""

    def __init__(self, rows):
        self.rows = rows

    def to_dict(self):
        return {key: [row[key] for row in self.rows] for key in self.rows[0]}


class Polars(Pandas):
    """What polars' DataFrame offers."""

    def to_dicts(self):
        return self.rows


class NAType:
    """What pandas puts where a value is missing: comparing it has no truth value."""

    def __repr__(self):
        return "<NA>"


@pytest.mark.parametrize("frame", [Pandas, Datasets, Polars])
def test_frames(frame):
    assert every(load_task(frame(ROWS))) == every(load_task(ROWS))
    assert len(load_task({"train": frame(ROWS), "test": frame(ROWS[:2])}).test) == 2
    for gone in (math.nan, NAType(), None):
        one_line(["train row 21", "label", "missing"], frame([*ROWS, {"text": "a", "label": gone}]))
        one_line(["train row 21", "'text' is empty"], frame([*ROWS, {"text": gone, "label": "no"}]))


def test_items_of_two_files_of_one_name_differ(tmp_path):
    here, there = write(tmp_path / "d.csv", CSV), write(tmp_path / "other" / "d.csv", CSV.replace("text ", "new "))
    task = load_task(here, test=there)
    assert not {i.id for i in task.test} & {i.id for i in (*task.train, *task.validation)}


def test_bundled_tasks():
    assert "tickets" in bundled_tasks()
    assert {p.stem for p in BUNDLED.glob("*.json")} == set(bundled_tasks())
    task = load_task("tickets", metric="macro_f1", instruction="Sort.", system="Be brief.", name="mine")
    assert (task.name, task.metric.name, task.signature.instruction) == ("mine", "macro_f1", "Sort.")
    assert all(c.description for c in task.signature.classes)
    assert task.test[0].sealed
    assert load_task("tickets").name == "tickets"
    one_line(["'tickets'", "leave out text, test"], "tickets", text="text", test=ROWS)


def test_read_rows(tmp_path):
    assert read_rows(write(tmp_path / "d.csv", "text,more\na,1\n\nb,\n")) == [
        {"text": "a", "more": "1"},
        {"text": "b", "more": ""},
    ]
    assert read_rows(write(tmp_path / "d.jsonl", '{"text": "a", "n": 1}\n')) == [{"text": "a", "n": 1}]
    with pytest.raises(UsageError, match=r"d\.csv line 3: 1 cells"):
        read_rows(write(tmp_path / "d.csv", "text,more\na,1\nb\n"))
    with pytest.raises(UsageError, match="absent"):
        read_rows(tmp_path / "absent.csv")
