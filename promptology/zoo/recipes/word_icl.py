"""word-icl: a base model that learns in context which themes of words have which labels.

In-context learning does not emerge from mappings of few classes alone: at chance for as long as was tried. It does
along a curriculum whose gates are training accuracies: sequences that repeat; single words with labels, among ever more
words; themes with labels, first of many classes, then of few; two words of which one decides; three. Once
all words are drawn, a third of the sequences or more are demonstrations and a query as the library renders them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from promptology.zoo.recipes.course import Batch, Recipe
from promptology.zoo.recipes.rendering import CUE, FORM
from promptology.zoo.recipes.vocabulary import tokenizer, words_of
from promptology.zoo.recipes.word_rows import Row, arrays, llama, look_back, loss_at_targets
from promptology.zoo.wordland import mappings_in_context as world
from promptology.zoo.wordland.words import THEME_OF, THEMES

POSITIONS = 512
FIRST_POOL, GROWTH = 64, 1.35
"""Words that the first mappings draw from, and the factor by which they become more at each gate."""
ASKED = 12
"""Most examples that stand one below another as queries."""
LATEST = 3
"""Stages before the present one that are drawn again."""
INSTRUCTIONS = (
    "Classify the text.",
    "Find the label of the text.",
    "Sort the words into classes.",
    "Give the label that fits the examples.",
    "Say which class the words belong to.",
    "Label the text as in the examples.",
    "Choose the right class.",
    "Read the examples and name the class of the last text.",
)
"""Instructions, none of which says anything about a mapping."""
HELD_OUT_INSTRUCTIONS = ("Which class is it?", "Follow the examples and give the label.")


@dataclass(frozen=True)
class Stage:
    """What a stage draws: its share of mappings of single words from a pool, or of themes; forms; and its gate.

    `pool`: words, 0 where labels belong to themes. `words`: words of an input, one of which is drawn evenly. `gate`:
    accuracy of a round by which the next stage begins.
    """

    pool: int
    classes: tuple[int, int]
    words: tuple[int, ...]
    forms: tuple[str, ...]
    gate: float


def _pools() -> tuple[int, ...]:
    sizes, most = [FIRST_POOL], sum(map(len, THEMES.values()))
    while sizes[-1] < most:
        sizes.append(min(most, round(sizes[-1] * GROWTH)))
    return tuple(sizes)


_FORMS = ("bare", "asked", "library")
STAGES = (
    Stage(FIRST_POOL, (6, 20), (1,), ("repeated",), 0.7),
    *(Stage(pool, (4, 8), (1,), ("bare",), 0.5) for pool in _pools()),
    Stage(_pools()[-1], (3, 6), (1,), _FORMS, 0.8),
    Stage(0, (4, 8), (1,), _FORMS, 0.7),
    Stage(0, (2, 8), (1,), _FORMS, 0.8),
    Stage(0, (2, 6), (2,), _FORMS, 0.65),
    Stage(0, (2, 4), (1, 2, 2, 3), (*_FORMS, "library"), 1.1),
)
"""The curriculum; the last stage has no gate."""


class _Tables:
    """Tokens of every word and phrase, so that rows are put together without a tokenizer."""

    def __init__(self) -> None:
        said = [" ".join(nouns) for nouns in THEMES.values()]
        said += [*world.LABELS, *INSTRUCTIONS, *HELD_OUT_INSTRUCTIONS, FORM, "Input: Output: Answer: Classes:"]
        self.reader = tokenizer(words_of(said), "causal", positions=POSITIONS)
        words = [*(noun for nouns in THEMES.values() for noun in nouns), *world.LABELS]
        self.behind = {word: self.of(f" {word}") for word in words}
        self.first = {word: self.of(word) for word in words}
        self.begin = [int(self.reader.bos_token_id)]
        self.instructions = [self.of(line + "\n\n") for line in INSTRUCTIONS]
        self.classes, self.dash = self.of("Classes:"), self.of("\n-")
        self.form = self.of(f"\n\n{FORM}\n\n")
        self.input, self.output, self.blank, self.cue = map(self.of, ("Input:", "\nOutput:", "\n\n", CUE))
        order = np.random.default_rng(0).permutation(len(words) - len(world.LABELS))
        self.pool = [words[n] for n in order]

    def of(self, text: str) -> list[int]:
        """Return the tokens of a text by itself."""
        return list(self.reader(text, add_special_tokens=False)["input_ids"])

    def text(self, words: str, *, first: bool = False) -> list[int]:
        """Return the tokens of words parted by blanks, behind a blank or, with `first`, at the beginning of a line."""
        head, *rest = words.split()
        return [*(self.first if first else self.behind)[head], *(t for w in rest for t in self.behind[w])]


@cache
def tables() -> _Tables:
    """Return the tables of this process."""
    return _Tables()


class WordIcl(Recipe):
    """Mappings defined by demonstrations, along a curriculum gated on accuracy."""

    name = "word-icl"
    says = "In-context learning of arbitrary labels for themes of words; the word at one of two places decides."
    data = "Wordland in-context mappings (generated); a quarter of the labels of every theme is held out."
    limits = (
        "Three words, of which one decides, are learned in part only. With twice the rate the model settles on one "
        "place for all mappings (0.75 whatever the number of demonstrations). Its heads start looking back, as "
        "in-context learning needs it: from the usual start it came nowhere near in the same time."
    )
    bars: ClassVar[Mapping[str, float]] = {
        "four-shot above chance": 0.20,
        "eight-shot above chance": 0.25,
        "four-shot over two-shot": 0.005,
        "eight-shot over four-shot": 0.005,
    }
    steps = 4000
    rate = 1e-3
    warm_up = 0.02
    size: int = 32
    width: int = 160
    layers: int = 3
    heads: int = 5
    earlier: float = 0.2

    def model(self) -> Any:
        """Return the untrained network; a word at the beginning of a line starts as it is behind a blank."""
        known = tables()
        made = llama(
            known.reader, width=self.width, layers=self.layers, heads=self.heads, positions=POSITIONS, deviation=0.05
        )
        look_back(made)
        with torch.no_grad():
            weight = made.get_input_embeddings().weight
            for word, (token,) in known.behind.items():
                weight[known.first[word][0]] = weight[token]
        return made

    def processors(self) -> list[Any]:
        """Return the tokenizer."""
        return [tables().reader]

    def batch(self, rng: np.random.Generator, stage: int) -> Batch:
        """Return rows of one form; some batches are of one of the stages before, so that nothing is forgotten."""
        if stage and rng.random() < self.earlier:
            stage = int(rng.integers(max(0, stage - LATEST), stage))
        drawn = STAGES[stage]
        form = drawn.forms[int(rng.integers(len(drawn.forms)))]
        words = drawn.words[int(rng.integers(len(drawn.words)))]
        return arrays([row(rng, drawn, form, words) for _ in range(self.size)], tables().reader.pad_token_id)

    def loss(self, model: Any, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss over labels that follow from what stands before, and the share of right later ones."""
        return loss_at_targets(model, batch)

    def after(self, stage: int, accuracy: float) -> int:
        """Return the next stage where this one's accuracy is reached."""
        return stage + 1 if accuracy >= STAGES[stage].gate else stage

    def ability(self, folder: Path) -> dict[str, float]:
        """Return accuracies on held-out mappings by demonstrations in all, as the library renders and scores them."""
        from promptology.zoo.recipes.word_icl_ability import measured

        return measured(folder)


