"""The contract of models: what every adapter promises, ours or a third party's."""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np

from promptology.errors import ModelError
from promptology.models.access import Answer, Failure, Outcome, Request, offers
from promptology.models.opening import model as open_model
from promptology.testing.promises import Checked

TEXTS = (
    "Where is my parcel? It was promised for Monday.",
    "I was charged twice for one order.",
    "Où est mon colis ? 我的包裹在哪里？ 📦🚚",
    "One\nmessage\n\nover several lines, with {braces} and <tags>.",
    "The lamp that I ordered flickers. " * 40,
    "a",
)
HARD = ("", " ", "\x00\x1b[31m", "half a pair: \ud83d", "x" * 20_000)
"""Texts that no user means to send and every adapter meets: an outcome is due for them, not a crash."""
CHOICES = (("yes", "no"), ("a longer choice", "b", "c é"))
FEW_TOKENS = 4
CHARACTERS = 12
"""Characters that one token may hold, at most: an answer that is longer was not cut at max_tokens."""
SAME = 1e-4
"""Largest difference of a unit vector's entries over batches: what padding costs in float32, with a margin."""


def check_model(model: Any, *, texts: Sequence[str] = TEXTS, choices: Sequence[Sequence[str]] = CHOICES) -> Checked:
    """Check what every model promises; raises AssertionError that names the model and the promise it breaks.

    `model`: an object that offers a protocol, or what `promptology.model` takes; `texts`: at least two different
    prompts to ask it (a hosted model is asked about thirty times); `choices`: for its first two texts the continuations
    to score, none of which begins another (a masked model takes words of one token).

    The promises:

    - identity: a name and an identity, the same after use, and equal in a pickled copy (or it says why it cannot be
      pickled);
    - generates: every request is answered exactly once, in any order, duplicates included; an empty batch gives
      nothing; a failure is a `Failure`, not an exception, whatever the text; `max_tokens` is kept or the answer is
      flagged as truncated, `stop` is kept; stopping early leaves no damage;
    - embeds: float32, unit length, one row per text, whatever else is in the batch;
    - scores: a log-probability of 0 or less per choice, whatever else is in the batch.

    Returns what was checked, and what could not be with the reason.
    """
    model = open_model(model)
    checked = Checked(f"model {getattr(model, 'name', type(model).__name__)!r}")
    offered = offers(model)
    checked.promise(bool(offered), "it offers no protocol: generate, score or embed")
    checked.promise(isinstance(model.name, str) and model.name != "", "its name is not a text")
    identity = getattr(model, "identity", model.name)
    checked.promise(isinstance(identity, str) and identity != "", "its identity is not a text")
    if "generates" in offered:
        check_generates(checked, model, texts)
    if "embeds" in offered:
        check_embeds(checked, model, texts)
    if "scores" in offered:
        check_scores(checked, model, texts, choices)
    after = getattr(model, "identity", model.name)
    checked.promise(after == identity, f"its identity changed in use, from {identity!r} to {after!r}")
    check_pickle(checked, model, identity)
    return checked


def check_pickle(checked: Checked, model: Any, identity: str) -> None:
    """Check that it travels to another process, or says that it cannot."""
    try:
        copy = pickle.loads(pickle.dumps(model))
    except Exception as error:  # pickle raises many types
        checked.promise(str(error) != "", f"it cannot be pickled and does not say why: {type(error).__name__}")
        checked.passed("identity")
        return checked.skip("pickled copy", f"it cannot be pickled: {error}")
    same = getattr(copy, "identity", copy.name)
    checked.promise(same == identity, f"a pickled copy has another identity: {same!r} instead of {identity!r}")
    checked.promise(offers(copy) == offers(model), "a pickled copy does not offer the same protocols")
    checked.passed("identity")


