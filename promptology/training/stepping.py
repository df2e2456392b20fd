"""One step of a training: micro-batches, gradients, clipping, update."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from promptology.errors import ModelError, UsageError

OPTIMIZERS = ("adamw", "adafactor", "sgd")
MOMENTUM = 0.9
_FULL = ("out of memory", "not enough memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device's memory is full."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in _FULL)


def optimizer_of(name: str, groups: Sequence[Any]) -> Any:
    """Return the optimiser over the groups' parameters.

    adamw: betas 0.9 and 0.999, in one fused kernel (measured: 2 to 4 times as fast as the others for a soft prompt or
    for adapters). adafactor: as for T5 prompts (arXiv:2104.08691): decay 0.8, no scaling by the parameter's size, the
    rate as given. sgd: with momentum 0.9, as CLIP's prompts are learned (arXiv:2109.01134).
    """
    import torch

    given = [
        {"params": list(g.parameters.values()), "lr": g.rate, "weight_decay": g.weight_decay, "rate": g.rate}
        for g in groups
    ]
    if name == "adamw":
        try:
            return torch.optim.AdamW(given, fused=True)
        except RuntimeError:  # a device without the kernel
            return torch.optim.AdamW(given)
    if name == "adafactor":
        from transformers.optimization import Adafactor

        return Adafactor(given, scale_parameter=False, relative_step=False, warmup_init=False)
    if name == "sgd":
        return torch.optim.SGD(given, momentum=MOMENTUM)
    raise UsageError(f"unknown optimizer {name!r}; there are {', '.join(OPTIMIZERS)}")


class Stepper:
    """Makes steps: the batch in parts that fit into memory, the gradient's norm clipped, every group at its rate.

    Random numbers of torch depend on `seed` and the step alone, so that a step is the same whether it is made the
    first time or again. `micro`: items that go through the model at once, 0 for the whole batch.
    """

    def __init__(
        self,
        step: Callable[[list[Any]], Any],
        groups: Sequence[Any],
        *,
        optimizer: str,
        clip: float,
        bf16: bool,
        micro: int,
        seed: int,
        generators: Sequence[Any],
        after_backward: Callable[[int], None] | None,
        label: str,
        say: Callable[[str], None],
    ) -> None:
        self.parameters = [p for g in groups for p in g.parameters.values()]
        self.optimizer = optimizer_of(optimizer, groups)
        self.device = self.parameters[0].device
        self.clip, self.micro, self.generators = clip, micro, list(generators)
        self._step, self._seed, self._after, self._label, self._say = step, seed, after_backward, label, say
        self._bf16 = bf16 and self._can_bf16()
        if bf16 and not self._bf16:
            say(f"bf16 is for CUDA devices that have it; on {self.device} the training runs in float32")

    def _can_bf16(self) -> bool:
        import torch

        return self.device.type == "cuda" and bool(torch.cuda.is_bf16_supported())

    def _autocast(self) -> AbstractContextManager[Any]:
        if not self._bf16:
            return nullcontext()
        import torch

        found: AbstractContextManager[Any] = torch.autocast("cuda", dtype=torch.bfloat16)
        return found

    def gradients(self, k: int, batch: list[Any]) -> tuple[float, float]:
        """Leave the gradients of a batch, clipped; return its loss and the norm that they had before.

        Raises ModelError where one item alone does not fit into memory.
        """
        import torch

        if not batch:
            raise UsageError(f"{self._label}: the batch of step {k + 1} is empty")
        before = snapshots(self.generators)
        while (loss := self._backward(k, batch)) is None:
            restore(self.generators, before)
        if self._after:
            self._after(k)
        found = [p.grad for p in self.parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(found)
        size = float(norm)
        if self.clip and size > self.clip:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.clip, norm)
        return float(loss), size

    def _backward(self, k: int, batch: list[Any]) -> Any:
        """Return the loss with its gradients in place; None where memory was too small for the parts so far."""
        import torch

        size = min(self.micro or len(batch), len(batch))
        self._seed_torch(k)
        self.optimizer.zero_grad(set_to_none=True)
        total = None
        try:
            for at in range(0, len(batch), size):
                part = batch[at : at + size]
                with self._autocast():
                    loss = self._step(part)
                if len(part) < len(batch):
                    loss = loss * (len(part) / len(batch))
                loss.backward()
                total = loss.detach() if total is None else total + loss.detach()
            return total
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            if size == 1:
                raise self._too_large() from None
        # Outside the handler: the error held the graph that filled the memory.
        loss = total = None
        self.optimizer.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.micro = -(-size // 2)
        self._say(f"out of memory with {size} items at once: now {self.micro} at a time, the batch stays {len(batch)}")
        return None

    def _too_large(self) -> ModelError:
        return ModelError(
            f"{self._label}: out of memory with one item at a time on {self.device}; shorten the texts or the prompt, "
            "take a smaller model or another --device"
        )

    def _seed_torch(self, k: int) -> None:
        import torch

        torch.default_generator.manual_seed(self._seed + k)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(self._seed + k)
        elif self.device.type == "mps":
            torch.mps.manual_seed(self._seed + k)

    def update(self, factor: float) -> None:
        """Move the parameters, every group at its rate times a factor."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * factor
        try:
            self.optimizer.step()
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            raise self._too_large() from None


def snapshots(generators: Sequence[Any]) -> list[Any]:
    """Return the states of numpy and torch generators: JSON-like for numpy, a byte tensor for torch."""
    return [g.bit_generator.state if isinstance(g, np.random.Generator) else g.get_state() for g in generators]


def restore(generators: Sequence[Any], states: Sequence[Any]) -> None:
    """Put generators back to where `snapshots` found them."""
    for generator, state in zip(generators, states, strict=True):
        if isinstance(generator, np.random.Generator):
            generator.bit_generator.state = state
        else:
            generator.set_state(state)