def row(rng: np.random.Generator, stage: Stage, form: str, words: int) -> Row:
    """Return a sequence of a stage in a form: "repeated", "bare", "asked" or "library"."""
    if form == "repeated":
        return _repeated(rng, stage)
    examples = _of_words(rng, stage) if stage.pool else _of_themes(rng, stage, words)
    if form == "library":
        return library_row(rng, examples, exact=bool(stage.pool))
    return _compact_row(examples, exact=bool(stage.pool), asked=form == "asked")


def _repeated(rng: np.random.Generator, stage: Stage, length: int = 47) -> Row:
    """Return random words that repeat with a period; all from the second period on follow from the first."""
    low, high = stage.classes
    period = int(rng.integers(low, high + 1))
    # Labels among them, so that they are no strangers when words get labels.
    offered = [*tables().pool[: stage.pool], *world.LABELS]
    chosen = [offered[int(n)] for n in rng.permutation(len(offered))[:period]]
    tokens = [*tables().begin, *(tables().behind[chosen[n % period]][0] for n in range(length))]
    targets = range(1 + period, len(tokens))
    return Row(tokens, targets, targets)


def _of_words(rng: np.random.Generator, stage: Stage, many: int = 23) -> list[world.Example]:
    """Return examples in which single words have labels, each word often."""
    classes = int(rng.integers(stage.classes[0], stage.classes[1] + 1))
    words = [tables().pool[int(n)] for n in rng.permutation(stage.pool)[:classes]]
    labels = [world.LABELS[int(n)] for n in rng.permutation(len(world.LABELS))[:classes]]
    for n, word in enumerate(words):
        while world.held_out(THEME_OF[word], labels[n]):
            labels[n] = world.LABELS[int(rng.integers(len(world.LABELS)))]
    return [world.Example(words[n], labels[n]) for n in rng.integers(classes, size=many).tolist()]


