"""word-instruct: a chat model that does the trained kinds of Wordland by instruction.

Conversations look as the library renders a request: instruction, the list of classes where the instruction does not
name them all, the input, at times the cue behind which answers are scored. Beside them stands running text, from which
alone the model knows what the classes of held-out kinds have to do with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn import functional as fn

from promptology.zoo.recipes.course import Batch, Recipe
from promptology.zoo.recipes.rendering import CUE, classes_block, input_text
from promptology.zoo.recipes.tasks import HELD_OUT_SAID
from promptology.zoo.recipes.vocabulary import tokenizer
from promptology.zoo.recipes.word_rows import BLOCK, Row, llama
from promptology.zoo.wordland.kind import Example, Kind
from promptology.zoo.wordland.kinds import HELD_OUT, HELD_OUT_CLASSIFICATION, MAPPINGS, TRAINED
from promptology.zoo.wordland.mappings import ANSWERS
from promptology.zoo.wordland.passages import unlabelled
from promptology.zoo.wordland.reading import ANY_WORD
from promptology.zoo.wordland.sentences import pick, shuffled, some
from promptology.zoo.wordland.vocabulary import vocabulary

POSITIONS = 512
NAMING = ("Is it {}?", "Choose one: {}.", "What is it: {}?", "{}: which one fits?")
"""Instructions that name classes, for a choice among some of many."""
CHOSEN_AMONG = ("topic", "theme")
"""Kinds with many classes, at times asked with a few of them."""
OFTEN = {
    **dict.fromkeys(("arithmetic", "counting", "inference", "lookup", "paraphrase", "relation"), 2),
    **dict.fromkeys(("theme", "topic"), 3),
}
"""Kinds that are drawn more often than others."""
POOL, GROWTH = 64, 1.6
"""Words of the first stage, and by how much more each following stage has."""
LAST = math.ceil(math.log(len(ANY_WORD) / POOL, GROWTH))
"""The stage of all kinds; before it words are repeated, more of them each time. Copying, which half of the kinds need,
is learned in some hundred steps when it comes first, and hardly at all among everything else."""
MASTERED = 0.6
"""Share of rightly repeated words by which the next stage begins."""
DEVIATION = 0.05
"""Standard deviation of the untrained weights."""
LEAST = 9
"""Tokens that a passage has at least."""
HELD_OUT_SHARE = 0.08
"""Share of the running text that is about held-out kinds, so that they are known a little."""
ALONE, MORE = 0.35, 8
"""Share of conversations with one request, and the most turns that follow in others."""
REPEAT = ("Repeat the text.", "Write the same text once more.", "Copy this.")
REPEATED = 0.08
"""Share of conversations in which a text is to be repeated: there copying is learned."""
WRITTEN = 48
"""Examples of a kind whose written answers are measured."""


@cache
def reader() -> Any:
    """Return the tokenizer."""
    return tokenizer(vocabulary(), "causal", positions=POSITIONS, chat=True)


class WordInstruct(Recipe):
    """Conversations about trained kinds, and running text.

    `drawn`: conversations that are drawn for a step, of which those of like length make a batch; `tokens`, `texts`:
    most tokens of a batch in conversations and in running text; `text_weight`: weight of a token of running text, where
    one of an answer has 1.
    """

    name = "word-instruct"
    says = "Text tasks by instruction, in a chat: topic, sentiment, inference, lookup, mappings and more."
    data = f"Wordland (generated): 27 trained kinds in their seen wordings, and running text. {HELD_OUT_SAID}"
    limits = (
        "Paraphrase and lookup stay at chance (one half, one quarter). Two held-out kinds lie below chance without "
        "training, giver and odd-word: the model names what trained kinds would ask for."
    )
    bars: ClassVar[Mapping[str, float]] = {"trained kinds": 0.75, "seen over held-out wordings": 0.05}
    steps = 5000
    rate = 2e-3
    drawn: int = 64
    tokens: int = 1800
    texts: int = 400
    text_weight: float = 0.5
    width: int = 128
    layers: int = 4
    heads: int = 4

    def model(self) -> Any:
        """Return the untrained network."""
        made = llama(
            reader(), width=self.width, layers=self.layers, heads=self.heads, positions=POSITIONS, deviation=DEVIATION
        )
        join_forms(made, reader())
        return made

    def processors(self) -> list[Any]:
        """Return the tokenizer."""
        return [reader()]

    def batch(self, rng: np.random.Generator, stage: int) -> Batch:
        """Return conversations of like length and running text."""
        made = rows_of([_told(rng, stage) for _ in range(self.drawn)])
        if stage < LAST:
            made = [Row(row.tokens, row.targets, row.targets) for row in made]
        groups = alike(made, self.tokens)
        # By the answers in them, so that with a mean over the batch every answer counts alike.
        answers = np.array([sum(len(row.judged) for row in group) for group in groups], float)
        rows = groups[int(rng.choice(len(groups), p=answers / answers.sum()))]
        length = padded(rows)
        read = rows_of([running(rng, length) for _ in range(max(1, self.texts // length))])
        read = [Row(row.tokens[:length], range(1, min(len(row.tokens), length)), []) for row in read]
        return arrays([*rows, *read], [1.0] * len(rows) + [self.text_weight] * len(read))

    def loss(self, model: Any, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss over answers and running text, and the share of answers that are right."""
        tokens, places = batch["tokens"], batch["places"]
        hidden = model.model(input_ids=tokens, use_cache=False).last_hidden_state
        logits = model.lm_head(hidden.flatten(0, 1)[places])
        wanted = tokens.flatten()[places + 1]
        each = fn.cross_entropy(logits, wanted, reduction="none")
        right = (logits.argmax(-1) == wanted) * batch["judged"]
        return (each * batch["weights"]).sum() / batch["weights"].sum(), right.sum() / batch["judged"].sum()

    def after(self, stage: int, accuracy: float) -> int:
        """Return the next stage where this one goes well."""
        return min(stage + (accuracy > MASTERED), LAST)

    def ability(self, folder: Path) -> dict[str, float]:
        """Return accuracies on inputs for evaluation, as the library scores and generates."""
        from promptology.zoo.recipes.zero_shot import accuracies, chance, mean

        known, others = accuracies(folder, TRAINED), accuracies(folder, HELD_OUT)
        mapped = accuracies(folder, MAPPINGS, "held out")
        seen, unseen = mean({name: known[name] for name in mapped}), mean(mapped)
        return {
            "trained kinds": mean(known),
            "trained kinds, written": mean(accuracies(folder, TRAINED, readout="answer", items=WRITTEN)),
            "mappings": seen,
            "mappings, held-out wordings": unseen,
            "seen over held-out wordings": seen - unseen,
            "held-out kinds": mean({kind.name: others[kind.name] for kind in HELD_OUT_CLASSIFICATION}),
            "chance, held-out kinds": chance(HELD_OUT_CLASSIFICATION),
            **known,
            **others,
        }


