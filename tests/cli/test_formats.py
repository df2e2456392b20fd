"""Every kind of output through the real command: file, prompt, answer, metric, evidence, report; and its faults."""

from __future__ import annotations

import csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

MODELS = '''
import json, re

def tags(prompt):
    """Tag the last line with every class of the list that it names; with none, say so."""
    listed = re.findall(r"^- (\\\\w+)", prompt, re.M)
    line = prompt.rstrip().splitlines()[-1]
    assert "separated by commas" in prompt
    return ", ".join(c for c in listed if c in line) or "none"

def names(prompt):
    """Copy the capitalised words of the last line; with "all" in the instruction the small ones too."""
    assert "JSON list" in prompt
    return json.dumps(re.findall(r"[A-Z]\\\\w+", prompt.rstrip().splitlines()[-1]))

def shortest(prompt):
    """Order the numbered candidates by length."""
    found = re.findall(r"^(\\\\d+)\\\\. (.+)$", prompt, re.M)
    return ", ".join(n for n, text in sorted(found, key=lambda f: len(f[1])))

def echo(prompt):
    return prompt.rstrip().splitlines()[-1]
'''.replace("\\\\", "\\")
COLOURS = ("red", "green", "blue")


@pytest.fixture
def folder(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    (work / "models.py").write_text(MODELS)
    return work


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def tagged(n=40):
    sets = [[c for b, c in enumerate(COLOURS) if i >> b & 1] for i in range(8)]
    return [{"text": f"{n} {' '.join(sets[n % 8])} things", "label": sets[n % 8]} for n in range(n)]


def named(n=20):
    return [
        {"text": f"Ann{i} met Bob{i} here.", "label": [f"Ann{i}", f"Bob{i}"] if i % 4 else [f"Ann{i}"]}
        for i in range(n)
    ]


def ranked(n=20):
    options = [["aaa", "a", "aa"], ["bb", "bbbb", "b"]]
    return [{"q": f"q{i}", "options": options[i % 2], "label": sorted(options[i % 2], key=len)} for i in range(n)]


def fit(cli, folder, task, model, *more, method="manual"):
    done = cli(
        *("fit", "--task", task, "--model", f"models:{model}", "--method", method, "--budget", "500calls", "--json"),
        *more,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_several_classes(cli, folder):
    jsonl(folder / "d.jsonl", tagged())
    doc = fit(cli, folder, "d.jsonl", "tags", "--output", "classes", "--out", "p")
    (arm,) = doc["arms"]
    assert arm["metrics"] == {"micro_f1": 1.0, "macro_f1": 1.0, "exact_match": 1.0, "jaccard": 1.0}
    assert arm["score"]["parse_rate"] == 1.0
    report = (folder / doc["report"]).read_text()
    assert "micro_f1" in report
    done = cli("apply", "p", "--model", "models:tags", "red and blue", "nothing", cwd=folder)
    assert done.stdout == "blue, red\nnone\n"
    rows = {"text": ["a red one", "a green and red one"], "n": [1, 2], "picture": [b"xyz", b"x"]}
    pq.write_table(pa.table(rows), folder / "new.parquet")
    done = cli("apply", "p", "--model", "models:tags", "--input", "new.parquet", cwd=folder)
    assert list(csv.DictReader(io.StringIO(done.stdout))) == [
        {"text": "a red one", "n": "1", "picture": "<3 bytes>", "prediction": "red"},
        {"text": "a green and red one", "n": "2", "picture": "<1 bytes>", "prediction": "green, red"},
    ]
    done = cli("apply", "p", "--model", "models:tags", "--input", "new.parquet", "--json", cwd=folder)
    assert [p["prediction"] for p in json.loads(done.stdout)["predictions"]] == [["red"], ["green", "red"]]
    done = cli("apply", "p", "--model", "models:tags", "--input", "new.parquet", "--text", "picture", cwd=folder)
    assert done.returncode == 2 and "'picture' holds a bytes" in done.stderr


def test_several_classes_in_parquet_and_csv_give_the_same_figures(cli, folder):
    rows = tagged()
    pq.write_table(pa.table({k: [r[k] for r in rows] for k in rows[0]}), folder / "d.parquet")
    lines = [f"{r['text']},{';'.join(r['label']) or 'none'}" for r in rows]
    (folder / "d.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    for task in ("d.parquet", "d.csv"):
        doc = fit(cli, folder, task, "tags", "--output", "classes", "--metric", "macro-f1")
        assert doc["task"]["classes"] == sorted(COLOURS)
        assert doc["arms"][0]["metrics"]["macro_f1"] == 1.0


def test_spans(cli, folder):
    jsonl(folder / "d.jsonl", named())
    doc = fit(cli, folder, "d.jsonl", "names", "--output", "spans", "--out", "p", method="few-shot")
    metrics = doc["arms"][0]["metrics"]
    assert list(metrics) == ["span_f1", "span_precision", "span_recall", "token_f1", "exact_match"]
    assert metrics["span_recall"] == 1.0 > metrics["span_precision"] > 0.8
    assert '["Ann' in doc["arms"][0]["prompt"]
    done = cli("apply", "p", "--model", "models:names", "Bob, then Ann", cwd=folder)
    assert done.stdout == '["Bob", "Ann"]\n'


def test_rankings(cli, folder):
    jsonl(folder / "d.jsonl", ranked())
    doc = fit(cli, folder, "d.jsonl", "shortest", "--text", "q,options", "--out", "p")
    assert doc["arms"][0]["metrics"] == {"kendall_tau": 1.0, "ndcg": 1.0, "mrr": 1.0, "exact_match": 1.0}
    (folder / "new.csv").write_text('q,options\nx,"[""ccc"", ""c""]"\n')
    done = cli("apply", "p", "--model", "models:shortest", "--input", "new.csv", "--json", cwd=folder)
    assert json.loads(done.stdout)["predictions"][0]["prediction"] == ["c", "ccc"]
    (folder / "new.csv").write_text("q,options\nx,c\n")
    done = cli("apply", "p", "--model", "models:shortest", "--input", "new.csv", cwd=folder)
    assert done.returncode == 2 and "'options' holds no list of candidates" in done.stderr


@pytest.mark.parametrize("metric", ["rouge-l", "bleu", "token-f1"])
def test_texts_with_several_right_ones(cli, folder, metric):
    rows = [{"q": f"say the word number {n}", "a": ["something else", f"say the word number {n}"]} for n in range(20)]
    jsonl(folder / "d.jsonl", rows)
    doc = fit(cli, folder, "d.jsonl", "echo", "--text", "q", "--label", "a", "--output", "text", "--metric", metric)
    assert doc["arms"][0]["score"]["value"] == pytest.approx(1.0)


FAULTS = {
    "cut.parquet": (b"PAR1 and nothing more", [], ["cut.parquet", "not a readable Parquet file"]),
    "list.jsonl": ([{"text": "a b", "label": ["a"]}], [], ["list.jsonl line 1", "--output"]),
    "parted.csv": ('text,label\nx,a; b\ny,"b, a"\n', ["--output", "classes"], ["parted.csv line 2", "';' or ','"]),
    "span.jsonl": (
        [{"text": "Ann is here", "label": ["Ann"]}, {"text": "Bob is here", "label": ["Bobby"]}],
        ["--output", "spans"],
        ["span.jsonl line 2", "'Bobby'", "does not stand in its input"],
    ),
    "order.jsonl": (
        [{"q": "x", "options": ["a", "b"], "label": ["a", "c"]}],
        ["--text", "q,options"],
        ["order.jsonl line 1", "no order of its 2 candidates"],
    ),
    "bleu.csv": ("text,label\nx,a\ny,b\nz,a\nw,b\n", ["--metric", "bleu"], ["bleu scores texts", "accuracy, macro_f1"]),
    "kind.csv": ("text,label\nx,a\ny,b\n", ["--output", "sets"], ["output is class, classes", "'sets'"]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults(cli, folder, name):
    content, more, words = FAULTS[name]
    path = folder / name
    if isinstance(content, list):
        jsonl(path, content)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    done = cli("fit", "--task", name, "--model", "models:echo", "--method", "manual", *more, cwd=folder)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("note:")]
    assert (done.returncode, done.stdout, len(lines)) == (2, "", 1), done.stderr
    for word in words:
        assert word in lines[0], lines[0]


def test_help_names_all_of_them(cli):
    text = " ".join(cli("evaluate", "--help").stdout.split())
    from promptology.data.metrics import METRICS

    for name in METRICS:
        assert name.replace("_", "-") in text, name
    for word in ("Parquet", "hf:NAME", "spans", "ranking"):
        assert word in text
