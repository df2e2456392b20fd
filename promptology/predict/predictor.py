"""Binding a prompt to a model, and the predictions that come of it. The code of a readout is found by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from promptology.data.images import Image, is_image
from promptology.data.items import Item, Signature
from promptology.data.targets import read_candidates
from promptology.errors import AccessError, ArtifactError, UsageError
from promptology.models.access import Asked, Message, Outcome, Request, Shown, verb
from promptology.predict.rewriting import writer_of
from promptology.prompts.injected import injected_of
from promptology.prompts.learned import Learned
from promptology.run.cost import ZERO, Cost
from promptology.run.handles import Handle, unmetered

Inputs = Item | Mapping[str, Any] | str | Image


@dataclass(frozen=True)
class Predictions:
    """Outputs of one prompt on items.

    `outputs`: class names, texts, or tuples of them, None where missing or unparsable; `missing`: no answer came;
    `raw`: what the model said (the trace); `scores`: float32 (n, classes) where the readout has them; `cost`: as on a
    cold cache; `ungraded`: how many of the missing had an answer, of which a judge's grade could not be read.
    """

    outputs: list[Any]
    missing: list[bool]
    raw: list[str | None]
    cost: Cost = ZERO
    scores: NDArray[np.float32] | None = None
    ungraded: int = 0

    @property
    def parse_rate(self) -> float:
        """Share of the answers that could be read; NaN where there is none."""
        came = [o is not None for o, m in zip(self.outputs, self.missing, strict=True) if not m]
        return float(np.mean(came)) if came else float("nan")


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Return the predictions of one prompt on consecutive sets of items as one."""
    if len(parts) == 1:
        return parts[0]
    cost = ZERO
    for part in parts:
        cost = cost.plus(part.cost)
    scores = [part.scores for part in parts if part.scores is not None]
    return Predictions(
        [o for part in parts for o in part.outputs],
        [m for part in parts for m in part.missing],
        [r for part in parts for r in part.raw],
        cost,
        np.concatenate(scores) if len(scores) == len(parts) else None,
        sum(part.ungraded for part in parts),
    )


class Predictor(Protocol):
    """One prompt bound to its models."""

    learned: Learned
    signature: Signature
    handle: Handle

    def prepare(self, items: Sequence[Item]) -> None:
        """Ask what must be known before the requests of these items can be made."""
        ...

    def most(self, items: Sequence[Item], known: set[Any]) -> Cost:
        """Return the most that predicting these items can cost; `known` as of `Handle.worst`."""
        ...

    def requests(self, items: Sequence[Item]) -> list[Request]:
        """Return what must be generated for these items; empty for readouts that generate nothing."""
        ...

    def texts(self, items: Sequence[Item]) -> Sequence[Asked]:
        """Return the texts that must be embedded for these items; empty for readouts that embed nothing."""
        ...

    def read(self, items: Sequence[Item], outcomes: Sequence[Outcome]) -> Predictions:
        """Turn the model's outcomes into predictions."""
        ...

    def predict(self, items: Sequence[Inputs]) -> Predictions:
        """Predict items, mappings of input fields, or plain strings."""
        ...


class OneShot:
    """A predictor whose answer takes one round of requests or embeddings."""

    def __init__(self, learned: Learned, handles: Mapping[str, Handle], signature: Signature) -> None:
        self.learned = learned
        self.signature = signature
        self.handles = handles
        self.handle = handles["model"]
        self.injected = injected_of(learned)
        self.writer = writer_of(learned, handles, signature)

    @property
    def inside(self) -> dict[str, Any]:
        """What requests must carry so that the model works with the learned parts inside it."""
        return {"injected": self.injected} if self.injected else {}

    def prepare(self, items: Sequence[Item]) -> None:
        """Have a helper write for these items, where one does; else the items say all that the requests need."""
        if self.writer:
            self.writer.write(items)

    def most(self, items: Sequence[Item], known: set[Any]) -> Cost:
        """Return the worst case of the requests and texts of these items, and of what a helper writes for them."""
        asked = self.handle.worst(self.requests(items), self.texts(items), known)
        return asked.plus(self.writer.most(items, known)) if self.writer else asked

    def rewritten(self, asked: Sequence[Message], item: Item) -> tuple[Message, ...]:
        """Return the messages of an item with what a helper wrote for it."""
        return self.writer.show(asked, item) if self.writer else tuple(asked)

    def settled(self, items: Sequence[Item], found: Predictions) -> Predictions:
        """Return predictions with what a helper cost; where it gave no answer, the prediction is missing."""
        if not self.writer:
            return found
        cost = found.cost
        for item in items:
            cost = cost.plus(self.writer.cost(item))
        lost = [self.writer.hint(item) is None for item in items]
        outputs = [None if gone else output for gone, output in zip(lost, found.outputs, strict=True)]
        missing = [gone or before for gone, before in zip(lost, found.missing, strict=True)]
        return replace(found, outputs=outputs, missing=missing, cost=cost)

    def requests(self, items: Sequence[Item]) -> list[Request]:
        """Return no requests."""
        return []

    def texts(self, items: Sequence[Item]) -> Sequence[Asked]:
        """Return no texts."""
        return []

    def read(self, items: Sequence[Item], outcomes: Sequence[Outcome]) -> Predictions:
        """Turn outcomes into predictions."""
        raise NotImplementedError

    def predict(self, items: Sequence[Inputs]) -> Predictions:
        """Predict items, mappings of input fields, or plain strings; raises UsageError for a missing field."""
        return predict_many([self], as_items(items, self.signature))[0]