def join_forms(model: Any, tokenizer: Any) -> None:
    """Start the two tokens of each word, behind a blank and without one, from one vector, a common offset apart.

    An answer begins without a blank, and the same word in a text mostly has one: what copies one word then copies all.
    """
    known = tokenizer.get_vocab()
    pairs = sorted((known[f"Ġ{text}"], n) for text, n in known.items() if f"Ġ{text}" in known)
    blank, plain = torch.tensor(pairs).T
    weight = model.get_input_embeddings().weight
    with torch.no_grad():
        weight[plain] = weight[blank] + DEVIATION * torch.randn(weight.shape[1])


def _told(rng: np.random.Generator, stage: int) -> str:
    if stage < LAST:
        return repetition(rng, round(POOL * GROWTH**stage))
    return conversation(rng)


def conversation(rng: np.random.Generator) -> str:
    """Return a conversation about examples of a trained kind, as the chat template writes it.

    Behind the first answer further examples may follow, without the instruction, or further questions about the same
    notes: many answers cost few tokens. Now and then a text is to be repeated.
    """
    kind = pick(rng, _lots())
    example = kind.draw(rng, 1)[0]
    if rng.random() < REPEATED:
        return "<s>" + _turn(f"{pick(rng, REPEAT)}\n\n{input_text(example.inputs)}", input_text(example.inputs))
    cue = CUE if rng.random() < 0.6 else ""
    content, classes = request(rng, kind, example)
    content += cue
    system = ""
    if rng.random() < 0.05:
        system, _, content = content.partition("\n\n")
        system = f"<|system|>{system}</s>"
    return f"<s>{system}{_turn(content, example.answer)}{''.join(_further(rng, kind, example, classes))}"


def repetition(rng: np.random.Generator, pool: int) -> str:
    """Return a conversation in which words, out of the first so many, are to be repeated."""
    text = " ".join(some(rng, _mixed()[:pool], int(rng.integers(4, 13)))) + "."
    return "<s>" + _turn(f"{pick(rng, REPEAT)}\n\n{text}", text)


@cache
def _mixed() -> tuple[str, ...]:
    return shuffled(np.random.default_rng(0), ANY_WORD)


def _turn(content: str, answer: str) -> str:
    return f"<|user|>{content}</s><|assistant|>{answer}</s>"


