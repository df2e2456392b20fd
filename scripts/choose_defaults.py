"""Choose default rates and lengths of the gradient methods on validation data of public tasks, never on a bundled one.

    python scripts/choose_defaults.py                       all methods, tasks and seeds; writes docs/defaults.md
    python scripts/choose_defaults.py --method dept --seeds 1

Every setting of a grid is trained on a few hundred items, keeps its best state on one part of the validation data, and
is scored on another part; test files are not read. The default is the setting with the best mean over tasks and seeds,
of equals the first. The data lie outside the project, in PROMPTORIUM_DATA or beside it in shared/data.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
TRAIN, STOP, SCORE, STEPS = 160, 80, 300, 80
"""Items to train on, to keep the best state by, and to score on; steps of gradient."""
GRIDS = {
    "prompt-tuning": {"rate": (0.003, 0.01, 0.03), "length": (5, 20)},
    "dept": {"rate": (0.003, 0.01, 0.03), "offset_rate": (1e-4, 1e-3)},
    "ptec": {"rate": (0.003, 0.01, 0.03), "head_rate": (0.03,)},
    "prefix-tuning": {"rate": (3e-4, 1e-3, 3e-3)},
    "p-tuning": {"rate": (3e-4, 1e-3, 3e-3)},
    "lora": {"rate": (3e-4, 1e-3, 3e-3)},
}
"""What is tried, method by method; rates of prompts are multiples of the mean norm of the model's embeddings."""


def data() -> Path | None:
    """Return the folder of texts, None where it is absent."""
    folder = Path(os.environ.get("PROMPTORIUM_DATA") or ROOT.parent / "shared" / "data") / "text"
    return folder if folder.is_dir() else None


def tasks(folder: Path, seed: int) -> dict[str, object]:
    """Return the tasks by name: question types, and the sentiment of film reviews."""
    import promptology as pt

    def rows(path: str) -> list[dict[str, str]]:
        return [json.loads(line) for line in (folder / path).read_text(encoding="utf-8").splitlines()]

    rng = np.random.default_rng(seed)
    made: dict[str, object] = {}
    for name in ("trec", "sst2"):
        many = rows(f"{name}/train.jsonl")
        order = rng.permutation(len(many))[: TRAIN + STOP + SCORE]
        some = [many[i] for i in order]
        classes = tuple(pt.ClassLabel(label) for label in sorted({row["label"] for row in many}))
        made[name] = pt.Task(
            train=some[:TRAIN],
            validation=some[TRAIN : TRAIN + STOP],
            test=some[TRAIN + STOP :],
            signature=pt.Signature((pt.Field("text"),), "class", classes),
            name=name,
        )
    return made


def main() -> int:
    """Run the grids and print, or write, the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", action="append", choices=sorted(GRIDS), help="only this one; may be repeated")
    parser.add_argument("--model", default="minilm", help="model (default minilm)")
    parser.add_argument("--seeds", type=int, default=1, help="seeds per setting (default 1)")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "defaults.md", help="where the table goes")
    options = parser.parse_args()
    folder = data()
    if folder is None:
        print("skipped: the benchmark texts are absent; set PROMPTORIUM_DATA to their folder", file=sys.stderr)
        return 0
    kept = options.out.with_suffix(".json")
    found = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    with tempfile.TemporaryDirectory() as home:
        os.environ["PROMPTOLOGY_HOME"] = home
        for name in options.method or GRIDS:
            found[name] = grid(name, options.model, folder, options.seeds)
            kept.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            options.out.write_text(page(found), encoding="utf-8")
    return 0


def grid(name: str, model: str, folder: Path, seeds: int) -> list[dict[str, object]]:
    """Return one row per setting of a method: its mean score, and the score per task."""
    import promptology as pt

    opened = pt.model(model)
    fixed = {} if name == "ptec" else {"steps": STEPS, "checks": 4}  # PTEC counts epochs
    rows: list[dict[str, object]] = []
    for values in itertools.product(*GRIDS[name].values()):
        settings = dict(zip(GRIDS[name], values, strict=True))
        scores: dict[str, list[float]] = {}
        began = time.monotonic()
        for seed in range(seeds):
            for task_name, task in tasks(folder, seed).items():
                result = pt.fit(task, opened, name, settings={**fixed, **settings}, seed=seed, budget="10000000passes")
                scores.setdefault(task_name, []).append(result.evidence.found.value)
        means = {task_name: float(np.mean(some)) for task_name, some in scores.items()}
        row = {"settings": settings, "tasks": means, "mean": float(np.mean(list(means.values()))), "seeds": seeds}
        rows.append(row)
        took = f"{time.monotonic() - began:.0f} s"
        print(f"{name} {settings}: {row['mean']:.3f}  {means}  {took}", file=sys.stderr, flush=True)
    return rows


def page(found: dict[str, list[dict[str, object]]]) -> str:
    """Return the page: a table per method, the chosen setting marked."""
    lines = [
        "# How the defaults were chosen",
        "",
        "Rates and lengths of the gradient methods, on MiniLM: accuracy on validation data of public tasks (question",
        f"types, film reviews): {TRAIN} items to train on, {STOP} to keep the best state by, {SCORE} to score on, all",
        f"of training files, {STEPS} steps (PTEC: 10 epochs). No bundled task, no test file was read. The default is",
        "the setting with the best mean, of equals the first. `python scripts/choose_defaults.py` makes this page.",
    ]
    for name, rows in found.items():
        best = max(rows, key=lambda row: row["mean"])
        names = list(rows[0]["settings"])
        told = list(rows[0]["tasks"])
        lines += ["", f"## {name}", "", "| " + " | ".join([*names, *told, "mean", "chosen"]) + " |"]
        lines += ["|" + "---|" * (len(names) + len(told) + 2)]
        for row in rows:
            cells = [f"{row['settings'][n]:g}" for n in names] + [f"{row['tasks'][t]:.3f}" for t in told]
            lines.append("| " + " | ".join([*cells, f"{row['mean']:.3f}", "yes" if row is best else ""]) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
