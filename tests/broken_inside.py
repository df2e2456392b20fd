"""Methods that look inside a model and each break one promise, in a module that other processes can import."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

import promptology as pt
from promptology.models.access import Differentiable
from promptology.prompts.sites import SiteTensors
from promptology.run.cost import Cost

WIDTH = 32


def method(slug):
    return pt.method(slug, family="soft", learns="tensors", needs={"model": Differentiable})


def prompt(run, values):
    """Return the start with virtual tokens in front."""
    part = SiteTensors("input", np.asarray(values, np.float32))
    return replace(run.start, parts=(part, *run.start.parts), roles={"model": "differentiable"})


@method("works-inside")
@dataclass(frozen=True)
class Works:
    """Try a few random prompts and return the one under which training answers are likeliest."""

    tries: int = 3
    """Prompts tried."""
    length: int = 4
    """Virtual tokens."""

    def plan(self, task):
        return Cost(passes=self.tries * len(task.train))

    def fit(self, run):
        body, rng = run.model().frozen(), run.rng("tries")
        found = [rng.normal(0.0, body.norm / WIDTH**0.5, (self.length, WIDTH)) for _ in range(self.tries)]
        values = [self.value(run, body, n, tokens) for n, tokens in enumerate(found)]
        return prompt(run, found[int(np.argmax(values))])

    def value(self, run, body, n, tokens):
        def work():
            import torch

            from promptology.injection import Filling, attach

            rows = [body.encode(next(iter(i.inputs.values()))) for i in run.task.train]
            targets = [body.continuation("", f" {i.target}") for i in run.task.train]
            filling = Filling("input", torch.tensor(tokens, dtype=torch.float32))
            with torch.no_grad(), attach(body.model, [filling]):
                return {"sum": body.target_logprobs(rows, targets).sum().reshape(1).numpy()}

        return float(self.measured(run, ["try", n, tokens.tolist()], work)["sum"][0])

    def measured(self, run, parts, work):
        return run.model().compute(parts, len(run.task.train), work)


@method("uncharged-inside")
@dataclass(frozen=True)
class Uncharged(Works):
    """Asks the torch model past the meter."""

    def measured(self, run, parts, work):
        return work()


@method("heavy-handed")
@dataclass(frozen=True)
class HeavyHanded(Works):
    """Leaves a changed weight behind."""

    def fit(self, run):
        found = super().fit(run)
        next(run.model().frozen().model.parameters()).data.add_(1e-6)
        return found


@method("hooked")
@dataclass(frozen=True)
class Hooked(Works):
    """Leaves a hook behind."""

    def fit(self, run):
        run.model().frozen().model.register_forward_hook(lambda *_: None)
        return super().fit(run)


@method("mover")
@dataclass(frozen=True)
class Mover(Works):
    """Asks for weights to move without saying so."""

    def fit(self, run):
        run.model().movable()
        return super().fit(run)


@method("torch-random")
@dataclass(frozen=True)
class TorchRandom(Works):
    """Draws from torch's generator, which no seed of the run governs."""

    def fit(self, run):
        import torch

        return prompt(run, torch.randn(self.length, WIDTH).numpy())
