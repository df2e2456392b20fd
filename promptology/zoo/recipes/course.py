"""The training loop that all recipes share: seeded, resumable, batches made beside the steps where a GPU is used.

A course goes in rounds. Batch n depends on the seed, n and the stage alone, and the stage changes between rounds only,
so that the same recipe gives the same batches for any number of processes that make them, and after any interruption.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

Batch = dict[str, "np.ndarray[Any, Any]"]
ROUND = 25
"""Steps between two looks at the accuracy, by which a curriculum goes on."""
CLIP = 1.0
"""Largest gradient norm of a step."""


class Recipe:
    """How one model is made: its network, its data, its loss, its course, and what it must be able to do.

    Instances hold plain values only, so that other processes can make batches. `steps`: steps in all; `rate`: highest
    learning rate, reached after `warm_up` (share of the steps) and falling to zero along a cosine; `decay`: weight
    decay of matrices. `bars`: least value of each judged ability; abilities without a bar are reported.
    """

    name: ClassVar[str]
    says: ClassVar[str] = ""
    data: ClassVar[str] = ""
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

    `state` is written every `every` seconds and when the training is interrupted; `run` goes on from it.
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
        torch.manual_seed(recipe.seed)
        self.model = recipe.model().to(self.device).train()
        self.optimizer = torch.optim.AdamW(
            _groups(self.model, recipe.decay), lr=recipe.rate, betas=recipe.betas, fused=True
        )
        self.step, self.stage, self.seconds = 0, 0, 0.0

    def run(self) -> Any:
        """Train to the end and return the model, in evaluation mode."""
        self._load()
        try:
            with _maker(self.recipe, self.workers) as make:
                self._rounds(make)
        except KeyboardInterrupt:
            self.save()
            raise
        return self.model.eval()

    def _rounds(self, make: Maker) -> None:
        saved = began = time.monotonic()
        while self.step < self.recipe.steps:
            losses, rights = [], []
            for step, batch in make(self.step, min(self.step + ROUND, self.recipe.steps), self.stage):
                loss, right = self._one(step, batch)
                losses.append(loss)
                rights.append(right)
            self.step += len(losses)
            accuracy = float(torch.stack(rights).mean())
            now = time.monotonic()
            self.seconds, began = self.seconds + now - began, now
            self.report(
                {
                    "step": self.step,
                    "loss": float(torch.stack(losses).mean()),
                    "accuracy": accuracy,
                    "stage": self.stage,
                    "seconds": self.seconds,
                }
            )
            self.stage = self.recipe.after(self.stage, accuracy)
            if now - saved >= self.every:
                self.save()
                saved = time.monotonic()

    def _one(self, step: int, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate * scheduled(step, self.recipe)
        given = {name: torch.from_numpy(value).to(self.device, non_blocking=True) for name, value in batch.items()}
        loss, right = self.recipe.loss(self.model, given)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        return loss.detach(), right.detach().float()

    def save(self) -> None:
        """Write the state; a kill leaves the old one or the new one."""
        tensors = {f"model.{name}": p.detach().cpu().contiguous() for name, p in self.model.named_parameters()}
        for name, p in self.model.named_parameters():
            for key, value in self.optimizer.state.get(p, {}).items():
                tensors[f"optimizer.{name}.{key}"] = value.detach().cpu().contiguous()
        about = {"step": self.step, "stage": self.stage, "seconds": self.seconds, "recipe": settings(self.recipe)}
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.folder / "state.part"
        try:
            save_file(tensors, draft, {"about": json.dumps(about)})
            os.replace(draft, self.folder / STATE)
        finally:
            draft.unlink(missing_ok=True)

    def _load(self) -> None:
        """Go on from a state of the same recipe, where there is one."""
        path = self.folder / STATE
        if not path.is_file():
            return
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["about"])
            if about["recipe"] != settings(self.recipe):
                return
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, a safetensors file has no iterator
        self.step, self.stage, self.seconds = about["step"], about["stage"], about["seconds"]
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                p.copy_(tensors[f"model.{name}"])
                before = f"optimizer.{name}."
                if state := {k.removeprefix(before): v for k, v in tensors.items() if k.startswith(before)}:
                    self.optimizer.state[p] = {k: v.to(self.device) for k, v in state.items()}


STATE = "state.safetensors"
Maker = Callable[[int, int, int], Iterator[tuple[int, Batch]]]


def settings(recipe: Recipe) -> dict[str, Any]:
    """Return the plain values by which two courses of a recipe are the same."""
    names = [n for n in dir(recipe) if not n.startswith("_")]
    values = {n: getattr(recipe, n) for n in names}
    plain = {n: v for n, v in values.items() if isinstance(v, int | float | str | tuple) and n not in ("says", "data")}
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
    """Keep one maker of batches to one thread."""
    torch.set_num_threads(1)