def as_items(inputs: Sequence[Inputs], signature: Signature) -> list[Item]:
    """Return items from what a caller has; a plain string or an image fills a single-field signature."""
    if isinstance(inputs, str):  # a text is a sequence too
        raise UsageError("predict takes a list of inputs; put the one text in a list")
    names = [f.name for f in signature.fields]
    items: list[Item] = []
    for n, one in enumerate(inputs):
        if isinstance(one, str | Image) or is_image(one):
            if len(names) != 1:
                raise UsageError(
                    f"input {n} is one value, and the prompt takes {len(names)} fields: {', '.join(names)}"
                )
            one = {names[0]: one}
        item = one if isinstance(one, Item) else Item(str(n), one)
        lacking = [name for name in names if name not in item.inputs]
        if lacking:
            raise UsageError(
                f"input {item.id} lacks {', '.join(lacking)}; it has {', '.join(item.inputs) or 'nothing'}"
            )
        if name := signature.candidates:
            candidates = read_candidates(item.inputs[name], name, f"input {item.id}")
            item = Item(item.id, {**item.inputs, name: candidates}, meta=item.meta)
        items.append(item)
    return items


READOUTS: dict[str, type[OneShot]] = {}
C = TypeVar("C", bound=type)


def readout(name: str) -> Callable[[C], C]:
    """Register the predictor of a readout type."""

    def register(cls: C) -> C:
        READOUTS[name] = cls
        return cls

    return register


def bind(
    learned: Learned,
    model: Any,
    helpers: Mapping[str, Any] | None = None,
    signature: Signature | None = None,
) -> Predictor:
    """Bind a prompt to a model (or a metered handle) and, for new classes or fields, to another signature.

    Raises AccessError where the model does not offer what the prompt needs.
    """
    handles = {role: unmetered(m, role) for role, m in {"model": model, **(helpers or {})}.items()}
    for role, access in learned.roles.items():
        if role not in handles:
            raise AccessError(f"this prompt needs a model in the role {role!r} that {verb(access)}")
        if access not in handles[role].access:
            offered = ", ".join(handles[role].access) or "nothing"
            raise AccessError(f"this prompt needs a model that {verb(access)}; {handles[role].name} offers {offered}")
    name = learned.readout.type
    if name not in READOUTS:
        raise ArtifactError(f"unknown readout {name!r}; this version knows {', '.join(sorted(READOUTS))}")
    return READOUTS[name](learned, handles, signature or learned.signature)


def predict_many(predictors: Sequence[Predictor], items: Sequence[Item]) -> list[Predictions]:
    """Predict a set of prompts on a set of items in one batch per model, so that requests run side by side."""
    by_handle: dict[int, list[int]] = {}
    for n, predictor in enumerate(predictors):
        by_handle.setdefault(id(predictor.handle), []).append(n)
    results: list[Predictions | None] = [None] * len(predictors)
    for members in by_handle.values():
        handle = predictors[members[0]].handle
        texts = [text for n in members for text in predictors[n].texts(items)]
        # Images beside texts have as many numbers as there are texts, and are asked for apart.
        for beside in sorted({_beside(text) for text in texts}):
            handle.embed([text for text in texts if _beside(text) == beside])
        for n in members:
            predictors[n].prepare(items)
        batches = [predictors[n].requests(items) for n in members]
        flat = [request for batch in batches for request in batch]
        outcomes = handle.outcomes(flat) if flat else []
        at = 0
        for n, batch in zip(members, batches, strict=True):
            results[n] = predictors[n].read(items, outcomes[at : at + len(batch)])
            at += len(batch)
    return [r for r in results if r is not None]


def _beside(asked: Asked) -> int:
    return len(asked.texts) if isinstance(asked, Shown) else 0
