"""`toy-clip`: a CLIP of two small towers, trained on pictures and captions of Toyland."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, its usual name

from promptology.zoo.recipes.course import ROUND, Batch, Recipe
from promptology.zoo.toyland.captions import CONSONANTS, PLAIN, SHADE, SHADED, VOWELS, Mix, captions, truth
from promptology.zoo.toyland.drawing import render
from promptology.zoo.toyland.lists import SEEN, STYLES
from promptology.zoo.toyland.scenes import Scenes, joined, sample
from promptology.zoo.toyland.vocabulary import MARKS, words

PX, PATCH = 32, 8
POSITIONS = 24
MEAN, DEVIATION = 0.5, 0.25
"""Pixels in [0, 1] are centred and scaled to -2 .. 2, by the processor as in training."""
PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[START]", "[END]"
Indices = np.ndarray[Any, Any]
_STYLE_SHARES = (0.52, 0.14, 0.12, 0.12, 0.06, 0.04)


class ToyClip(Recipe):
    """Symmetric contrastive training; captions that are true of an image by chance are no negatives of it.

    Over the first `easy` of the steps objects become smaller and leave the middle, and captions and styles more varied:
    from jittered scenes alone the towers do not find each other. `alike`: largest share of a batch that has one
    attribute in common, so that the others must tell its images apart; `twins`: share of the single objects that come
    in pairs which differ in shade or in texture alone. `shades`: share of the batches in which every image has a twin
    of the other shade and nearly every caption a word for it; without them the part of the wording is not found. They
    come when `settled` of the steps are done, and the towers know what there is to tell apart.
    """

    name = "toy-clip"
    says = (
        "Tells colour, texture, shape and shade of the objects in a small picture; CLIP with a vocabulary of its own."
    )
    data = (
        "Pictures and captions of Toyland: 192 of 256 triples of colour, texture and shape, six styles, 1 to 4 objects."
    )
    limits = (
        "The second hardest domain counts drawing styles, rare in training (sketch, pixelated), as well as shifts that "
        "training never draws; of the three shifts alone, only backlit costs ten points and more."
    )
    bars: ClassVar[Mapping[str, float]] = {
        "seen triples": 0.88,
        "unseen triples": 0.75,
        "drop in the second hardest domain": 0.1,
        "catalogue over everyday wording on shades": 0.2,
    }
    steps = 8000
    rate = 1e-3
    decay = 0.05
    size: int = 64
    easy: float = 0.1
    alike: float = 0.6
    twins: float = 0.4
    shades: float = 0.5
    settled: float = 0.5
    width: int = 128
    layers: int = 4
    text_width: int = 96
    text_layers: int = 3
    joint: int = 128

    def model(self) -> Any:
        """Return the untrained CLIPModel, its position embeddings as large as what the patches bring."""
        from transformers import CLIPConfig, CLIPModel

        ids = tokenizer().get_vocab()
        text = {
            "vocab_size": len(ids),
            "hidden_size": self.text_width,
            "intermediate_size": 4 * self.text_width,
            "num_hidden_layers": self.text_layers,
            "num_attention_heads": self.text_width // 24,
            "max_position_embeddings": POSITIONS,
            "pad_token_id": ids[PAD],
            "bos_token_id": ids[START],
            "eos_token_id": ids[END],
            "projection_dim": self.joint,
        }
        vision = {
            "image_size": PX,
            "patch_size": PATCH,
            "hidden_size": self.width,
            "intermediate_size": 4 * self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.width // 32,
            "projection_dim": self.joint,
        }
        config = CLIPConfig(
            text_config=text, vision_config=vision, projection_dim=self.joint, logit_scale_init_value=math.log(14)
        )
        model = CLIPModel(config)
        with torch.no_grad():
            model.vision_model.embeddings.position_embedding.weight.normal_(std=0.25)
        return model

    def processors(self) -> list[Any]:
        """Return the CLIPProcessor: image processor and tokenizer."""
        from transformers import CLIPProcessor
        from transformers.models import clip

        # Without torchvision only this class can be used, so that a folder made with torchvision must name it, too.
        kind = getattr(clip, "CLIPImageProcessorPil", None) or clip.CLIPImageProcessor
        images = kind(
            size={"height": PX, "width": PX},
            crop_size={"height": PX, "width": PX},
            image_mean=[MEAN] * 3,
            image_std=[DEVIATION] * 3,
        )
        return [CLIPProcessor(image_processor=images, tokenizer=tokenizer())]

    def batch(self, rng: np.random.Generator, stage: int) -> Batch:
        """Return `pixels` uint8 (n, 32, 32, 3), `ids` int64 (n, length) and `true` bool (n images, n captions)."""
        ease = max(0.0, 1 - stage / self._rounds(self.easy))
        shades = stage >= self._rounds(self.settled) and rng.random() < self.shades
        scenes = self._scenes(rng, ease, shades)
        made = captions(scenes, rng, SHADED if shades else PLAIN if rng.random() < ease else Mix())
        # A word for shades that stands for the whole colour is as often right as wrong. Its caption counts as true of
        # its own shade only: between two shades it then comes to lie in the middle, and its wording to tell it apart.
        made.says[:, SHADE] = np.where(made.loose >= 0, made.loose, made.says[:, SHADE])
        return {"pixels": render(scenes, PX), "ids": encoded(made.text), "true": truth(made, scenes)}

    def loss(self, model: Any, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the contrastive loss, and the share of images whose own caption is the nearest."""
        pixels = (batch["pixels"].movedim(-1, 1).float() / 255 - MEAN) / DEVIATION
        images = F.normalize(model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output), dim=-1)
        texts = F.normalize(model.text_projection(model.text_model(input_ids=batch["ids"]).pooler_output), dim=-1)
        logits = model.logit_scale.clamp(max=math.log(100)).exp() * images @ texts.T
        own = torch.eye(len(images), dtype=torch.bool, device=images.device)
        logits = logits.masked_fill(batch["true"] & ~own, -math.inf)
        target = torch.arange(len(images), device=images.device)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        return loss, (logits.argmax(1) == target).float().mean()

    def after(self, stage: int, accuracy: float) -> int:
        """Return the next stage: the number of rounds so far, up to the last change of what is drawn."""
        return min(stage + 1, max(self._rounds(self.easy), self._rounds(self.settled)))

    def ability(self, folder: Path) -> dict[str, float]:
        """Measure zero-shot accuracy on images that training never drew."""
        from promptology.zoo.recipes.toy_clip_ability import measured

        return measured(folder)

    def _rounds(self, share: float) -> int:
        """Return how many rounds a share of the steps is."""
        return max(1, round(share * self.steps / ROUND))

    def _scenes(self, rng: np.random.Generator, ease: float, shades: bool = False) -> Scenes:
        """Draw the scenes of a batch: about three quarters with one object, more of them while it is easy.

        With `shades` all have one object, and every image has a twin that differs in shade.
        """
        n = self.size
        several = 0 if shades else round(0.28 * n * (1 - ease))
        seeds = rng.integers(2**63, size=n).astype(np.uint64)
        style = np.where(rng.random(n) < ease, 0, rng.choice(len(STYLES), n, p=_STYLE_SHARES))
        triple = np.array(SEEN)[rng.integers(len(SEEN), size=(n, 4))]
        shade = rng.integers(2, size=(n, 4))
        self._alike(rng, triple)
        if shades:
            self._twins(rng, triple, shade, 0, n // 2, 0)
        else:
            count = round(self.twins * (n - several) * (1 - ease) / 2)
            self._twins(rng, triple, shade, several, count, count // 2)
        # Some scenes show one kind of thing several times, so that there is a count to tell.
        equal = np.flatnonzero(rng.random(several) < 0.35)
        triple[equal] = triple[equal, :1]
        counts = np.concatenate([rng.choice((2, 2, 2, 3, 4), several), np.ones(n - several, np.int64)])
        parts = [slice(0, several), slice(several, n)] if several else [slice(0, n)]
        return joined(
            [
                sample(
                    seeds[rows],
                    objects=counts[rows],
                    shape=triple[rows, : counts[rows].max(), 2],
                    colour=triple[rows, : counts[rows].max(), 0],
                    texture=triple[rows, : counts[rows].max(), 1],
                    shade=shade[rows, : counts[rows].max()],
                    style=style[rows],
                    ease=ease,
                )
                for rows in parts
            ]
        )

    def _alike(self, rng: np.random.Generator, triple: Indices) -> None:
        """Give a part of the batch's triples one attribute in common, in place."""
        count = int(rng.uniform(0, self.alike) * len(triple))
        kind = int(rng.integers(3))
        pool = np.array(SEEN)
        pool = pool[pool[:, kind] == pool[rng.integers(len(pool)), kind]]
        which = rng.permutation(len(triple))[:count]
        triple[which] = pool[rng.integers(len(pool), size=(count, triple.shape[1]))]

    def _twins(
        self, rng: np.random.Generator, triple: Indices, shade: Indices, first: int, count: int, textures: int
    ) -> None:
        """Make pairs of images from image `first` on, in place: `textures` differ in texture, the others in shade."""
        pairs = first + 2 * np.arange(count)
        triple[pairs + 1, 0], shade[pairs + 1, 0] = triple[pairs, 0], 1 - shade[pairs, 0]
        for row in pairs[:textures] + 1:
            colour, texture, shape = triple[row, 0]
            others = [t for c, t, s in SEEN if c == colour and s == shape and t != texture]
            triple[row, 0, 1], shade[row, 0] = others[rng.integers(len(others))], 1 - shade[row, 0]


@cache
def tokenizer() -> Any:
    """Return the tokenizer: a token for every word of Toyland, at most three for any other word.

    Of an unknown word only the beginning is read, consonant-vowel-consonant-vowel-consonant at most, in syllables; one
    that does not begin with a consonant and a vowel is `[UNK]`.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pairs = [c + v for c in CONSONANTS for v in VOWELS]
    ends = [f"##{letter}" for letter in CONSONANTS + VOWELS]
    pieces = [PAD, UNKNOWN, START, END, *MARKS, *words(), *pairs, *(f"##{pair}" for pair in pairs), *ends]
    ids = {piece: n for n, piece in enumerate(dict.fromkeys(pieces))}
    inner = Tokenizer(models.WordPiece(ids, unk_token=UNKNOWN))
    unknown = rf"(?<![a-z])(?!(?:{'|'.join(words())})(?![a-z]))"
    consonant, pair = f"[{CONSONANTS}]", f"[{CONSONANTS}][{VOWELS}]"
    inner.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"\w*[^\Wa-z]\w*"), "#"),  # no piece, hence [UNK]
            normalizers.Replace(Regex(rf"{unknown}(?!{pair})[a-z]+"), "#"),
            normalizers.Replace(Regex(rf"{unknown}(?>(?:{pair}){{1,2}}{consonant}?)\K[a-z]+"), ""),
        ]
    )
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
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


def encoded(texts: list[str]) -> np.ndarray[Any, Any]:
    """Return token ids of texts, int64, padded to the longest. Behind the end nothing is read: attention looks back."""
    rows = [row[: POSITIONS - 1] + row[-1:] if len(row) > POSITIONS else row for row in tokenizer()(texts)["input_ids"]]
    ids = np.full((len(rows), max(map(len, rows))), tokenizer().pad_token_id, np.int64)
    for n, row in enumerate(rows):
        ids[n, : len(row)] = row
    return ids
