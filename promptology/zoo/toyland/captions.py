"""Captions of scenes, and which captions are true of which images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptology.zoo.toyland.lists import COLOURS, PLACES, SHADES, SHAPES, SIZES, STYLES, TEXTURES
from promptology.zoo.toyland.naming import NUMBERS, SYNONYMS, described, plural
from promptology.zoo.toyland.scenes import Scenes, Whole, place, relation, sizes
from promptology.zoo.toyland.templates import CATALOGUE, EVERYDAY, STYLED, filled

COLOUR, SHADE, TEXTURE, SHAPE, SIZE, PLACE, STYLE = range(7)
"""What a caption can say about one object and its image: the columns of `Captions.says`."""

RELATIONS = ("left of", "right of", "above", "below")
AT = ("on the left", "on the right", "at the top", "at the bottom")
_LEVELS = (
    (TEXTURE, COLOUR, SHAPE),
    (COLOUR, SHAPE),
    (TEXTURE, SHAPE),
    (SHAPE,),
    (COLOUR,),
)


class Captions(NamedTuple):
    """One caption for each image: its text and what it says.

    `says`, shape (N, 7): index of each thing said about one object of the image, -1 where nothing is said. `more`: the
    caption says more than that (a count, a relation), so that nothing is known of its truth for other images.
    """

    text: list[str]
    says: Whole
    more: NDArray[np.bool_]


class Mix(NamedTuple):
    """How often captions are of each kind (shares) and how names are made."""

    catalogue: float = 0.22
    described: float = 0.1
    styled: float = 0.4
    """Share of the captions of an image that name its style, unless it is clean; for clean ones a fifth of it."""
    more: float = 0.35
    """Share of the captions of images with several objects that give a count or a relation."""
    shade: float = 0.25
    """Share of colours that everyday captions name by either word for their shades; catalogue ones: three quarters."""
    levels: tuple[float, ...] = (0.52, 0.3, 0.08, 0.06, 0.04)
    """Shares of names with texture, colour and shape; colour and shape; texture and shape; shape; colour alone."""
    detail: float = 0.08
    """Share of everyday captions that also give the size or the place."""
    synonym: float = 0.12


PLAIN = Mix(catalogue=0.1, described=0.0, styled=0.0, more=0.0, shade=0.1, detail=0.0, synonym=0.0)
"""Simple captions for the beginning of a training."""


def captions(scenes: Scenes, rng: np.random.Generator, mix: Mix | None = None) -> Captions:
    """Write one caption for each scene; of several objects most captions name a single one."""
    writer = _Writer(scenes, rng, mix or Mix())
    says = np.full((len(scenes), 7), -1, np.int64)
    more = np.zeros(len(scenes), np.bool_)
    text = []
    for n in range(len(scenes)):
        whole = writer.whole(n)
        more[n] = whole is not None
        text.append(writer.single(n, says[n]) if whole is None else whole)
    return Captions(text, says, more)


def truth(made: Captions, scenes: Scenes) -> NDArray[np.bool_]:
    """Return which caption (column) is true of which image (row), shape (images, captions).

    A caption that says more counts as true of every image whose own caption has the same text, and of its own.
    """
    facts = (scenes.colour, scenes.shade, scenes.texture, scenes.shape, sizes(scenes))
    fits = np.broadcast_to((scenes.shape >= 0)[:, None, :], (len(scenes), len(made.text), scenes.shape.shape[1]))
    for column, fact in enumerate(facts):
        said = made.says[:, column][None, :, None]
        fits = fits & ((said < 0) | (said == fact[:, None, :]))
    where = place(scenes)[:, :, np.maximum(made.says[:, PLACE], 0)].transpose(0, 2, 1)
    fits = fits & (where | (made.says[:, PLACE] < 0)[None, :, None])
    style = made.says[:, STYLE]
    found: NDArray[np.bool_] = fits.any(2) & ((style < 0) | (style == scenes.style[:, None]))
    number = {text: n for n, text in enumerate(dict.fromkeys(made.text))}
    same = np.array([number[text] for text in made.text])
    alike: NDArray[np.bool_] = same[:, None] == same
    if len(made.text) != len(scenes):
        return found & ~made.more
    return np.where(made.more[None, :], alike, found | alike)


class _Writer:
    """Writes captions of one batch; draws all it can at once."""

    def __init__(self, scenes: Scenes, rng: np.random.Generator, mix: Mix) -> None:
        n = len(scenes)
        self.scenes, self.mix = scenes, mix
        self.u = rng.random((n, 10))
        self.level = rng.choice(len(_LEVELS), n, p=mix.levels)
        self.object = (rng.random(n) * scenes.count).astype(np.int64)
        self.word = rng.random((n, 6))
        self.sizes, self.places = sizes(scenes), place(scenes)

    def whole(self, n: int) -> str | None:
        """Return a caption about several objects, where one is due and something can be said."""
        count = int(self.scenes.count[n])
        if count < 2 or self.u[n, 0] >= self.mix.more:
            return None
        shapes, colours = self.scenes.shape[n, :count], self.scenes.colour[n, :count]
        if len(set(shapes.tolist())) == 1 and len(set(colours.tolist())) == 1:
            return f"{NUMBERS[count - 2]} {COLOURS[colours[0]]} {plural(SHAPES[shapes[0]])}"
        if count > 2:
            return None
        holds = np.flatnonzero(relation(self.scenes[n : n + 1], 0, 1)[0])
        if not len(holds):
            return None
        first, second = (f"{COLOURS[c]} {SHAPES[s]}" for s, c in zip(shapes, colours, strict=True))
        held = holds[int(self.u[n, 1] * len(holds))]
        return f"a {first} {RELATIONS[held]} a {second}"

    def single(self, n: int, says: Whole) -> str:
        """Return a caption about one object and note in `says` what it says."""
        k, mix, u = int(self.object[n]), self.mix, self.u[n]
        scenes, style = self.scenes, int(self.scenes.style[n])
        if u[2] < mix.described:
            return self._described(n, k, says)
        exact = u[2] < mix.described + mix.catalogue
        name = self._name(n, k, says, exact)
        if exact:
            return filled(_one(CATALOGUE, u[3]), name)
        if u[4] < mix.detail:
            name = self._detailed(n, k, name, says)
        if u[6] < mix.styled * (0.2 if style == 0 else 1.0):
            says[STYLE] = style
            return filled(_one(STYLED[STYLES[scenes.style[n]]], u[3]), name)
        # The first wording is what most users start from, so it must be well known.
        return filled(EVERYDAY[0] if u[7] < 0.15 else _one(EVERYDAY, u[3]), name)

    def _name(self, n: int, k: int, says: Whole, exact: bool) -> str:
        scenes, word = self.scenes, self.word[n]
        words = []
        for part in _LEVELS[self.level[n]]:
            if part == COLOUR:
                says[COLOUR] = colour = int(scenes.colour[n, k])
                if word[0] >= (0.75 if exact else self.mix.shade):
                    words.append(COLOURS[colour])
                    continue
                shade = int(scenes.shade[n, k])
                if exact:
                    says[SHADE] = shade
                words.append(SHADES[2 * colour + (shade if exact else int(word[1] * 2))])
                continue
            index = int((scenes.texture if part == TEXTURE else scenes.shape)[n, k])
            says[part] = index
            one = (TEXTURES if part == TEXTURE else SHAPES)[index]
            words.append(SYNONYMS.get(one, one) if not exact and word[part] < self.mix.synonym else one)
        if says[SHAPE] < 0:
            words.append("thing")
        return " ".join(words)

    def _detailed(self, n: int, k: int, name: str, says: Whole) -> str:
        """Return the name with a size before it or a place behind it."""
        size, u = int(self.sizes[n, k]), self.u[n]
        if u[8] < 0.5:
            if size < 0:
                return name
            says[SIZE] = size
            return f"{SYNONYMS[SIZES[size]] if u[9] < 0.3 else SIZES[size]} {name}"
        holds = np.flatnonzero(self.places[n, k])
        if not len(holds):
            return name
        says[PLACE] = held = int(holds[int(u[9] * len(holds))])
        return f"{name} {AT[held]}"

    def _described(self, n: int, k: int, says: Whole) -> str:
        """Return the description of the class, under its name, as an "item", or under a word that means nothing."""
        scenes, u = self.scenes, self.u[n]
        shape, colour, texture = (int(a[n, k]) for a in (scenes.shape, scenes.colour, scenes.texture))
        says[[SHAPE, COLOUR]] = shape, colour
        with_texture = u[3] < 0.5
        if with_texture:
            says[TEXTURE] = texture
        called = None if u[7] < 0.35 else "item" if u[7] < 0.6 else nonsense(u[8], u[9])
        return described(shape, colour, texture if with_texture else None, called=called)


def nonsense(first: float, second: float) -> str:
    """Return a word without meaning, consonant-vowel-consonant-vowel-consonant, from two numbers in [0, 1)."""
    a, b = int(first * 14 * 5 * 14), int(second * 5 * 14)
    at = (a // 70, a // 14 % 5, a % 14, b // 14, b % 14)
    return "".join((_CONSONANTS, _VOWELS)[n % 2][i] for n, i in enumerate(at))


_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"
assert len(PLACES) == len(AT) == len(RELATIONS)


def _one(choices: tuple[str, ...], u: float) -> str:
    return choices[int(u * len(choices))]
