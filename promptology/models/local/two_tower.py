"""Models of two towers, one for images and one for texts, in one space (CLIP, SigLIP)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from promptology.models.access import Injected, Vectors
from promptology.models.local.folder import check_hash, locate, read_config
from promptology.models.local.opened import Opened, tokenizer_of

if TYPE_CHECKING:
    from promptology.models.local.towers import Towers

log = logging.getLogger("promptology")


class TwoTowerModel(Opened):
    """A frozen CLIPModel or SiglipModel of transformers; the weights are loaded at the first use.

    Settings: see `Opened`. With a loaded model, `tokenizer` may be its processor, whose image processor then says how
    images are prepared.
    """

    kind = "two-tower"
    _loaded: Towers | None = None

    def towers(self) -> Towers:
        """Return the loaded model with its tokenizer, its preprocessing and both towers."""
        with self._lock:
            if self._loaded is None:
                self._loaded = self._open()
            return self._loaded

    def text_features(self, texts: Sequence[str], injected: Injected | None = None) -> Vectors:
        """Return unit vectors of texts, float32 (n, d); a text too long is read from its beginning.

        Under learned parts a text has places for their context: see `promptology.models.local.wording`.
        """
        return self.towers().features_of_texts(texts, injected)

    def image_features(self, images: Sequence[Any], injected: Injected | None = None) -> Vectors:
        """Return unit vectors of images, float32 (n, d), under learned parts where given.

        `images`: pillow images, uint8 (height, width, 3), objects with `rgb()`, or one float tensor or array of pixels
        as `preprocess` gives them, (n, 3, height, width).
        """
        return self.towers().features_of_images(images, injected)

    def cosines(self, images: Sequence[Any], texts: Sequence[str], injected: Injected | None = None) -> Vectors:
        """Return the cosine of each image with each text, float32 (images, texts), under learned parts where given."""
        return self.towers().cosines(images, texts, injected)

    def states(self, texts: Sequence[str], injected: Injected | None = None) -> Vectors:
        """Return unit vectors of texts under learned parts, as `text_features` does."""
        return self.text_features(texts, injected)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return unit vectors of texts, float32 (n, d)."""
        return self.text_features(texts)

    @property
    def context(self) -> int | None:
        """The longest text in tokens."""
        if self._held is not None:
            return self.towers().positions
        positions = (read_config(locate(self.folder)).get("text_config") or {}).get("max_position_embeddings")
        return self.towers().positions if positions is None else int(positions)

    def _open(self) -> Towers:
        from promptology.models.local.loading import load, pick_device, pick_dtype
        from promptology.models.local.pixels import from_settings, preprocess_of, usual
        from promptology.models.local.towers import Towers

        if self._held is None:
            device = pick_device(self.device)
            folder = locate(self.folder, whole=True)
            if self._sha256:
                check_hash(folder / "model.safetensors", self._sha256)
            dtype = pick_dtype(self.dtype, device)
            model, tokenizer = load(
                folder, self.kind, device=device, dtype=dtype, bits=self.bits, trust_code=self.trust_code
            )
            size = int(model.config.vision_config.image_size)
            preprocess = preprocess_of(folder, model.config.model_type, size)
        else:
            model, tokenizer = self._held, self._tokenizer
            if self.device:
                model.to(pick_device(self.device))
            kind, size = model.config.model_type, int(model.config.vision_config.image_size)
            processor = getattr(tokenizer, "image_processor", None)
            preprocess = usual(kind, size) if processor is None else from_settings(processor.to_dict(), kind, size)
            tokenizer = tokenizer_of(tokenizer)
        towers = Towers(model, tokenizer, preprocess, self.name)
        note = f"{self.name}: {type(model).__name__} on {towers.device}, {str(towers.dtype).removeprefix('torch.')}"
        self.notes.append(note)
        log.warning(note)
        return towers
