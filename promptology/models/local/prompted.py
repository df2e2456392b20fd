"""Learned parts of two towers, as they are saved, made into what the towers take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from promptology.errors import UsageError
from promptology.injection import Filling
from promptology.injection.fitting import placed
from promptology.injection.sites import Site
from promptology.injection.towers import Prompts, TextRows
from promptology.models.local.wording import Worded, contexts


class TowerParts(NamedTuple):
    """What was learned for both towers.

    `context`: (M, d), or (rows, M, d) of which each text names its row; `deep[i]`: what takes its place where it enters
    layer i + 1; `module`: from the context and the unit vectors of images to a context of each image. `tokens`,
    `deep_tokens`: the same behind the patches of an image.
    """

    context: Tensor | None = None
    deep: tuple[Tensor, ...] = ()
    module: nn.Module | None = None
    tokens: Tensor | None = None
    deep_tokens: tuple[Tensor, ...] = ()

    @property
    def length(self) -> int:
        """Vectors of context in a text."""
        return 0 if self.context is None else int(self.context.shape[-2])

    def of_images(self) -> Prompts:
        """Return what the image tower takes."""
        return Prompts(tokens=self.tokens, deep_tokens=self.deep_tokens)

    def of_texts(self, found: Sequence[Worded], images: Tensor | None = None) -> tuple[TextRows, Prompts]:
        """Return texts and what the text tower takes for them; `images`: unit vectors, for a context of each image."""
        rows = TextRows([one.ids for one in found], [one.slots for one in found])
        which = contexts(found)
        context, deep = self.context, list(self.deep)
        if context is not None and (context.dim() == 3) != (which is not None):
            raise UsageError(
                f"a context of {len(context)} rows was learned, and the texts name none of them"
                if which is None
                else "the texts name rows of the context, and one was learned for all"
            )
        if which is not None and context is not None:
            if max(which) >= len(context):
                raise UsageError(f"a text names row {max(which)} of the context; there are 0 to {len(context) - 1}")
            context = context[which]
            deep = [one[which] if one.dim() == 3 else one for one in deep]
        if self.module is not None:
            if images is None or context is None or which is not None:
                raise UsageError("a context of each image needs the images, and one context that it starts from")
            context = self.module(context, images)
        return rows, Prompts(context, deep)


def tower_parts(towers: Any, fillings: Sequence[Filling]) -> TowerParts:
    """Return fillings of sites `text.context[i]` and `vision.context[i]`, on the device of the towers.

    Raises UsageError, one line, for another site, a gap between layers, or vectors of another width than the tower's.
    """
    tensors: dict[str, dict[int, Tensor]] = {"text": {}, "vision": {}}
    module: nn.Module | None = None
    for filling in fillings:
        site = Site.parse(filling.site)
        if site.place != "context" or site.stack not in tensors:
            raise UsageError(f"site {filling.site!r}: two towers take text.context[i] and vision.context[i]")
        filler = placed(filling.filler, torch.device(towers.device))
        if isinstance(filler, nn.Module):
            module = filler
            continue
        width = towers.text_width if site.stack == "text" else towers.image_width
        if filler.shape[-1] != width:
            raise UsageError(
                f"site {filling.site!r}: the context is {filler.shape[-1]} wide, the tower of {towers.name} {width}; "
                "it belongs to a model of another size"
            )
        tensors[site.stack][site.layer] = filler
    for stack, own in tensors.items():
        if sorted(own) != list(range(len(own))):
            raise UsageError(f"context of stack {stack!r} was learned for layers {sorted(own)}; they begin at 0")
    text, vision = ([own[i] for i in range(len(own))] for own in tensors.values())
    first = [own[0] if own else None for own in (text, vision)]
    return TowerParts(first[0], tuple(text[1:]), module, first[1], tuple(vision[1:]))
