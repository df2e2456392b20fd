"""Real images: base-to-novel on real silhouettes, tinted and placed, with a small CLIP that knows half of the pairs.

    python -m benchmarks.real_images                           all methods, five seeds; leaves a record
    python -m benchmarks.real_images --clip FOLDER --seeds 3   the same with a CLIP or SigLIP of one's own

The CLIP is made here (`garments_clip`; it lies under .bench, anew where its source or the data change). What its
pre-training never drew, the other half of the pairs of colours and garments, is learned from and tested on through
`promptology.protocol`: base classes, and new ones that share no word with them. Every seed has pictures, shots, initial
values and batches of its own, the same for all methods.

What was looked at before: zero-shot accuracy on validation pictures, of two designs. The first (15 to 22 of 32 px for a
silhouette, 128 wide, 4 layers, 200 steps without easy pictures) told colours but no garments: 20 % of base classes and
of new ones, of which chance is 5 %. The second, which is this one, came to 65 % and 63 %; it tells all colours, so what
is left to learn are garments. No method had learned anything by then. Methods have their papers' settings, MaPLe with
no more depth than the towers have, and take the rate that is best on validation pictures of the base classes, as in the
claims about these methods.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import garments
from benchmarks.common import Session
from benchmarks.environments import BENCH, BenchError
from benchmarks.garments import Pixels, pictures, silhouettes, split
from benchmarks.ratios import Estimate
from benchmarks.real import Skipped, real_data
from benchmarks.recording import recorded, source

NAME, TITLE = "real-images", "base-to-novel on tinted, placed silhouettes of Fashion-MNIST"
DATA = "image/fashion_mnist"
SEEDS = 5
METHODS = ("zero-shot", "coop", "cocoop", "maple")
RATES = (0.002, 0.01, 0.05)
"""Of SGD: those that the claims choose from."""
CHOICE = (0, 1)
"""Seeds of the choice."""
SHOTS = 8
EACH = {"train": 16, "validation": 8, "test": 20}
"""Pictures a class; the shots are drawn from those of train."""
DEPTH = 9
BUDGET = "100000000passes"
HEAD = ("method", "base", "new", "harmonic mean", "rate", "passes", "CPU s")
WHAT = {"base": "base", "new": "new", "mean": "harmonic mean"}
Shapes = Mapping[str, Mapping[str, Pixels]]


class Sat(NamedTuple):
    """What one run gave: accuracy on base and new classes, 0 to 1; forward passes, and processor seconds."""

    base: float
    new: float
    passes: int
    seconds: float

    @property
    def mean(self) -> float:
        """Harmonic mean of both."""
        return 2 * self.base * self.new / (self.base + self.new) if self.base + self.new else 0.0


class Bench:
    """A model and the silhouettes; `folder`: the model's. What was measured before, of the same source, is kept."""

    def __init__(self, folder: Path, shapes: Shapes) -> None:
        self.folder, self.shapes, self.model = folder, shapes, opened(folder)
        self.depth = min(DEPTH, *(self.model.towers().sites.layers[stack] for stack in ("text", "vision")))

    def measured(self, method: str, seed: int, rate: float | None, test: str = "test") -> Sat:
        """Return what a method makes of the task of a seed; `test`: the silhouettes that are tested on."""
        settings: dict[str, float] = {} if rate is None else {"rate": rate}
        settings |= {"depth": self.depth} if method == "maple" else {}
        told = [source(), weights(self.folder), method, seed, test, settings, SHOTS, EACH]
        digest = hashlib.blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=10)
        for part in (garments, task_of, sat):
            digest.update(inspect.getsource(part).encode())
        kept = BENCH / "real_images" / f"{digest.hexdigest()}.json"
        if not kept.is_file():
            found = sat(self.model, task_of(self.shapes, seed, test), method, settings, seed)
            kept.parent.mkdir(parents=True, exist_ok=True)
            staged = kept.with_suffix(".new")
            staged.write_text(json.dumps(found))
            staged.replace(kept)
        return Sat(*json.loads(kept.read_text()))

    def chosen(self, method: str) -> dict[float, float]:
        """Return by rate the mean accuracy on validation pictures of the base classes."""
        return {
            rate: float(np.mean([self.measured(method, seed, rate, "validation").base for seed in CHOICE]))
            for rate in RATES
        }


