"""Tiny CLIP and SigLIP folders with random weights and their processors, for any test; equal seeds, equal weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny
import torch
import transformers

POSITIONS, PX, PATCH = 20, 24, 8
TEXT = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 3}
VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4}
JOINT = 16


def tokenizer(kind: str, positions: int = POSITIONS) -> Any:
    """Return a tokenizer that closes as the type's own do; its end, which also pads, has the highest id."""
    marks = ("<|start|>", "<|end|>") if kind == "clip" else ("", "<|end|>")
    found = tiny.tiny_tokenizer("gpt2", positions=positions, **({"bos_token": marks[0]} if marks[0] else {}))
    found.add_special_tokens({"eos_token": marks[1], "pad_token": marks[1]})
    ids = [(mark, found.convert_tokens_to_ids(mark)) for mark in marks if mark]
    single = " ".join(part for part in (marks[0], "$A", marks[1]) if part)
    found.backend_tokenizer.post_processor = tiny.processors.TemplateProcessing(single=single, special_tokens=ids)
    return found


def tiny_towers(kind: str, *, seed: int = 0, text: Any = (), vision: Any = (), eos: int | None = None) -> Any:
    """Return a random CLIPModel or SiglipModel with weights large enough that its answers depend on its inputs.

    `eos`: the end token that the configuration states; 2, as old folders do, means the highest id.
    """
    names = tokenizer(kind)
    ids = {"pad_token_id": names.pad_token_id, "bos_token_id": names.bos_token_id, "eos_token_id": names.eos_token_id}
    ids |= {} if eos is None else {"eos_token_id": eos}
    texts = {**TEXT, "vocab_size": len(names), "max_position_embeddings": POSITIONS, **ids, **dict(text)}
    images = {**VISION, "image_size": PX, "patch_size": PATCH, **dict(vision)}
    if kind == "clip":
        config = transformers.CLIPConfig(text_config=texts, vision_config=images, projection_dim=JOINT)
        return tiny._build(transformers.CLIPModel, config, seed)
    texts["projection_size"] = images["hidden_size"]
    return tiny._build(
        transformers.SiglipModel, transformers.SiglipConfig(text_config=texts, vision_config=images), seed
    )


def processor(kind: str) -> Any:
    """Return the processor of the type, with the image processor that needs no torchvision."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    edges = {"height": PX, "width": PX}
    if kind == "clip":
        images = CLIPImageProcessorPil(size={"shortest_edge": PX}, crop_size=edges)
        return transformers.CLIPProcessor(image_processor=images, tokenizer=tokenizer(kind))
    images = SiglipImageProcessorPil(size=edges)
    return transformers.SiglipProcessor(image_processor=images, tokenizer=tokenizer(kind))


def tiny_towers_folder(folder: str | Path, kind: str, **options: Any) -> Path:
    """Write a whole folder of a type and return its path."""
    model = tiny_towers(kind, **options)
    model.save_pretrained(folder)
    processor(kind).save_pretrained(folder)
    return Path(folder)


def pictures(n: int, seed: int = 0) -> torch.Tensor:
    """Return random pixels, float32 (n, 3, PX, PX)."""
    return torch.randn(n, 3, PX, PX, generator=torch.Generator().manual_seed(seed))
