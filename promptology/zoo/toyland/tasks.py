"""Tasks over Toyland, each a function of a seed: arrays of images, labels, names and descriptions.

Train, validation and test images of seed s come from Toyland seeds 10 s, 10 s + 1 and 10 s + 2. S and K, the shapes and
colours of seed s, are the permutations of the known ones that `order` returns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptology.errors import UsageError
from promptology.zoo.toyland.captions import Mix, captions
from promptology.zoo.toyland.chance import image_seeds
from promptology.zoo.toyland.drawing import Images, render
from promptology.zoo.toyland.kinds import Kind, drawn, labels, pairs, scenes, shades
from promptology.zoo.toyland.lists import KNOWN, KNOWN_TEXTURES, SEEN, SHIFTS, STYLES, UNSEEN
from promptology.zoo.toyland.scenes import sample


@dataclass(frozen=True)
class Pictures:
    """A task over images. All mappings have the splits as keys.

    `images`: uint8 (n, px, px, 3). `labels`: int64 (n,), index in `classes`; for several labels at once (n, classes) of
    0 and 1. `among`: the classes that a split's images are told apart from. `descriptions`: one text a class.
    """

    name: str
    classes: tuple[str, ...]
    descriptions: tuple[str, ...]
    images: Mapping[str, Images]
    labels: Mapping[str, NDArray[np.int64]]
    among: Mapping[str, tuple[int, ...]]


def order(seed: int) -> tuple[list[int], list[int]]:
    """Return the order of the known shapes and of the known colours in the tasks of a seed."""
    rng = np.random.default_rng(1000 + seed)
    return rng.permutation(KNOWN).tolist(), rng.permutation(KNOWN).tolist()


def split_kinds(seed: int, halves: str) -> tuple[tuple[Kind, ...], tuple[Kind, ...]]:
    """Return the base and the new classes of a seed for a value of `halves` of `base_to_novel`."""
    shapes, colours = order(seed)
    if halves == "disjoint":
        return pairs(shapes[:4], colours[:4]), pairs(shapes[4:], colours[4:])
    if halves == "narrow":
        return pairs(shapes[:2], colours[:4]), pairs(shapes[2:6], colours[4:])
    if halves == "shared":
        kinds = [(i + j, kind) for i in range(4) for j, kind in enumerate(pairs(shapes[i : i + 1], colours))]
        base, new = (tuple(kind for at, kind in kinds if at % 2 == half) for half in range(2))
        return base, new
    if halves == "attributes":
        textured = tuple(Kind(s, texture=t) for s in shapes[1:5] for t in range(KNOWN_TEXTURES))
        return shades(shapes[:1], colours), textured
    raise UsageError(f'the halves are "disjoint", "narrow", "shared" or "attributes", not {halves!r}')


def base_to_novel(
    seed: int,
    *,
    halves: str = "disjoint",
    shots: int = 16,
    validation: int = 16,
    test: int | tuple[int, int] = 32,
    domain: str = "clean",
    strength: float = 1.0,
    px: int = 32,
) -> Pictures:
    """Return 16 base classes to learn from and 16 new ones: splits train, validation, base and new.

    `halves`: "disjoint", pairs of colour and shape, of which base and new share none; "narrow", the same with 8 base
    classes; "shared", every colour and shape in both, in other pairs; "attributes", base classes differ in shade and
    share a shape, new ones in texture and shape. `shots`, `validation`, `test`: images a class (`test` may be given for
    base and new apart). Raises UsageError for an unknown value of `halves`.
    """
    base, new = split_kinds(seed, halves)
    tests = (test, test) if isinstance(test, int) else test
    splits = {
        "train": (base, 0, shots, 10 * seed),
        "validation": (base, 0, validation, 10 * seed + 1),
        "base": (base, 0, tests[0], 10 * seed + 2),
        "new": (new, len(base), tests[1], 10 * seed + 2),
    }
    return _made(f"base to novel, {halves}", (*base, *new), splits, domain, strength, px)


def few_shot(
    seed: int, *, shots: int, test: int = 32, domain: str = "clean", strength: float = 1.0, px: int = 32
) -> Pictures:
    """Return 16 classes "{colour} {shape}" with 1 to 16 training images each; fewer are the first of more."""
    if not 1 <= shots <= 16:
        raise UsageError(f"{shots} shots a class; there are 1 to 16")
    shapes, colours = order(seed)
    kinds = pairs(shapes[:4], colours[:4])
    splits = {"train": (kinds, 0, shots, 10 * seed), "test": (kinds, 0, test, 10 * seed + 2)}
    return _made("few shots", kinds, splits, domain, strength, px)


def fine(seed: int, *, shots: int = 1, test: int = 24, style: str = "clean", px: int = 32) -> Pictures:
    """Return the fine set: classes "{shade} {shape}", 32 base and 32 new, in splits train, base and new.

    Everyday wording uses the words for shades loosely, so that here the template decides.
    """
    shapes, colours = order(seed)
    base, new = shades(shapes[:4], colours[:4]), shades(shapes[4:], colours[4:])
    splits = {
        "train": (base, 0, shots, 10 * seed),
        "base": (base, 0, test, 10 * seed + 2),
        "new": (new, len(base), test, 10 * seed + 2),
    }
    return _made("fine set", (*base, *new), splits, style, 1.0, px)


def cross_domain(seed: int, *, shots: int = 16, test: int = 16, px: int = 32) -> Pictures:
    """Return 16 classes to learn in clean pictures, and the same test scenes in every style and under every shift."""
    shapes, colours = order(seed)
    kinds = pairs(shapes[:4], colours[:4])
    tested = scenes(kinds, test, 10 * seed + 2)
    images = {"train": drawn(scenes(kinds, shots, 10 * seed), px=px)}
    images |= {domain: drawn(tested, domain, px=px) for domain in (*STYLES, *SHIFTS)}
    every = tuple(range(len(kinds)))
    return Pictures(
        "cross-domain",
        tuple(kind.name for kind in kinds),
        tuple(kind.described for kind in kinds),
        images,
        {split: labels(kinds, shots if split == "train" else test) for split in images},
        {split: every for split in images},
    )


def triples(seed: int, *, seen: bool, each: int = 8, domain: str = "clean", px: int = 32) -> Pictures:
    """Return a split test of the triples of colour, texture and shape that pre-training saw, or never saw.

    The classes are the 192 seen ones, and for unseen images all 256.
    """
    kinds = tuple(Kind(shape, colour, texture) for colour, texture, shape in (SEEN if seen else (*SEEN, *UNSEEN)))
    shown = kinds if seen else kinds[len(SEEN) :]
    splits = {"test": (shown, len(kinds) - len(shown), each, 10 * seed + 2)}
    made = _made("seen triples" if seen else "unseen triples", kinds, splits, domain, 1.0, px)
    return made if seen else Pictures(**{**_fields(made), "among": {"test": tuple(range(len(kinds)))}})


def multi_label(seed: int, *, train: int = 256, test: int = 256, px: int = 32) -> Pictures:
    """Return scenes of 1 to 4 objects of 12 classes "{colour} {shape}"; the labels say which are there."""
    shapes, colours = order(seed)
    kinds = pairs(shapes[:3], colours[:4])
    images, marks = {}, {}
    for split, count, own in (("train", train, 10 * seed), ("test", test, 10 * seed + 2)):
        seeds = image_seeds(own, count)
        rng = np.random.default_rng([own, count])
        which = rng.integers(len(kinds), size=(count, 4))
        table = np.array(kinds, np.int64)
        objects = rng.integers(1, 5, count)
        drawn_kinds = table[which[:, : objects.max(initial=0)]]
        made = sample(seeds, objects=objects, shape=drawn_kinds[..., 0], colour=drawn_kinds[..., 1])
        marks[split] = np.zeros((count, len(kinds)), np.int64)
        for slot in range(4):
            there = np.flatnonzero(made.shape[:, slot] >= 0) if slot < made.shape.shape[1] else np.zeros(0, np.int64)
            marks[split][there, which[there, slot]] = 1
        images[split] = render(made, px)
    every = tuple(range(len(kinds)))
    names, told = tuple(kind.name for kind in kinds), tuple(kind.described for kind in kinds)
    return Pictures("multi-label", names, told, images, marks, dict.fromkeys(images, every))


def retrieval(seed: int, *, count: int = 128, px: int = 32) -> Pictures:
    """Return up to 256 images, no two of one triple, and as classes their captions: caption n belongs to image n."""
    if not 1 <= count <= len(SEEN) + len(UNSEEN):
        raise UsageError(f"{count} images; there are 1 to {len(SEEN) + len(UNSEEN)}")
    rng = np.random.default_rng(1000 + seed)
    chosen = rng.permutation(np.array((*SEEN, *UNSEEN)))[:count]
    made = sample(image_seeds(10 * seed + 2, count), colour=chosen[:, 0], texture=chosen[:, 1], shape=chosen[:, 2])
    mix = Mix(catalogue=0, described=0, styled=0, shade=0, levels=(1.0, 0, 0, 0, 0), detail=0)
    told = tuple(Kind(int(s), int(c), int(t)).described for c, t, s in chosen)
    every = tuple(range(count))
    texts = tuple(captions(made, rng, mix).text)
    return Pictures("retrieval", texts, told, {"test": render(made, px)}, {"test": np.arange(count)}, {"test": every})


_Split = tuple[Sequence[Kind], int, int, int]
"""Kinds, the number of the first of them, images a kind, Toyland seed."""


def _made(
    name: str, kinds: Sequence[Kind], splits: Mapping[str, _Split], domain: str, strength: float, px: int
) -> Pictures:
    images, marks, among = {}, {}, {}
    for split, (shown, first, each, seed) in splits.items():
        images[split] = drawn(scenes(shown, each, seed), domain, strength, px)
        marks[split] = labels(shown, each, first)
        among[split] = tuple(range(first, first + len(shown)))
    names, told = tuple(kind.name for kind in kinds), tuple(kind.described for kind in kinds)
    return Pictures(name, names, told, images, marks, among)


def _fields(task: Pictures) -> dict[str, Any]:
    return {name: getattr(task, name) for name in task.__dataclass_fields__}
