"""What `toy-clip` can do: zero-shot accuracy on images, and under wording, that are fixed before it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, its usual name

from promptology.zoo.toyland import tasks
from promptology.zoo.toyland.captions import nonsense
from promptology.zoo.toyland.kinds import Kind, drawn, labels, pairs, scenes, shades
from promptology.zoo.toyland.lists import KNOWN, SHIFTS, STYLES
from promptology.zoo.toyland.naming import described
from promptology.zoo.toyland.templates import CATALOGUE, CLEAN, EVERYDAY, STYLED, filled

SEED = 1000
"""Tasks of this seed measure; training draws its image seeds from its own generator, and the claims use small seeds."""
AT_ONCE = 256

Array = np.ndarray[Any, Any]


class Towers:
    """A saved CLIP with its processor, as functions from arrays and texts to normalised features."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoProcessor, CLIPModel

        self.model = CLIPModel.from_pretrained(folder).float().eval()
        self.processor = AutoProcessor.from_pretrained(folder)

    def images(self, images: Array) -> torch.Tensor:
        """Return features (n, width) of uint8 images (n, px, px, 3)."""
        parts = []
        for start in range(0, len(images), AT_ONCE):
            given = self.processor.image_processor(list(images[start : start + AT_ONCE]), return_tensors="pt")
            with torch.inference_mode():
                pooled = self.model.vision_model(pixel_values=given["pixel_values"]).pooler_output
                parts.append(F.normalize(self.model.visual_projection(pooled), dim=-1))
        return torch.cat(parts)

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Return features (n, width) of texts."""
        given = self.processor.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            pooled = self.model.text_model(input_ids=given["input_ids"]).pooler_output
            return F.normalize(self.model.text_projection(pooled), dim=-1)

    def classes(self, names: Sequence[str], templates: Sequence[str]) -> torch.Tensor:
        """Return one feature for each name: the normalised mean over the templates."""
        sums = sum(self.texts([filled(template, name) for name in names]) for template in templates)
        return F.normalize(torch.as_tensor(sums), dim=-1)


def accuracy(images: torch.Tensor, classes: torch.Tensor, truth: Array) -> float:
    """Return how often an image's nearest class is the true one."""
    return float(((images @ classes.T).argmax(1).numpy() == truth).mean())


def measured(folder: Path) -> dict[str, float]:
    """Return every ability of a saved model by name."""
    towers = Towers(folder)
    found = _triples(towers) | _shades(towers) | _pairs(towers) | _backlit(towers)
    return {name: round(value, 4) for name, value in found.items()}


def _triples(towers: Towers) -> dict[str, float]:
    names = [EVERYDAY[0]]
    found, drops = {}, []
    for domain in ("clean", *STYLES[1:], *SHIFTS):
        task = tasks.triples(SEED, seen=True, each=10 if domain == "clean" else 5, domain=domain)
        features = towers.images(task.images["test"])
        value = accuracy(features, towers.classes(task.classes, names), task.labels["test"])
        found["seen triples" if domain == "clean" else f"seen triples, {domain}"] = value
        if domain in STYLED and domain != "clean":
            told = towers.classes(task.classes, STYLED[domain][:1])
            found[f"seen triples, {domain}, named"] = accuracy(features, told, task.labels["test"])
        drops.append(found["seen triples"] - value)
    task = tasks.triples(SEED, seen=False, each=30)
    features = towers.images(task.images["test"])
    found["unseen triples"] = accuracy(features, towers.classes(task.classes, names), task.labels["test"])
    found["drop in the second hardest domain"] = sorted(drops)[-2]
    return found


def _shades(towers: Towers) -> dict[str, float]:
    kinds = shades(range(KNOWN), range(KNOWN))
    names, truth = [kind.name for kind in kinds], labels(kinds, 8)
    found = {}
    for style in ("clean", "sketch"):
        features = towers.images(drawn(scenes(kinds, 8, SEED), style))
        everyday, catalogue = (
            accuracy(features, towers.classes(names, [wording[0]]), truth) for wording in (EVERYDAY, CATALOGUE)
        )
        mark = "" if style == "clean" else f", {style}"
        found[f"shades, everyday wording{mark}"] = everyday
        found[f"shades, catalogue wording{mark}"] = catalogue
        found[f"catalogue over everyday wording on shades{mark}"] = catalogue - everyday
    return found


def _pairs(towers: Towers) -> dict[str, float]:
    kinds = pairs(range(KNOWN), range(KNOWN))
    names, truth = [kind.name for kind in kinds], labels(kinds, 16)
    features = towers.images(drawn(scenes(kinds, 16, SEED)))
    rng = np.random.default_rng(SEED)
    strange = [described(kind.shape, kind.colour, called=nonsense(*rng.random(2))) for kind in kinds]
    return {
        "colour and shape": accuracy(features, towers.classes(names, EVERYDAY[:1]), truth),
        "colour and shape, all templates": accuracy(features, towers.classes(names, CLEAN), truth),
        "colour and shape, by description of a nonsense word": accuracy(features, towers.texts(strange), truth),
    }


def _backlit(towers: Towers) -> dict[str, float]:
    """Mean accuracy on base and new classes of seeds 0 to 3 without and with the strongest light from behind."""
    found = {}
    for halves, label in (("narrow", "narrow"), ("disjoint", "wide")):
        for strength in (0.0, 1.0):
            values = []
            for seed in range(4):
                values += [backlit(towers, kinds, seed, strength) for kinds in tasks.split_kinds(seed, halves)]
            found[f"{label} classes, backlit up to {strength:g}"] = float(np.mean(values))
    return found


def backlit(towers: Towers, kinds: Sequence[Kind], seed: int, strength: float) -> float:
    """Return the accuracy of `a photo of a {}.` on 16 backlit images a class from Toyland seed 10 * seed + 3."""
    images = drawn(scenes(kinds, 16, 10 * seed + 3), "backlit", strength)
    classes = towers.classes([kind.name for kind in kinds], EVERYDAY[:1])
    return accuracy(towers.images(images), classes, labels(kinds, 16))
