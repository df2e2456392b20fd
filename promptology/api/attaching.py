"""attach: what was learned inside a transformers model that the caller holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from promptology.errors import UsageError
from promptology.prompts.injected import injected_of
from promptology.prompts.learned import Learned


@contextmanager
def attach(hf_model: Any, learned: Learned, role: str = "model") -> Iterator[Any]:
    """Attach what was learned to a transformers model: its own `forward` and `generate` work with it inside the block.

    Attachments nest and repeat; afterwards the model is bit-identical. What is attached is moved to the model's
    device and takes its type. Texts, demonstrations and readouts are not applied: they are for `learned.bind`. Raises
    UsageError, one line, where nothing inside a model was learned, or where it fits a model of another size.
    """
    from promptology.injection import attach as attach_fillings
    from promptology.injection.fitting import fitted

    if not hasattr(hf_model, "named_modules") or not hasattr(hf_model, "config"):
        raise UsageError(f"attach takes a transformers model, not a {type(hf_model).__name__}")
    injected = injected_of(learned, role)
    if injected is None:
        raise UsageError(
            f"{learned!r} holds nothing that enters a model in the role {role!r}; texts are used with learned.bind"
        )
    with attach_fillings(hf_model, fitted(hf_model, injected.fillings)):
        yield hf_model
