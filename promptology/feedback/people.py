"""A simulated person who edits drafts, and the world that the person lives in: kinds of context, a style for each.

The world of CIPHER's claims: four kinds of context, 40 words each from a vocabulary of which half is shared by all
kinds; for each kind a hidden style of six traits, which the person wants a text to have, no more and no less. The
person reads the draft first and lets it stand where its style is the wanted one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from promptology.data.items import Item
from promptology.models.simulated.styles import TRAITS, Style, named, style_of, written

WORDS = 40
"""Words of a context."""
_SHARED = """
today people plan early result report update note share find learn change start finish week month north south large
small value reason answer question effort detail moment public common future
"""
_OWN = {
    "news": """
minister election parliament coalition budget vote treaty senate governor mayor policy reform debate ambassador border
inflation strike court verdict police witness storm flood harbour bridge railway airport protest union decree
""",
    "film": """
actor director scene camera plot script dialogue soundtrack comedy thriller drama sequel audience cinema premiere
costume villain hero ending studio trailer cast stunt lighting editor genre romance suspense screenplay documentary
""",
    "garden": """
seedling compost tomato pruning soil mulch rose hedge greenhouse watering fertiliser lettuce bulb orchard beetroot
shade trellis blossom weeds harvest spade lawn pollen shrub basil earthworm frost terrace pumpkin clover
""",
    "science": """
neuron enzyme catalyst protein genome electron laser orbit telescope particle theorem algorithm hypothesis sample
microscope molecule isotope plasma quantum entropy membrane bacteria fossil crystal sensor polymer galaxy photon tensor
vaccine
""",
}
SHARED = tuple(_SHARED.split())
KINDS = {kind: tuple(own.split()) for kind, own in _OWN.items()}
"""Words that a kind of context has for its own; half of its vocabulary."""


class StyleWorld:
    """Contexts, and the style that the person wants for each kind of them, drawn by `seed`.

    `alike`: one style for all kinds; else the kinds' styles differ from each other. No style is plain, for then nothing
    would have to be learned.
    """

    def __init__(self, seed: int = 0, *, alike: bool = False) -> None:
        self._rng = np.random.default_rng([seed, 2404])
        # A style is a number from 1 to 63 in binary.
        count = 2 ** len(TRAITS) - 1
        drawn = 1 + self._rng.permutation(count)[: len(KINDS)]
        numbers = [drawn[0]] * len(KINDS) if alike else drawn
        self.styles: dict[str, Style] = {
            kind: frozenset(name for bit, name in enumerate(TRAITS) if int(number) >> bit & 1)
            for kind, number in zip(KINDS, numbers, strict=True)
        }

    def items(self, n: int) -> list[Item]:
        """Return contexts, each kind equally often, in random order; the target is the phrase of the wanted style."""
        kinds = [list(KINDS)[i % len(KINDS)] for i in range(n)]
        found: list[Item] = []
        for i in self._rng.permutation(n):
            vocabulary = [*KINDS[kinds[i]], *SHARED]
            text = " ".join(vocabulary[j] for j in self._rng.integers(len(vocabulary), size=WORDS))
            found.append(Item(f"context-{len(found) + 1}", {"text": text}, named(self.styles[kinds[i]])))
        return found

    def wanted(self, context: str) -> Style:
        """Return the style that the person wants in a context."""
        return self.styles[kind_of(context.split())]


def kind_of(words: Sequence[str]) -> str:
    """Return the kind of context that has most of these words for its own."""
    counts = [sum(word in own for word in words) for own in KINDS.values()]
    return list(KINDS)[counts.index(max(counts))]


class SimulatedPerson:
    """Offers `Edits`: lets a draft of the wanted style stand, and rewrites any other."""

    local = False
    simulated = True
    name = "simulated-person"

    def __init__(self, world: StyleWorld) -> None:
        self.world = world
        wanted = "; ".join(f"{kind}: {named(style)}" for kind, style in world.styles.items())
        self.identity = f"simulated-person:{wanted}"

    def edit(self, context: str, draft: str) -> str:
        """Return the draft, or the text as the person would have written it."""
        style = self.world.wanted(context)
        return draft if style_of(draft) == style else written(context, style)
