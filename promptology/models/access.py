"""What a model offers: structural protocols, and the request and answer they exchange.

A method names the protocols it needs per role; the engine hands it a metered handle that exposes only those. A class
offers a protocol by having its methods; there is nothing to inherit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from promptology.data.images import Pictured

Vectors = NDArray[np.float32]
Message = tuple[str, str]
"""(role, content) with role one of system, user, assistant."""


@dataclass(frozen=True, slots=True)
class Injected:
    """Learned parts that a request takes into a white-box model (`injection.Filling`s); equal where their digest is."""

    digest: str
    fillings: tuple[Any, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Adapting:
    """What is done for one image before its cosines with texts are read; equal where the digest is.

    `passes(texts)`: forward passes that one image takes beside so many texts; `run(model, images, texts, injected)`:
    the cosines, float32 (images, texts), each image by itself.
    """

    digest: str
    passes: Callable[[int], int] | None = field(default=None, compare=False, repr=False)
    run: Callable[[Any, Sequence[Any], Sequence[str], Injected | None], Vectors] | None = field(
        default=None, compare=False, repr=False
    )


class Shown(NamedTuple):
    """An image whose vector is asked for, whole or as a view of it, under learned parts if any.

    With `texts` its cosine with each of them is asked for instead: what is learned may depend on the image, and may
    first be adapted to it by a procedure (`adapting`).
    """

    image: Pictured
    injected: Injected | None = None
    texts: tuple[str, ...] = ()
    adapting: Adapting | None = None


class State(NamedTuple):
    """A text whose pooled hidden state is asked for, as it is (not of unit length), under learned parts if any.

    `layers`: above 0 the element-wise maximum over the states of so many last layers, of a masked model at the mask
    that the text holds or that is put behind it, of others pooled as ever (CrossTune, arXiv:2403.12468).
    """

    text: str
    injected: Injected | None = None
    layers: int = 0


Asked = str | State | Shown
"""What can be asked of a model as a vector."""


@dataclass(frozen=True, slots=True)
class Request:
    """One generation: messages and sampling settings.

    `sample` tells repeated samples of one request apart; `seed` is set by the run where sampling is on (temperature
    above 0), derived from the run's seed and the sample index, and is sent to servers that take one. With a
    `continuation` nothing is generated: the answer is log p(continuation | messages), for models that offer `Scores`.
    `injected` are learned parts inside the model, for models that offer `Differentiable`. With `choices` the answer is
    one of them, or with a `separator` one or several joined by it, none twice; models in this process keep to that.
    """

    messages: tuple[Message, ...]
    temperature: float = 0.0
    max_tokens: int = 512
    stop: tuple[str, ...] = ()
    sample: int = 0
    seed: int | None = None
    continuation: str | None = None
    injected: Injected | None = None
    choices: tuple[str, ...] = ()
    separator: str = ""

    def __post_init__(self) -> None:
        # Equal requests must be equal whatever they were built from, and hashable: one in flight is found by its value.
        if not isinstance(self.stop, tuple):
            object.__setattr__(self, "stop", (self.stop,) if isinstance(self.stop, str) else tuple(self.stop))
        if not isinstance(self.messages, tuple):
            object.__setattr__(self, "messages", tuple((role, content) for role, content in self.messages))

    @classmethod
    def user(cls, text: str, **settings: Any) -> Request:
        """Build a request of one user message."""
        return cls((("user", text),), **settings)


@dataclass(frozen=True, slots=True)
class Answer:
    """Text that a model returned, with its usage. `estimated`: the model did not report tokens.

    `attempts`: requests that were sent for it; 0 where an equal request was under way and its answer was shared.
    `logprob`: of the continuation, in nats, where the request has one. `simulated`: the server says that it simulates.
    """

    text: str
    tokens_in: int = 0
    tokens_out: int = 0
    estimated: bool = True
    attempts: int = 1
    truncated: bool = False
    logprob: float | None = None
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """A request without an answer. Transient failures may be tried again after `retry_after` seconds.

    `attempts`: requests that were sent for it; 0 where the server never saw one (it was gone), or another asked for it.
    """

    reason: str
    transient: bool = True
    attempts: int = 1
    retry_after: float = 0.0


Outcome = Answer | Failure


@runtime_checkable
class Generates(Protocol):
    """Text in, text out."""

    name: str

    def generate(self, requests: Sequence[Request], attempts: int = 1) -> Iterator[tuple[int, Outcome]]:
        """Yield (index, outcome) as outcomes come in, in any order; each request at most `attempts` times.

        Every request is yielded exactly once. A permanent refusal (wrong key, unknown model) raises ModelError. A
        model may also offer `arrivals`, with the same arguments, which yields None whenever nothing more has come
        yet, so that what came is made durable before the wait.
        """
        ...


@runtime_checkable
class Scores(Protocol):
    """Log-probabilities of given continuations."""

    name: str

    def score(self, prompts: Sequence[str], choices: Sequence[Sequence[str]]) -> list[list[float]]:
        """Return log p(choice | prompt) in nats for each prompt and each of its choices."""
        ...


@runtime_checkable
class Embeds(Protocol):
    """Text to vectors.

    A model behind a server may also offer `texts_per_call`, `requests`, `vectors` and `arrivals`, as
    `promptology.models.http.EmbeddingsEndpoint` does; it is charged calls and tokens then, else a pass per text.
    """

    name: str

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return unit-length vectors, float32, shape (len(texts), dimension)."""
        ...


