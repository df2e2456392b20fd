"""Views of an image: random crops, flips and changes of colour, by pillow and numpy, from explicit generators.

The fixed view of a model is its own preprocessing. Here is what stands in for an image where others are wanted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from promptology.data.images import Image
from promptology.data.items import digest

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

BICUBIC = 3
TRIES = 10
DECODED = 2
"""A crop is cut from an image that keeps this many times the side of the view, if it has as many."""
ROOM = 1e9
"""Bytes of decoded pictures that are kept while views of them are drawn."""
_GREY = np.array((0.299, 0.587, 0.114), np.float32)

Views = Callable[["Picture"], Sequence["Picture"]]
"""Any way to further pictures of what an image shows: crops, a generator's pictures."""


@dataclass(frozen=True)
class Augment:
    """Random crops of random shape, resized; some flipped, some with other colours (CoOp's training, TPT's views).

    `scale`: least and largest share of the area; `ratio`: least and largest width over height; `flip`: share that is
    mirrored; `colour`: brightness, contrast and saturation change by a factor within 1 +- this.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    colour: float = 0.0

    def __call__(self, picture: Picture, side: int, rng: np.random.Generator) -> Picture:
        """Return one random view of a picture, `side` pixels wide and high."""
        from PIL.ImageOps import mirror

        view = picture.crop(self._box(picture.width, picture.height, rng)).resize((side, side), BICUBIC)
        if rng.random() < self.flip:
            view = mirror(view)
        return _recoloured(view, self.colour, rng) if self.colour else view

    def _box(self, width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """Draw left, top, right and bottom; after some tries that do not fit, the largest allowed middle."""
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for _ in range(TRIES):
            area, shape = width * height * rng.uniform(*self.scale), math.exp(rng.uniform(low, high))
            w, h = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
            if 0 < w <= width and 0 < h <= height:
                left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
                return left, top, left + w, top + h
        w = min(width, max(1, round(height * self.ratio[1])))
        h = min(height, max(1, round(width / self.ratio[0])))
        left, top = (width - w) // 2, (height - h) // 2
        return left, top, left + w, top + h


class Decoded:
    """Pictures of images of which many views are drawn: decoded once while they fit into `room` bytes, else anew."""

    def __init__(self, room: float = ROOM) -> None:
        self._room = room
        self._kept: dict[str, Picture] = {}

    def rgb(self, image: Image, least: int) -> Picture:
        """Return the picture of an image; `least`: the side that is needed, the same for all of them."""
        if image.digest in self._kept:
            return self._kept[image.digest]
        picture = image.rgb(least)
        size = 3 * picture.width * picture.height
        if size <= self._room:
            self._room -= size
            self._kept[image.digest] = picture
        return picture


@dataclass(frozen=True)
class Drawn:
    """The n-th random view of an image, in the image's place: it depends on what is shown, `seed` and `n` alone.

    `decoded`: where its picture may be kept for the views that follow.
    """

    image: Image
    augment: Augment = Augment()
    seed: int = 0
    n: int = 0
    decoded: Decoded | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """The image's name."""
        return self.image.name

    @cached_property
    def digest(self) -> str:
        """Hash of what is shown and how it is drawn."""
        return digest([self.image.digest, asdict(self.augment), self.seed, self.n])

    def rgb(self, least: int = 0) -> Picture:
        """Return the view, `least` pixels wide and high (0: 224)."""
        side = least or 224
        rng = np.random.default_rng([self.seed, self.n, int(self.image.digest, 16)])
        whole = self.decoded.rgb(self.image, DECODED * side) if self.decoded else self.image.rgb(DECODED * side)
        return self.augment(whole, side, rng)


def crops(
    image: Image, side: int, count: int, rng: np.random.Generator, augment: Augment | None = None
) -> list[Picture]:
    """Return `count` random views of an image, decoded once."""
    picture = image.rgb(DECODED * side)
    return [(augment or Augment())(picture, side, rng) for _ in range(count)]


def _recoloured(view: Picture, most: float, rng: np.random.Generator) -> Picture:
    """Change brightness, contrast and saturation, in this order, each by a factor that is drawn."""
    from PIL.Image import fromarray

    brightness, contrast, saturation = (1 + most * rng.uniform(-1, 1, 3)).astype(np.float32)
    values = np.asarray(view).astype(np.float32) * brightness
    middle = (values @ _GREY).mean()
    values = (values - middle) * contrast + middle
    grey = (values @ _GREY)[..., None]
    return fromarray(np.clip(np.rint((values - grey) * saturation + grey), 0, 255).astype(np.uint8))
