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


def search(spec, stopwatch):
    """Search with a function as the model until the calls are used up; counts the function's own calls."""
    counter = Counter(spec["failing"])
    splits = {
        name: [pt.Item(q["code"], {"text": q["text"]}, q["label"]) for q in spec[name]]
        for name in ("train", "validation", "test")
    }
    task = pt.Task(**splits, classes=spec["classes"], name="bench")
    method = method_without_end(spec["method"])
    warm = pt.model(Counter(0.0).answer, identity="warm")
    pt.fit(task, warm, method, prompt=START, budget="200calls")
    with stopwatch.running():
        found = pt.fit(task, counter.answer, method, prompt=START, budget=f"{spec['calls']}calls", missing=1.0)
    used = counter.calls
    begun = pt.evaluate(
        task, pt.model(Counter(0.0).answer, identity="begun"), prompt=START, split="validation"
    ).score.value
    return {
        "calls": used,
        "used": used,
        "allowed": spec["calls"],
        "charged": found.charged.calls,
        "start": begun,
        "folder_mb": folder_mb(found.folder.parent.parent),
    }


START = "Classify the text (variant 0)."


class Counter:
    """An instant model: right where a bit of a checksum of variant and item says so; counts its calls."""

    def __init__(self, failing):
        self.calls = self.variants = 0
        self.failing = failing

    def answer(self, prompt):
        """Answer a question, or reword an instruction."""
        self.calls += 1
        if self.failing and zlib.crc32(b"%d" % self.calls) % 1000 < 1000 * self.failing:
            raise RuntimeError("the model failed")
        if "<prompt>" in prompt:
            self.variants += 1
            return f"<prompt>Classify the text (variant {self.variants}).</prompt>"
        code = prompt[prompt.rfind("item-") :][:19]
        begin = prompt.find("(variant ") + 9
        right = zlib.crc32(f"{prompt[begin : prompt.find(')', begin)]} {code}".encode()) & 1
        classes = ("billing", "delivery", "account", "technical")
        return classes[(int(code[-8:], 16) + (0 if right else 1)) % 4]


def method_without_end(name):
    """Return a method that goes on until the budget ends, whatever it calls its size; 50 items, no demonstrations."""
    from dataclasses import fields

    from promptology.methods.registry import create

    wanted = {"candidates": 10**6, "steps": 10**6, "rounds": 10**6, "iterations": 10**6, "items": 50, "shots": 0}
    known = {f.name for f in fields(create(name))}
    return create(name, {k: v for k, v in wanted.items() if k in known})


def folder_mb(folder):
    """Return the size of a folder."""
    return sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file()) / 2**20


def samples(spec, stopwatch):
    """Score one prompt on all samples as a durable run, and read the run back from the store."""
    import time

    from promptology.run.keys import decode
    from promptology.run.store import SQLiteStore

    task, warm = task_of(spec)
    classes = spec["classes"]

    def model(prompt):
        code = prompt[prompt.rfind("item-") :][:19]
        return classes[int(code[-8:], 16) % len(classes)]

    budget = f"{2 * len(spec['questions'])}calls"
    pt.fit(warm, model, "manual", prompt=spec["prompt"], budget=budget)
    with stopwatch.running():
        found = pt.fit(task, model, "manual", prompt=spec["prompt"], budget=budget)
    began = time.perf_counter()
    store = SQLiteStore()
    row = store.run(found.run)
    events = store.events(row.id)
    bodies = store.answers(e.key for e in events.values())
    said = [decode(bodies[events[n].key]).text for n in sorted(events)]
    document = json.loads(next(found.folder.glob("*.json")).read_text())
    reading = time.perf_counter() - began
    measured = found.evidence.found_measured
    answers = dict(zip(measured.ids, measured.outputs, strict=True))
    read = dict(zip(measured.ids, said, strict=True))
    codes = [q["code"] for q in spec["questions"]]
    return {
        "answers": [answers[c] for c in codes],
        "read": [read[c] for c in codes],
        "score": found.evidence.found.value,
        "reading": reading,
        "document": bool(document),
        "log_mb": folder_mb(found.folder.parent.parent),
    }


def candidates(spec, stopwatch):
    """Search through so many candidates, 50 items each, in a run that has calls enough."""
    from promptology.methods.registry import create

    model, count = Counter(0.0), spec["candidates"]
    splits = {
        name: [pt.Item(q["code"], {"text": q["text"]}, q["label"]) for q in spec[name]]
        for name in ("train", "validation", "test")
    }
    task = pt.Task(**splits, classes=spec["classes"], name="bench")
    settings = {"candidates": count, "shots": 0, "items": 50}
    if spec["method"] == "evoprompt":
        settings = {"variant": "ga", "population": 100, "generations": count // 100 - 1, "items": 50, "finalists": 1}
    warm = pt.model(Counter(0.0).answer, identity="warm")
    pt.fit(task, warm, "random-search", prompt=START, budget="200calls")
    with stopwatch.running():
        found = pt.fit(task, model.answer, create(spec["method"], settings), prompt=START, budget=f"{200 * count}calls")
    (peak,) = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
    return {"scores": found.charged.calls - model.variants, "proposals": model.variants, "mb": int(peak) / 1024}