@runtime_checkable
class Differentiable(Protocol):
    """A frozen torch model in this process: hidden states, gradients, learned parts at named sites.

    Whoever may look inside a model may also ask it in every other way that it offers.
    """

    name: str

    def frozen(self) -> Any:
        """Return the loaded model with its tokenizer and sites, a `promptology.models.local.Body`."""
        ...

    def states(self, texts: Sequence[str], injected: Injected | None = None, layers: int = 0) -> Vectors:
        """Return pooled hidden states, float32, shape (len(texts), width), under learned parts where given.

        `layers`: as of `State`; asked for only where it is above 0.
        """
        ...


@runtime_checkable
class Trainable(Protocol):
    """A torch model whose weights may be replaced while something is attached; the base is bit-identical afterwards."""

    name: str

    def movable(self) -> tuple[str, ...]:
        """Return the names of the weights that may move, as in its state dict; quantised ones may not."""
        ...


@runtime_checkable
class TwoTower(Protocol):
    """A frozen torch model in this process with a tower for images and one for texts, whose vectors lie in one space.

    Whoever may look inside its towers may also ask it in every other way that it offers.
    """

    name: str

    def towers(self) -> Any:
        """Return the loaded towers with tokenizer and preprocessing, a `promptology.models.local.Towers`."""
        ...

    def text_features(self, texts: Sequence[str], injected: Injected | None = None) -> Vectors:
        """Return unit vectors of texts, float32, shape (len(texts), d), under learned parts where given."""
        ...

    def image_features(self, images: Sequence[Any], injected: Injected | None = None) -> Vectors:
        """Return unit vectors of images, float32, shape (len(images), d), under learned parts where given."""
        ...

    def cosines(self, images: Sequence[Any], texts: Sequence[str], injected: Injected | None = None) -> Vectors:
        """Return the cosine of each image with each text, float32, under learned parts that may depend on the image."""
        ...


@runtime_checkable
class Varies(Protocol):
    """Pictures of what a picture shows: a generator, such as a diffusion model."""

    name: str

    def vary(self, picture: Any, count: int, seed: int) -> Sequence[Any]:
        """Return `count` pillow pictures of any size; equal arguments, equal pictures."""
        ...


@runtime_checkable
class Edits(Protocol):
    """A person, real or simulated, who makes a draft into what is wanted."""

    name: str

    def edit(self, context: str, draft: str) -> str:
        """Return the final text for what was to be written about; the draft itself where it may stay."""
        ...


@runtime_checkable
class Chooses(Protocol):
    """A person, real or simulated, who says which of several texts is best."""

    name: str

    def choose(self, context: str, options: Sequence[str]) -> int:
        """Return the position of the option that is preferred."""
        ...


@runtime_checkable
class Answers(Protocol):
    """A person, real or simulated, who answers questions about what is wanted."""

    name: str

    def answer(self, question: str) -> str:
        """Return the answer in the person's own words."""
        ...


PROTOCOLS: dict[str, type] = {
    "generates": Generates,
    "scores": Scores,
    "embeds": Embeds,
    "differentiable": Differentiable,
    "trainable": Trainable,
    "two-tower": TwoTower,
    "varies": Varies,
    "edits": Edits,
    "chooses": Chooses,
    "answers": Answers,
}


def offers(model: object) -> tuple[str, ...]:
    """Names of the protocols that a model offers."""
    return tuple(name for name, protocol in PROTOCOLS.items() if isinstance(model, protocol))


def verb(access: str) -> str:
    """Return an access as it stands behind "a model that": generates, but is differentiable."""
    if access == "two-tower":
        return "has two towers"
    if access == "varies":
        return "makes pictures of a picture"
    return f"is {access}" if access in ("differentiable", "trainable") else access
