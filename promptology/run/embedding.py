"""Vectors of texts, states and images for one run: each is asked for once, charged, durable and found again.

Texts go into the store a chunk at a time, those that a server embeds a request at a time. Every image has an answer of
its own, which belongs to the model, the view and what the image shows, so that other splits, shots and runs find it
again whatever stands beside it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from promptology.models.access import Adapting, Answer, Asked, Injected, Shown, State, Vectors
from promptology.run.checkpoints import fingerprint, recall
from promptology.run.cost import ZERO, Cost
from promptology.run.keys import decode
from promptology.run.store import Event

if TYPE_CHECKING:
    from promptology.run.meter import Meter

log = logging.getLogger("promptology")
CHUNK = 512
"""Texts or images that become durable together: what a kill can lose."""
ADAPTED = 16
"""The same of images that something is adapted to, each of which takes as long as many."""


def embed(meter: Meter, role: str, model: Any, asked: Sequence[Asked]) -> Vectors:
    """Return vectors of texts, states and images, shape (n, dimension); what this run asked before costs nothing."""
    identity = str(getattr(model, "identity", model.name))
    memo = meter._vectors.setdefault((role, identity), {})
    new = [one for one in dict.fromkeys(asked) if one not in memo]
    called = texts_per_call(model) > 0
    if new and meter.recalled:
        read = (lambda body, n: model.vectors([n], [decode(body)])) if called else _stored
        memo.update(recall(meter, role, identity, new, read))
        new = [one for one in new if one not in memo]
    if new and called:
        memo.update(_called(meter, role, model, identity, [one for one in new if isinstance(one, str)]))
        new = []
    if new:
        meter._check_budget(meter._seq, Cost(passes=sum(map(passes, new))), meter._seq in meter._events)
    for kind in sorted({_kind(one) for one in new}):
        alike = [one for one in new if _kind(one) == kind]
        size = ADAPTED if _adapting(alike[0]) else CHUNK
        for at in range(0, len(alike), size):
            some = alike[at : at + size]
            shown = [one for one in some if isinstance(one, Shown)]
            found = (
                _images(meter, role, model, identity, shown, len(alike))
                if shown
                else _texts(meter, role, model, identity, some)
            )
            for one, vector in zip(some, found, strict=True):
                memo[_light(one)] = vector
    return np.stack([memo[one] for one in asked]) if asked else np.zeros((0, 0), np.float32)


def texts_per_call(model: Any) -> int:
    """Return how many texts go into one request of a model behind a server; 0 for one that is not asked by requests."""
    return int(getattr(model, "texts_per_call", 0))


def worst_of(meter: Meter, role: str, model: Any, asked: Sequence[Asked]) -> Cost:
    """Return the most that these vectors cost where nothing else goes into their requests, each tried once."""
    if not texts_per_call(model):
        return Cost(passes=sum(map(passes, asked)))
    total = ZERO
    for request in model.requests([one for one in asked if isinstance(one, str)]):
        total = total.plus(meter.worst_of(role, model, request))
    return total


def _called(meter: Meter, role: str, model: Any, identity: str, texts: Sequence[str]) -> dict[str, Vectors]:
    """Return the vectors of texts from a server, whose requests are reserved, charged, tried again and kept as others.

    Raises TooManyMissing where one is missing: there is no vector in its place.
    """
    requests, keys = meter._keys.number(role, model, model.requests(texts), False)
    outcomes = meter.generate(role, model, requests)
    answers = [outcome for outcome in outcomes if isinstance(outcome, Answer)]
    if len(answers) < len(outcomes):
        meter.raise_missing(role)
    for key, request in zip(keys, requests, strict=True):
        meter._memo.pop(key, None)  # the vectors are remembered already
        if meter.journal is not None:
            meter.journal.append([key.hex(), role, identity, [fingerprint(text) for _, text in request.messages]])
    known = next(iter(meter._vectors[role, identity].values()), ())
    found = model.vectors([len(request.messages) for request in requests], answers, len(known))
    return dict(zip(texts, found, strict=True))


def passes(one: Asked) -> int:
    """Return how many passes one vector takes: an image beside texts, whose context may depend on it, one for each."""
    if (adapting := _adapting(one)) and adapting.passes and isinstance(one, Shown):
        return adapting.passes(len(one.texts))
    return 1 + len(one.texts) if isinstance(one, Shown) else 1


def _stored(body: bytes, n: int) -> Vectors:
    return np.frombuffer(body, np.float32).reshape(n, -1)


def _adapting(one: Asked) -> Adapting | None:
    return one.adapting if isinstance(one, Shown) else None


def _kind(one: Asked) -> tuple[str, ...]:
    """Return what can be asked together: texts, or states of as many layers or images under the same parts.

    Images beside texts stand beside the same ones.
    """
    if isinstance(one, str):
        return ("embed",)
    digest = one.injected.digest if one.injected else ""
    if not isinstance(one, Shown):
        return ("state", digest, str(one.layers))
    return ("image", digest, one.adapting.digest if one.adapting else "", *one.texts)


def _texts(meter: Meter, role: str, model: Any, identity: str, chunk: Sequence[Asked]) -> Vectors:
    """Return the vectors of texts, or the states of texts that are all asked for under the same learned parts."""
    texts = [one.text if isinstance(one, State) else one for one in chunk]
    injected, layers = (chunk[0].injected, chunk[0].layers) if isinstance(chunk[0], State) else (None, 0)
    states = isinstance(chunk[0], State)
    kind = ["state", injected.digest if injected else "", *[layers] * bool(layers)] if states else ["embed"]
    key = meter._keys.hash([*kind, role, identity, texts])
    if meter.journal is not None:
        meter.journal.append([key.hex(), role, identity, [fingerprint(one) for one in chunk]])
    first, rows = meter._enter([key])
    event, body = rows.get(0), meter.store.answers([key]).get(key)
    if body is not None:
        vectors = _stored(body, len(texts))
        if event and event.state == "done":
            meter.charge(role, Cost.unpack(event.charged), Cost.unpack(event.paid))
            return vectors
        cost, paid = Cost(passes=len(texts)), ZERO
    else:
        began = time.monotonic()
        found = model.states(texts, injected, *[layers] * bool(layers)) if states else model.embed(texts)
        vectors = np.ascontiguousarray(found, np.float32)
        cost = paid = Cost(passes=len(texts), seconds=time.monotonic() - began)
        meter.store.put_answer(key, vectors.tobytes())
    meter.record(first, Event(key, "done", cost.pack(), paid.pack()))
    meter.flush()
    meter.charge(role, cost, paid)
    meter.tell(role, len(texts))
    return vectors


def _images(meter: Meter, role: str, model: Any, identity: str, chunk: Sequence[Shown], total: int) -> Vectors:
    """Return the vectors of images that are all asked for under the same learned parts, beside the same texts."""
    injected, texts, adapting = chunk[0].injected, chunk[0].texts, chunk[0].adapting
    inside = ["image", identity, injected.digest if injected else "", *([list(texts)] if texts else [])]
    inside += [adapting.digest] if adapting else []
    keys = [meter._keys.hash([*inside, one.image.digest]) for one in chunk]
    if meter.journal is not None:
        meter.journal += [[key.hex(), role, identity, [fingerprint(one)]] for key, one in zip(keys, chunk, strict=True)]
    first, rows = meter._enter(keys)
    bodies = meter.store.answers(keys)
    unknown = [n for n, key in enumerate(keys) if key not in bodies]
    began = time.monotonic()
    if unknown:
        shown = [chunk[n].image for n in unknown]
        if adapting and adapting.run:
            found = adapting.run(model, shown, texts, injected)
        elif texts:
            found = model.cosines(shown, texts, injected)
        else:
            found = model.image_features(shown, injected) if injected else model.image_features(shown)
        found = np.ascontiguousarray(found, np.float32)
        for n, vector in zip(unknown, found, strict=True):
            bodies[keys[n]] = vector.tobytes()
            meter.store.put_answer(keys[n], bodies[keys[n]])
        _say(meter, total, found.shape[1])
    took = (time.monotonic() - began) / max(1, len(unknown))
    new = {*unknown}
    for n, key in enumerate(keys):
        event = rows.get(n)
        if event and event.state == "done":
            meter.charge(role, Cost.unpack(event.charged), Cost.unpack(event.paid))
            continue
        cost = Cost(passes=passes(chunk[n]), seconds=took if n in new else 0.0)
        paid = cost if n in new else ZERO
        meter.record(first + n, Event(key, "done", cost.pack(), paid.pack()))
        meter.charge(role, cost, paid)
    meter.flush()
    meter.tell(role, sum(map(passes, chunk)))
    return np.stack([np.frombuffer(bodies[key], np.float32) for key in keys])


def _say(meter: Meter, total: int, width: int) -> None:
    """Say once where the vectors of images are kept, and how large they are; of one image nothing needs saying."""
    if total > 1 and meter.store.where != ":memory:" and not meter.said_place:
        meter.said_place = True
        log.warning("vectors of %d images are kept in %s: %s", total, meter.store.where, _bytes(4 * width * total))


def _bytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def _light(one: Asked) -> Asked:
    """Return an equal text, state or image that does not keep the tensors of its learned parts in memory."""
    if (adapting := _adapting(one)) and isinstance(one, Shown):
        one = one._replace(adapting=Adapting(adapting.digest))
    if not isinstance(one, str) and one.injected:
        return one._replace(injected=Injected(one.injected.digest))
    return one
