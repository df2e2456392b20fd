"""The training loop that all recipes share: seeded, resumable, batches made beside the steps where a GPU is used.

A course goes in rounds. Batch n depends on the seed, n and the stage alone, and the stage changes between rounds only,
so that the same recipe gives the same batches for any number of processes that make them, and after any interruption.
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_bytes

from promptology.errors import ModelError

Batch = dict[str, "np.ndarray[Any, Any]"]
ROUND = 25
"""Steps between two looks at the accuracy, by which a curriculum goes on."""
CLIP = 1.0
"""Largest gradient norm of a step."""


class Recipe:
    """How one model is made: its network, its data, its loss, its course, and what it must be able to do.

    Instances hold plain values only, so that other processes can make batches. `steps`: steps in all; `rate`: highest
    learning rate, reached after `warm_up` (share of the steps) and falling to zero along a cosine; `decay`: weight
    decay of matrices. `bars`: least value of each judged ability; abilities without a bar are reported. `says`, `data`,
    `limits`: what the card says of the model's use, of its data, and of what it is short of and what was tried.
    """

    name: ClassVar[str]
    says: ClassVar[str] = ""
    data: ClassVar[str] = ""
    limits: ClassVar[str] = ""
    bars: ClassVar[Mapping[str, float]] = {}
    seed: int = 0
    steps: int = 1000
    rate: float = 1e-3
    warm_up: float = 0.05
    decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)

    def model(self) -> Any:
        """Return the untrained network, float32; torch is seeded before."""
        raise NotImplementedError

    def processors(self) -> list[Any]:
        """Return what stands beside the weights and has `save_pretrained`: tokenizer, image processor."""
        raise NotImplementedError

    def batch(self, rng: np.random.Generator, stage: int) -> Batch:
        """Return the arrays of one step at a stage of the curriculum."""
        raise NotImplementedError

    def loss(self, model: Any, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss of a batch and the share of its answers that were right, both 0-dimensional."""
        raise NotImplementedError

    def after(self, stage: int, accuracy: float) -> int:
        """Return the stage of the next round, from the mean accuracy of this one."""
        return stage

    def ability(self, folder: Path) -> dict[str, float]:
        """Measure the saved model on data that training never drew; shares and differences of shares."""
        raise NotImplementedError


