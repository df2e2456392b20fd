"""Tasks: sealed labels, drawn splits, columns and notes."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import promptology as pt
from promptology.data.items import Item
from promptology.data.splits import DEFAULT_SHARES, draw
from promptology.errors import SealedSplitError, UsageError

labelled = st.lists(st.tuples(st.text("xyz", min_size=1, max_size=3), st.sampled_from("abc")), min_size=1, max_size=80)


@settings(max_examples=80, deadline=None)
@given(labelled, st.integers(0, 5))
def test_draw_partitions_and_keeps_identical_inputs_together(rows, seed):
    items = [Item(str(n), {"text": text}, label) for n, (text, label) in enumerate(rows)]
    splits = draw(items, DEFAULT_SHARES, seed)
    assert sorted((i.id for split in splits for i in split), key=int) == [i.id for i in items]
    assert draw(items, DEFAULT_SHARES, seed) == splits
    homes = {}
    for n, split in enumerate(splits):
        for item in split:
            assert homes.setdefault(item.inputs["text"], n) == n


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(4, 40), min_size=2), st.integers(0, 3))
def test_draw_is_stratified(counts, seed):
    items = [Item(f"{label}{n}", {"text": f"{label}{n}"}, label) for label, size in counts.items() for n in range(size)]
    for split, share in zip(draw(items, DEFAULT_SHARES, seed), DEFAULT_SHARES.values(), strict=True):
        got = Counter(i.target for i in split)
        for label, size in counts.items():
            assert abs(got[label] - share * size) <= 1
            assert got[label] >= 1 or size < 5


def test_test_labels_are_sealed(colours):
    assert colours.labelled
    with pytest.raises(SealedSplitError, match="sealed"):
        _ = colours.test[0].target
    again = colours.with_prompt("New.")
    assert again.test[0].sealed
    assert again.signature.instruction == "New."
    assert "<sealed>" in repr(again.test[0])
    assert again.items_fingerprint() == colours.items_fingerprint()
    assert again.fingerprint() != colours.fingerprint()
    assert {i.target for i in colours.open_test()} == set(colours.signature.class_names)
    assert colours.train[0].target in colours.signature.class_names


def test_openings_are_counted(colours):
    first = pt.fit(colours, lambda prompt: "red", "manual", budget="200calls")
    second = pt.fit(colours, lambda prompt: "red", "manual", budget="200calls", seed=1)
    again = pt.fit(colours, lambda prompt: "red", "manual", budget="200calls", seed=1)
    assert [r.evidence.openings for r in (first, second, again)] == [1, 2, 2]


def test_python_rows():
    task = pt.Task([{"text": "a", "label": "x"}, pt.Item("7", {"text": "b"}, "y"), ("c", "x")], [], [("d", "y")])
    assert [i.target for i in task.train] == ["x", "y", "x"]
    assert [f.name for f in task.signature.fields] == ["text"]
    assert pt.Task(signature=pt.Signature(instruction="x")).train == ()
    with pytest.raises(UsageError, match="two classes"):
        pt.Task([("a", "x"), ("b", "x")], [], [])
    with pytest.raises(UsageError, match="appears twice"):
        pt.Task([pt.Item("1", {"text": "a"}, "x"), pt.Item("1", {"text": "b"}, "y")], [], [])
    with pytest.raises(UsageError, match="not one of the classes"):
        pt.Task([("a", "x"), ("b", "y"), ("c", "x"), ("d", "y")], [], [("e", "z")])
    with pytest.raises(UsageError, match="no input column"):
        pt.Task([{"label": "x"}])


def test_a_metric_may_be_a_function():
    task = pt.Task([(f"{n}", str(n)) for n in range(10)], metric=lambda p, t: float(p == t))
    assert task.signature.output == "text"
    assert pt.evaluate(task, lambda prompt: prompt.splitlines()[-1]).score.value == 1.0


def test_pandas_rows():
    class Frame:
        columns = ("text", "label")

        def to_dict(self, orient):
            assert orient == "records"
            return [{"text": f"t{n}", "label": "ab"[n % 2]} for n in range(10)]

    assert len(pt.load_task(Frame()).test) == 4


def test_leaks_and_guesses_are_told(tmp_path):
    (tmp_path / "a.csv").write_text("message,queue,id\nsame,x,1\nother,y,2\n")
    (tmp_path / "b.csv").write_text("message,queue\nsame,x\n")
    task = pt.load_task(tmp_path / "a.csv", label="queue", test=tmp_path / "b.csv", validation=tmp_path / "b.csv")
    assert any("text=message" in note for note in task.notes)
    assert any("also stand in the training data" in note for note in task.notes)
    (tmp_path / "c.csv").write_text("text,message,label\na,b,x\nc,d,y\n")
    with pytest.raises(UsageError, match="--text"):
        pt.load_task(tmp_path / "c.csv")
    (tmp_path / "d").mkdir()
    with pytest.raises(UsageError, match="no train file"):
        pt.load_task(tmp_path / "d")


def test_quoted_newlines_and_byte_order_marks(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes('\ufefftext,label\n"two\nlines",x\nlast,\n'.encode())
    with pytest.raises(UsageError, match=r"a.csv line 4.*missing"):
        pt.load_task(path)
    path.write_bytes('\ufefftext,label\n"two\nlines",x\nlast,y\n'.encode())
    texts = [i.inputs["text"] for s in ("train", "validation", "test") for i in getattr(pt.load_task(path), s)]
    assert sorted(texts) == ["last", "two\nlines"]
