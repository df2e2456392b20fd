"""Recipe of `word-t5`: a T5 that fills spans of running text, and answers Wordland's tasks by instruction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from promptology.zoo.recipes.course import Batch, Recipe
from promptology.zoo.recipes.rendering import CUE
from promptology.zoo.recipes.tasks import HELD_OUT_SAID, drawn, held_out, repetition, trained, words_known
from promptology.zoo.recipes.vocabulary import tokenizer
from promptology.zoo.wordland.passages import unlabelled

POSITIONS = 256
SENTINELS = 12
HIDDEN, SPAN = 0.2, 2
"""Share of a running text's tokens that are left out, and the mean length of what is left out in one place."""
BUCKETS = 3
"""Rows are drawn for so many batches, and those of one length make the batch: padding costs most of a step."""
BLOCK = 8
IGNORED = -100
POOL, GROWTH = 64, 2.5
"""Words that are repeated in the first stage, and by how much more they are in each stage that follows."""
LAST = 3
"""The stage of all kinds. Before it words are repeated: among everything else a model hardly learns to copy, and half
of the kinds need it."""
MASTERED = 0.35
"""Share of right words with which the next stage begins."""


class Row(NamedTuple):
    """Tokens of a text, and those of what is to be written; `task`: they are an answer."""

    ids: list[int]
    wanted: list[int]
    task: bool


class WordT5(Recipe):
    """Tasks by instruction beside running text with spans left out."""

    name = "word-t5"
    says = "A small T5 of Wordland's words: answers tasks by their instruction, and fills spans of running text."
    data = f"Wordland: unlabelled text, and all kinds that are not held out, under seen wordings. {HELD_OUT_SAID}"
    limits = (
        "Paraphrase stays at chance, lookup not far above it. From tasks that all list their classes, topic and theme "
        "were not learned either."
    )
    bars: ClassVar[Mapping[str, float]] = {"trained kinds": 0.75}
    steps = 5250
    rate = 2e-3
    rows = 64
    """Rows of a step."""
    running = 0.25
    """Share of the rows that are running text; the rest are tasks."""
    repeating = 0.05
    """Share of the tasks of the last stage that repeat words."""
    bare = 0.15
    """Share of the tasks that end without the cue."""
    fewer = 0.3
    """Share of the tasks that offer some of the classes only."""
    described = 0.15
    """Share of the tasks that describe the classes, where those are few."""
    unlisted = 0.7
    """Share of the tasks without the list of their classes. Next to a long list the few words that matter are hardly
    found: from listed tasks alone, topics were still at chance after 6,700 steps."""
    spread = 0.3
    """Weight of a row of running text, against that of a task."""
    width, layers, heads, inner = 128, 3, 4, 256
    deviation = 0.05
    """Standard deviation of all matrices at the start."""

    def model(self) -> Any:
        """Return a T5 without dropout: it sees no input twice."""
        from transformers import T5Config, T5ForConditionalGeneration

        made = vocabulary()
        model = T5ForConditionalGeneration(
            T5Config(
                vocab_size=len(made),
                d_model=self.width,
                d_kv=self.width // self.heads,
                d_ff=self.inner,
                num_layers=self.layers,
                num_decoder_layers=2,
                num_heads=self.heads,
                relative_attention_max_distance=64,
                dropout_rate=0.0,
                feed_forward_proj="gated-gelu",
                pad_token_id=made.pad_token_id,
                eos_token_id=made.eos_token_id,
                decoder_start_token_id=made.pad_token_id,
            )
        )
        begin(model, self.deviation)
        return model

    def processors(self) -> list[Any]:
        """Return the tokenizer."""
        return [vocabulary()]

    def batch(self, rng: np.random.Generator, stage: int) -> Batch:
        """Return rows of similar length, padded.

        `ids`, `mask`: int64 (rows, length); `given`, `wanted`: int64 (rows, length of the answer), -100 where nothing
        is wanted; `weights`: float32 (rows,), with 1 in sum; `tasks`: float32 like `wanted`, 1 at the words of answers.
        """
        many = self.rows * BUCKETS
        texts = round(many * self.running)
        rows = [*self._tasks(rng, many - texts, stage), *running(rng, texts)]
        rows.sort(key=lambda row: len(row.ids))
        at = int(rng.integers(BUCKETS)) * self.rows
        return arrays(rows[at : at + self.rows], self.spread)

    def _tasks(self, rng: np.random.Generator, n: int, stage: int) -> list[Row]:
        made = vocabulary()
        again = n if stage < LAST else round(n * self.repeating)
        tasks = [repetition(rng, round(POOL * GROWTH**stage)) for _ in range(again)]
        if n > again:
            tasks += drawn(
                rng, trained(), n - again, fewer=self.fewer, described=self.described, unlisted=self.unlisted
            )
        texts = [task.prompt + (CUE if rng.random() >= self.bare else "") for task in tasks]
        answers = made([task.answer for task in tasks])["input_ids"]
        return [Row(*row, True) for row in zip(made(texts)["input_ids"], answers, strict=True)]

    def loss(self, model: Any, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the weighted mean over rows of the cross-entropy a token, and the share of answers' words right."""
        wanted = batch["wanted"]
        logits = model(input_ids=batch["ids"], attention_mask=batch["mask"], decoder_input_ids=batch["given"]).logits
        losses = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction="none"
        ).view_as(wanted)
        each = losses.sum(dim=1) / (wanted != IGNORED).sum(dim=1)
        right = ((logits.argmax(dim=2) == wanted) * batch["tasks"]).sum() / batch["tasks"].sum().clamp(min=1)
        return (each * batch["weights"]).sum(), right

    def after(self, stage: int, accuracy: float) -> int:
        """Return the next stage where repeating goes well: more words, at last all kinds."""
        return min(stage + (accuracy > MASTERED), LAST)

    def ability(self, folder: Path) -> dict[str, float]:
        """Measure accuracy by the likeliest option and by what is written, zero-shot, as the library asks."""
        from promptology.zoo.recipes.zero_shot import accuracies, mean

        known = accuracies(folder, trained())
        others = accuracies(folder, held_out())
        return {
            "trained kinds": mean(known),
            "trained kinds, written": mean(accuracies(folder, trained(), readout="answer", items=32)),
            "trained kinds, held-out wordings": mean(accuracies(folder, trained(), "held out")),
            "held-out kinds": mean(others),
            **known,
            **others,
        }


