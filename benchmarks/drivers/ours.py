"""Our side: the public calls of promptology, as a user writes them."""

import json
import zlib
from pathlib import Path

import promptology as pt


def task_of(spec):
    """Return the questions as a task whose test split they are, and one more of them to warm up with."""
    rows = [pt.Item(q["code"], {"text": q["text"]}, q["label"]) for q in spec["questions"]]
    warm = [pt.Item(q["code"], {"text": q["text"]}, q["label"]) for q in spec["warm"]]
    made = [pt.Task(test=some, classes=spec["classes"], name="bench") for some in (rows, warm)]
    return made[0], made[1]


def calls(spec, stopwatch):
    """Evaluate one prompt on all questions over HTTP, into a durable store."""
    task, warm = task_of(spec)
    model = pt.model(f"openai:bench@{spec['url']}", workers=spec["level"], timeout=spec["timeout"])
    pt.evaluate(warm, model, prompt=spec["prompt"])
    with stopwatch.running():
        found = pt.evaluate(task, model, prompt=spec["prompt"])
    answers = dict(zip(found.measured.ids, found.measured.outputs, strict=True))
    return {
        "answers": [answers.get(q["code"]) for q in spec["questions"]],
        "score": found.score.value,
        "missing": found.measured.missing,
        "charged": found.charged.calls,
        "paid": found.paid.calls,
    }
