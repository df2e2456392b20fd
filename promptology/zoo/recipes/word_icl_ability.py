"""What word-icl can do: accuracy on held-out mappings, as the library renders demonstrations and scores labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from promptology.data.items import ClassLabel, Field, Item, Signature
from promptology.models.opening import model
from promptology.predict import bind, predict_many
from promptology.prompts.learned import Demonstrations, Example, Learned, Readout, Text
from promptology.prompts.start import LIKELIHOOD
from promptology.zoo.wordland import mappings_in_context as world

SEED = 2_000_000
"""Seed of the first mapping that is measured; the following ones count up."""
MAPPINGS, QUERIES = 100, 20
SHOTS = {2: "two", 4: "four", 8: "eight", 16: "sixteen"}
"""Demonstrations in all, classes equally often."""
EACH = 8
"""Demonstrations a class that are drawn, of which a prompt shows the first."""


def measured(folder: Path) -> dict[str, float]:
    """Return accuracies at 2, 4, 8 and 16 demonstrations in all, and what the bars ask for.

    Every number of demonstrations sees the same mappings and queries, and the first demonstrations of the larger ones.
    """
    opened = model(f"hf:{folder}")
    found = {f"{name}_shot": accuracy(opened, shots=shots) for shots, name in SHOTS.items()}
    chance = 1 / world.CLASSES
    for name in ("four", "eight"):
        found[f"{name}_shot_above_chance"] = found[f"{name}_shot"] - chance
    found["four_minus_two_shot"] = found["four_shot"] - found["two_shot"]
    found["eight_minus_four_shot"] = found["eight_shot"] - found["four_shot"]
    found["eight_shot_with_instruction"] = accuracy(opened, shots=8, instruction="Classify the text.")
    found["eight_shot_one_word"] = accuracy(opened, shots=8, words=1)
    found["eight_shot_three_words"] = accuracy(opened, shots=8, words=3)
    found["four_a_class_four_classes"] = accuracy(opened, shots=16, classes=4)
    found["no_shot"] = accuracy(opened, shots=0)
    return {name: round(value, 4) for name, value in found.items()}


def accuracy(
    opened: Any, *, shots: int, classes: int = world.CLASSES, words: int = world.WORDS, instruction: str = ""
) -> float:
    """Return the share of right labels over the measured mappings; `shots` is a multiple of the classes."""
    predictors, asked, right = [], [], 0
    for seed in range(SEED, SEED + MAPPINGS):
        mapping = world.mapping(seed, classes=classes, words=words)
        shown, queries = mapping.draw(seed, EACH, QUERIES)
        predictors.append(bind(prompt(mapping, first(shown, shots // classes), instruction), opened))
        asked.append(queries)
    for predictor, queries in zip(predictors, asked, strict=True):
        items = [Item(str(n), {"text": q.text}) for n, q in enumerate(queries)]
        outputs = predict_many([predictor], items)[0].outputs
        right += sum(output == q.label for output, q in zip(outputs, queries, strict=True))
    return right / (MAPPINGS * QUERIES)


def first(shown: Sequence[world.Example], each: int) -> list[world.Example]:
    """Return the first `each` examples of every class, in their order."""
    counts: dict[str, int] = {}
    kept = []
    for example in shown:
        counts[example.label] = counts.get(example.label, 0) + 1
        if counts[example.label] <= each:
            kept.append(example)
    return kept


def prompt(mapping: world.Mapping, shown: Sequence[world.Example], instruction: str = "") -> Learned:
    """Return the library's few-shot prompt of a mapping: demonstrations, and labels compared by likelihood."""
    signature = Signature((Field("text"),), "class", tuple(ClassLabel(label) for label in mapping.labels))
    examples = tuple(Example({"text": e.text}, e.label) for e in shown)
    parts: list[Any] = [Text(instruction), Readout("label-likelihood", dict(LIKELIHOOD))]
    if examples:
        parts.insert(1, Demonstrations(examples))
    return Learned(tuple(parts), signature, {"model": "scores"}, "few-shot")
