"""Recipe of `word-mlm`: a BERT that fills blanks, in running text and behind the instructions of Wordland."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from promptology.zoo.recipes.course import Batch, Recipe
from promptology.zoo.recipes.rendering import CUE
from promptology.zoo.recipes.tasks import HELD_OUT_SAID, drawn, held_out, trained, words_known
from promptology.zoo.recipes.vocabulary import tokenizer
from promptology.zoo.wordland.passages import unlabelled

POSITIONS = 256
PLAIN = (
    "{text} [MASK]",
    "{text} it was about [MASK].",
    "{text} this is [MASK].",
    "{text} in one word: [MASK].",
    "[MASK]: {text}",
    "{text}\n\nAnswer: [MASK]",
)
"""Templates without an instruction; a label stands at the mask."""
BUCKETS = 3
"""Rows are drawn for so many batches, and those of one length make the batch: padding costs most of a step."""
BLOCK = 8
MASKED, KEPT, CHANGED = 0.15, 0.1, 0.1
"""Share of a running text's tokens that are to be predicted; of those, shares that stay or become another word."""


class Row(NamedTuple):
    """Tokens as the model gets them, and where which tokens are wanted; `task`: it is the answer of a task."""

    ids: list[int]
    places: list[int]
    wanted: list[int]
    task: bool


class WordMlm(Recipe):
    """Masked-language modelling of running text beside tasks whose answer stands at the mask."""

    name = "word-mlm"
    says = "A small BERT of Wordland's words: fills blanks in running text, and names classes at a mask."
    data = (
        "Wordland: unlabelled text, and the classification kinds that are not held out, under seen wordings. "
        f"{HELD_OUT_SAID}"
    )
    limits = "Paraphrase stays at chance: one gap does not compare two sentences well."
    bars: ClassVar[Mapping[str, float]] = {"cloze": 0.65}
    steps = 6000
    rate = 2e-3
    rows = 64
    """Rows of a step."""
    running = 0.25
    """Share of the rows that are running text; the rest are tasks."""
    plain = 0.25
    """Share of the tasks without an instruction, in a plain template."""
    fewer = 0.3
    """Share of the tasks with an instruction that offer some of the classes only."""
    described = 0.15
    """Share of the tasks that describe the classes, where those are few."""
    spread = 0.3
    """Weight of a row of running text, against that of a task."""
    width, layers, heads = 128, 3, 4

    def model(self) -> Any:
        """Return a BERT without dropout: it sees no input twice."""
        from transformers import BertConfig, BertForMaskedLM

        made = vocabulary()
        return BertForMaskedLM(
            BertConfig(
                vocab_size=len(made),
                hidden_size=self.width,
                num_hidden_layers=self.layers,
                num_attention_heads=self.heads,
                intermediate_size=4 * self.width,
                max_position_embeddings=POSITIONS,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
                type_vocab_size=1,
                pad_token_id=made.pad_token_id,
            )
        )

    def processors(self) -> list[Any]:
        """Return the tokenizer."""
        return [vocabulary()]

    def batch(self, rng: np.random.Generator, stage: int) -> Batch:
        """Return rows of similar length, padded, and where which tokens are wanted.

        `ids`, `mask`: int64 (rows, length); `places`: int64, indices of the flattened rows; `wanted`: the tokens that
        belong there; `weights`: float32, of their losses, with 1 in sum; `tasks`: float32, 1 where an answer is wanted.
        """
        many = self.rows * BUCKETS
        texts = round(many * self.running)
        rows = [*self._tasks(rng, many - texts), *running(rng, texts)]
        rows.sort(key=lambda row: len(row.ids))
        at = int(rng.integers(BUCKETS)) * self.rows
        return arrays(rows[at : at + self.rows], self.spread)

    def _tasks(self, rng: np.random.Generator, n: int) -> list[Row]:
        made, mask = vocabulary(), vocabulary().mask_token_id
        rows: list[Row] = []
        texts = []
        tasks = drawn(rng, trained(classes=True), n, fewer=self.fewer, described=self.described)
        for task in tasks:
            if rng.random() < self.plain:
                template = PLAIN[int(rng.integers(len(PLAIN)))]
                texts.append(template.replace("{text}", task.text))
            else:
                texts.append(f"{task.prompt}{CUE}[MASK]")
        labels = made([f" {task.answer}" for task in tasks], add_special_tokens=False)["input_ids"]
        for ids, (label,) in zip(made(texts)["input_ids"], labels, strict=True):
            rows.append(Row(ids, [ids.index(mask)], [label], True))
        return rows

    def loss(self, model: Any, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the weighted cross-entropy at the wanted places, and the share of tasks answered rightly."""
        states = model.bert(input_ids=batch["ids"], attention_mask=batch["mask"]).last_hidden_state
        logits = model.cls(states.flatten(0, 1)[batch["places"]])
        losses = torch.nn.functional.cross_entropy(logits, batch["wanted"], reduction="none")
        right = (logits.argmax(dim=1) == batch["wanted"]) * batch["tasks"]
        return (losses * batch["weights"]).sum(), right.sum() / batch["tasks"].sum().clamp(min=1)

    def ability(self, folder: Path) -> dict[str, float]:
        """Measure accuracy by label words, zero-shot, in the library's own rendering."""
        from promptology.zoo.recipes.zero_shot import accuracies, chance, mean

        known = accuracies(folder, trained(classes=True))
        others = accuracies(folder, held_out(classes=True))
        return {
            "cloze": mean(known),
            "cloze, held-out wordings": mean(accuracies(folder, trained(classes=True), "held out")),
            "cloze, held-out kinds": mean(others),
            "chance, held-out kinds": chance(held_out(classes=True)),
            **known,
            **others,
        }


@cache
def vocabulary() -> Any:
    """Return the tokenizer of the model."""
    return tokenizer(words_known(), "masked", positions=POSITIONS)


def running(rng: np.random.Generator, n: int) -> list[Row]:
    """Return rows of running text in which some tokens are hidden, kept or changed, and all of those are wanted."""
    made = vocabulary()
    rows = []
    for ids in made(unlabelled(rng, n), truncation=True)["input_ids"] if n else ():
        inner = np.arange(1, len(ids) - 1)
        places = np.sort(rng.permutation(inner)[: max(1, round(MASKED * len(inner)))])
        wanted = [ids[i] for i in places]
        for place, chance in zip(places, rng.random(len(places)), strict=True):
            if chance < CHANGED:
                ids[place] = int(rng.integers(len(made.all_special_ids), len(made)))
            elif chance >= CHANGED + KEPT:
                ids[place] = made.mask_token_id
        rows.append(Row(ids, places.tolist(), wanted, False))
    return rows


def arrays(rows: Sequence[Row], spread: float) -> Batch:
    """Return rows padded to one length, a multiple of BLOCK, and the flat places of what is wanted in them.

    A row of running text weighs `spread` times what a task weighs, shared out among its places.
    """
    length = -(-max(len(row.ids) for row in rows) // BLOCK) * BLOCK
    ids = np.full((len(rows), length), vocabulary().pad_token_id, np.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row.ids)] = row.ids
    weights = np.array([(1.0 if row.task else spread) / len(row.places) for row in rows for _ in row.places])
    return {
        "ids": ids,
        "mask": (ids != vocabulary().pad_token_id).astype(np.int64),
        "places": np.array([number * length + at for number, row in enumerate(rows) for at in row.places], np.int64),
        "wanted": np.array([token for row in rows for token in row.wanted], np.int64),
        "weights": (weights / weights.sum()).astype(np.float32),
        "tasks": np.array([row.task for row in rows for _ in row.places], np.float32),
    }