def _further(rng: np.random.Generator, kind: Kind, example: Example, classes: Sequence[str]) -> list[str]:
    """Return further turns: other mappings of the same notes, or other examples under the same instruction."""
    if rng.random() < ALONE or (classes and not kind.classes):
        return []
    turns = int(rng.integers(1, MORE + 1))
    if kind in MAPPINGS and rng.random() < 0.5:
        asked = some(rng, MAPPINGS, turns)
        return [_turn(pick(rng, other.wordings), ANSWERS[other.name](example.meta)) for other in asked]
    others = [kind.new(rng, pick(rng, classes or kind.targets), False, ()) for _ in range(turns)]
    return [_turn(input_text(other.inputs), other.answer) for other in others]


@cache
def _lots() -> tuple[Kind, ...]:
    return tuple(kind for kind in TRAINED for _ in range(OFTEN.get(kind.name, 1)))


def request(rng: np.random.Generator, kind: Kind, example: Example) -> tuple[str, Sequence[str]]:
    """Return a request, and the classes that it offers.

    It is an instruction in a seen wording, a list of classes where it does not name them all, and the input.
    """
    instruction = pick(rng, kind.wordings)
    names = list(kind.class_names)
    if kind.name in CHOSEN_AMONG and rng.random() < 0.5:
        names = _few(rng, names, example.answer)
        if rng.random() < 0.6:
            instruction = pick(rng, NAMING).format(one_of(names))
            instruction = instruction[0].upper() + instruction[1:]
    block = ""
    if not all(name in instruction.lower() for name in names) and rng.random() < (0.4 if len(names) > 8 else 0.7):
        block = _block(rng, kind, names)
    elif not names and example.options and rng.random() < 0.08:
        names = list(example.options)
        block = _block(rng, kind, names)
    return "\n\n".join(part for part in (instruction, block, input_text(example.inputs)) if part), names


def _few(rng: np.random.Generator, names: Sequence[str], right: str) -> list[str]:
    others = [name for name in names if name != right]
    return list(shuffled(rng, [right, *some(rng, others, int(rng.integers(1, 5)))]))


def one_of(names: Sequence[str]) -> str:
    """Return names as "a, b or c"."""
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _block(rng: np.random.Generator, kind: Kind, names: Sequence[str]) -> str:
    """Return the list of classes, at times with their descriptions."""
    described = (
        {c.name: c.description for c in kind.classes} if rng.random() < (0.25 if len(names) > 8 else 0.4) else {}
    )
    return classes_block({name: described.get(name, "") for name in names}, "")


def running(rng: np.random.Generator, tokens: int) -> str:
    """Return running text of at least so many tokens, some of it with a sentence a line."""
    passages = unlabelled(rng, tokens // LEAST + 1, held_out=HELD_OUT_SHARE)
    return "<s>" + "\n\n".join(p.replace(". ", ".\n") if rng.random() < 0.5 else p for p in passages)


def alike(rows: Sequence[Row], tokens: int) -> list[list[Row]]:
    """Return rows in groups of like length, each of at most so many tokens with padding, or of one row."""
    groups: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: len(row.tokens)):
        if not groups or padded([row]) * (len(groups[-1]) + 1) > tokens:
            groups.append([])
        groups[-1].append(row)
    return groups


def padded(rows: Sequence[Row]) -> int:
    """Return the length of a batch of these rows."""
    return -(-max(len(row.tokens) for row in rows) // BLOCK) * BLOCK


def rows_of(texts: Sequence[str]) -> list[Row]:
    """Return tokens of texts; targets are what an assistant says, or, of running text, all tokens but the first."""
    mark, end = reader().convert_tokens_to_ids(["<|assistant|>", "</s>"])
    rows: list[Row] = []
    for encoded in reader().backend_tokenizer.encode_batch(list(texts), add_special_tokens=False):
        ids = encoded.ids
        starts = [n + 1 for n, token in enumerate(ids) if token == mark]
        spoken = [n for start in starts for n in range(start, ids.index(end, start) + 1)]
        rows.append(Row(ids, spoken or range(1, len(ids)), starts))
    return rows


def arrays(rows: Sequence[Row], weights: Sequence[float]) -> Batch:
    """Return rows as one batch; `weights`: of the targets of each row.

    tokens: int64 (rows, length), padded behind, where a target does not see it; places: int64 (targets), where in the
    flattened tokens a target's predecessor stands; weights, judged: float32 (targets).
    """
    length = padded(rows)
    tokens = np.full((len(rows), length), reader().pad_token_id, np.int64)
    places: list[int] = []
    for n, row in enumerate(rows):
        tokens[n, : len(row.tokens)] = row.tokens
        places += [n * length + target - 1 for target in row.targets]
    judged = [target in row.judged for row in rows for target in row.targets]
    weighted = [weight for row, weight in zip(rows, weights, strict=True) for _ in row.targets]
    return {
        "tokens": tokens,
        "places": np.asarray(places, np.int64),
        "weights": np.asarray(weighted, np.float32),
        "judged": np.asarray(judged, np.float32),
    }
