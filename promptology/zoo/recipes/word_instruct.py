"""word-instruct: a chat model that does the trained kinds of Wordland by instruction.

Conversations look as the library renders a request: instruction, the list of classes where the instruction does not
name them all, the input, at times the cue behind which answers are scored. Beside them stands running text, from which
alone the model knows what the classes of held-out kinds have to do with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from promptology.zoo.recipes.course import Batch, Recipe
from promptology.zoo.recipes.vocabulary import tokenizer
from promptology.zoo.recipes.word_rows import Row, arrays, llama, loss_at_targets
from promptology.zoo.wordland.kind import Example, Kind
from promptology.zoo.wordland.kinds import TRAINED
from promptology.zoo.wordland.passages import unlabelled
from promptology.zoo.wordland.vocabulary import vocabulary

POSITIONS = 512
CUE = "\n\nAnswer:"
FORM = "Answer with the name of one class only."
NAMING = ("Is it {}?", "Choose one: {}.", "What is it: {}?", "{}: which one fits?")
"""Instructions that name classes, for a choice among some of many."""
CHOSEN_AMONG = ("topic", "theme")
"""Kinds with many classes, at times asked with a few of them."""
HARD = ("arithmetic", "counting", "inference", "lookup", "paraphrase", "relation", "theme", "topic")
"""Kinds that are drawn twice as often as others."""


@cache
def reader() -> Any:
    """Return the tokenizer."""
    return tokenizer(vocabulary(), "causal", positions=POSITIONS, chat=True)


class WordInstruct(Recipe):
    """Conversations about trained kinds, and running text.

    `size`: rows of a batch, of which `texts` are running text; `text_weight`: weight of one of its tokens against
    one of an answer.
    """

    name = "word-instruct"
    says = "Text tasks by instruction, in a chat: topic, sentiment, inference, lookup, mappings and more."
    data = "Wordland (generated): 27 trained kinds in their seen wordings, and running text."
    bars: ClassVar[Mapping[str, float]] = {"by_instruction": 0.75, "seen_minus_held_out_wordings": 0.05}
    steps = 6000
    rate = 2e-3
    size: int = 40
    texts: int = 8
    text_weight: float = 0.1
    width: int = 128
    layers: int = 4
    heads: int = 4

    def model(self) -> Any:
        """Return the untrained network."""
        return llama(
            reader(), width=self.width, layers=self.layers, heads=self.heads, positions=POSITIONS, deviation=0.05
        )

    def processors(self) -> list[Any]:
        """Return the tokenizer."""
        return [reader()]

    def batch(self, rng: np.random.Generator, stage: int) -> Batch:
        """Return conversations of like length and running text."""
        asked = self.size - self.texts
        # Of twice as many conversations the shorter half, or twice as often every other one of the longer half: every
        # conversation is as likely, and little is padding.
        rows = sorted(_rows([conversation(rng) for _ in range(2 * asked)]), key=lambda row: len(row.tokens))
        rows = rows[:asked] if rng.random() < 1 / 3 else rows[asked + int(rng.integers(2)) :: 2]
        texts = _rows([(f"<s>{_lines(rng, text)}", "") for text in unlabelled(rng, self.texts)])
        made = arrays([*rows, *texts], reader().pad_token_id)
        made["weights"][len(rows) :] *= np.float32(self.text_weight)
        return made

    def loss(self, model: Any, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss over answers and running text, and the share of answers that are right."""
        return loss_at_targets(model, batch)

    def ability(self, folder: Path) -> dict[str, float]:
        """Return accuracies on inputs for evaluation, as the library scores and generates."""
        from promptology.zoo.recipes.word_instruct_ability import abilities

        return abilities(folder)


def conversation(rng: np.random.Generator) -> tuple[str, str]:
    """Return a request with an example of a trained kind, as the chat template writes it, and the answer."""
    kind = _drawn(rng)
    example = kind.draw(rng, 1)[0]
    content = request(rng, kind, example) + (CUE if rng.random() < 0.6 else "")
    system = ""
    if rng.random() < 0.05:
        system, _, content = content.partition("\n\n")
        system = f"<|system|>{system}</s>"
    return f"<s>{system}<|user|>{content}</s><|assistant|>", f"{example.answer}</s>"


@cache
def _lots() -> tuple[Kind, ...]:
    return tuple(kind for kind in TRAINED for _ in range(2 if kind.name in HARD else 1))


def _drawn(rng: np.random.Generator) -> Kind:
    lots = _lots()
    return lots[int(rng.integers(len(lots)))]


def request(rng: np.random.Generator, kind: Kind, example: Example) -> str:
    """Return an instruction in a seen wording, a list of classes where it names none, and the input."""
    instruction = kind.wordings[int(rng.integers(len(kind.wordings)))]
    names = list(kind.class_names)
    if kind.name in CHOSEN_AMONG and rng.random() < 0.5:
        names = _few(rng, names, example.answer)
        if rng.random() < 0.6:
            instruction = NAMING[int(rng.integers(len(NAMING)))].format(one_of(names))
            instruction = instruction[0].upper() + instruction[1:]
    block = ""
    if not all(name in instruction.lower() for name in names) and rng.random() < 0.7:
        block = _block(rng, kind, names)
    elif not names and example.options and rng.random() < 0.08:
        block = _block(rng, kind, example.options)
    return "\n\n".join(part for part in (instruction, block, shown(example)) if part)


def _few(rng: np.random.Generator, names: Sequence[str], right: str) -> list[str]:
    others = [name for name in names if name != right]
    chosen = [right, *(others[int(i)] for i in rng.choice(len(others), int(rng.integers(1, 6)), replace=False))]
    return [chosen[int(i)] for i in rng.permutation(len(chosen))]


def one_of(names: Sequence[str]) -> str:
    """Return names as "a, b or c"."""
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _block(rng: np.random.Generator, kind: Kind, names: Sequence[str]) -> str:
    """Return the list of classes, as the library writes it."""
    described = (
        {c.name: c.description for c in kind.classes} if rng.random() < (0.25 if len(names) > 8 else 0.4) else {}
    )
    lines = [f"- {name}: {described[name]}" if name in described else f"- {name}" for name in names]
    return "Classes:\n" + "\n".join(lines) + f"\n\n{FORM}"


def shown(example: Example) -> str:
    """Return the input as text: one field by itself, several with their names."""
    if len(example.inputs) == 1:
        return next(iter(example.inputs.values()))
    return "\n".join(f"{name}: {value}" for name, value in example.inputs.items())


def _lines(rng: np.random.Generator, text: str) -> str:
    """Return running text, half of the time with a sentence a line."""
    return text.replace(". ", ".\n") if rng.random() < 0.5 else text


def _rows(pairs: Sequence[tuple[str, str]]) -> list[Row]:
    """Return tokens of (before, answer) pairs; where there is no answer, all tokens but the first are targets."""
    inside = reader().backend_tokenizer
    whole = inside.encode_batch([before + answer for before, answer in pairs], add_special_tokens=False)
    mark = reader().convert_tokens_to_ids("<|assistant|>")
    rows: list[Row] = []
    for (_, answer), encoded in zip(pairs, whole, strict=True):
        ids = encoded.ids
        start = ids.index(mark) + 1 if answer else 1
        rows.append(Row(ids, range(start, len(ids)), [start] if answer else []))
    return rows
