"""Labels that are lists: kinds told apart, forms read, faults on one line; drawn splits keep every class."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from promptology.data import loaders
from promptology.data.items import ClassLabel, Field, Item, Signature
from promptology.data.loaders import load_task
from promptology.data.targets import find_separator
from promptology.data.task import Task
from promptology.errors import UsageError

TAGS = ("red", "green", "blue")
LISTS = [[t for b, t in enumerate(TAGS) if n >> b & 1] for n in range(8)]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def csv(path, rows):
    lines = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows]
    path.write_text("\n".join(["text,label", *lines]) + "\n", encoding="utf-8")
    return path


def one_line(words, source, **settings):
    with pytest.raises(UsageError) as caught:
        load_task(source, **settings)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def targets(task):
    items = (*task.train, *task.validation, *task.open_test())
    return {next(iter(i.inputs.values())): i.target for i in items}


ROWS = [{"text": f"t{n}", "label": LISTS[n % 8]} for n in range(40)]
RIGHT = {row["text"]: tuple(sorted(row["label"])) for row in ROWS}


def test_lists_that_repeat_are_classes(tmp_path):
    task = load_task(write(tmp_path / "d.jsonl", ROWS))
    assert (task.signature.output, task.signature.class_names) == ("classes", ("blue", "green", "red"))
    assert task.metric.name == "micro_f1"
    assert targets(task) == RIGHT
    assert any("--output classes" in note for note in task.notes)
    assert Signature.from_json(json.loads(json.dumps(task.signature.to_json()))) == task.signature
    again = load_task(ROWS, output="classes")
    assert targets(again) == RIGHT
    ordered = load_task(ROWS, classes=[ClassLabel("red", "warm"), "green", "blue"])
    assert targets(ordered)["t3"] == ("red", "green")
    assert ordered.fingerprint() == load_task(ROWS, classes=[ClassLabel("red", "warm"), "green", "blue"]).fingerprint()


@pytest.mark.parametrize("parted", [";", "; ", " | ", ", "])
def test_texts_parted_by_one_sign_are_classes(tmp_path, parted):
    rows = [(r["text"], parted.join(r["label"]) or "none") for r in ROWS if r["label"]]
    task = load_task(csv(tmp_path / "d.csv", rows))
    assert task.signature.output == "classes"
    assert targets(task) == {text: RIGHT[text] for text, _ in rows}
    assert any(repr(parted.strip()) in note and "--output class" in note for note in task.notes)
    forced = load_task(csv(tmp_path / "d.csv", rows), output="class")
    assert (forced.signature.output, len(forced.signature.classes)) == ("class", 7)


def test_none_and_json_in_cells(tmp_path):
    rows = [
        (r["text"], json.dumps(r["label"]) if n % 2 else "none" if not r["label"] else ";".join(r["label"]))
        for n, r in enumerate(ROWS)
    ]
    assert targets(load_task(csv(tmp_path / "d.csv", rows), output="classes")) == RIGHT
    rows = [(r["text"], json.dumps(r["label"])) for r in ROWS]
    assert targets(load_task(csv(tmp_path / "d.csv", rows))) == RIGHT
    one_line(["d.csv line 42", "missing", "none"], csv(tmp_path / "d.csv", [*rows, ("x", "")]), output="classes")


def test_names_with_separators_stay_whole(tmp_path):
    cities = ["New York, NY", "Boston, MA", "Albany, NY", "Paris"]
    task = load_task(csv(tmp_path / "d.csv", [(f"t{n}", cities[n % 4]) for n in range(40)]))
    assert (task.signature.output, len(task.signature.classes)) == ("class", 4)
    assert find_separator(["a", "b", "a;b"]) == [";"]
    assert find_separator(["a;b", "c;d"]) == []
    assert find_separator(["a;", "a"]) == []
    assert find_separator(["a;b"], ["a", "b"]) == [";"]
    assert find_separator(["a;b"], ["a;b", "c"]) == []


def test_a_separator_that_is_not_clear_is_told(tmp_path):
    rows = [(f"t{n}", ["a; b", "b, a", "a", "b"][n % 4]) for n in range(20)]
    path = csv(tmp_path / "d.csv", rows)
    one_line(["';'", "','", "--output class", "JSON lists"], path)
    one_line(["d.csv line 2", "'a; b'", "';' or ','", "JSON lists"], path, output="classes")
    rows = [(f"t{n}", ["a; b", "Rome, Italy; a", "Rome, Italy", "b"][n % 4]) for n in range(20)]
    assert len(load_task(csv(tmp_path / "d.csv", rows), output="classes").signature.classes) == 3


def test_labels_outside_the_classes_are_told(tmp_path):
    path = write(tmp_path / "d.jsonl", ROWS)
    test = write(tmp_path / "t.jsonl", [{"text": "x", "label": ["red", "pink"]}])
    one_line(["t.jsonl line 1", "'pink'", "d.jsonl", "blue, green, red"], path, test=test)
    one_line(["d.jsonl line 3", "'green'", "classes="], path, classes=["red", "blue"])
    one_line(
        ["d.jsonl line 1", "--output", "classes", "spans", "text"], write(path, [{"text": "a", "label": ["x"]}] * 1)
    )
    one_line(["a class is a dict"], write(path, [{"text": "a", "label": [{}]}] * 3), output="classes")
    one_line(["a class is empty"], write(path, [{"text": "a", "label": [""]}] * 3), output="classes")
    one_line(["output is class, classes"], path, output="sets")
    one_line(["no label in column 'label' names a class"], [{"text": "a", "label": []}] * 3, output="classes")
    one_line(["'classes' without a label column", "classes="], ["a", "b"], label="", output="classes")
    told = load_task(["a", "b"], label="", output="classes", classes=TAGS)
    assert (told.signature.output, told.signature.class_names) == ("classes", TAGS)


SENTENCES = [
    {"text": f"Anna{n} met Bert{n} in Rome.", "label": [f"Bert{n}", f"anna{n}"] if n % 3 else []} for n in range(20)
]


def test_spans(tmp_path):
    path = write(tmp_path / "d.jsonl", SENTENCES)
    one_line(["d.jsonl line 1", "list", "spans"], path)
    task = load_task(path, output="spans")
    assert (task.signature.output, task.metric.name, task.signature.classes) == ("spans", "span_f1", ())
    assert targets(task)["Anna1 met Bert1 in Rome."] == ("anna1", "Bert1")
    assert targets(task)["Anna0 met Bert0 in Rome."] == ()
    rows = [(s["text"], "; ".join(s["label"]) or "none") for s in SENTENCES]
    assert targets(load_task(csv(tmp_path / "d.csv", rows), output="spans")) == targets(task)
    broken = [*SENTENCES[:3], {"text": "Nobody came.", "label": ["Nobody", "Somebody"]}]
    one_line(["d.jsonl line 4", "'Somebody'", "does not stand"], write(path, broken), output="spans")
    with pytest.raises(UsageError, match=r"train item 'train-1': span 'x' does not stand"):
        Task([("a b", ["a"]), ("c", ["x"])], [], [], signature=Signature(output="spans"))


QUERIES = [{"query": f"q{n}", "options": ["one", "two", "three"], "label": ["two", "three", "one"]} for n in range(10)]


@pytest.mark.parametrize("label", [["two", "three", "one"], [1, 2, 0], [2, 3, 1], "2 > 3 > 1", "[1, 2, 0]", "2,3,1"])
def test_rankings_by_text_or_position(tmp_path, label):
    path = write(tmp_path / "d.jsonl", [{**row, "label": label} for row in QUERIES])
    task = load_task(path, text="query,options", output="ranking" if isinstance(label, str) else None)
    assert (task.signature.output, task.metric.name) == ("ranking", "kendall_tau")
    assert task.signature.fields == (Field("query"), Field("options", "list"))
    assert set(targets(task).values()) == {("two", "three", "one")}
    assert task.train[0].inputs["options"] == ("one", "two", "three")
    assert Signature.from_json(task.signature.to_json()) == task.signature
    bare = load_task(path, text="query,options", label="", output="ranking")
    assert bare.unlabeled[0].inputs["options"] == ("one", "two", "three")
    assert bare.unlabeled[0].target is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label": ["two", "three"]}, ["d.jsonl line 2", "no order of its 3 candidates"]),
        ({"label": ["two", "three", "four"]}, ["d.jsonl line 2", "two, three, four"]),
        ({"label": [0, 1, 1]}, ["d.jsonl line 2", "no order"]),
        ({"label": [1, 2, 4]}, ["d.jsonl line 2", "no order"]),
        ({"options": ["one", "One", "two"]}, ["d.jsonl line 2", "'options'", "twice"]),
        ({"options": ["one"], "label": ["one"]}, ["d.jsonl line 2", "at least two"]),
        ({"options": "one, two"}, ["lists of candidates"]),
    ],
)
def test_rankings_that_are_none(tmp_path, change, words):
    path = write(tmp_path / "d.jsonl", [QUERIES[0], {**QUERIES[1], **change}])
    one_line(words, path, text="query,options", output="ranking")


def test_several_right_texts():
    rows = [{"question": f"q{n}", "answer": [f"a{n}", f"the a{n}"] if n % 2 else f"a{n}"} for n in range(10)]
    one_line(["train row 2", "--output", "text"], rows)
    task = load_task(rows, output="text")
    assert (task.signature.output, task.metric.name) == ("text", "exact_match")
    assert targets(task)["q1"] == ("a1", "the a1")
    assert targets(task)["q2"] == "a2"
    assert task.metric.item("The A1.", ("a1", "the a1")) == 1
    one_line(["train row 11", "right answers is empty"], [*rows, {"question": "x", "answer": []}], output="text")


def test_rows_in_python():
    task = Task([(f"t{n}", set(LISTS[n % 8])) for n in range(40)])
    assert (task.signature.output, task.signature.class_names) == ("classes", ("blue", "green", "red"))
    arrays = Task([(f"t{n}", np.array(LISTS[n % 8])) for n in range(40)])
    assert arrays.items_fingerprint() == task.items_fingerprint()
    assert task.train[0].labelled and Item("x", {}, ()).labelled
    ranked = Task([({"q": "x", "c": ["a", "b"]}, ["b", "a"])] * 4, [], [])
    assert (ranked.signature.output, ranked.train[0].target) == ("ranking", ("b", "a"))
    with pytest.raises(UsageError, match=r"train-1.*'pink'"):
        Task([("a", ["red"]), ("b", ["pink"])], [], [], classes=["red", "blue"])
    with pytest.raises(UsageError, match="needs a field of kind list"):
        Signature(output="ranking")


def test_a_metric_must_fit_the_answers():
    for metric, words in (("bleu", "sets of classes.*micro_f1"), ("span_f1", "scores spans"), ("mrr", "scores orders")):
        with pytest.raises(UsageError, match=words):
            load_task(ROWS, output="classes", metric=metric)
    one_class = [{"text": f"t{n}", "label": "ab"[n % 2]} for n in range(20)]
    one_line(["bleu scores texts", "one class", "accuracy, macro_f1"], one_class, metric="bleu")
    with pytest.raises(UsageError, match="rouge_l scores texts"):
        load_task(one_class).with_metric("rouge-l")


def test_drawn_splits_hold_every_class():
    rng = np.random.default_rng(0)
    shares = np.array([0.5, 0.3, 0.2, 0.1, 0.04])
    sets = [[f"c{j}" for j in np.flatnonzero(rng.random(5) < shares)] for _ in range(400)]
    task = Task([(f"t{n}", some) for n, some in enumerate(sets)])
    total = Counter(name for some in sets for name in some)
    for split, share in ((task.train, 0.4), (task.validation, 0.2), (task.open_test(), 0.4)):
        counts = Counter(name for i in split for name in i.target)
        for name, n in total.items():
            assert abs(counts[name] / n - share) < 0.09, (name, counts[name], n)
        assert counts["c4"] >= 1
    assert [i.id for i in Task([(f"t{n}", some) for n, some in enumerate(sets)]).test] == [i.id for i in task.test]


def test_bundled_tasks_of_one_and_of_several_classes(tmp_path, monkeypatch):
    monkeypatch.setattr(loaders, "BUNDLED", tmp_path)
    names = [{"name": t, "description": f"It is {t}."} for t in TAGS]
    about = {"name": "topics", "description": "d", "instruction": "Tag.", "output": "classes", "classes": names}
    (tmp_path / "topics.json").write_text(json.dumps(about))
    splits = ["train", "validation", "test", "train"]
    write(
        tmp_path / "topics.jsonl",
        [{"id": f"i{n}", "split": splits[n % 4], "text": f"t{n}", "labels": LISTS[n % 8][::-1]} for n in range(16)],
    )
    task = load_task("topics")
    assert (task.signature.output, task.metric.name, task.name) == ("classes", "micro_f1", "topics")
    assert targets(task)["t7"] == TAGS
    assert targets(task)["t0"] == ()
    assert load_task("topics", metric="macro-f1").metric.name == "macro_f1"
    about = {"name": "reviews", "description": "d", "instruction": "", "output": "class", "classes": names}
    (tmp_path / "reviews.json").write_text(json.dumps(about))
    write(
        tmp_path / "reviews.jsonl",
        [
            {"id": f"i{n}", "split": splits[n % 4], "text": f"t{n}", "label": TAGS[n % 3], "domain": "food"}
            for n in range(16)
        ],
    )
    task = load_task("reviews")
    assert (task.signature.output, task.metric.name) == ("class", "accuracy")
    assert dict(task.train[0].meta) == {"domain": "food"}
    one_line(["'reviews'", "leave out output"], "reviews", output="classes")