def begin(model: Any, deviation: float) -> None:
    """Set the weights of an untrained T5 as they suit AdamW, which moves all of them alike, whatever their size.

    T5's own start is made for steps in proportion to a parameter's size: its embeddings are so large that they would
    hardly move, its queries so small that attention would be fixed within a few steps. Here all matrices are of one
    size. T5 does not divide products of queries and keys by the root of their width, and does divide its last states by
    the root of the model's: the norms before them make up for both.
    """
    small = model.config.d_kv**-0.25
    ends = ("encoder.final_layer_norm.weight", "layer.0.layer_norm.weight")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, deviation)
            elif name.endswith(ends) or (name.startswith("decoder") and ".layer.1.layer_norm" in name):
                parameter.fill_(small)
        model.decoder.final_layer_norm.weight.fill_(model.config.d_model**0.5)


@cache
def vocabulary() -> Any:
    """Return the tokenizer of the model."""
    return tokenizer(words_known(), "seq2seq", positions=POSITIONS, sentinels=SENTINELS)


def running(rng: np.random.Generator, n: int) -> list[Row]:
    """Return rows of running text with spans left out; wanted is each sentinel with the span that it stands for."""
    made = vocabulary()
    return [corrupted(rng, ids[:-1]) for ids in made(unlabelled(rng, n), truncation=True)["input_ids"]] if n else []


def corrupted(rng: np.random.Generator, ids: Sequence[int]) -> Row:
    """Return tokens, of which there are two or more, with spans left out: never two in a row, never the first token."""
    made = vocabulary()
    first, end = made.convert_tokens_to_ids("<extra_id_0>"), made.eos_token_id
    hidden = min(max(1, round(HIDDEN * len(ids))), len(ids) - 1)
    spans = min(max(1, round(hidden / SPAN)), len(ids) - hidden, SENTINELS)
    kept, wanted, at = [], [], 0
    for n, (before, gone) in enumerate(
        zip(_parts(rng, len(ids) - hidden, spans), _parts(rng, hidden, spans), strict=True)
    ):
        kept += [*ids[at : at + before], first + n]
        wanted += [first + n, *ids[at + before : at + before + gone]]
        at += before + gone
    return Row([*kept, end], [*wanted, end], False)


def _parts(rng: np.random.Generator, total: int, count: int) -> list[int]:
    """Return `count` numbers of at least 1 that add up to `total`, every way as likely."""
    cuts = np.sort(rng.choice(total - 1, count - 1, replace=False)) + 1 if count > 1 else np.zeros(0, np.int64)
    return [int(part) for part in np.diff([0, *cuts, total])]


def arrays(rows: Sequence[Row], spread: float) -> Batch:
    """Return rows padded to one length, a multiple of BLOCK, and their answers, shifted right and as they are."""
    pad, end = vocabulary().pad_token_id, vocabulary().eos_token_id
    length = -(-max(len(row.ids) for row in rows) // BLOCK) * BLOCK
    longest = max(len(row.wanted) for row in rows)
    ids, given = np.full((len(rows), length), pad, np.int64), np.full((len(rows), longest), pad, np.int64)
    wanted = np.full((len(rows), longest), IGNORED, np.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row.ids)] = row.ids
        given[number, 1 : len(row.wanted)] = row.wanted[:-1]
        wanted[number, : len(row.wanted)] = row.wanted
    task = np.array([[row.task] for row in rows])
    weights = np.where(task[:, 0], 1.0, spread)
    return {
        "ids": ids,
        "mask": (ids != pad).astype(np.int64),
        "given": given,
        "wanted": wanted,
        "weights": (weights / weights.sum()).astype(np.float32),
        "tasks": (task & (wanted != IGNORED) & (wanted != end)).astype(np.float32),
    }
