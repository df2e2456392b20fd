"""Two loaded towers: texts and images in, unit vectors of one space out, with gradients where wanted."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from promptology.errors import ModelError, UsageError
from promptology.injection import sites_of
from promptology.injection.keeping import epoch
from promptology.injection.towers import PromptedTowers, Prompts, TextRows
from promptology.models.access import Injected, Vectors
from promptology.models.local.batching import SHARE, Memory, in_batches
from promptology.models.local.pixels import Preprocess
from promptology.models.local.prompted import tower_parts
from promptology.models.local.reading import clean
from promptology.models.local.wording import Worded, around, worded

log = logging.getLogger("promptology")
_LOCKS: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
"""One lock per torch model, however often it was opened: what is attached, is attached to the model."""


class Towers:
    """A loaded CLIPModel or SiglipModel: evaluation mode, no parameter requires a gradient.

    - `inner`: the model of transformers; `tokenizer`; `preprocess`: from images to pixels; `sites`
    - `causal`: whether a token of a text sees only what stands before it (CLIP), so that nothing behind the end counts
    - `positions`: longest text in tokens; `image_size`: (height, width) of pixels
    - `dimension`: width d of the common space; `text_width`, `image_width`: of the towers' states
    - `scale`, `bias`: logits are scale * cosine + bias
    - `prompted`: both towers under learned prompts, with gradients
    - `lock`: held during forward passes that must not mix with another thread's
    """

    def __init__(self, inner: Any, tokenizer: Any, preprocess: Preprocess, name: str) -> None:
        self.inner, self.tokenizer, self.preprocess, self.name = inner, tokenizer, preprocess, name
        inner.requires_grad_(False).eval()
        self.sites = sites_of(inner)
        self.device, self.dtype = inner.device, inner.dtype
        text, vision = inner.config.text_config, inner.config.vision_config
        self.causal = self.sites.stacks["text"].causal
        self.positions = int(text.max_position_embeddings)
        self.text_width, self.image_width = int(text.hidden_size), int(vision.hidden_size)
        self.image_size = int(vision.image_size), int(vision.image_size)
        if len(tokenizer) > (rows := len(self.embeddings)):
            raise ModelError(
                f"{name}: its tokenizer has {len(tokenizer)} tokens and its embedding table {rows} rows; "
                "they do not belong together"
            )
        if preprocess.side != self.image_size:
            raise ModelError(f"{name}: images are prepared at {preprocess.side}, its tower takes {self.image_size}")
        self.lock = _LOCKS.setdefault(inner, threading.RLock())
        self.memory = Memory(inner, self.device)
        pads = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
        pad = next(int(token) for token in pads if token is not None)
        self.prompted = PromptedTowers(inner, len(around(tokenizer)[0]), pad)
        if self.device.type == "cuda":
            self.prompted.memory = SHARE * torch.cuda.mem_get_info(self.device)[0]
        self.truncated = 0

    @property
    def embeddings(self) -> Tensor:
        """The table of token embeddings, (V, text width), detached."""
        table: Tensor = self.inner.text_model.embeddings.token_embedding.weight.detach()
        return table

    @property
    def dimension(self) -> int:
        """Width of the common space."""
        head = getattr(self.inner, "text_projection", None) or self.inner.text_model.head
        return int(head.out_features)

    @property
    def scale(self) -> float:
        """What cosines are multiplied by."""
        return float(self.inner.logit_scale.exp())

    @property
    def bias(self) -> float:
        """What is added to logits; 0 for CLIP."""
        return float(getattr(self.inner, "logit_bias", 0.0))

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Forward passes without gradients, one thread at a time."""
        with self.lock, torch.no_grad():
            yield

    # Texts

    def rows(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of texts with what opens and closes them; the end of what is too long is cut off."""
        if not texts:
            return []
        whole = self.tokenizer([clean(text) for text in texts], verbose=False)["input_ids"]
        most = self.positions
        self._cut([len(row) for row in whole if len(row) > most])
        return [list(row) if len(row) <= most else [*row[: most - 1], row[-1]] for row in whole]

    def _cut(self, lengths: Sequence[int]) -> None:
        """Count texts of these lengths that do not fit; the first time it is said."""
        if lengths and not self.truncated:
            log.warning("%s reads the first %d tokens of longer texts (here %d)", self.name, self.positions, lengths[0])
        self.truncated += len(lengths)

    def padded(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Return token ids, int64 (n, length): to the longest row, or to all positions where every token sees all."""
        length = max(map(len, rows)) if self.causal else self.positions
        filled = [[*row, *[self.prompted.pad] * (length - len(row))] for row in rows]
        return torch.tensor(filled, dtype=torch.long, device=self.device)

    def worded(self, texts: Sequence[str], length: int) -> list[Worded]:
        """Return texts with places for `length` vectors of context as tokens; see `wording.worded`."""
        found = [worded(self.tokenizer, clean(text), length, self.positions) for text in texts]
        self._cut([len(one.ids) + one.cut for one in found if one.cut])
        return found

    def texts(self, rows: TextRows, prompts: Prompts | None = None) -> Tensor:
        """Return unit vectors of token rows, under learned prompts if any, float32 (n, d)."""
        with self.lock:
            if not epoch(self.inner):
                return self.prompted.texts(rows, prompts)
            self._check_alone(prompts)
            pooled = self.inner.text_model(input_ids=self.padded(rows.ids)).pooler_output
            found = self.inner.text_projection(pooled) if hasattr(self.inner, "text_projection") else pooled
        return normalize(found.float(), dim=-1)

    def images(self, pixels: Tensor, prompts: Prompts | None = None) -> Tensor:
        """Return unit vectors of pixels (n, 3, height, width), under learned prompts if any, float32 (n, d)."""
        with self.lock:
            if not epoch(self.inner):
                return self.prompted.images(pixels, prompts)
            self._check_alone(prompts)
            pooled = self.inner.vision_model(pixel_values=pixels.to(self.device, self.dtype)).pooler_output
            found = self.inner.visual_projection(pooled) if hasattr(self.inner, "visual_projection") else pooled
        return normalize(found.float(), dim=-1)

    def _check_alone(self, prompts: Prompts | None) -> None:
        if prompts is not None:
            raise UsageError(f"{self.name}: prompts of its towers and parts that are attached cannot be used at once")

    # In batches, without gradients

    def features_of_texts(self, texts: Sequence[str], injected: Injected | None = None) -> Vectors:
        """Return unit vectors of texts, float32 (n, d), under learned parts where given."""
        if injected is not None and texts:
            parts = tower_parts(self, injected.fillings)
            with self.quiet():
                found: Vectors = self.texts(*parts.of_texts(self.worded(texts, parts.length))).cpu().numpy()
            return found
        rows = self.rows(texts)
        lengths = [len(row) if self.causal else self.positions for row in rows]
        return self._batched(lengths, lambda batch: self.texts(TextRows([rows[i] for i in batch])))

    def features_of_images(self, images: Any, injected: Injected | None = None) -> Vectors:
        """Return unit vectors of images or pixels (see `pixels`), float32 (n, d), under learned parts where given."""
        prompts = tower_parts(self, injected.fillings).of_images() if injected else None
        stack = self.sites.stacks["vision"]
        tokens = int(self.inner.get_submodule(f"{stack.path}.embeddings").num_positions)
        return self._batched(
            [tokens] * len(images),
            lambda batch: self.images(
                self.pixels(images[batch] if isinstance(images, Tensor | np.ndarray) else [images[i] for i in batch]),
                prompts,
            ),
        )

    def cosines(self, images: Any, texts: Sequence[str], injected: Injected | None = None) -> Vectors:
        """Return the cosine of each image with each text, float32 (images, texts).

        Under learned parts whose context depends on the image, the texts are read anew for every image.
        """
        parts = tower_parts(self, injected.fillings if injected else ())
        vectors = self.features_of_images(images, injected)
        if parts.module is None:
            return vectors @ self.features_of_texts(texts, injected).T
        found = self.worded(texts, parts.length)

        def run(batch: list[int]) -> Tensor:
            own = torch.from_numpy(vectors[batch]).to(self.device)
            return torch.einsum("bd,btd->bt", own, self.texts(*parts.of_texts(found, own)))

        return self._batched([sum(len(one.ids) for one in found)] * len(vectors), run)

    def pixels(self, images: Any) -> Tensor:
        """Return pixels, float32 (n, 3, height, width), on the device.

        `images`: images as `Preprocess.whole` takes them, or pixels, which stay as they are. Raises UsageError for
        pixels of another shape.
        """
        if isinstance(images, np.ndarray) and images.dtype == np.uint8:
            images = list(images)
        given = images if isinstance(images, Tensor | np.ndarray) else self.preprocess(images)
        found = torch.as_tensor(given, dtype=torch.float32, device=self.device)
        if found.dim() != 4 or tuple(found.shape[1:]) != (3, *self.image_size):
            height, width = self.image_size
            raise UsageError(f"{self.name} takes pixels of shape (n, 3, {height}, {width}), not {tuple(found.shape)}")
        return found

    def _batched(self, lengths: Sequence[int], run: Callable[[list[int]], Tensor]) -> Vectors:
        if not lengths:
            return np.zeros((0, self.dimension), np.float32)

        def values(batch: list[int]) -> list[tuple[int, Any]]:
            with self.quiet():
                found = run(batch).float().cpu().numpy()
            return list(zip(batch, found, strict=True))

        found = dict(in_batches(self.memory, self.name, lengths, values))
        return np.stack([found[n] for n in range(len(lengths))])
