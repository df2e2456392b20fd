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
from promptology.zoo.recipes.tasks import drawn, held_out, trained, words_known
from promptology.zoo.recipes.vocabulary import tokenizer
from promptology.zoo.wordland.passages import unlabelled

POSITIONS = 192
SENTINELS = 12
HIDDEN, SPAN = 0.25, 2
"""Share of a running text's tokens that are left out, and the mean length of what is left out in one place."""
GROUPS = 4
"""Rows of similar length that a batch is made of: running text, and three of tasks."""
BLOCK = 8
IGNORED = -100


class Row(NamedTuple):
    """Tokens of a text, and those of what is to be written."""

    ids: list[int]
    wanted: list[int]


class WordT5(Recipe):
    """Tasks by instruction beside running text with spans left out."""

    name = "word-t5"
    says = "A small T5 of Wordland's words: answers tasks by their instruction, and fills spans of running text."
    data = "Wordland: unlabelled text, and all kinds that are not held out, under seen wordings."
    bars: ClassVar[Mapping[str, float]] = {"trained kinds": 0.75}
    steps = 5000
    rate = 2e-3
    rows = 64
    """Rows of a step."""
    running = 0.25
    """Share of the rows that are running text; the rest are tasks."""
    bare = 0.15
    """Share of the tasks that end without the cue."""
    fewer = 0.3
    """Share of the tasks that offer some of the classes only."""
    spread = 0.3
    """Weight of the loss of running text, against that of tasks."""
    width, layers, heads, inner = 128, 3, 4, 384
    embedded, final = 0.5, 4.0
    """Standard deviation of the word embeddings and weight of the decoder's last norm at the start.

    T5's own are 1 and 1, which suit its rates far above ours: words are learnt faster where they begin smaller, and the
    norm makes up for it in the logits.
    """

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
        with torch.no_grad():
            model.shared.weight.mul_(self.embedded)
            model.decoder.final_layer_norm.weight.fill_(self.final)
        return model

    def processors(self) -> list[Any]:
        """Return the tokenizer."""
        return [vocabulary()]

    def batch(self, rng: np.random.Generator, stage: int) -> Batch:
        """Return rows in groups of similar length, int64, padded.

        `ids0`, `mask0` ... have shape (rows, length), `given0`, `wanted0` ... (rows, length of the answer); what is not
        wanted is -100. Group 0 is running text.
        """
        texts = round(self.rows * self.running)
        tasks = sorted(self._tasks(rng, self.rows - texts), key=lambda row: len(row.ids))
        parts = [tasks[members[0] : members[-1] + 1] for members in np.array_split(np.arange(len(tasks)), GROUPS - 1)]
        found: Batch = {}
        for n, rows in enumerate([running(rng, texts), *parts]):
            found |= _group(n, rows)
        return found

    def _tasks(self, rng: np.random.Generator, n: int) -> list[Row]:
        made = vocabulary()
        tasks = drawn(rng, trained(), n, fewer=self.fewer)
        texts = [task.prompt + (CUE if rng.random() >= self.bare else "") for task in tasks]
        answers = made([task.answer for task in tasks])["input_ids"]
        return [Row(*row) for row in zip(made(texts)["input_ids"], answers, strict=True)]

    def loss(self, model: Any, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean cross-entropy of answers and, weighted, of spans, and the share of answers right in full."""
        losses, rights = [], []
        for n in range(GROUPS):
            wanted = batch[f"wanted{n}"]
            logits = model(
                input_ids=batch[f"ids{n}"], attention_mask=batch[f"mask{n}"], decoder_input_ids=batch[f"given{n}"]
            ).logits
            losses.append(
                torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED)
            )
            if n:
                rights.append(((logits.argmax(dim=2) == wanted) | (wanted == IGNORED)).all(dim=1))
        return torch.stack(losses[1:]).mean() + self.spread * losses[0], torch.cat(rights).float().mean()

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
    return Row([*kept, end], [*wanted, end])


def _parts(rng: np.random.Generator, total: int, count: int) -> list[int]:
    """Return `count` numbers of at least 1 that add up to `total`, every way as likely."""
    cuts = np.sort(rng.choice(total - 1, count - 1, replace=False)) + 1 if count > 1 else np.zeros(0, np.int64)
    return [int(part) for part in np.diff([0, *cuts, total])]


def _group(n: int, rows: Sequence[Row]) -> Batch:
    """Return rows padded to one length, a multiple of BLOCK, and their answers, shifted right and as they are."""
    pad = vocabulary().pad_token_id
    length = -(-max((len(row.ids) for row in rows), default=1) // BLOCK) * BLOCK
    longest = max((len(row.wanted) for row in rows), default=1)
    ids, given = np.full((len(rows), length), pad, np.int64), np.full((len(rows), longest), pad, np.int64)
    wanted = np.full((len(rows), longest), IGNORED, np.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row.ids)] = row.ids
        given[number, 1 : len(row.wanted)] = row.wanted[:-1]
        wanted[number, : len(row.wanted)] = row.wanted
    return {f"ids{n}": ids, f"mask{n}": (ids != pad).astype(np.int64), f"given{n}": given, f"wanted{n}": wanted}
