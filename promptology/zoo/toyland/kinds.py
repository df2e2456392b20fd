"""Kinds of objects, which are the classes of tasks, and pictures of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptology.errors import UsageError
from promptology.zoo.toyland import styles
from promptology.zoo.toyland.chance import Seeds, image_seeds, uniform
from promptology.zoo.toyland.drawing import Images, render
from promptology.zoo.toyland.lists import COLOURS, SHAPES, SHIFTS, STYLES
from promptology.zoo.toyland.naming import described, name
from promptology.zoo.toyland.scenes import Scenes, Whole, sample


class Kind(NamedTuple):
    """What all images of a class have in common; -1 is left to each image. A shade needs its colour."""

    shape: int
    colour: int = -1
    texture: int = -1
    shade: int = -1

    @property
    def name(self) -> str:
        """The class's name, such as "striped red star" or, with a shade, "maroon star"."""
        shade = None if self.shade < 0 else 2 * self.colour + self.shade
        colour, texture = (None if index < 0 else index for index in (self.colour, self.texture))
        return name(self.shape, colour, texture, shade=shade)

    @property
    def described(self) -> str:
        """One sentence about what all its images have in common."""
        colour, texture = (None if index < 0 else index for index in (self.colour, self.texture))
        return described(self.shape, colour, texture, called=self.name)

    @property
    def number(self) -> int:
        """A number of its own for every kind, from 0."""
        found = 0
        for index, choices in zip(self, (len(SHAPES), len(COLOURS), 8, 2), strict=True):
            found = found * (choices + 1) + index + 1
        return found


def pairs(shapes: Sequence[int], colours: Sequence[int]) -> tuple[Kind, ...]:
    """Return the kinds "{colour} {shape}", shape by shape."""
    return tuple(Kind(shape, colour) for shape in shapes for colour in colours)


def shades(shapes: Sequence[int], colours: Sequence[int]) -> tuple[Kind, ...]:
    """Return the kinds "{shade} {shape}", two for each colour, shape by shape."""
    return tuple(Kind(s, c, shade=k) for s in shapes for c in colours for k in range(2))


def scenes(kinds: Sequence[Kind], each: int, seed: int, *, beside: Sequence[Kind] = ()) -> Scenes:
    """Return `each` scenes of every kind, kind by kind, from a Toyland seed.

    The n-th scene of a kind depends on the kind, the seed and n alone, so that fewer scenes are the first of more.
    `beside`: kinds of which a second object is drawn for each scene, of another colour than the first.
    """
    seeds: Seeds = np.concatenate([image_seeds(seed, each, kind.number) for kind in kinds] or [np.zeros(0, np.uint64)])
    shape, colour, texture, shade = np.repeat(np.array(kinds, np.int64).reshape(-1, 4), each, axis=0).T[:, :, None]
    if not beside:
        return sample(seeds, shape=shape, colour=colour, texture=texture, shade=shade)
    pool = np.array(beside, np.int64)
    other = pool[_other(pool[:, 1], colour[:, 0], seeds)]
    both = [np.concatenate([own, other[:, k, None]], 1) for k, own in enumerate((shape, colour, texture, shade))]
    return sample(seeds, objects=2, shape=both[0], colour=both[1], texture=both[2], shade=both[3])


def _other(colours: Whole, own: Whole, seeds: Seeds) -> Whole:
    """Return for each scene the index of one of `colours` that differs from its own."""
    fits = colours[None, :] != own[:, None]
    if not fits.any(1).all():
        raise UsageError("there is no kind of another colour to stand beside an object")
    nth = (uniform(seeds, 40)[:, 0] * fits.sum(1)).astype(np.int64)
    found: Whole = (np.cumsum(fits, 1) > nth[:, None]).argmax(1)
    return found


def drawn(made: Scenes, domain: str = "clean", strength: float | None = None, px: int = 32) -> Images:
    """Draw scenes in a style or, clean, under a shift of some strength; raises UsageError for an unknown domain."""
    if domain in SHIFTS:
        return styles.shift(domain, render(made.styled("clean"), px), made.seed, strength)
    if domain not in STYLES:
        raise UsageError(f"unknown domain {domain!r}; there are {', '.join((*STYLES, *SHIFTS))}")
    return render(made.styled(domain), px)


def labels(kinds: Sequence[Kind], each: int, first: int = 0) -> NDArray[np.int64]:
    """Return the labels of `scenes(kinds, each, ...)`, the kinds numbered from `first`."""
    return np.repeat(np.arange(first, first + len(kinds)), each)