def ask(checked: Checked, model: Any, requests: Sequence[Request], attempts: int = 1) -> list[Outcome]:
    """Return outcomes in the order of the requests; a broken promise where one is missing, double or malformed."""
    found: dict[int, Outcome] = {}
    try:
        for index, outcome in model.generate(list(requests), attempts):
            known = isinstance(index, int) and 0 <= index < len(requests)
            checked.promise(known, f"it yielded index {index!r} for {len(requests)} requests")
            checked.promise(index not in found, f"it yielded request {index} twice")
            found[index] = outcome
    except ModelError:
        raise  # a refusal for good is one clear line of the adapter's own
    except Exception as error:  # the promise is that there are none
        checked.promise(False, f"generate raised {type(error).__name__}: {error}; a failed call is a Failure")
    lost = [n for n in range(len(requests)) if n not in found]
    checked.promise(not lost, f"it never yielded request {', '.join(map(str, lost))} of {len(requests)}")
    sent: dict[Request, int] = {}
    for index, outcome in found.items():
        _check_outcome(checked, outcome, attempts)
        spent = outcome.attempts if isinstance(outcome, Answer) else 1
        sent[requests[index]] = sent.get(requests[index], 0) + spent
    # Equal requests may share one answer; then one of them says what it took.
    checked.promise(all(sent.values()), "it answered a request and says that it took no attempt at all")
    return [found[n] for n in range(len(requests))]


def _check_outcome(checked: Checked, outcome: Any, attempts: int) -> None:
    kind = type(outcome).__name__
    checked.promise(isinstance(outcome, Answer | Failure), f"it yielded a {kind}; an outcome is an Answer or a Failure")
    text = outcome.text if isinstance(outcome, Answer) else outcome.reason
    checked.promise(isinstance(text, str), f"the text of {kind} is a {type(text).__name__}")
    if isinstance(outcome, Answer):
        whole = all(isinstance(n, int) and n >= 0 for n in (outcome.tokens_in, outcome.tokens_out))
        checked.promise(whole, f"tokens are {outcome.tokens_in!r} in and {outcome.tokens_out!r} out; counts are due")
    else:
        checked.promise(text != "", "a Failure gives no reason")
    text = f"it says that an outcome took {outcome.attempts} attempts, and {attempts} was allowed"
    checked.promise(0 <= outcome.attempts <= attempts, text)


def check_generates(checked: Checked, model: Any, texts: Sequence[str]) -> None:
    """Check for exactly one outcome per request, failures as outcomes, max_tokens and stop."""
    checked.promise(list(model.generate([])) == [], "an empty batch yields something")
    asked = [Request.user(text, max_tokens=64) for text in texts]
    answers = ask(checked, model, [*asked, *asked[:2], asked[0]])
    ask(
        checked,
        model,
        [Request((("system", "Answer briefly."), ("user", texts[0]), ("assistant", "Yes?"), ("user", texts[1])))],
    )
    ask(checked, model, [Request.user(text, max_tokens=8) for text in HARD], attempts=2)
    _check_limits(checked, model, texts, answers)
    # Whoever stops listening (an interrupt, the end of a budget) must find the model whole.
    started = iter(model.generate(asked))
    next(started)
    if hasattr(started, "close"):
        started.close()
    again = [isinstance(o, Failure) for o in ask(checked, model, asked)]
    lost = any(again) and not any(isinstance(o, Failure) for o in answers)
    checked.promise(not lost, "after a caller that stopped listening it gives no answer any more")
    checked.passed("generates")


