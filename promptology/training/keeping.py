"""What makes a training durable: its rows in the run, and its state in a file, written and taken up again."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from promptology.data.items import digest
from promptology.run.checkpoints import Mark
from promptology.run.engine import Run
from promptology.run.work import Span
from promptology.training import state
from promptology.training.stepping import Stepper, restore, snapshots

if TYPE_CHECKING:
    from promptology.training.loop import _Loop as Loop

SAVE_EVERY = 5.0
"""Seconds at least between two writings of the state: what a kill can lose."""
SAVE_SHARE = 0.05
"""Share of the time that writing states may take; where one takes long, they are written less often."""
_PLAIN = ("k", "best_step", "waited", "said", "until", "stopped")


class Keeper:
    """Keeps one training: `name` and `spec` say which. Use as a context manager."""

    def __init__(self, run: Run, stepper: Stepper, name: str, role: str, spec: list[Any]) -> None:
        self.run, self.meter, self.stepper, self.role = run, run.meter, stepper, role
        self.spec = digest(spec)
        self.name = name
        self.path = self.meter.states.path(f"{role}/{name}")
        self.span: Span | None = None
        self.per_step = self.line = 0
        self.evaluated = False
        self._settled: tuple[int, int, int, list[Any], int] | None = None
        self._gap = SAVE_EVERY

    def __enter__(self) -> Keeper:
        import torch

        cuda = self.stepper.device.type == "cuda"
        self._random = torch.random.fork_rng([self.stepper.device] if cuda else [])
        self._random.__enter__()
        self._history, self._warnings = len(self.run.history), len(self.run.warnings)
        self._tally = dict(self.run.tally)
        self._begin = digest_of(self.stepper.parameters)
        self._mark = Mark(self.meter)
        self._saved = time.monotonic()
        return self

    def __exit__(self, *error: Any) -> None:
        self._mark.close()
        self._random.__exit__(*error)

    @property
    def note(self) -> str | None:
        """What an earlier process wrote into the row of the open tick."""
        return self.span.note if self.span else None

    def open(self, k: int) -> None:
        """Begin the tick that starts at step k."""
        self.span = Span(self.meter, self.role, [self.name, self.spec, k])

    def close(self, note: str) -> None:
        """End the open tick. A figure of the clock must be durable before anything is done with it."""
        assert self.span is not None
        fresh = note and self.span.note is None
        self.span.end(note)
        self.span = None
        if fresh:
            self.meter.flush()

    def unsettle(self) -> None:
        """Say that parameters, losses and rows may now disagree."""
        self._settled = None

    def settle(self, loop: Loop) -> None:
        """Say that everything agrees, and write the state if it is time."""
        run = self.run
        generators = self.stepper.generators
        drawn = snapshots(generators) if generators else []
        self._settled = self.meter._seq, len(run.history), len(run.warnings), drawn, self.stepper.micro
        if self.path and loop.k and time.monotonic() - self._saved >= self._gap:
            self._write(loop)

    def interrupted(self, loop: Loop) -> None:
        """Write the state, unless the interrupt came where things disagree: then the last one written holds."""
        if self.path and self._settled and self._settled[0] == self.meter._seq and loop.k:
            self._write(loop)

    def finish(self, loop: Loop) -> None:
        """Write the end of the training: what was learned, without what only further steps need."""
        self.unsettle()
        if self.path:
            self._write(loop, ended=True)

    def _write(self, loop: Loop, ended: bool = False) -> None:
        import torch

        run, parameters = self.run, self.stepper.parameters
        began = time.monotonic()
        self.meter.flush()
        now = 0, len(run.history), len(run.warnings), snapshots(self.stepper.generators), self.stepper.micro
        _, history, warnings, drawn, micro = self._settled or now
        tensors = {f"parameter.{i}": p for i, p in enumerate(parameters)}
        tensors["losses"] = torch.tensor(loop.losses, dtype=torch.float64)
        numbers: list[Any] = []
        if not ended:
            tensors |= {f"best.{i}": p for i, p in enumerate(loop.best or ())}
            moments, numbers = state.pack_optimizer(self.stepper.optimizer, parameters)
            tensors |= moments
        tensors |= {f"generator.{i}": g for i, g in enumerate(drawn) if isinstance(g, torch.Tensor)}
        carried, kept = loop.carried.pack() if loop.carried and not ended else ({}, {})
        tensors |= {f"carried.{name}": tensor for name, tensor in kept.items()}
        doc = {
            "spec": self.spec,
            "begin": self._begin,
            "ended": ended,
            "loop": {name: getattr(loop, name) for name in _PLAIN},
            "best_value": None if math.isnan(loop.best_value) else loop.best_value,
            "best": loop.best is not None,
            "total": loop.sizing.total,
            "sized": loop.sizing.sized,
            "per_step": self.per_step,
            "line": self.line,
            "evaluated": self.evaluated,
            "micro": micro,
            "carried": carried,
            "optimizer": numbers,
            "generators": [None if isinstance(g, torch.Tensor) else g for g in drawn],
            "history": run.history[self._history : history],
            "spent": run.spent[self._history : history],
            "warnings": run.warnings[self._warnings : warnings],
            "tally": {name: n - self._tally.get(name, 0) for name, n in run.tally.items()},
            "span": self.span.to_json() if self.span else None,
            "meter": self._mark.since(),
            "stopped": self.meter.stopped,
        }
        try:
            assert self.path is not None
            state.write(self.meter.states, self.path, doc, tensors)
        except OSError as error:
            self._say(f"its state cannot be written ({' '.join(str(error).split())}); a kill now loses its steps")
            self.path = None
        self._saved = time.monotonic()
        self._gap = max(SAVE_EVERY, (self._saved - began) / SAVE_SHARE)

    def _say(self, text: str) -> None:
        self.run.warn(f"{self.name}: {text}")

    def restore(self, loop: Loop) -> bool:
        """Take up the training where its file left it; return whether it had ended."""
        if not self.path:
            return False
        try:
            found = state.read(self.path)
        except ValueError as error:
            self._say(f"its state was damaged ({error}); it was trained again from its start")
            return False
        if found is None:
            return False
        doc, tensors = found
        refusal = self._mark.refusal(doc["meter"])
        if doc["spec"] != self.spec or doc["begin"] != self._begin:
            refusal = "it belongs to another training"
        if refusal:
            self._say(f"the state in its file was not used: {refusal}; it was trained again from its start")
            return False
        self._put_back(loop, doc, tensors)
        return bool(doc["ended"])

    def _put_back(self, loop: Loop, doc: dict[str, Any], tensors: dict[str, Any]) -> None:
        import torch

        parameters = self.stepper.parameters
        with torch.no_grad():
            for i, p in enumerate(parameters):
                p.copy_(tensors[f"parameter.{i}"])
        if doc["best"] and not doc["ended"]:
            loop.best = [tensors[f"best.{i}"].to(p.device, copy=True) for i, p in enumerate(parameters)]
        if not doc["ended"]:
            state.unpack_optimizer(self.stepper.optimizer, parameters, tensors, doc["optimizer"])
        if loop.carried and not doc["ended"]:
            kept = {n.removeprefix("carried."): t for n, t in tensors.items() if n.startswith("carried.")}
            loop.carried.unpack(doc["carried"], kept)
        drawn = [tensors.get(f"generator.{i}", g) for i, g in enumerate(doc["generators"])]
        restore(self.stepper.generators, drawn)
        for name, value in doc["loop"].items():
            setattr(loop, name, value)
        loop.best_value = math.nan if doc["best_value"] is None else doc["best_value"]
        loop.losses = tensors["losses"].tolist()
        loop.sizing.total, loop.sizing.sized = doc["total"], doc["sized"]
        self.per_step, self.line, self.evaluated = doc["per_step"], doc["line"], doc["evaluated"]
        self.stepper.micro = doc["micro"]
        if doc["span"]:
            self.span = Span.from_json(self.meter, self.role, doc["span"])
        self._mark.put_back(doc["meter"])
        self.meter.stopped = self.meter.stopped or doc["stopped"]
        for entry, spent in zip(doc["history"], doc.get("spent", [{}] * len(doc["history"])), strict=True):
            self.run.take_up(entry, spent)
        for text in doc["warnings"]:
            self.run.warn(text)
        self.run.tally.update(doc["tally"])


def digest_of(parameters: Sequence[Any]) -> str:
    """Return a hash of the values of parameters: where a training begins."""
    import torch

    found = hashlib.blake2b(digest_size=16)
    for p in parameters:
        flat = p.detach().to("cpu").contiguous().reshape(-1)
        found.update(flat.view(torch.uint8).numpy() if flat.numel() else b"")
    return found.hexdigest()
