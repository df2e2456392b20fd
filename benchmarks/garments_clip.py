"""A small CLIP that knows half of the pairs of colours and garments, made by the recipe of `toy-clip`."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmarks import garments
from benchmarks.garments import COLOURS, GARMENTS, PLACES, Indices, Pixels
from promptology.zoo.recipes import course as training
from promptology.zoo.recipes import toy_clip
from promptology.zoo.recipes.building import save
from promptology.zoo.recipes.course import Batch, Course, settings
from promptology.zoo.recipes.toy_clip import END, PAD, POSITIONS, START, UNKNOWN, ToyClip

NAMES = [name for half in GARMENTS for name in half]
WORDINGS = (
    "a photo of a {}.",
    "a picture of a {}.",
    "a photo of the {}.",
    "this is a {}.",
    "a {}.",
    "a {} {at}.",
    "a photo of a {} {at}.",
    "{at} there is a {}.",
)


class GarmentClip(ToyClip):
    """Contrastive training on coloured garments; captions that are true of an image by chance are no negatives of it.

    `folder`: that of the silhouettes. Over the first `easy` of the steps garments become smaller and leave the middle.
    `partly`: share of the captions that leave out the colour, and of those that leave out the garment.
    """

    name = "garment-clip"
    says = "Tells colour, garment and place of one garment in a small picture."
    data = "Tinted silhouettes of Fashion-MNIST with captions: half of the pairs of 8 colours and 10 garments."
    bars: ClassVar[dict[str, float]] = {}
    steps = 1500
    rate = 1.5e-3
    easy: float = 0.3
    width: int = 96
    layers: int = 3
    text_width: int = 72
    text_layers: int = 3
    joint: int = 64
    partly: float = 0.1

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def processors(self) -> list[Any]:
        """Return the CLIPProcessor of toy-clip with the tokenizer of these captions."""
        (found,) = super().processors()
        found.tokenizer = tokenizer()
        return [found]

    def batch(self, rng: np.random.Generator, stage: int) -> Batch:
        """Return `pixels` uint8 (n, 32, 32, 3), `ids` int64 (n, length) and `true` bool (n images, n captions)."""
        shapes, colours = pretraining(self._folder), list(COLOURS)
        known = garments.split()["pretraining"]
        pairs = [known[k] for k in rng.integers(len(known), size=self.size)]
        chosen = [shapes[garment][rng.integers(len(shapes[garment]))] for _, garment in pairs]
        colour = np.array([colours.index(name) for name, _ in pairs])
        ease = max(0.0, 1 - stage / self._rounds(self.easy))
        drawn = garments.compose(np.stack(chosen), colour, rng, ease)
        shown = np.stack([colour, [NAMES.index(name) for _, name in pairs], drawn.places], 1)
        says = self._said(shown, rng)
        ids = tokenizer()([caption(one, rng) for one in says], padding=True, return_tensors="np")["input_ids"]
        true = ((says[None] < 0) | (says[None] == shown[:, None])).all(-1)
        return {"pixels": drawn.pixels, "ids": ids.astype(np.int64), "true": true}

    def _said(self, shown: Indices, rng: np.random.Generator) -> Indices:
        """Return what captions say of colour, garment and place, (n, 3); -1: nothing."""
        says, kind = shown.copy(), rng.random(len(shown))
        says[kind < self.partly, 0] = -1
        says[kind > 1 - self.partly, 1] = -1
        says[rng.random(len(shown)) < 0.6, 2] = -1
        return says


@cache
def pretraining(folder: Path) -> dict[str, Pixels]:
    """Return the silhouettes of pre-training by garment."""
    return garments.silhouettes(folder)["pretraining"]


def caption(says: Indices, rng: np.random.Generator) -> str:
    """Return a caption that says just this: indices of colour, garment and place, -1 for what is left out."""
    colour, garment, place = says.tolist()
    words = [list(COLOURS)[colour]] * (colour >= 0) + [NAMES[garment] if garment >= 0 else "thing"]
    fitting = [one for one in WORDINGS if ("{at}" in one) == (place >= 0)]
    wording = fitting[int(rng.integers(len(fitting)))]
    return wording.format(" ".join(words), at=f"at the {PLACES[place]}")


@cache
def tokenizer() -> Any:
    """Return the tokenizer: one token for every word of these captions, its marks with the ids of toy-clip's."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    text = " ".join([*WORDINGS, *COLOURS, *NAMES, *PLACES, "thing at the"]).replace("{}", "").replace("{at}", "")
    cut = pre_tokenizers.BertPreTokenizer()
    words = sorted({piece for piece, _ in cut.pre_tokenize_str(text)})
    ids = {piece: n for n, piece in enumerate([PAD, UNKNOWN, START, END, *words])}
    inner = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    inner.normalizer, inner.pre_tokenizer = normalizers.Lowercase(), cut
    inner.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, ids[START]), (END, ids[END])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        model_max_length=POSITIONS,
        pad_token=PAD,
        unk_token=UNKNOWN,
        bos_token=START,
        eos_token=END,
    )


def build(data: Path, where: Path, say: Callable[[str], None]) -> Path:
    """Return the model's folder under `where`, named by its recipe, source and data; trained where it is not there.

    A training that was interrupted goes on.
    """
    recipe = GarmentClip(data)
    folder = where / key(recipe, data)
    if folder.is_dir():
        return folder
    state = folder.with_suffix(".building")

    def report(at: dict[str, float]) -> None:
        if at["step"] % 250 == 0:
            say(f"pre-training: step {at['step']:.0f} of {recipe.steps}, loss {at['loss']:.2f}")

    course = Course(recipe, state, device="cpu", report=report)
    model = course.run()
    shutil.rmtree(state / "model", ignore_errors=True)
    save(recipe, model, state / "model")
    os.replace(state / "model", folder)
    shutil.rmtree(state)
    say(f"pre-trained in {course.process_seconds:.0f} processor seconds: {folder}")
    return folder


def key(recipe: GarmentClip, data: Path) -> str:
    """Return a short hash of all that the model depends on: settings, source and data."""
    digest = hashlib.blake2b(json.dumps(settings(recipe), sort_keys=True).encode(), digest_size=6)
    sources = [Path(str(one)) for one in (garments.__file__, __file__, training.__file__, toy_clip.__file__)]
    for file in [*sources, *sorted(data.glob("*.parquet"))]:
        digest.update(file.read_bytes())
    return digest.hexdigest()
