"""Result documents for tests of the report: made by hand, hostile, or of very many items."""

from __future__ import annotations

from pathlib import Path

import promptology as pt
from promptology.data.items import Item
from promptology.evidence.documents import document
from promptology.evidence.fitting import Result
from promptology.evidence.measuring import Measured, primary
from promptology.evidence.protocols import Evidence
from promptology.evidence.statistics import Interval, Paired
from promptology.prompts import Learned, Readout, Text
from promptology.run.cost import Cost
from promptology.run.lineage import Lineage, counts

HOSTILE = [
    "</pre></script><script>document.title = 'owned'; fetch('http://example.com/')</script>",
    '<img src="http://example.com/x.png" onerror="document.title = \'owned\'">',
    "</style><style>body { display: none }</style><svg onload=\"document.title = 'owned'\">",
    "&lt;b&gt; &amp; {{ 7*7 }} {% raw %}",
    "right\u202eto left\u200b \ud800 half",
    "\x1b[31mred\x07 bell \x00",
    '" style="position:fixed;inset:0" onmouseover="document.title = \'owned\'',
    "x" * 100_000,
]
COST = Cost(calls=120, tokens_in=4000, tokens_out=500)


def prompt(task, text):
    return Learned((Text(text), Readout("answer")), task.signature)


def measured(outputs, targets, raw=None, ids=None):
    ids = ids or [f"i{n}" for n in range(len(outputs))]
    return Measured(list(outputs), list(targets), ids, 0, 1.0, Cost(calls=1), raw or {})


def evidence(task, before, after, verdict="better"):
    figures = [primary(task.metric, m.outputs, m.targets) for m in (before, after)]
    spans = [Interval(f, f - 0.02, f + 0.02, before.n) for f in figures]
    pair = Paired(figures[1] - figures[0], 0.01, 0.2, 0.004, "exact McNemar", 3, 1, before.n)
    name = task.metric.name
    return Evidence("holdout", name, verdict, before.n, *spans, pair, before, after, {name: figures[1]})


def result(task, evidence, method="opro", start="Say it.", found="Say it well.", history=(), lineage=None, spent=()):
    ledger = [
        {"role": role, "phase": phase, "charged": COST.to_json(), "paid": COST.to_json()}
        for role, phase in (("model", "learning"), ("optimizer", "learning"), ("model", "evidence"))
    ]
    prompts = [prompt(task, text) for text in (start, found)]
    lines = lineage.to_json(prompts[1]) if lineage else {}
    return Result(
        prompts[1],
        evidence,
        "run",
        Path(),
        method,
        prompts[0],
        COST,
        COST,
        COST,
        ledger,
        list(history),
        (),
        1.0,
        lines,
        list(spent),
    )


def made(task, results, kind="compare"):
    doc = document(kind, task, pt.model(lambda p: "a"), results, budget="100calls", seed=0, helpers={})
    doc["created"] = "2026-01-01T00:00:00+00:00"
    return doc


def task_of(inputs, targets, classes):
    """Return a task whose test split holds these items, and the same few for training."""
    items = [
        Item(f"i{n}", {"text": text}, target) for n, (text, target) in enumerate(zip(inputs, targets, strict=True))
    ]
    return pt.Task(train=items[:8], test=items, classes=classes, name="made")