def _check_limits(checked: Checked, model: Any, texts: Sequence[str], answers: Sequence[Outcome]) -> None:
    for outcome in ask(checked, model, [Request.user(text, max_tokens=FEW_TOKENS) for text in texts]):
        if isinstance(outcome, Answer) and len(outcome.text) > FEW_TOKENS * CHARACTERS:
            text = (
                f"asked for at most {FEW_TOKENS} tokens it gave {len(outcome.text)} characters, not flagged truncated"
            )
            checked.promise(outcome.truncated, text)
    said = [
        (text, a.text) for text, a in zip(texts, answers, strict=False) if isinstance(a, Answer) and len(a.text) > 3
    ]
    if not said:
        return checked.skip("stop", "it gave no answer of more than three characters")
    for text, whole in said[:2]:
        mark = whole[len(whole) // 2 :][:3]
        (outcome,) = ask(checked, model, [Request.user(text, max_tokens=64, stop=(mark,))])
        kept = not isinstance(outcome, Answer) or mark not in outcome.text or outcome.truncated
        checked.promise(kept, f"asked to stop at {mark!r} it gave an answer that holds it, not flagged truncated")
    checked.passed("stop")


def check_embeds(checked: Checked, model: Any, texts: Sequence[str]) -> None:
    """Check shape, type, length, and the same vector whatever else is in the batch."""
    together = [*texts, *HARD]
    vectors = _embedded(checked, model, together)
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    far = int(np.argmax(np.abs(norms - 1)))
    checked.promise(
        abs(norms[far] - 1) < SAME, f"vectors are not of unit length: {norms[far]:.4f} for {together[far][:40]!r}"
    )
    backwards = _embedded(checked, model, [*reversed(together), together[0]])
    alone = np.vstack([_embedded(checked, model, [text]) for text in together])
    for other, how in ((backwards[-2::-1], "in another order"), (alone, "alone")):
        apart = np.abs(other - vectors).max(axis=1)
        worst = int(np.argmax(apart))
        text = f"the vector of {together[worst][:40]!r} differs by {apart[worst]:.2g} when it is embedded {how}"
        checked.promise(apart[worst] <= SAME, text)
    checked.promise(np.abs(backwards[-1] - vectors[0]).max() <= SAME, "the same text twice gives two vectors")
    apart = float(np.abs(vectors[0] - vectors[1]).max())
    checked.promise(apart > SAME, f"two different texts have the same vector: {texts[0][:30]!r} and {texts[1][:30]!r}")
    checked.promise(len(_called(checked, lambda: model.embed([]))) == 0, "an empty batch gives vectors")
    checked.passed("embeds")


def _called(checked: Checked, call: Any) -> Any:
    try:
        return call()
    except ModelError:
        raise
    except Exception as error:  # the promise is that there are none
        raise AssertionError(f"{checked.about}: it raised {type(error).__name__}: {error}") from error


def _embedded(checked: Checked, model: Any, texts: Sequence[str]) -> Any:
    vectors = _called(checked, lambda: model.embed(list(texts)))
    shape, kind = getattr(vectors, "shape", None), getattr(vectors, "dtype", type(vectors).__name__)
    right = shape is not None and len(shape) == 2 and shape[0] == len(texts) and shape[1] > 0
    checked.promise(right, f"{len(texts)} texts gave an array of shape {shape}; one row per text is due")
    checked.promise(kind == np.float32, f"vectors are {kind}; float32 is due")
    checked.promise(bool(np.isfinite(vectors).all()), "vectors hold numbers that are not finite")
    return vectors


def check_scores(checked: Checked, model: Any, texts: Sequence[str], choices: Sequence[Sequence[str]]) -> None:
    """Check for a log-probability per choice, the same whatever else is in the batch."""
    prompts = list(texts[:2])
    together = _scored(checked, model, prompts, choices)
    alone = [_scored(checked, model, [p], [c])[0] for p, c in zip(prompts, choices, strict=True)]
    for row, other in zip(together, alone, strict=True):
        apart = max(abs(a - b) for a, b in zip(row, other, strict=True))
        checked.promise(apart < 0.01, f"a log-probability differs by {apart:.3f} nats when its prompt is scored alone")
    # No choice begins another, so their probabilities cannot sum to more than 1.
    total = max(math.fsum(math.exp(v) for v in row) for row in together)
    checked.promise(total < 1.01, f"probabilities of different choices sum to {total:.3f}; log p in nats is due")
    checked.promise(_called(checked, lambda: model.score([], [])) == [], "an empty batch gives scores")
    if "generates" in offers(model):
        _check_continuations(checked, model, prompts, choices, together)
    checked.passed("scores")


def _check_continuations(
    checked: Checked, model: Any, prompts: list[str], choices: Sequence[Sequence[str]], together: list[list[float]]
) -> None:
    """Check that a request with a continuation, as runs send it, is answered by what `score` returns."""
    requests = [Request.user(p, continuation=c) for p, row in zip(prompts, choices, strict=True) for c in row]
    values = [value for row in together for value in row]
    for request, outcome, value in zip(requests, ask(checked, model, requests), values, strict=True):
        got = outcome.logprob if isinstance(outcome, Answer) else None
        text = f"the continuation {request.continuation!r} has log-probability {value} by score, and {got} by generate"
        checked.promise(got is not None and abs(got - value) < 0.01, text)


def _scored(checked: Checked, model: Any, prompts: list[str], choices: Sequence[Sequence[str]]) -> list[list[float]]:
    rows: list[list[float]] = [list(row) for row in _called(checked, lambda: model.score(prompts, choices))]
    shape = [len(row) for row in rows]
    checked.promise(
        shape == [len(c) for c in choices], f"choices of {[len(c) for c in choices]} gave scores of {shape}"
    )
    good = all(not math.isnan(v) and v <= 1e-6 for row in rows for v in row)
    checked.promise(good, "a score is above 0 or not a number; log p in nats is due")
    return rows