def run(session: Session, clip: str = "") -> None:
    """Measure, and record a table and the paired differences from zero-shot; raises Skipped without the data."""
    import torch

    torch.set_num_threads(1)
    data = real_data(DATA)
    bench = Bench(Path(clip) if clip else pretrained(session, data), silhouettes(data))
    seeds, rates = range(session.repeats), {}
    found: dict[str, list[Sat]] = {}
    for method in METHODS:
        if method != "zero-shot":
            by_rate = bench.chosen(method)
            rates[method] = max(RATES, key=by_rate.__getitem__)
            shown = ", ".join(f"{rate:g}: {value:.3f}" for rate, value in by_rate.items())
            session.notes.append(f"{method}: base accuracy on validation pictures by rate {shown}")
            session.say(session.notes[-1])
        found[method] = [bench.measured(method, seed, rates.get(method)) for seed in seeds]
        session.say(" | ".join(row(method, found[method], rates)))
    session.table(f"{len(seeds)} seeds, {SHOTS} shots", HEAD, [row(name, some, rates) for name, some in found.items()])
    session.runs |= {name: [one._asdict() for one in some] for name, some in found.items()}
    for name in METHODS[1:]:
        pairs = list(zip(found[name], found["zero-shot"], strict=True))
        for what, label in WHAT.items():
            differences = [100 * (getattr(a, what) - getattr(b, what)) for a, b in pairs]
            session.figure(f"{label}, {name} − zero-shot", interval(differences), "points")
    session.notes += notes(bench, clip)


def row(method: str, found: Sequence[Sat], rates: Mapping[str, float]) -> list[str]:
    """Return the line of a method in the table: means over seeds with half their intervals."""
    scores = [interval([100 * getattr(one, what) for one in found]) for what in WHAT]
    passes, seconds = (float(np.mean([getattr(one, what) for one in found])) for what in ("passes", "seconds"))
    shown = [f"{one.value:.1f} ± {one.high - one.value:.1f}" for one in scores]
    return [method, *shown, f"{rates[method]:g}" if method in rates else "–", f"{passes:,.0f}", f"{seconds:.1f}"]


def interval(values: Sequence[float]) -> Estimate:
    """Return the mean over seeds with its 95 % t interval; of a single value, that value."""
    from promptology.claims.rules import interval as of

    found = of(values)
    return Estimate(float(np.mean(values)), found.low, found.high)


def notes(bench: Bench, clip: str) -> list[str]:
    """Return what a reader has to know about the figures."""
    halves = split()
    return [
        f"accuracy in points among {len(halves['base'])} base and {len(halves['new'])} new classes, {EACH['test']} "
        "pictures a class; mean over seeds ± half its 95 % t interval; differences are paired by seed. The seeds "
        "share one model and one split of the classes",
        f"model: {Path(clip).name if clip else 'pre-trained here on ' + str(len(halves['pretraining'])) + ' pairs'}; "
        f"prompts of MaPLe in {bench.depth} layers",
        f"rate: of SGD, the best of {', '.join(f'{rate:g}' for rate in RATES)} on validation pictures of base classes, "
        f"seeds {' and '.join(map(str, CHOICE))}; everything else as the papers have it",
        "passes and processor seconds, means over seeds: a whole run of the protocol on one thread, that is learning, "
        "and the test of the start and of what was learned; nothing is kept between runs",
        "silhouettes of pre-training, shots, validation and test are different ones, those of test from the test file",
    ]


