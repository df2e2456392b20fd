"""gepa's side: `optimize` with an adapter of its own protocol, an instant model, and its run folder."""

import itertools
import zlib
from pathlib import Path

import gepa
from gepa.core.adapter import EvaluationBatch

START = "Classify the text (variant 0)."


class Adapter:
    """Right where a bit of a checksum of variant and item says so; counts its calls."""

    propose_new_texts = None

    def __init__(self):
        self.calls = 0

    def evaluate(self, batch, candidate, capture_traces=False):
        """Score a candidate on a batch."""
        self.calls += len(batch)
        text = candidate["instruction"]
        begin = text.find("(variant ") + 9
        variant = text[begin : text.find(")", begin)]
        scores = [float(zlib.crc32(f"{variant} {q['code']}".encode()) & 1) for q in batch]
        traces = (
            [{"text": q["text"], "score": s} for q, s in zip(batch, scores, strict=True)] if capture_traces else None
        )
        return EvaluationBatch([q["label"] for q in batch], scores, traces if capture_traces else None)

    def make_reflective_dataset(self, candidate, eval_batch, components_to_update):
        """Return what the reflection model would look at."""
        rows = [{"Inputs": t["text"], "Feedback": f"score {t['score']}"} for t in eval_batch.trajectories]
        return dict.fromkeys(components_to_update, rows)


def search(spec, stopwatch):
    """Search until the metric calls are used up, after a short search of its own to warm up."""
    optimize(spec, Adapter(), 200, Path(spec["folder"]) / "warm")
    adapter, run_dir = Adapter(), Path(spec["folder"]) / "run"
    with stopwatch.running():
        found = optimize(spec, adapter, spec["calls"], run_dir)
    size = sum(f.stat().st_size for f in run_dir.rglob("*") if f.is_file()) / 2**20
    return {
        "calls": adapter.calls,
        "used": adapter.calls,
        "allowed": spec["calls"],
        "counted": found.total_metric_calls,
        "start": found.val_aggregate_scores[0],
        "candidates": len(found.candidates),
        "folder_mb": size,
    }


def optimize(spec, adapter, calls, run_dir):
    """Run `gepa.optimize` with an instant reflection model."""
    variants = itertools.count(1)
    return gepa.optimize(
        seed_candidate={"instruction": START},
        trainset=spec["train"],
        valset=spec["validation"],
        adapter=adapter,
        reflection_lm=lambda prompt: f"```\nClassify the text (variant {next(variants)}).\n```",
        max_metric_calls=calls,
        run_dir=str(run_dir),
        display_progress_bar=False,
        seed=0,
    )
