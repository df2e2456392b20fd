"""A plain Python function as the model."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from promptology.errors import ModelError, UsageError
from promptology.models.access import Answer, Failure, Outcome, Request, Vectors
from promptology.models.cutting import TOKEN, cut


class CallableModel:
    """Text generation by `fn(prompt) -> str`, or by `fn(messages) -> str` with `chat=True`.

    An exception in the function is a failed call: it is tried again, then counted as missing. The function gets no
    settings, so its text is cut here at stop marks and at `max_tokens` (four characters each). `workers` > 1 calls the
    function from that many threads. `identity` tells two functions apart in the cache; the default is the function's
    qualified name, so give one (a version, say) when the function's behaviour changes.
    """

    local = False
    simulated = False

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        identity: str | None = None,
        chat: bool = False,
        workers: int = 1,
    ) -> None:
        if workers < 1:
            raise UsageError(f"workers is {workers}; it must be at least 1")
        self.fn = fn
        self.name = name or str(getattr(fn, "__name__", type(fn).__name__))
        where = f"{getattr(fn, '__module__', '?')}.{getattr(fn, '__qualname__', type(fn).__qualname__)}"
        self.identity = f"callable:{identity or where}:{'chat' if chat else 'text'}"
        self.chat = chat
        self.workers = workers

    def generate(self, requests: Sequence[Request], attempts: int = 1) -> Iterator[tuple[int, Outcome]]:
        """Yield (index, outcome) as the function returns."""
        if self.workers == 1:
            for n, request in enumerate(requests):
                yield n, self._ask(request, attempts)
            return
        with ThreadPoolExecutor(self.workers) as pool:
            waiting = {pool.submit(self._ask, request, attempts): n for n, request in enumerate(requests)}
            try:
                for done in as_completed(waiting):
                    yield waiting[done], done.result()
            finally:
                for future in waiting:
                    future.cancel()

    def _ask(self, request: Request, attempts: int) -> Outcome:
        reason = ""
        for attempt in range(1, attempts + 1):
            try:
                text = self.fn(self._argument(request))
            except Exception as error:  # whatever the user's function raises is a failed call, not our crash
                reason = f"{self.name} raised {type(error).__name__}: {error}"[:200]
                continue
            if not isinstance(text, str):
                raise ModelError(f"{self.name} returned a {type(text).__name__}; a model function returns a str")
            text, truncated = cut(text, request.stop, request.max_tokens)
            size = sum(len(content) for _, content in request.messages)
            return Answer(text, math.ceil(size / TOKEN), math.ceil(len(text) / TOKEN), True, attempt, truncated)
        return Failure(" ".join(reason.split()), True, attempts)

    def _argument(self, request: Request) -> Any:
        if self.chat:
            return [{"role": role, "content": content} for role, content in request.messages]
        return "\n\n".join(content for _, content in request.messages)

    def __repr__(self) -> str:
        return f"CallableModel({self.name})"


class CallableEncoder:
    """Embeddings by `fn(texts) -> array` of shape (n, dimension); the vectors are scaled to unit length."""

    local = True
    simulated = False

    def __init__(self, fn: Callable[..., Any], *, name: str | None = None, identity: str | None = None) -> None:
        self.fn = fn
        self.name = name or str(getattr(fn, "__name__", type(fn).__name__))
        where = f"{getattr(fn, '__module__', '?')}.{getattr(fn, '__qualname__', type(fn).__qualname__)}"
        self.identity = f"encoder:{identity or where}"

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return unit vectors, float32, shape (len(texts), dimension)."""
        import numpy as np

        if not texts:
            return np.zeros((0, 0), np.float32)
        vectors = np.asarray(self.fn(list(texts)), np.float32)
        if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
            raise ModelError(
                f"{self.name} returned an array of shape {vectors.shape} for {len(texts)} texts; "
                "an encoder returns finite numbers of shape (texts, dimension)"
            )
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        scaled: Vectors = vectors / np.maximum(norms, 1e-12)
        return scaled


class CallableViews:
    """Pictures of a picture by `fn(picture) -> pictures`, as a diffusion model makes them.

    The function gets a pillow picture of 8-bit red, green and blue and, where it names them, `count` (how many are
    used) and `seed`, which depends on the picture and the run alone: a function that draws at random must take it. It
    returns at least `count` pillow pictures or uint8 arrays of shape (height, width, 3), of any size.
    """

    local = True
    simulated = False

    def __init__(self, fn: Callable[..., Any], *, name: str | None = None, identity: str | None = None) -> None:
        self.fn = fn
        self.name = name or str(getattr(fn, "__name__", type(fn).__name__))
        where = f"{getattr(fn, '__module__', '?')}.{getattr(fn, '__qualname__', type(fn).__qualname__)}"
        self.identity = f"views:{identity or where}"
        try:
            named = {*inspect.signature(fn).parameters}
        except ValueError:  # a callable without a signature to look at
            named = set()
        self._takes = tuple(name for name in ("count", "seed") if name in named)

    def vary(self, picture: Any, count: int, seed: int) -> Sequence[Any]:
        """Return `count` pillow pictures; raises ModelError, one line, for anything else."""
        from promptology.data.images import as_image

        given = {"count": count, "seed": seed}
        try:
            made = self.fn(picture, **{name: given[name] for name in self._takes})
            found = [] if made is None else list(made)[:count]
        except Exception as error:  # whatever the user's function raises is told in one line
            raise ModelError(" ".join(f"{self.name} raised {type(error).__name__}: {error}".split())[:200]) from None
        if len(found) < count:
            what = "nothing" if made is None else f"{len(found)} pictures"
            raise ModelError(
                f"{self.name} returned {what} and {count} are used; make more, or set generated={len(found)}"
            )
        try:
            return [as_image(one, f"picture {n} of {self.name}").rgb() for n, one in enumerate(found)]
        except UsageError as error:
            raise ModelError(str(error)) from None
