"""Images as inputs: known by their content, decoded only when they are looked at.

pillow, which decodes them, comes with the extra `image`.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from promptology.data.extras import require
from promptology.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm")
"""Files that count as images in a folder."""
LARGE = 4_000_000
"""Pixels above which an image is reduced while it is decoded, where less will do."""
SPARE = 2
"""An image that is reduced keeps this many times the side that is asked for, so that resampling still has enough."""
THREADS = 8
_REASON = 120
T = TypeVar("T")
R = TypeVar("R")


class Pictured(Protocol):
    """An image, or a view that stands for one."""

    @property
    def digest(self) -> str:
        """Hash of what is shown."""
        ...

    def rgb(self, least: int = 0) -> Picture:
        """Return a picture of 8-bit red, green and blue; `least`: the side that is needed."""
        ...


class Image:
    """An input that is an image: a file, encoded bytes, an array or a pillow image.

    Two images are equal where their content is; `digest` is a hash of it, by which splits, caches and records know an
    image. `name` is for people. Pixels are not kept: `rgb` decodes anew.
    """

    __slots__ = ("_digest", "_source", "name")

    def __init__(self, source: Any, name: str = "") -> None:
        self._source = source
        self.name = name or (str(source) if isinstance(source, Path) else "an image")
        self._digest = ""

    @property
    def digest(self) -> str:
        """Hash of the content, 32 hexadecimal digits; raises UsageError where a file cannot be read."""
        if not self._digest:
            source = self._read()
            hashed = hashlib.blake2b(digest_size=16)
            if not isinstance(source, bytes):
                array = np.ascontiguousarray(source)
                hashed.update(f"{getattr(source, 'mode', 'array')} {array.shape} {array.dtype}\0".encode())
                source = array.tobytes()
            hashed.update(source)
            self._digest = hashed.hexdigest()
        return self._digest

    def rgb(self, least: int = 0) -> Picture:
        """Decode: 8 bits of red, green and blue, upright whatever the camera noted; no transparency.

        `least`: the side that is needed; an image of more than LARGE pixels is then reduced as it is decoded, to no
        less than SPARE times that on its shorter side. Raises UsageError, with the name, where it cannot be decoded.
        """
        source = self._read()
        require("PIL.Image", "image", "a task with images")
        import PIL.Image
        import PIL.ImageOps

        try:
            if isinstance(source, bytes):
                source = PIL.Image.open(io.BytesIO(source))
            elif isinstance(source, np.ndarray):
                source = PIL.Image.fromarray(source)
            whole = source.width * source.height
            if least and whole > LARGE:
                source.draft("RGB", (SPARE * least, SPARE * least))  # JPEG alone; others keep their size
            plain = _eight_bits(PIL.ImageOps.exif_transpose(source))
            factor = min(plain.size) // (SPARE * least) if least and whole > LARGE else 1
            return plain.reduce(factor) if factor > 1 else plain
        except Exception as error:  # pillow's readers raise OSError, SyntaxError, ValueError, struct.error and more
            raise UsageError(f"{self.name}: this image cannot be read ({_reason(error)})") from None

    def _read(self) -> Any:
        """Return encoded bytes, an array, or a pillow image."""
        source = self._source
        if isinstance(source, Path):
            try:
                return source.read_bytes()
            except OSError as error:
                raise UsageError(f"{self.name}: {error.strerror}") from None
        return source() if callable(source) else source

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Image):
            return NotImplemented
        return self is other or self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"Image({self.name!r})"


def is_image(value: Any) -> bool:
    """Whether a cell says by itself that it is an image: ours, pillow's, encoded bytes, or pixels."""
    if isinstance(value, Mapping):
        return isinstance(value.get("bytes"), bytes | bytearray)
    if isinstance(value, np.ndarray):
        return value.dtype == np.uint8 and value.ndim in (2, 3)
    return isinstance(value, Image | bytes | bytearray | memoryview) or _is_pillow(value)


def as_image(value: Any, name: str = "", base: Path | None = None) -> Image:
    """Return an image from a path (relative to `base`), encoded bytes, {"bytes", "path"}, pixels or a pillow image.

    Pixels: uint8, shape (height, width), (height, width, 3) or (height, width, 4). Raises UsageError, beginning with
    `name`, for anything else and for a file that is not there; nothing is decoded.
    """
    if isinstance(value, Image):
        return value
    if isinstance(value, Mapping) and {*value} & {"bytes", "path"}:
        held, path = value.get("bytes"), value.get("path")
        value = path if held is None else held
        name = name if held is None or not path else f"{name} ({Path(str(path)).name})" if name else str(path)
    if isinstance(value, bytes | bytearray | memoryview):
        return Image(bytes(value), name)
    if isinstance(value, str | Path):
        return Image(_file(str(value).strip(), name, base))
    if isinstance(value, np.ndarray):
        if value.dtype == np.uint8 and (value.ndim == 2 or (value.ndim == 3 and value.shape[2] in (3, 4))):
            return Image(value, name)
        raise UsageError(
            f"{name or 'an image'}: pixels are uint8 of shape (height, width, 3), not {value.dtype} of {value.shape}"
        )
    if _is_pillow(value):
        return Image(value, name or str(getattr(value, "filename", "") or ""))
    raise UsageError(f"{name or 'an image'}: a {type(value).__name__} is no image; give a path, bytes or pixels")


def in_threads(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Return `work` of each, in order; decoding and resizing run side by side, for they hold no lock of Python's."""
    workers = min(THREADS, os.cpu_count() or 1, len(items))
    if workers < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, items))


def lazy(read: Callable[[], Any], name: str) -> Image:
    """Return an image whose encoded bytes or pixels `read()` gives, each time they are needed."""
    return Image(read, name)


def _file(text: str, name: str, base: Path | None) -> Path:
    where = f"{name}: " if name else ""
    if "://" in text[:12]:
        raise UsageError(f"{where}{text[:80]} is an address; download the images and give their files")
    path = Path(text).expanduser()
    path = path if base is None or path.is_absolute() else base / path
    try:
        there = path.is_file()
    except (OSError, ValueError):  # a text that cannot be a path
        there = False
    if not there:
        raise UsageError(f"{where}image file {str(path)[:200]} does not exist")
    return path


def _is_pillow(value: Any) -> bool:
    return any(c.__module__ == "PIL.Image" and c.__name__ == "Image" for c in type(value).__mro__)


def _eight_bits(image: Any) -> Any:
    """Return an image as 8-bit RGB. 16-bit grey keeps its upper bits; pillow alone would cut it off at 255."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith(("I", "F")):
        import PIL.Image

        values = np.asarray(image).astype(np.float64)
        top = float(values.max(initial=0.0))
        scale = 255.0 if image.mode == "F" and top <= 1 else 1 / 257 if top > 255 else 1.0
        grey = PIL.Image.fromarray(np.clip(np.rint(values * scale), 0, 255).astype(np.uint8))
        return grey.convert("RGB")
    return (image.convert("RGBA") if image.mode in ("La", "RGBa", "PA") else image).convert("RGB")


def _reason(error: BaseException) -> str:
    """Return why an image cannot be read, without the object that pillow names in its messages."""
    text = " ".join(str(error).split()) or type(error).__name__
    if "cannot identify" in text:
        return "it is no image, or of an unknown format"
    return text[:_REASON]
