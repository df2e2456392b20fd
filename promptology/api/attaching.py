"""attach: what was learned inside a transformers model that the caller holds."""

from __future__ import annotations

import copy
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

    if not hasattr(hf_model, "named_modules") or not hasattr(hf_model, "config"):
        raise UsageError(f"attach takes a transformers model, not a {type(hf_model).__name__}")
    injected = injected_of(learned, role)
    if injected is None:
        raise UsageError(
            f"{learned!r} holds nothing that enters a model in the role {role!r}; texts are used with learned.bind"
        )
    with attach_fillings(hf_model, [_fitting(hf_model, filling) for filling in injected.fillings]):
        yield hf_model


def _fitting(hf_model: Any, filling: Any) -> Any:
    """Return a filling on the model's device, with the name that the model has for its weight or layer."""
    kind, colon, name = filling.site.partition(":")
    filler = filling.filler
    if hasattr(filler, "parameters"):
        if any(p.device != hf_model.device for p in filler.parameters()):
            filler = copy.deepcopy(filler).to(hf_model.device)  # others may hold the one that is shared
    else:
        filler = filler.to(hf_model.device)
    if not colon:
        _check_offsets(hf_model, filling.site, filler)
        return filling._replace(filler=filler)
    weights = kind == "weight"
    named = dict(hf_model.named_parameters(remove_duplicate=False) if weights else hf_model.named_modules())
    # The same layers have names with the stack's prefix in a model with a head, and without it in a bare one.
    prefix = f"{hf_model.base_model_prefix}."
    found = next((n for n in (name, name.removeprefix(prefix), prefix + name) if n in named), None)
    if found is None:
        what = "weight" if weights else "layer"
        raise UsageError(f"this model has no {what} {name!r}: what was learned belongs to another model")
    if weights:
        filler = filler.to(named[found].dtype)
    return filling._replace(site=f"{kind}:{found}", filler=filler)


def _check_offsets(hf_model: Any, site: str, filler: Any) -> None:
    low = getattr(filler, "B", None)
    table = hf_model.get_input_embeddings()
    if site.endswith("input") and low is not None and hasattr(table, "weight"):
        width = table.weight.shape[-1]
        if low.shape[-1] != width:
            raise UsageError(
                f"site {site}: the offsets are {low.shape[-1]} wide, the model's embeddings are {width}; they belong "
                "to a model of another size"
            )
