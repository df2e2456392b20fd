"""Prompts at several depths of two towers: how many there may be, maps from one tower to the other, what is saved."""

from __future__ import annotations

from math import sqrt
from typing import Any

import torch
from torch.nn import Parameter

from promptology.errors import UsageError
from promptology.injection.towers import Prompts
from promptology.prompts.learned import Part
from promptology.prompts.sites import SiteTensors
from promptology.run.engine import Run
from promptology.training.initial import array


def check_depth(towers: Any, depth: int) -> None:
    """Raise UsageError where a tower has fewer layers than are to have prompts of their own."""
    layers = {stack: towers.sites.layers[stack] for stack in ("text", "vision")}
    if not 1 <= depth <= min(layers.values()):
        raise UsageError(
            f"depth is {depth}; {towers.name} has {layers['text']} layers for texts and {layers['vision']} for images, "
            f"so 1 to {min(layers.values())} can have prompts: --set depth={min(layers.values())}"
        )


def linear_maps(run: Run, towers: Any, depth: int, *, copies: bool = True) -> list[tuple[Parameter, Parameter]]:
    """Return (weight, bias) of one linear map for each depth, from the width of texts to that of images.

    They start as torch's linear layers do, uniform in +-1/sqrt(text width). `copies`: all but the first start equal, as
    MaPLe's code has it (arXiv:2210.03117).
    """
    wide, narrow = towers.image_width, towers.text_width
    found: list[tuple[Parameter, Parameter]] = []
    for k in range(depth):
        rng = run.rng(f"map {min(k, 1) if copies else k}")
        shapes = ((wide, narrow), (wide,))
        pair = [torch.tensor(rng.uniform(-1, 1, shape) / sqrt(narrow), dtype=torch.float32) for shape in shapes]
        found.append((Parameter(pair[0].to(towers.device)), Parameter(pair[1].to(towers.device))))
    return found


def deep_parts(prompts: Prompts) -> list[Part]:
    """Return prompts of both towers as parts that are saved, one for each layer."""
    texts = [] if prompts.context is None else [prompts.context, *prompts.deep]
    images = [] if prompts.tokens is None else [prompts.tokens, *prompts.deep_tokens]
    return [
        SiteTensors(f"{stack}.context[{k}]", array(one))
        for stack, own in (("text", texts), ("vision", images))
        for k, one in enumerate(own)
    ]