def task_of(shapes: Shapes, seed: int, test: str = "test") -> Any:
    """Return the task of a seed: base and then new classes; `test`: the silhouettes that are tested on."""
    import promptology as pt
    from promptology.data.images import Image

    halves = split()
    pairs = [*halves["base"], *halves["new"]]
    splits: dict[str, Any] = {}
    for n, (name, use) in enumerate({"train": "train", "validation": "validation", "test": test}.items()):
        drawn = pictures(shapes[use], pairs, EACH[name], np.random.default_rng([seed, n]))
        splits[name] = [
            pt.Item(f"{name}-{k}", {"image": Image(pixels, f"{name}-{k}")}, " ".join(pair))
            for k, (pair, pixels) in enumerate(drawn)
        ]
    classes = tuple(pt.ClassLabel(" ".join(pair)) for pair in pairs)
    signature = pt.Signature((pt.Field("image", "image"),), "class", classes)
    return pt.Task(**splits, signature=signature, name="garments")


def sat(model: Any, task: Any, method: str, settings: Mapping[str, Any], seed: int) -> Sat:
    """Let a method learn and be tested by the protocol, in a home of its own."""
    import promptology as pt

    began = time.process_time()
    given: dict[str, Any] = {"shots": SHOTS, "seeds": [seed], "settings": {method: settings}, "budget": BUDGET}
    with home():
        found = pt.protocol("base-to-novel", task, model, [method], **given)
    seconds = time.process_time() - began
    scores: list[float] = []
    for half in ("base", "new"):
        cell = found.cell(method, half)
        if cell.score is None:
            raise BenchError(f"{method}, seed {seed}: the {half} classes have no score: {cell.reason}")
        scores.append(cell.score.value)
    base, new = scores
    return Sat(base, new, found.document["charged"]["passes"], seconds)


@contextmanager
def home() -> Iterator[None]:
    """Keep store and runs in a folder that goes away, so that no run finds what another left."""
    before = os.environ.get("PROMPTOLOGY_HOME")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        os.environ["PROMPTOLOGY_HOME"] = folder
        try:
            yield
        finally:
            os.environ.pop("PROMPTOLOGY_HOME")
            if before is not None:
                os.environ["PROMPTOLOGY_HOME"] = before


def opened(folder: Path) -> Any:
    """Return the CLIP or SigLIP in a folder, on the CPU; raises BenchError where there is none."""
    import promptology as pt
    from promptology.errors import PromptologyError

    try:
        model = pt.model(f"hf:{folder}", device="cpu")
        model.towers()
    except (PromptologyError, AttributeError) as error:
        raise BenchError(f"{folder} holds no CLIP or SigLIP: {error}") from None
    return model


def weights(folder: Path) -> str:
    """Return a short hash of a model's files."""
    digest = hashlib.blake2b(digest_size=8)
    for file in sorted(one for one in folder.iterdir() if one.is_file()):
        with file.open("rb") as opened_file:
            digest.update(hashlib.file_digest(opened_file, "blake2b").digest())
    return digest.hexdigest()


def pretrained(session: Session, data: Path) -> Path:
    """Return the folder of the CLIP that knows half of the pairs; it is trained where this recipe has made none yet."""
    from benchmarks.garments_clip import build

    return build(data, BENCH / "real_images", session.say)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.real_images", description=__doc__, formatter_class=form)
    parser.add_argument("--clip", default="", metavar="FOLDER", help="a transformers CLIP or SigLIP, instead of ours")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"how many seeds (default {SEEDS})")
    parser.add_argument("--json", action="store_true", help="print the record")
    options = parser.parse_args(arguments)
    try:
        if options.seeds < 1:
            raise BenchError(f"--seeds is {options.seeds}; it must be at least 1")
        real_data(DATA)
        # Only the whole is for the table.
        session = Session(NAME, options.seeds, bool(options.clip) or options.seeds < SEEDS)
        command = "python -m benchmarks.real_images" + (f" --clip {options.clip}" if options.clip else "")
        command += f" --seeds {options.seeds}" if options.seeds != SEEDS else ""
        record = recorded(session, TITLE, (), lambda s: run(s, options.clip), command, 0.0)
    except Skipped as why:
        print(f"skipped: {why}", file=sys.stderr)
        return 0
    except BenchError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(record, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
