"""Whether learned parts fit a model, and the names and the device that they get in it."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from promptology.errors import UsageError
from promptology.injection.arch import find, sites_of
from promptology.injection.filling import rows_of
from promptology.injection.sites import Filling, Site


def fitted(model: Any, fillings: Iterable[Filling]) -> tuple[Filling, ...]:
    """Return fillings on the model's device, under the names that the model has for its weights and layers.

    A layer's name has the stack's prefix in a model with a head and none in a bare stack: what was learned in one is
    found in the other. Raises UsageError, one line, where the model lacks a site, weight or layer, or is of another
    width; other sizes are compared where fillings are attached.
    """
    sites = sites_of(model)
    made: list[Filling] = []
    for filling in fillings:
        site, filler = sites.resolve(filling.site), placed(filling.filler, model.device)
        if site.name:
            made.append(_named(model, site, filler))
            continue
        if site.place == "input":
            _check_width(model, sites.stacks[site.stack], filling.site, filler)
        made.append(Filling(filling.site, filler))
    return tuple(made)


def placed(filler: Any, device: Any) -> Any:
    """Return a filler on a device; the one that was given, which others may hold, stays where it is."""
    if isinstance(filler, list | tuple):
        return [placed(one, device) for one in filler]
    if isinstance(filler, nn.Module):
        away = any(p.device != device for p in (*filler.parameters(), *filler.buffers()))
        return copy.deepcopy(filler).to(device) if away else filler
    return filler.to(device) if isinstance(filler, Tensor) else filler


def _named(model: Any, site: Site, filler: Any) -> Filling:
    weight = site.place == "weight"
    there = dict(model.named_parameters(remove_duplicate=False) if weight else model.named_modules())
    prefix = f"{model.base_model_prefix}."
    names = (site.name, site.name.removeprefix(prefix), prefix + site.name)
    name = next((n for n in names if n in there), None)
    if name is None:
        what = "weight" if weight else "layer"
        raise UsageError(f"this model has no {what} {site.name!r}: what was learned belongs to another model")
    if weight and isinstance(filler, Tensor):
        filler = filler.to(there[name].dtype)
    return Filling(f"{site.place}:{name}", filler)


def _check_width(model: Any, stack: Any, name: str, filler: Any) -> None:
    table = find(model.base_model, ".".join(p for p in (stack.path, stack.embeddings) if p))
    weight = getattr(table, "weight", None)
    if weight is None or weight.dim() != 2:
        return
    width = int(weight.shape[1])
    if not isinstance(filler, nn.Module):
        rows_of(filler, width, name)
    elif isinstance(low := getattr(filler, "B", None), Tensor) and low.shape[-1] != width:
        raise UsageError(
            f"site {name}: the offsets are {low.shape[-1]} wide, the model's embeddings are {width}; they belong to a "
            "model of another size"
        )
