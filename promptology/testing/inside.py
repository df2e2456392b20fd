"""What contracts use for methods that look inside a model: a tiny real one, and wrappers that count and watch it."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from promptology.data.task import Task
from promptology.models.access import Injected, Outcome, Request, Vectors, offers
from promptology.prompts.render import input_text
from promptology.prompts.start import default_instruction
from promptology.testing.fixtures import Watched
from promptology.training.loop import PASSES

WIDTH, LAYERS, HEADS, POSITIONS = 32, 2, 4, 512
TOKENS = 600
INSIDE = {"differentiable", "trainable", "two-tower"}
T = TypeVar("T")


def tiny_model(folder: Path, task: Task) -> Any:
    """Write a causal model with random weights, and a tokenizer that knows the task's words, and open it.

    A GPT-2 of two layers, 32 wide; the same task gives the same weights.
    """
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    from promptology.models.opening import model as open_model

    items = [*task.train, *task.validation, *task.unlabeled]
    texts = [input_text(i.inputs, task.signature) for i in items]
    texts += [default_instruction(task.signature), " Answer: ", *(f" {name}" for name in task.signature.class_names)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    whole = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", model_max_length=POSITIONS, clean_up_tokenization_spaces=False
    )
    config = transformers.GPT2Config(
        vocab_size=len(whole),
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=HEADS,
        n_positions=POSITIONS,
        bos_token_id=whole.eos_token_id,
        eos_token_id=whole.eos_token_id,
    )
    transformers.utils.logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(0)
        network = transformers.GPT2LMHeadModel(config)
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.15)  # the usual 0.02 leaves so small a net nearly constant over its inputs
    network.save_pretrained(folder)
    whole.save_pretrained(folder)
    return open_model(f"hf:{folder}")


def print_of(body: Any) -> str:
    """Return a hash of all that a method may not change in a body or in towers: weights, modes, hooks, gradients."""
    import torch

    network = body.inner if hasattr(body, "inner") else body.model
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    for name, module in network.named_modules():
        hooks = len(module._forward_hooks) + len(module._forward_pre_hooks)
        digest.update(f"{name}{type(module).__name__}{module.training}{hooks}".encode())
    for name, parameter in network.named_parameters():
        digest.update(f"{name}{parameter.requires_grad}{parameter.grad is not None}".encode())
    return digest.hexdigest()


class Counted:
    """A white-box model that counts its passes where they are made, and kills its own process at one where asked to."""

    def __init__(self, model: Any, kill_at: int | None = None) -> None:
        self.model, self.kill_at, self.passes = model, kill_at, 0
        self.name, self.identity = model.name, getattr(model, "identity", model.name)
        self.kind = getattr(model, "kind", "")
        self.local, self.simulated = getattr(model, "local", False), getattr(model, "simulated", False)
        self._answering = 0

    def count(self, passes: int) -> None:
        """Note passes that begin now."""
        self.passes += passes
        if self.kill_at is not None and self.passes >= self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def _answer(self, passes: int, work: Callable[[], T]) -> T:
        """Do what the model underneath counts as so many passes; what its body does for it counts nothing."""
        self.count(passes)
        self._answering += 1
        try:
            return work()
        finally:
            self._answering -= 1


class CountingInside(Counted):
    """One that a body is taken of.

    A text or a request counts one; a row that goes through the body by itself counts one, and with gradients as many as
    a training item.
    """

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of the model underneath."""
        return self._answer(len(texts), lambda: self.model.embed(texts))

    def states(self, texts: Sequence[str], injected: Injected | None = None, layers: int = 0) -> Vectors:
        """Return the states of the model underneath."""
        return self._answer(len(texts), lambda: self.model.states(texts, injected, *[layers] * bool(layers)))

    def _outcomes(self, ask: Any, requests: Sequence[Request], *more: Any) -> Iterator[tuple[int, Outcome]]:
        self.count(len(requests))
        self._answering += 1
        try:
            yield from ask(requests, *more)
        finally:
            self._answering -= 1

    def frozen(self) -> Any:
        """Return the body of the model underneath, whose passes are counted here from now on."""
        import torch

        body = self.model.frozen()
        plain = type(body).hidden

        def hidden(rows: Any) -> Any:
            if not self._answering:
                self.count(len(rows) * (PASSES if torch.is_grad_enabled() else 1))
            return plain(body, rows)

        body.hidden = hidden
        return body

    def movable(self) -> tuple[str, ...]:
        """Return the weights of the model underneath that may move."""
        names: tuple[str, ...] = self.model.movable()
        return names


class CountingScored(CountingInside):
    """One that scores label words."""

    def score(self, prompts: Sequence[str], choices: Sequence[Sequence[str]]) -> list[list[float]]:
        """Return the scores of the model underneath."""
        return self._answer(sum(map(len, choices)), lambda: [list(row) for row in self.model.score(prompts, choices)])

    def scored(self, requests: Sequence[Request]) -> Iterator[tuple[int, Outcome]]:
        """Yield the log-probabilities of the model underneath."""
        yield from self._outcomes(self.model.scored, requests)


class CountingGenerated(CountingInside):
    """One that generates and scores."""

    def generate(self, requests: Sequence[Request], attempts: int = 1) -> Iterator[tuple[int, Outcome]]:
        """Yield the answers of the model underneath."""
        yield from self._outcomes(self.model.generate, requests, attempts)

    def score(self, prompts: Sequence[str], choices: Sequence[Sequence[str]]) -> list[list[float]]:
        """Return the scores of the model underneath."""
        return self._answer(sum(map(len, choices)), lambda: [list(row) for row in self.model.score(prompts, choices)])


def counting_inside(model: Any, kill_at: int | None = None) -> CountingInside:
    """Return a model that counts, which offers what the given one does."""
    offered = offers(model)
    kind = CountingGenerated if "generates" in offered else CountingScored if "scores" in offered else CountingInside
    return kind(model, kill_at)


def uncount(model: Any) -> None:
    """Take the counting off the body of a model."""
    vars(model.frozen()).pop("hidden", None)


class WatchedInside(Watched):
    """A white-box model that notes how it is used."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.kind = getattr(model, "kind", "")

    def frozen(self) -> Any:
        """Return the body of the model underneath."""
        self.touched.add("differentiable")
        return self.model.frozen()

    def states(self, texts: Sequence[str], injected: Injected | None = None, layers: int = 0) -> Vectors:
        """Return the states of the model underneath."""
        self.touched.add("differentiable")
        found: Vectors = self.model.states(texts, injected, *[layers] * bool(layers))
        return found

    def movable(self) -> tuple[str, ...]:
        """Return the weights of the model underneath that may move."""
        self.touched.add("trainable")
        names: tuple[str, ...] = self.model.movable()
        return names