def hostile_document():
    """Return a document in which every text that a model or a user can write is hostile."""
    classes = [*HOSTILE[:7], "plain"]
    n = 64
    targets = [classes[k % 8] for k in range(n)]
    task = task_of([HOSTILE[k % 8] + str(k) for k in range(n)], targets, classes)
    raw = {f"i{k}": HOSTILE[k % 8] + HOSTILE[(k + 1) % 8] for k in range(n)}
    before = measured([classes[(k + 1) % 8] if k % 2 else None for k in range(n)], targets, raw)
    after = measured([classes[k % 8] if k % 4 else classes[(k + 1) % 8] for k in range(n)], targets, raw)
    start, texts = prompt(task, "start " + HOSTILE[0]), [prompt(task, text) for text in HOSTILE]
    lineage = Lineage(start)
    for k, text in enumerate(texts):
        lineage.born(text, texts[k - 1] if k else start, HOSTILE[-1 - k])
        lineage.scored(text, [k / 10])
    lineage.kept(texts[5], COST)
    history = [
        {
            "step": HOSTILE[k % 2],
            "values": {HOSTILE[k % 7]: HOSTILE[(k + 1) % 8], "best": k / 10},
        }
        for k in range(8)
    ]
    charged = counts(COST) | {"usd": 0.5}
    spent = [{**charged, "roles": {"model": counts(COST), "optimizer": charged}}] * 8
    one = result(
        task, evidence(task, before, after), "opro", "start " + HOSTILE[0], HOSTILE[5], history, lineage, spent
    )
    two = result(task, evidence(task, before, before, "start"), "manual", "start " + HOSTILE[0], "start " + HOSTILE[0])
    doc = made(task, [one, two])
    doc["arms"][0]["label"] = HOSTILE[1]
    doc["agreement"]["labels"] = [HOSTILE[6], HOSTILE[2]]
    doc["arms"][0]["ledger"][0]["role"] = HOSTILE[6]
    roles = doc["arms"][0]["course"]["roles"]
    roles[HOSTILE[0]] = roles.pop("optimizer")
    doc["arms"][0]["warnings"] = list(HOSTILE)
    doc["arms"][0]["guards"] = {
        "noise": {"items": 9, "changed": 0.1, "difference": -0.01, "note": HOSTILE[0]},
        "selection": {"candidates": 9, "items": 50, "best": 0.9, "luck": 0.05, "corrected": 0.85},
        "leak": {"items": 2, "longest": 12, "examples": list(HOSTILE[:7])},
        "length": {"tokens": 900, "start": 12, "exact": False},
    }
    doc["task"]["name"], doc["model"]["name"] = HOSTILE[2], HOSTILE[1]
    doc["helpers"] = {HOSTILE[6]: HOSTILE[1]}
    doc |= {"title": HOSTILE[0], "command": HOSTILE[7], "hint": HOSTILE[3], "notes": list(HOSTILE)}
    return doc


def large_document(items=50_000, steps=10_000):
    """Return a document of very many items, steps and candidates, with long answers and forty classes."""
    classes = [f"class {k}" for k in range(40)]
    targets = [classes[k % 40] for k in range(items)]
    task = task_of([f"input {k} " + "words " * 200 for k in range(items)], targets, classes)
    long = "a long answer " * 100
    raw = {f"i{k}": long for k in range(items)}
    before = measured([classes[(k + k % 3) % 40] for k in range(items)], targets, raw)
    results = []
    for arm, method in enumerate(("opro", "spo", "random-search")):
        after = measured([classes[(k + k % (5 + arm)) % 40] for k in range(items)], targets, raw)
        lineage = Lineage(prompt(task, "start"))
        parent = prompt(task, "start")
        for k in range(steps):
            child = prompt(task, f"candidate {k} " + "of many words " * 40)
            lineage.born(child, parent, "an error that was shown, with some words about it " * 60)
            lineage.scored(child, [0.5 + 0.4 * k / steps] * 3)
            if k % 100 == 0:
                lineage.kept(child, Cost(calls=k + 1))
                parent = child
        history = [{"step": "step", "values": {"best": 0.5 + 0.4 * k / steps, "text": long[:80]}} for k in range(steps)]
        spent = [{"calls": k + 1, "roles": {"model": {"calls": k + 1}}} for k in range(steps)]
        found = f"candidate {steps - 100} " + "of many words " * 40
        results.append(result(task, evidence(task, before, after), method, "start", found, history, lineage, spent))
    return made(task, results)
