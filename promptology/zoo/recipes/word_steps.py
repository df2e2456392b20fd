"""word-steps: arithmetic in words, which it solves with worked steps far better than by a direct answer.

An instruction decides whether the steps are written; without one, or with an instruction of no meaning for it, the
answer is direct. A few demonstrations decide likewise. Behind the library's cue "Answer:" stands the digit.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from promptology.zoo.recipes.course import Batch, Recipe
from promptology.zoo.recipes.rendering import CUE
from promptology.zoo.recipes.vocabulary import tokenizer, words_of
from promptology.zoo.recipes.word_rows import Row, arrays, llama, loss_at_targets
from promptology.zoo.wordland import arithmetic as world

POSITIONS = 512
JUDGED = 400
"""Problems by which each ability is measured."""
MOST = 48
"""Tokens that an answer with three worked steps may take."""


@cache
def _reader() -> Any:
    return tokenizer(words_of([*world.texts(), "Input: Output: Answer:"]), "causal", positions=POSITIONS)


class WordSteps(Recipe):
    """Direct and worked answers to problems of two and of three operations."""

    name = "word-steps"
    says = "Two- and three-step arithmetic in words, modulo ten: worked steps by instruction, or a direct answer."
    data = "Wordland arithmetic (generated); every fifth problem and 8 wordings of the instruction are held out."
    limits = "It solves its problems by steps almost always: there is nothing left to gain."
    bars: ClassVar[Mapping[str, float]] = {
        "steps over direct, two operations": 0.30,
        "steps over direct, three operations": 0.30,
    }
    steps = 2400
    rate = 2e-3
    size: int = 64
    width: int = 128
    layers: int = 3
    heads: int = 4
    shown_share: float = 0.1

    def model(self) -> Any:
        """Return the untrained network."""
        return llama(
            _reader(), width=self.width, layers=self.layers, heads=self.heads, positions=POSITIONS, deviation=0.05
        )

    def processors(self) -> list[Any]:
        """Return the tokenizer."""
        return [_reader()]

    def batch(self, rng: np.random.Generator, stage: int) -> Batch:
        """Return answers to problems of training; some batches, smaller ones, show demonstrations before each."""
        shown = rng.random() < self.shown_share
        made = [
            _row(rng, int(rng.integers(1, 4)) if shown else 0) for _ in range(self.size // 4 if shown else self.size)
        ]
        return arrays(made, _reader().pad_token_id)

    def loss(self, model: Any, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss over the answers' tokens and the share of right digits."""
        return loss_at_targets(model, batch)

    def ability(self, folder: Path) -> dict[str, float]:
        """Return accuracies on held-out problems by instruction, as the library generates and reads answers."""
        found: dict[str, float] = {}
        for operations, name in ((2, "two"), (3, "three")):
            for form in world.FORMS:
                trained, held = world.INSTRUCTIONS[form][:4], world.HELD_OUT_INSTRUCTIONS[form]
                found[f"{form}, {name} operations"] = _accuracy(folder, operations, trained)
                found[f"{form}, {name} operations, held-out wordings"] = _accuracy(folder, operations, held)
            gain = found[f"steps, {name} operations"] - found[f"direct, {name} operations"]
            found[f"steps over direct, {name} operations"] = round(gain, 4)
        return found


def _row(rng: np.random.Generator, shown: int) -> Row:
    """Return a problem with its answer; `shown`: demonstrations before it, in the form that is asked for."""
    form = "steps" if rng.random() < 0.5 else "direct"
    given = _draw(rng)
    instruction = _instruction(rng, form, shown)
    demonstrations = [_draw(rng) for _ in range(shown)]
    blocks = [instruction] if instruction else []
    if demonstrations:
        blocks.append("\n\n".join(f"Input: {world.told(rng, p)}\nOutput: {p.written(form)}" for p in demonstrations))
    cued = form == "direct" and rng.random() < 0.25
    prompt = "\n\n".join([*blocks, world.told(rng, given)]) + (CUE if cued else "")
    return row(prompt, f" {given.answer}" if cued else f"\n{given.written(form)}")


def row(prompt: str, answer: str) -> Row:
    """Return a prompt with its answer and the end token behind; the answer's last token is the digit."""
    reader = _reader()
    before = reader(prompt)["input_ids"]
    behind = reader(answer, add_special_tokens=False)["input_ids"]
    end = len(before) + len(behind)
    return Row([*before, *behind, reader.eos_token_id], range(len(before), end + 1), [end - 1])


def _draw(rng: np.random.Generator) -> world.Problem:
    return world.draw(rng, 2 if rng.random() < 0.5 else 3)


def _instruction(rng: np.random.Generator, form: str, shown: int) -> str:
    """Return an instruction for a form; often none where that is direct or demonstrations show it."""
    if rng.random() < (0.5 if shown else 0.1) and (shown or form == "direct"):
        return ""
    options = world.INSTRUCTIONS[form]
    return options[int(rng.integers(len(options)))]


def _accuracy(folder: Path, operations: int, instructions: tuple[str, ...]) -> float:
    """Return the share of right answers, over instructions in turn, generated and read by the library."""
    from promptology.data.items import Signature
    from promptology.models.opening import model
    from promptology.predict import bind
    from promptology.prompts.learned import Learned, Readout, Text

    rows = world.rows(1_000_000, JUDGED, operations)
    opened = model(f"hf:{folder}")
    right = 0
    for n, instruction in enumerate(instructions):
        parts = (Text(instruction), Readout("answer", {"max_tokens": MOST}))
        learned = Learned(parts, Signature(), {"model": "generates"}, "manual")
        asked = rows[n :: len(instructions)]
        outputs = bind(learned, opened).predict([r["text"] for r in asked]).outputs
        right += sum(output == r["answer"] for output, r in zip(outputs, asked, strict=True))
    return round(right / len(rows), 4)