class Course:
    """One training of a recipe. `folder`: where its state lies between calls; `report`: called after every round.

    `state` is written every `every` seconds, at the end, and when the training is interrupted; `run` goes on from it
    and comes to the same weights, wherever it was interrupted. A state of other settings is not used.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        *,
        device: str = "",
        workers: int = -1,
        every: float = 60.0,
        report: Callable[[dict[str, float]], None] | None = None,
    ) -> None:
        self.recipe, self.folder, self.every = recipe, folder, every
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        spare = min(12, (os.cpu_count() or 1) - 1) if self.device.type == "cuda" else 0
        self.workers = spare if workers < 0 else workers
        self.report = report or (lambda _: None)
        with _own_random(self.device):
            torch.manual_seed(recipe.seed)
            self.model = recipe.model().to(self.device).train()
        self.optimizer = torch.optim.AdamW(
            _groups(self.model, recipe.decay), lr=recipe.rate, betas=recipe.betas, fused=True
        )
        self.step, self.stage = 0, 0
        self.seconds, self.process_seconds = 0.0, 0.0
        self._round: list[torch.Tensor] = []  # of each step of the round so far: loss and share of right answers

    def run(self) -> Any:
        """Train to the end and return the model, in evaluation mode.

        Raises ModelError where the loss is not finite, OSError where the state cannot be written; the first Ctrl-C
        raises KeyboardInterrupt once the step is done and the state is written.
        """
        self._load()
        self._clock = time.monotonic(), time.process_time()
        with _own_random(self.device), _interrupts() as interrupted, _maker(self.recipe, self.workers) as make:
            self._rounds(make, interrupted)
            self._tick()
            self.save()
            if interrupted():
                raise KeyboardInterrupt
        return self.model.eval()

    def _rounds(self, make: Maker, interrupted: Callable[[], bool]) -> None:
        saved = time.monotonic()
        while (self.step < self.recipe.steps or self._round) and not interrupted():
            last = min(self.step - len(self._round) + ROUND, self.recipe.steps)
            for step, batch in make(self.step, last, self.stage):
                self._round.append(self._one(step, batch))
                self.step = step + 1
                if interrupted():
                    return
            self._end_round()
            if time.monotonic() - saved >= self.every:
                self.save()
                saved = time.monotonic()

    def _one(self, step: int, batch: Batch) -> torch.Tensor:
        """Take one step and return its loss and share of right answers, shape (2,)."""
        # A model with dropout draws from torch: by the step alone, so that a resumed training draws the same.
        torch.manual_seed(int(np.random.SeedSequence([self.recipe.seed, step]).generate_state(1)[0]))
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate * scheduled(step, self.recipe)
        given = {name: torch.from_numpy(value).to(self.device, non_blocking=True) for name, value in batch.items()}
        loss, right = self.recipe.loss(self.model, given)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        return torch.stack([loss.detach().float(), right.detach().float()])

    def _end_round(self) -> None:
        """Choose the next stage and report. Until here nothing waits for the device."""
        values = torch.stack(self._round).cpu()
        first = self.step - len(self._round)
        if bad := (~values[:, 0].isfinite()).nonzero().flatten().tolist():
            step = first + bad[0]
            rate = self.recipe.rate * scheduled(step, self.recipe)
            raise ModelError(
                f"{self.recipe.name}: the loss of step {step} is not finite (rate {rate:.3g}); "
                "this recipe does not train here: try another device, or a lower rate"
            )
        loss, accuracy = values.mean(0).tolist()
        stage, self._round = self.stage, []
        self.stage = self.recipe.after(stage, accuracy)
        self._tick()
        at = {"step": self.step, "loss": loss, "accuracy": accuracy, "stage": stage, "seconds": self.seconds}
        self.report(at)

    def _tick(self) -> None:
        now = time.monotonic(), time.process_time()
        self.seconds += now[0] - self._clock[0]
        self.process_seconds += now[1] - self._clock[1]
        self._clock = now

    def save(self) -> None:
        """Write the state; a kill or a full disk leaves the one before."""
        tensors = {f"model.{name}": p.detach().cpu().contiguous() for name, p in self.model.named_parameters()}
        for name, p in self.model.named_parameters():
            for key, value in self.optimizer.state.get(p, {}).items():
                tensors[f"optimizer.{name}.{key}"] = value.detach().cpu().contiguous()
        if self._round:
            tensors["round"] = torch.stack(self._round).cpu()
        about = {name: getattr(self, name) for name in COUNTS} | {"recipe": settings(self.recipe)}
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.folder / "state.part"
        try:
            with draft.open("wb") as file:
                file.write(save_bytes(tensors, {"about": json.dumps(about)}))
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, self.folder / STATE)
        finally:
            draft.unlink(missing_ok=True)

    def _load(self) -> None:
        """Go on from a state of the same recipe, where there is one."""
        path = self.folder / STATE
        if not path.is_file():
            return
        try:
            with safe_open(path, "pt") as file:
                about = json.loads(file.metadata()["about"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, a safetensors file has no iterator
        except (SafetensorError, KeyError, TypeError, ValueError):
            about = tensors = {}
        if about.get("recipe") != settings(self.recipe):
            why = "was begun by another recipe" if about else "cannot be read"
            log.warning("%s: the state in %s %s; the training begins anew", self.recipe.name, self.folder, why)
            return
        for name in COUNTS:
            setattr(self, name, about[name])
        self._round = list(tensors["round"].to(self.device)) if "round" in tensors else []
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                p.copy_(tensors[f"model.{name}"])
                before = f"optimizer.{name}."
                if state := {k.removeprefix(before): v for k, v in tensors.items() if k.startswith(before)}:
                    self.optimizer.state[p] = {k: v.to(self.device) for k, v in state.items()}


log = logging.getLogger("promptology")
STATE = "state.safetensors"
TEXTS = ("says", "data", "limits")
"""What the card says in words: it may change without another training."""
COUNTS = ("step", "stage", "seconds", "process_seconds")
"""What a state holds beside tensors: how far the training is, and the seconds of all calls so far."""
Maker = Callable[[int, int, int], Iterator[tuple[int, Batch]]]


def settings(recipe: Recipe) -> dict[str, Any]:
    """Return the plain values by which two courses of a recipe are the same."""
    names = [n for n in dir(recipe) if not n.startswith("_")]
    values = {n: getattr(recipe, n) for n in names}
    plain = {n: v for n, v in values.items() if isinstance(v, int | float | str | tuple) and n not in TEXTS}
    return dict(json.loads(json.dumps(plain)))


def scheduled(step: int, recipe: Recipe) -> float:
    """Return the share of the highest learning rate at a step: linear up, then a cosine to zero."""
    up = max(1, round(recipe.warm_up * recipe.steps))
    if step < up:
        return (step + 1) / up
    return 0.5 * (1 + math.cos(math.pi * (step - up) / max(1, recipe.steps - up)))


def _groups(model: Any, decay: float) -> list[dict[str, Any]]:
    """Return matrices with weight decay, and everything else without."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]


def _made(recipe: Recipe, step: int, stage: int) -> Batch:
    return recipe.batch(np.random.default_rng([recipe.seed, step]), stage)


@contextmanager
def _maker(recipe: Recipe, workers: int) -> Iterator[Maker]:
    """Give the function from (first step, last step, stage) to the steps' batches.

    With workers the round behind the one asked for is made ahead, for the same stage; where the stage then changes, it
    is thrown away.
    """
    if not workers:
        yield lambda first, last, stage: ((n, _made(recipe, n, stage)) for n in range(first, last))
        return
    ahead: dict[tuple[int, int], Future[Batch]] = {}
    with ProcessPoolExecutor(workers, get_context("spawn"), _alone) as pool:

        def make(first: int, last: int, stage: int) -> Iterator[tuple[int, Batch]]:
            for n in range(first, min(last + ROUND, recipe.steps)):
                if (n, stage) not in ahead:
                    ahead[n, stage] = pool.submit(_made, recipe, n, stage)
            for key in [k for k in ahead if k[1] != stage]:
                ahead.pop(key).cancel()
            for n in range(first, last):
                yield n, ahead.pop((n, stage)).result()

        try:
            yield make
        finally:
            pool.shutdown(cancel_futures=True)


def _alone() -> None:
    """Keep one maker of batches to one thread, deaf to Ctrl-C, and no longer than the process that asked for it."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End when the process is gone that asked: killed, it cannot end its makers, who would wait for ever."""
    if parent := parent_process():
        parent.join()
        os._exit(0)


@contextmanager
def _own_random(device: torch.device) -> Iterator[None]:
    """Leave torch's random state as it was."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Hold the first Ctrl-C back, and give what tells whether it came; a second one interrupts at once.

    Half a step is no state to go on from.
    """
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before in (signal.SIG_IGN, None):
        yield lambda: False
        return
    signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)