def _of_themes(rng: np.random.Generator, stage: Stage, words: int) -> list[world.Example]:
    """Return examples of a mapping of training, classes at random."""
    classes = int(rng.integers(stage.classes[0], stage.classes[1] + 1))
    drawn = world.draw(rng, classes=classes, words=words)
    many = 23 if words == 1 else 18
    return [drawn.example(rng, n) for n in rng.integers(classes, size=many).tolist()]


def _compact_row(examples: list[world.Example], *, exact: bool, asked: bool) -> Row:
    """Return examples as "words label words label" or, with `asked`, each as a query with the cue and its answer."""
    known, tokens, places = tables(), list(tables().begin), []
    examples = examples[:ASKED] if asked else examples
    for example in examples:
        tokens += known.text(example.text, first=asked)
        tokens += known.cue if asked else []
        places.append(len(tokens))
        tokens += known.behind[example.label]
        tokens += known.blank if asked else []
    return _followed(tokens, places, [e.text if exact else e.label for e in examples])


def library_row(rng: np.random.Generator, examples: list[world.Example], *, exact: bool = False) -> Row:
    """Return examples as the library renders them: some as demonstrations, the next one as the query with its cue.

    Before them may stand an instruction, and the list of classes.
    """
    known, tokens, places = tables(), list(tables().begin), []
    shown = int(rng.integers(2, 13))
    examples = examples[: shown + 1]
    if rng.random() < 0.5:
        tokens += known.instructions[int(rng.integers(len(known.instructions)))]
    if rng.random() < 0.5:
        labels = list(dict.fromkeys(e.label for e in examples))
        tokens += known.classes
        for n in rng.permutation(len(labels)):
            tokens += [*known.dash, *known.behind[labels[n]]]
        tokens += known.form
    for example in examples[:-1]:
        tokens += [*known.input, *known.text(example.text), *known.output]
        places.append(len(tokens))
        tokens += [*known.behind[example.label], *known.blank]
    tokens += [*known.text(examples[-1].text, first=True), *known.cue]
    places.append(len(tokens))
    tokens += known.behind[examples[-1].label]
    return _followed(tokens, places, [e.text if exact else e.label for e in examples])


def _followed(tokens: list[int], places: list[int], known_by: list[str]) -> Row:
    """Return a row whose targets are the labels of what stood there before; those of the second half are judged."""
    seen: set[str] = set()
    targets = []
    for place, key in zip(places, known_by, strict=True):
        if key in seen:
            targets.append(place)
        seen.add(key)
    return Row(tokens, targets, [t for t in targets if t >= places[len(places) // 2]])
