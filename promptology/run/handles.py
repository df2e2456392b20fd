"""Handles: the one door from a method to a model. A handle exposes only the access that was declared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from promptology.errors import AccessError, UsageError
from promptology.models.access import (
    Answer,
    Asked,
    Generates,
    Injected,
    Message,
    Outcome,
    Request,
    Shown,
    State,
    Vectors,
    offers,
    verb,
)
from promptology.models.byediting import ByEditing
from promptology.models.byscore import ByScore
from promptology.models.opening import in_role
from promptology.prompts.learned import Learned
from promptology.run.cost import Cost
from promptology.run.embedding import texts_per_call
from promptology.run.lengths import Length, length_of
from promptology.run.meter import Meter
from promptology.run.store import memory_store
from promptology.run.work import Arrays, compute

Prompt = str | Sequence[Message] | Request
INSIDE = ("differentiable", "trainable", "two-tower")
"""Access that contains all other access to the same model."""


class Handle:
    """A metered model in a role. `access` names the protocols that may be used through it.

    `defaults` are the sampling settings of the role; a call may override them.
    """

    def __init__(
        self,
        meter: Meter,
        role: str,
        model: Any,
        access: Sequence[str] | None = None,
        defaults: dict[str, Any] | None = None,
    ) -> None:
        self._meter = meter
        self._model = model
        self._defaults = defaults or {}
        self.role = role
        self.name = str(model.name)
        self.identity = str(getattr(model, "identity", model.name))
        offered = offers(model)
        whole = access is None or bool({*INSIDE} & {*access} & {*offered})
        self.access = tuple(a for a in offered if whole or (access is not None and a in access))

    @property
    def simulated(self) -> bool:
        """Whether answers come from a simulation."""
        return bool(getattr(self._model, "simulated", False))

    @property
    def local(self) -> bool:
        """Whether the model runs in this process: asked the same at temperature 0, it answers the same."""
        return bool(getattr(self._model, "local", False))

    @property
    def called(self) -> bool:
        """Whether vectors of texts come from a server: they are charged calls and tokens, not passes."""
        return bool(texts_per_call(self._model))

    @property
    def context(self) -> int | None:
        """The longest input in tokens that a model in this process states, None where nothing is known."""
        return getattr(self._model, "context", None)

    def count_tokens(self, text: str) -> int | None:
        """Return the tokens of a text, without those that open and close it; None where they cannot be counted."""
        count: Callable[[str], int | None] | None = getattr(self._model, "count_tokens", None)
        return None if count is None else count(text)

    def tokens(self, text: str) -> list[int] | None:
        """Return the tokens of a text, without those that open and close it; None where they are unknown."""
        given: Callable[[str], list[int] | None] | None = getattr(self._model, "tokens", None)
        return None if given is None else given(text)

    def length(self, learned: Learned) -> Length:
        """Return the length of a prompt in tokens of this model; see `run.lengths.length_of`."""
        return length_of(learned, self._model)

    def generate(
        self, prompts: Sequence[Prompt], *, samples: int = 1, fresh: bool = False, **settings: Any
    ) -> list[str | None]:
        """Return the text of each prompt's answer, None where it is missing.

        `samples` > 1 gives that many answers per prompt, prompt by prompt. A prompt asked again returns the same
        answer; `fresh=True` asks for new samples. `settings`: temperature, max_tokens, stop.
        """
        outcomes = self.outcomes(self.requests(prompts, samples=samples, **settings), fresh=fresh)
        return [outcome.text if isinstance(outcome, Answer) else None for outcome in outcomes]

    def requests(self, prompts: Sequence[Prompt], *, samples: int = 1, **settings: Any) -> list[Request]:
        """Return requests with the role's settings filled in."""
        merged = {**settings, **self._defaults}
        asked = [_request(prompt, merged) for prompt in prompts]
        if samples == 1:
            return asked
        return [replace(r, sample=n) for r in asked for n in range(samples)]

    def outcomes(self, requests: Sequence[Request], fresh: bool = False) -> list[Outcome]:
        """Return the outcomes of requests, failures included."""
        for access in {_needed(r) for r in requests} or {"generates"}:
            self._need(access)
        return self._meter.generate(self.role, self._answering, requests, fresh)

    def score(self, prompts: Sequence[str], choices: Sequence[Sequence[str]]) -> list[list[float | None]]:
        """Return log p(choice | prompt) in nats for each prompt and each of its choices, None where it is missing.

        Each pair is one request: it is charged, cached and replayed as a generation is.
        """
        if len(prompts) != len(choices):
            raise UsageError(f"score was given {len(prompts)} prompts and {len(choices)} lists of choices")
        asked = [self.scoring(p, c) for p, some in zip(prompts, choices, strict=True) for c in some]
        came = iter(self.outcomes(asked) if asked else [])
        return [[logprob(next(came)) for _ in some] for some in choices]

    def scoring(self, prompt: Prompt, continuation: str, **inside: Any) -> Request:
        """Return the request for log p(continuation | prompt); sampling settings of the role do not apply to it.

        `inside`: learned parts inside the model, as `injected`.
        """
        settings: dict[str, Any] = {"temperature": 0.0, "max_tokens": 1, "stop": (), "sample": 0, "seed": None}
        return _request(prompt, {**settings, **inside, "continuation": continuation})

    @property
    def _answering(self) -> Generates:
        """The model as the meter asks it; one that only scores answers by its `score`."""
        return ByScore(self._model) if "generates" not in offers(self._model) else self._model

    def embed(self, texts: Sequence[Asked]) -> Vectors:
        """Return unit vectors of texts and images, float32, shape (len(texts), dimension).

        Of a `State` its pooled hidden state, as it is.
        """
        for access in {self._wanted(text) for text in texts} or {"embeds"}:
            self._need(access)
        return self._meter.embed(self.role, self._model, texts)

    def edit(self, context: str, draft: str) -> str | None:
        """Return what a person makes of a draft, None where no answer came; the same draft is shown only once."""
        self._need("edits")
        asked = Request((("context", context), ("draft", draft)))
        (outcome,) = self._meter.generate(self.role, ByEditing(self._model), [asked])
        return outcome.text if isinstance(outcome, Answer) else None

    def states(self, texts: Sequence[str], injected: Injected | None = None) -> Vectors:
        """Return pooled hidden states as they are, float32, shape (len(texts), width), under learned parts if any."""
        return self.embed([State(text, injected) for text in texts])

    def frozen(self) -> Any:
        """Return the torch model inside, with tokenizer and sites (`promptology.models.local.Body`).

        What is asked of it directly is charged by nobody: `training.train` and this handle's calls charge.
        """
        self._need("differentiable")
        return self._model.frozen()

    def towers(self) -> Any:
        """Return both towers with tokenizer and preprocessing (`promptology.models.local.Towers`).

        What is asked of them directly is charged by nobody: `training.train` and `compute` charge.
        """
        self._need("two-tower")
        return self._model.towers()

    def varies(self) -> Any:
        """Return what makes pictures of a picture; what is asked of it directly is charged by nobody."""
        self._need("varies")
        return self._model

    def movable(self) -> tuple[str, ...]:
        """Return the names of the weights that may be replaced."""
        self._need("trainable")
        names: tuple[str, ...] = self._model.movable()
        return names

    def compute(self, parts: list[Any], passes: int, work: Callable[[], Mapping[str, Any]]) -> Arrays:
        """Return arrays that `work()` finds with the torch model inside: charged, durable, found again by `parts`.

        `parts` (JSON-like) must say everything the arrays depend on but the model; `passes`: items times how often.
        """
        self._need("two-tower" if "two-tower" in self.access else "differentiable")
        return compute(self._meter, self.role, self.identity, parts, passes, work)

    def cost_of(self, answer: Answer) -> Cost:
        """Return what one such answer costs on a cold cache."""
        return self._meter.cost_of(self.role, self._model, answer, 1)

    def cost_of_texts(self, texts: Sequence[str]) -> Cost:
        """Return what vectors of texts cost at a server where each is asked for alone: a call, its tokens estimated."""
        tokens = sum(-(-len(text.encode("utf-8", "replace")) // 4) for text in texts)
        return self._meter._priced(self.role, Cost(len(texts), tokens, estimated=True))

    def worst(self, requests: Sequence[Request], texts: Sequence[Asked], known: set[Any] | None = None) -> Cost:
        """Return the most that these requests and texts can cost; what this run asked before costs nothing.

        `known` collects what has been counted, so that calls with the same set count each request once.
        """
        return self._meter.worst(self.role, self._model, requests, texts, set() if known is None else known)

    def _wanted(self, asked: Asked) -> str:
        if isinstance(asked, Shown) or (isinstance(asked, State) and not asked.layers and "two-tower" in self.access):
            return "two-tower"
        return "differentiable" if isinstance(asked, State) else "embeds"

    def _need(self, access: str) -> None:
        if access not in self.access:
            offered = ", ".join(self.access) or "nothing"
            raise AccessError(
                f"role {self.role!r} ({self.name}) was used as a model that {verb(access)}; "
                f"declared and offered: {offered}"
            )


def _needed(request: Request) -> str:
    if request.injected is not None or request.choices:
        return "differentiable"
    return "generates" if request.continuation is None else "scores"


def logprob(outcome: Outcome) -> float | None:
    """Return the log-probability of an outcome, None where it is missing."""
    return outcome.logprob if isinstance(outcome, Answer) else None


def _request(prompt: Prompt, settings: dict[str, Any]) -> Request:
    if isinstance(prompt, Request):
        return replace(prompt, **settings) if settings else prompt
    if isinstance(prompt, str):
        return Request.user(prompt, **settings)
    return Request(tuple((role, content) for role, content in prompt), **settings)


def unmetered(model: Any, role: str = "model", defaults: dict[str, Any] | None = None) -> Handle:
    """Return a handle without budget or durable store, for predictions outside a run; takes what `model` takes."""
    return (
        model
        if isinstance(model, Handle)
        else Handle(Meter(memory_store()), role, in_role(model, role), None, defaults)
    )
