"""Names of sites: where in a model a learned part enters."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from promptology.errors import UsageError

STACKS = ("text", "vision", "encoder", "decoder")
NUMBERED = ("layer", "key_value", "cross_key_value", "attention", "mlp", "last_position", "context")
WHOLE = ("input", "output", "pooled")
NAMED = ("weight", "linear")
FORM = (
    "write [STACK.]input, output, pooled, layer[i], key_value[i], cross_key_value[i], attention[i], mlp[i], "
    "last_position[i], context[i], or weight:NAME, linear:PATH"
)
_SITE = re.compile(rf"(?:({'|'.join(STACKS)})\.)?(?:({'|'.join(WHOLE)})|({'|'.join(NUMBERED)})\[(\d{{1,4}})\])")


class Site(NamedTuple):
    """A parsed site: `stack` is empty where the name leaves it out; `layer` is -1 where the place has none.

    `name` is the weight or the module of `weight:NAME` and `linear:PATH`.
    """

    stack: str
    place: str
    layer: int = -1
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> Site:
        """Read a site; raises UsageError where it is not understood."""
        place, colon, name = text.partition(":")
        if colon and place in NAMED and name:
            return cls("", place, -1, name)
        match = _SITE.fullmatch(text)
        if match is None:
            raise UsageError(f"site {text!r} is not understood; {FORM}")
        stack, whole, numbered, layer = match.groups()
        return cls(stack or "", whole or numbered, int(layer) if layer else -1)

    def __str__(self) -> str:
        if self.name:
            return f"{self.place}:{self.name}"
        place = self.place if self.layer < 0 else f"{self.place}[{self.layer}]"
        return f"{self.stack}.{place}" if self.stack else place


class Filling(NamedTuple):
    """A learned part at a site: a tensor or a torch module.

    `input`: a float tensor of virtual tokens, shape (l, d), or (rows, l, d) with one prompt per row of the batch,
    or a module (hidden, spans, batch) -> hidden over the embeddings of the text. `key_value[i]`: shape (2, l,
    heads, d_head) or (rows, 2, l, heads, d_head), key and value as they enter the cache. `layer[i]`: what takes the
    place of the virtual tokens where they enter block i, shaped as at `input`, or a module over the text's hidden
    states there. `last_position[i]`: what is added to the last token's state where it leaves block i, shape (d,) or
    (rows, d), or a module. `context[i]`, of two towers only: see `injection.towers`. `attention[i]`, `mlp[i]`,
    `output`, `pooled`: a module over what the part returns. `weight:NAME`: a tensor in place of a parameter.
    `linear:PATH`: a module (x, out) -> out behind a linear layer.
    """

    site: str
    filler: Any
