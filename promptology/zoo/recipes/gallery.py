"""The gallery: one page of Toyland's pictures and of samples of every kind of Wordland, for people to look at."""

from __future__ import annotations

import base64
import io
import os
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from promptology.data.extras import require
from promptology.errors import UsageError
from promptology.zoo.toyland import chance, kinds, lists, styles
from promptology.zoo.toyland.captions import captions
from promptology.zoo.toyland.drawing import render
from promptology.zoo.toyland.kinds import Kind
from promptology.zoo.toyland.scenes import Scenes, sample
from promptology.zoo.wordland.kinds import KINDS

PX = 48
"""Side of a drawn picture; `toy-clip` sees 32."""
SAMPLES = 3
"""Examples of each kind of task."""


class Picture(NamedTuple):
    """A picture as the address of its bytes, what it shows, and what stands below it."""

    source: str
    alt: str
    caption: str


class Section(NamedTuple):
    """Pictures under one heading. `columns`: how many stand side by side; 0: as many as find room."""

    title: str
    says: str
    pictures: list[Picture]
    columns: int = 0


def write(path: Path, seed: int = 0) -> None:
    """Write the page, whole or not at all; raises UsageError where it cannot be written or Pillow is missing."""
    text = page(seed)
    draft = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise UsageError(f"cannot write {path}: {error.strerror}") from None


def page(seed: int = 0) -> str:
    """Return the page as HTML without any reference to the network."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    source = (Path(__file__).parent / "gallery.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source).render(seed=seed, px=PX, toyland=_toyland(seed), wordland=_wordland(seed))


def _toyland(seed: int) -> list[Section]:
    shades = [Kind(1, c, 0, k) for c in range(len(lists.COLOURS)) for k in range(2)]
    unseen = [Kind(shape, colour, texture) for colour, texture, shape in lists.UNSEEN[3::11]]
    clean = "clean"
    return [
        _plain("Shapes", "The first eight are in pre-training.", [Kind(s, 0, 0, 1) for s in range(12)], lists.SHAPES),
        _plain(
            "Colours and their shades",
            "Everyday captions use both words of a colour for either shade; catalogue captions use them exactly.",
            shades,
            [f"{lists.SHADES[n]} ({lists.COLOURS[n // 2]})" for n in range(len(shades))],
        ),
        _plain("Textures", "The first four are in pre-training.", [Kind(1, 5, t, 1) for t in range(6)], lists.TEXTURES),
        _domains(
            "Styles", "The same scenes in each style; pre-training saw the later ones more rarely.", lists.STYLES, seed
        ),
        _domains("Shifts", "Changes that pre-training never drew, here of seven tenths.", (clean, *lists.SHIFTS), seed),
        Section(
            "Classes that pre-training never drew",
            "Their colour, texture and shape are known from other classes. Below each stands its description.",
            [
                Picture(png(i), k.name, k.described)
                for i, k in zip(kinds.drawn(kinds.scenes(unseen, 1, seed), px=PX), unseen, strict=True)
            ],
        ),
        _captioned("One object", "Captions of many wordings.", 1, seed),
        _captioned("Several objects", "Most captions name one object, some a relation or a count.", 2, seed),
    ]


def _plain(title: str, says: str, some: Sequence[Kind], below: Sequence[str]) -> Section:
    """Show one large object of each kind."""
    shape, colour, texture, shade = np.array(some).T
    seeds = chance.image_seeds(0, len(some))
    images = render(sample(seeds, shape=shape, colour=colour, texture=texture, shade=shade, ease=1.0), PX)
    pictures = [Picture(png(i), k.name, text) for i, k, text in zip(images, some, below, strict=True)]
    return Section(title, says, pictures)


def _domains(title: str, says: str, domains: Sequence[str], seed: int) -> Section:
    """Show three scenes, a row each, in every domain."""
    some = [Kind(0, 5, 1), Kind(3, 0, 0), Kind(6, 3, 2)]
    scenes = kinds.scenes(some, 1, seed)
    drawn = [_drawn(scenes, domain) for domain in domains]
    pictures = [
        Picture(png(images[n]), f"{k.name}, {domain}", domain)
        for n, k in enumerate(some)
        for domain, images in zip(domains, drawn, strict=True)
    ]
    return Section(title, says, pictures, len(domains))


def _drawn(scenes: Scenes, domain: str) -> Any:
    if domain not in lists.SHIFTS:
        return kinds.drawn(scenes, domain, px=PX)
    # Elsewhere each image gets an amount of its own, up to the whole, at which backlight leaves nothing to be seen.
    return getattr(styles, domain)(kinds.drawn(scenes, px=PX), np.full(len(scenes), 0.7))


def _captioned(title: str, says: str, objects: int, seed: int) -> Section:
    count = np.array([1] * 12 if objects == 1 else [2, 3, 4] * 4)
    scenes = sample(chance.image_seeds(seed, len(count), objects), objects=count)
    scenes = scenes.styled(np.arange(len(scenes)) % len(lists.STYLES))
    texts = captions(scenes, np.random.default_rng([seed, objects])).text
    images = render(scenes, PX)
    pictures = [Picture(png(i), _shown(scenes, n), texts[n]) for n, i in enumerate(images)]
    return Section(title, says, pictures)


def _shown(scenes: Scenes, n: int) -> str:
    objects = zip(scenes.shape[n], scenes.colour[n], scenes.texture[n], strict=True)
    named = [Kind(int(s), int(c), int(t)).name for s, c, t in objects if s >= 0]
    return f"{', '.join(named)}; {lists.STYLES[scenes.style[n]]}"


def png(image: np.ndarray[Any, np.dtype[np.uint8]]) -> str:
    """Return a picture (height, width, 3), uint8, as a data address."""
    file = io.BytesIO()
    require("PIL.Image", "image", "the gallery").fromarray(image).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _wordland(seed: int) -> list[dict[str, Any]]:
    return [
        {
            "name": kind.name,
            "held_out": kind.held_out,
            "classes": kind.classes,
            "wordings": kind.wordings,
            "held_out_wordings": kind.held_out_wordings,
            "examples": kind.draw(np.random.default_rng([seed, zlib.crc32(kind.name.encode())]), SAMPLES),
        }
        for kind in KINDS.values()
    ]
