"""Runs for contracts: in a home of their own, in a process of their own, summed up so that two can be compared."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from promptology.data.task import Task
from promptology.evidence.fitting import Result, Settings, fit_one
from promptology.prompts.learned import Learned
from promptology.prompts.saving import load
from promptology.run.budget import Budget
from promptology.run.cost import Cost
from promptology.run.handles import unmetered
from promptology.testing.nest import Nest
from promptology.training import keeping

Models = Mapping[str, Any]
CHILD = (sys.executable, "-m", "promptology.testing.child")
WAIT = 120
"""Seconds that a process of its own may take."""


@contextlib.contextmanager
def own_home() -> Iterator[Path]:
    """Give a run a store and folders that nothing else uses."""
    before = os.environ.get("PROMPTOLOGY_HOME")
    with tempfile.TemporaryDirectory(prefix="promptology-check-") as folder:
        os.environ["PROMPTOLOGY_HOME"] = folder
        try:
            yield Path(folder)
        finally:
            os.environ.pop("PROMPTOLOGY_HOME")
            if before is not None:
                os.environ["PROMPTOLOGY_HOME"] = before


def run_once(method: Any, task: Task, models: Models, budget: str, seed: int) -> Result:
    """Fit in the current home."""
    helpers = {role: m for role, m in models.items() if role != "model"}
    settings = Settings(Budget.parse(budget), seed)
    return fit_one(task, models["model"], type(method).card, method, helpers, settings)


def summary(result: Result) -> dict[str, Any]:
    """Return what must be equal in two runs that are the same, as plain JSON."""
    doc = {
        "prompt": result.learned.to_json(),
        "tensors": tensors_of(result.learned),
        "evidence": str(result.evidence),
        "charged": counts(result.charged),
        "cost of learning": counts(result.learning),
        "history": result.history,
        "lineage": result.lineage,
        "warnings": result.warnings,
    }
    same: dict[str, Any] = json.loads(json.dumps(doc, default=str))
    return same


def counts(cost: Cost) -> dict[str, int]:
    """Return the counted part of a cost."""
    return {"calls": cost.calls, "passes": cost.passes, "in": cost.tokens_in, "out": cost.tokens_out}


def tensors_of(learned: Learned) -> dict[str, str]:
    """Return a hash of every tensor."""
    return {
        f"{n}.{name}": hashlib.blake2b(f"{value.dtype}{value.shape}".encode() + value.tobytes()).hexdigest()
        for n, part in enumerate(learned.parts)
        for name, value in part.tensors().items()
    }


def difference(one: Mapping[str, Any], two: Mapping[str, Any]) -> str:
    """Return the first thing in which two summaries differ, empty where they are equal."""
    for name, value in one.items():
        other = two.get(name)
        if value != other:
            if isinstance(value, list) and isinstance(other, list):
                pairs = list(zip(value, other, strict=False))
                at = next((n for n, (a, b) in enumerate(pairs) if a != b), len(pairs))
                return f"{name}, entry {at}: {_short(value[at : at + 1])} against {_short(other[at : at + 1])}"
            return f"{name}: {_short(value)} against {_short(other)}"
    return ""


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 300 else text[:300] + "..."


def predicted(learned: Learned, models: Models, inputs: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return the predictions of a prompt, outside any run."""
    handles = {role: unmetered(m, role) for role, m in models.items() if role in learned.roles}
    model = handles.pop("model")
    outputs: list[Any] = learned.bind(model, handles).predict(list(inputs)).outputs
    return outputs


def new_nest() -> Nest:
    """Return a process that has loaded torch, for jobs on models in this process."""
    return Nest([*CHILD, "nest"], _environment())


def in_child(
    job: str,
    folder: Path,
    spec: Mapping[str, Any],
    watch: Callable[[Any], None] | None = None,
    nest: Nest | None = None,
) -> tuple[int, Any]:
    """Do a job in a process of its own; return its exit code and, where it ended well, what it returned.

    `watch` gets the process as soon as it runs; with a `nest` it is a fork of that. Whatever the job says goes to a
    file, whose end is part of the error where it failed of itself.
    """
    with (folder / "spec.pickle").open("wb") as file:
        pickle.dump({**spec, "threads": _threads()}, file)
    answer = folder / "answer.json"
    answer.unlink(missing_ok=True)
    code = nest.run(job, folder, WAIT, watch) if nest else _run(job, folder, watch)
    if code is None:
        return 124, f"it did not end within {WAIT} s"
    if code == 0:
        return 0, json.loads(answer.read_text(encoding="utf-8"))
    return code, (folder / "said").read_text(encoding="utf-8", errors="replace").strip()[-600:]


def _run(job: str, folder: Path, watch: Callable[[subprocess.Popen[bytes]], None] | None) -> int | None:
    env = {**_environment(), "PROMPTOLOGY_HOME": str(folder / "home")}
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen([*CHILD, job, str(folder)], env=env, stdout=said, stderr=subprocess.STDOUT)
        try:
            if watch:
                watch(process)
            return process.wait(WAIT)
        except subprocess.TimeoutExpired:
            return None
        finally:
            process.kill()
            process.wait()


def _threads() -> int:
    """Return the threads that torch computes with here, 0 where it is not loaded; sums depend on it."""
    torch: Any = sys.modules.get("torch")
    return int(torch.get_num_threads()) if torch else 0


def _environment() -> dict[str, str]:
    path = os.pathsep.join(p for p in ["" if sys.path[0] == "" else os.getcwd(), *sys.path] if p)
    return {**os.environ, "PYTHONPATH": path}


def do(job: str, folder: Path) -> Any:
    """Do what `in_child` asked for, in the child."""
    with (folder / "spec.pickle").open("rb") as file:
        spec = pickle.load(file)  # written a moment ago by the test that started us
    if spec["threads"]:
        import torch

        torch.set_num_threads(spec["threads"])
    if job == "fit":
        keeping.SAVE_EVERY = spec.get("gap", keeping.SAVE_EVERY)
        result = run_once(spec["method"], spec["task"], spec["models"], spec["budget"], spec["seed"])
        return summary(result)
    return predicted(load(spec["prompt"]), spec["models"], spec["inputs"])
