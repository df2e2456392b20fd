"""From an image to the pixels that a model takes, as its folder says: numpy and pillow, no torchvision."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptology.data.extras import require
from promptology.data.images import in_threads
from promptology.errors import ModelError
from promptology.models.local.folder import PROCESSORS

Pixels = NDArray[np.float32]
Bytes = NDArray[np.uint8]
STATISTICS = {
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "siglip": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""Mean and deviation of pixels that the released models of a type were trained with."""
BICUBIC = 3
LONG = 16
"""Sides of a picture that differ by more are cut before they are resized; the rest would be cropped away anyway."""


@dataclass(frozen=True)
class Preprocess:
    """How an image becomes the input of an image tower.

    `size`: (height, width) to resize to, or (edge,) for the shorter side; empty: none. `crop`: (height, width) of the
    centre that is kept; empty: all of it. `resample`: pillow's number of the filter. Pixels in 0 .. 255 are multiplied
    by `scale`, centred at `mean` and divided by `deviation`.
    """

    size: tuple[int, ...]
    crop: tuple[int, ...] = ()
    resample: int = BICUBIC
    scale: float = 1 / 255
    mean: tuple[float, ...] = STATISTICS["clip"][0]
    deviation: tuple[float, ...] = STATISTICS["clip"][1]

    @property
    def side(self) -> tuple[int, int]:
        """Height and width of what leaves; raises ModelError where the settings leave it open."""
        shape = self.crop or (self.size if len(self.size) == 2 else ())
        if len(shape) != 2:
            raise ModelError("its preprocessing gives images of no fixed size; state a crop")
        return shape[0], shape[1]

    def __call__(self, images: Sequence[Any]) -> Pixels:
        """Return pixels, float32 (n, 3, height, width), of images: see `whole` for what counts as one."""
        return self.normalised(np.stack(in_threads(self.whole, images)))

    def whole(self, image: Any) -> Bytes:
        """Return an image resized and cut, uint8 (height, width, 3), before it is centred and scaled.

        `image`: a pillow image, uint8 (height, width, 3) or (height, width), or an object whose `rgb(least)` is a
        pillow image.
        """
        picture = rgb(image, max((*self.size, *self.crop)))
        if len(self.size) == 1 and self.crop:
            picture = _middle(picture)
        if self.size and (wanted := self._resized(picture.width, picture.height)) != picture.size:
            picture = picture.resize(wanted, self.resample)
        return _centre(np.asarray(picture), self.crop) if self.crop else np.asarray(picture)

    def normalised(self, images: Bytes) -> Pixels:
        """Return uint8 images (n, height, width, 3) as the tower takes them, float32 (n, 3, height, width)."""
        values: Pixels = images.astype(np.float32) * np.float32(self.scale)
        values -= np.array(self.mean, np.float32)
        values /= np.array(self.deviation, np.float32)
        return np.ascontiguousarray(np.moveaxis(values, -1, 1))

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height after resizing."""
        if len(self.size) == 2:
            return self.size[1], self.size[0]
        short, edge = min(width, height), self.size[0]
        return (edge, int(edge * height / short)) if width <= height else (int(edge * width / short), edge)


def rgb(image: Any, least: int = 0) -> Any:
    """Return a pillow image of 8-bit red, green and blue; `least`: the side that is needed, for those that decode."""
    if hasattr(image, "rgb"):
        return image.rgb(least)
    if isinstance(image, np.ndarray):
        image = require("PIL.Image", "image", "a model of images").fromarray(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _middle(picture: Any) -> Any:
    """Return the middle of a picture whose sides differ by more than LONG: resized as a whole it would fill memory."""
    width, height = picture.size
    most = LONG * min(width, height)
    if max(width, height) <= most:
        return picture
    w, h = min(width, most), min(height, most)
    left, top = (width - w) // 2, (height - h) // 2
    return picture.crop((left, top, left + w, top + h))


def _centre(array: Bytes, crop: tuple[int, ...]) -> Bytes:
    """Return the centre; what is smaller stands in the middle of black."""
    for axis, edge in enumerate(crop):
        have = array.shape[axis]
        if have >= edge:
            start = (have - edge) // 2
            array = array[start : start + edge] if axis == 0 else array[:, start : start + edge]
        else:
            before = -((have - edge) // 2)
            pads = [(0, 0)] * array.ndim
            pads[axis] = (before, edge - have - before)
            array = np.pad(array, pads)
    return array


def preprocess_of(folder: Path, kind: str, image_size: int) -> Preprocess:
    """Return what a folder says of its images, and where it says nothing what released models of this type do."""
    for name in PROCESSORS:
        path = folder / name
        if not path.is_file():
            continue
        try:
            doc = json.loads(path.read_text(encoding="utf-8"))
            found = doc.get("image_processor", doc if name == PROCESSORS[0] else None)
            if found is not None:
                return from_settings(found, kind, image_size)
        except (ValueError, AttributeError, TypeError, KeyError) as error:
            raise ModelError(f"{path.name} is broken ({error}); download the model again") from None
    return usual(kind, image_size)


def usual(kind: str, image_size: int) -> Preprocess:
    """Return what released models of a type do."""
    mean, deviation = STATISTICS[kind]
    if kind == "siglip":
        return Preprocess((image_size, image_size), mean=mean, deviation=deviation)
    return Preprocess((image_size,), (image_size, image_size), mean=mean, deviation=deviation)


def from_settings(doc: Mapping[str, Any], kind: str, image_size: int) -> Preprocess:
    """Return the settings of an image processor of transformers, as its file holds them."""
    base = usual(kind, image_size)
    shortest = doc.get("do_center_crop", bool(base.crop))
    size = _edges(doc.get("size"), square=not shortest) or base.size if doc.get("do_resize", True) else ()
    crop = (_edges(doc.get("crop_size"), square=True) or base.side) if shortest else ()
    ones, zeros = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
    normal = doc.get("do_normalize", True)
    return Preprocess(
        size,
        crop,
        int(doc.get("resample", BICUBIC)),
        float(doc.get("rescale_factor", 1 / 255)) if doc.get("do_rescale", True) else 1.0,
        tuple(map(float, doc.get("image_mean") or base.mean)) if normal else zeros,
        tuple(map(float, doc.get("image_std") or base.deviation)) if normal else ones,
    )


def _edges(size: Any, square: bool) -> tuple[int, ...]:
    """Return (height, width), (shorter edge,) or nothing; a bare number is a square where `square`."""
    if isinstance(size, int):
        return (size, size) if square else (size,)
    if isinstance(size, Mapping) and {"height", "width"} <= {*size}:
        return int(size["height"]), int(size["width"])
    return (int(size["shortest_edge"]),) if isinstance(size, Mapping) and "shortest_edge" in size else ()
