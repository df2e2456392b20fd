"""What contracts use where nothing else is given: a small task, an encoder, and wrappers that watch a model."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from typing import Any

from promptology.data.items import Item, Signature
from promptology.data.loaders import load_task
from promptology.data.task import Task
from promptology.models.access import Answer, Outcome, Request, Vectors, offers
from promptology.models.byscore import ByScore
from promptology.models.simulated.embedding import DIMENSION, hashed

PER_CLASS = {"train": 5, "validation": 5, "test": 4}
CLASSES = 3


def small_task() -> Task:
    """Return a few bundled tickets of three classes in all splits, with some inputs without labels beside them."""
    whole = load_task("tickets")
    classes = whole.signature.classes[:CLASSES]
    splits = {"train": whole.train, "validation": whole.validation, "test": whole.open_test()}
    chosen: dict[str, list[Item]] = {}
    for split, items in splits.items():
        by_class = [[i for i in items if i.target == c.name][: PER_CLASS[split]] for c in classes]
        # In turn, so that the first few of a split are not all of one class.
        chosen[split] = [item for group in zip(*by_class, strict=True) for item in group]
    spare = [i.with_target(None) for i in whole.train if i.target in {c.name for c in classes}]
    unlabeled = [i for i in spare if i.id not in {used.id for used in chosen["train"]}][:6]
    signature = Signature(whole.signature.fields, "class", classes)
    return Task(**chosen, unlabeled=unlabeled, signature=signature, name="tickets-small")  # type: ignore[arg-type]


class HashingEncoder:
    """Texts to unit vectors by hashing their words: a real, tiny encoder that needs no package."""

    local = True
    simulated = False
    name = "hashing"
    identity = f"hashing:{DIMENSION}"

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return unit vectors, float32, shape (len(texts), dimension)."""
        return hashed(texts)


class Counting:
    """An encoder that counts the texts it embeds and, where asked to, kills its own process at one of them."""

    def __init__(self, model: Any, kill_at: int | None = None) -> None:
        self.model, self.kill_at, self.texts = model, kill_at, 0
        self.name, self.identity = model.name, getattr(model, "identity", model.name)
        self.local, self.simulated = getattr(model, "local", False), getattr(model, "simulated", False)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of the model underneath."""
        self.texts += len(texts)
        if self.kill_at is not None and self.texts >= self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        vectors: Vectors = self.model.embed(texts)
        return vectors


class CountingScores:
    """A model that scores in this process, asked as runs ask it; counts its requests, and kills where asked to."""

    local = False

    def __init__(self, model: Any, kill_at: int | None = None) -> None:
        self.model, self.kill_at, self.requests = model, kill_at, 0
        self.name, self.identity = model.name, getattr(model, "identity", model.name)
        self.simulated = getattr(model, "simulated", False)

    def generate(self, requests: Sequence[Request], attempts: int = 1) -> Iterator[tuple[int, Outcome]]:
        """Yield the log-probabilities of continuations."""
        for n, request in enumerate(requests):
            self.requests += 1
            if self.kill_at is not None and self.requests >= self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            yield from ((n, outcome) for _, outcome in ByScore(self.model).generate([request]))

    def score(self, prompts: Sequence[str], choices: Sequence[Sequence[str]]) -> list[list[float]]:
        """Return the scores of the model underneath."""
        self.requests += sum(map(len, choices))
        return [list(row) for row in self.model.score(prompts, choices)]


class Watched:
    """A model that offers every protocol and notes which of them were used; what it lacks is made up."""

    local = False
    simulated = True

    def __init__(self, model: Any) -> None:
        self.model, self.touched = model, set[str]()
        self.name = model.name
        self.identity = f"watched:{getattr(model, 'identity', model.name)}"
        self.local = getattr(model, "local", False)

    def generate(self, requests: Sequence[Request], attempts: int = 1) -> Iterator[tuple[int, Outcome]]:
        """Yield the answers of the model underneath, else empty ones; a continuation is scored, not generated."""
        self.touched |= {"generates" if r.continuation is None else "scores" for r in requests}
        if "generates" in offers(self.model):
            yield from self.model.generate(requests, attempts)
        elif "scores" in offers(self.model):
            yield from ByScore(self.model).generate(requests, attempts)
        else:
            yield from ((n, Answer("", 1, 0, False)) for n in range(len(requests)))

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of the model underneath, else hashed ones."""
        self.touched.add("embeds")
        found: Vectors = (self.model if "embeds" in offers(self.model) else HashingEncoder()).embed(texts)
        return found

    def vary(self, picture: Any, count: int, seed: int) -> Sequence[Any]:
        """Return the pictures of the model underneath, else the picture itself."""
        self.touched.add("varies")
        made: Sequence[Any] = [picture] * count
        return self.model.vary(picture, count, seed) if "varies" in offers(self.model) else made

    def score(self, prompts: Sequence[str], choices: Sequence[Sequence[str]]) -> list[list[float]]:
        """Return the log-probabilities of the model underneath, else made-up ones."""
        self.touched.add("scores")
        if "scores" in offers(self.model):
            return [list(row) for row in self.model.score(prompts, choices)]
        return [[-1.0 - len(c) for c in row] for row in choices]
