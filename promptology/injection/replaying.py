"""Gradient checkpointing: a layer that runs again in the backward pass must see what it saw the first time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from promptology.errors import UsageError
from promptology.injection.keeping import epoch
from promptology.injection.watching import WATCHED, Watch


def replayable(model: Any, undo: ExitStack) -> None:
    """Let checkpointed layers of a model remember what is attached, until `undo` takes it back."""
    for module in model.modules():
        original = vars(module).get("_gradient_checkpointing_func")
        if original is not None and not getattr(original, "remembers", False):
            module._gradient_checkpointing_func = _remembering(original, model)
            undo.callback(setattr, module, "_gradient_checkpointing_func", original)


def _remembering(original: Callable[..., Any], model: Any) -> Callable[..., Any]:
    def checkpoint(run: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if getattr(original, "keywords", {}).get("use_reentrant"):
            raise UsageError(
                "gradient checkpointing with use_reentrant=True loses the gradients of attached parts; "
                "enable it with use_reentrant=False, which is the default"
            )
        own = {id(m) for m in model.modules()}
        watches = {id(w): w for key, w in list(WATCHED.items()) if key in own}
        states = [(watch, _state(watch)) for watch in watches.values()]
        then, runs = epoch(model), 0

        def remembered(*inner: Any, **named: Any) -> Any:
            nonlocal runs
            runs += 1
            if runs == 1:
                return run(*inner, **named)
            if epoch(model) != then:
                raise UsageError(
                    "gradient checkpointing runs layers again in the backward pass: call backward inside the block "
                    "in which the parts are attached"
                )
            with ExitStack() as stack:
                for watch, state in states:
                    stack.enter_context(_as_then(watch, state))
                return run(*inner, **named)

        return original(remembered, *args, **kwargs)

    checkpoint.remembers = True  # type: ignore[attr-defined]
    return checkpoint


def _state(watch: Watch) -> dict[str, Any]:
    return {
        "limit": watch.limit,
        "record": None if watch.record is None else {},
        "maps": None,
        "slots": [(s, list(s.pile), list(s.passes), s.busy) for s in watch.slots],
    }


@contextmanager
def _as_then(watch: Watch, state: dict[str, Any]) -> Iterator[None]:
    """Put a watch into a state, for as long as the block lasts."""
    now = {**_state(watch), "record": watch.record, "maps": watch.maps}
    _put(watch, state)
    try:
        yield
    finally:
        _put(watch, now)


def _put(watch: Watch, state: dict[str, Any]) -> None:
    watch.limit, watch.maps = state["limit"], state["maps"]
    watch.record = None if state["record"] is None else dict(state["record"])
    for slot, pile, passes, busy in state["slots"]:
        slot.pile, slot.passes, slot.busy = list(pile), list(passes), busy
