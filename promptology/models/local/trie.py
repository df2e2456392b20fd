"""Trie search: answers that are made of known labels and of nothing else, none of them twice.

Valentin Leonhard Buchner, Lele Cao, Jan-Christoph Kalo, Vilhelm von Ehrenheim, "Prompt Tuned Embedding Classification
for Multi-Label Industry Sector Allocation", 2023, arXiv:2309.12075: every label's tokens are put into a trie, ended
once by the separator and once by the end token; at each step only children of the node that was reached since the last
separator may follow; a label that was said leaves the trie of this answer.

Two things differ. Labels at the beginning of an answer and behind a separator have a trie each, since they may fall
into other tokens there. And an answer always ends whole: the separator is offered only while another label is left, and
near the most tokens that an answer may have, only what can still be ended.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor

from promptology.errors import UsageError
from promptology.models.access import Message
from promptology.models.local.reading import TAIL, Reader

MANY = 1 << 31
KEPT = 256
"""Tries that are remembered: one for each end of a prompt and set of labels."""


class Node:
    """A place in a trie.

    `text`: tokens to the end of each label that passes here, the end token counted (1: it is complete here);
    `parting`: tokens that its separator still lacks, of each label whose separator passes here.
    """

    def __init__(self) -> None:
        self.children: dict[int, Node] = {}
        self.text: dict[int, int] = {}
        self.parting: dict[int, int] = {}

    def insert(self, label: int, row: Sequence[int], parting: Sequence[int]) -> None:
        """Add a label's tokens below this node, and behind them its separator's."""
        node = self
        for n, token in enumerate(row):
            node = node.children.setdefault(token, Node())
            node.text[label] = len(row) - n
        for n, token in enumerate(parting):
            node = node.children.setdefault(token, Node())
            node.parting[label] = len(parting) - n - 1


class Trie:
    """Labels as tokens: `first` at the beginning of an answer, `later` behind the separator's tokens `parting`.

    Without `parting` an answer is one label. `end` ends an answer, `pad` follows it.
    """

    def __init__(
        self,
        first: Sequence[Sequence[int]],
        later: Sequence[Sequence[int]] = (),
        parting: Sequence[int] = (),
        *,
        end: int,
        pad: int,
    ) -> None:
        self.end, self.pad, self.count = end, pad, len(first)
        self.lengths = [len(row) for row in later]
        self.first, self.later = Node(), Node()
        for root, rows in ((self.first, first), (self.later, later)):
            for label, row in enumerate(rows):
                root.insert(label, row, parting)

    def begin(self) -> Holding:
        """Return the state of an answer that begins."""
        return Holding(self)


class Holding:
    """How far one answer has come in a trie."""

    def __init__(self, trie: Trie) -> None:
        self.trie, self.node, self.over = trie, trie.first, False
        self.left = set(range(trie.count))

    def allowed(self, room: int = MANY - 1) -> list[int]:
        """Return the tokens that may follow; `room`: the most that may, the end token counted.

        Where no label can be ended within it from the beginning on, it is ignored.
        """
        if self.over:
            return [self.trie.pad]
        found = [token for token, child in self.node.children.items() if self._least(child) < room]
        if any(left == 1 and label in self.left for label, left in self.node.text.items()):
            found.append(self.trie.end)
        if found or room == MANY - 1:
            return found or [self.trie.end]
        return self.allowed()

    def take(self, token: int) -> None:
        """Go on with a token that was allowed."""
        if self.over or token == self.trie.end:
            self.over = True
            return
        self.node = self.node.children[token]
        for label, lacking in self.node.parting.items():
            if not lacking and label in self.left:
                self.left.discard(label)
                self.node = self.trie.later
                return

    def _least(self, child: Node) -> int:
        """Return the fewest tokens that end an answer which goes on to a node; MANY where none can."""
        ways = [left for label, left in child.text.items() if label in self.left]
        for label, lacking in child.parting.items():
            if label in self.left:
                ways += [lacking + self.trie.lengths[other] + 1 for other in self.left if other != label]
        return min(ways, default=MANY)


class Tries:
    """The tries of one model, built when they are first asked for."""

    def __init__(self, reader: Reader, end: int | None) -> None:
        self.reader, self.end = reader, end
        self._built: OrderedDict[tuple[str, tuple[str, ...], str], Trie] = OrderedDict()

    def trie(self, messages: Sequence[Message] | str, choices: tuple[str, ...], separator: str) -> Trie:
        """Return the trie of answers behind a prompt: one choice, or with a separator any number of them joined by it.

        Raises UsageError where the tokenizer does not keep a label's tokens apart from its neighbours'.
        """
        # Only the end of a prompt decides how an answer falls into tokens; of an encoder-decoder not even that.
        text = messages if isinstance(messages, str) else self.reader.render(messages)
        key = ("" if self.reader.kind == "seq2seq" else text[-TAIL:], choices, separator)
        if key not in self._built:
            self._built[key] = build(self.reader, text, choices, separator, self.end)
        self._built.move_to_end(key)
        while len(self._built) > KEPT:
            self._built.popitem(last=False)
        return self._built[key]


def build(reader: Reader, prompt: str, choices: Sequence[str], separator: str, end: int | None) -> Trie:
    """Return the trie of answers behind a prompt, as `TextObjective` trains them; see `Tries.trie`."""
    if end is None:
        raise UsageError(f"{reader.name}: its tokenizer has no end token, so an answer made of labels cannot end")

    def tokens(text: str) -> list[int]:
        return reader.continuation(prompt, text)

    first = [tokens(choice) for choice in choices]
    for choice, row in zip(choices, first, strict=True):
        _check(reader, choice, [choice], row)
    if not separator or len(choices) == 1:
        return Trie(first, end=end, pad=reader.pad)
    # A blank at the separator's end is part of the token behind it.
    sign, parting, later = separator.rstrip(" ") or separator, None, list[list[int]]()
    pairs = [(n, (n + step) % len(choices)) for step in (1, -1) for n in range(len(choices))]
    rows: dict[int, list[int]] = {}
    for a, b in pairs:
        whole, before = tokens(choices[a] + separator + choices[b]), tokens(choices[a] + sign)
        own = before[len(first[a]) :]
        parting = own if parting is None else parting
        row = whole[len(before) :]
        kept = before[: len(first[a])] == first[a] and own == parting and own and whole[: len(before)] == before
        if not kept or not row or rows.setdefault(b, row) != row:
            raise UsageError(
                f"{reader.name}: its tokenizer joins the label {choices[a].strip()!r} or {choices[b].strip()!r} with "
                f"the separator {separator!r}, so answers cannot be held to labels; rename it, or leave the trie out"
            )
        _check(reader, choices[b], [choices[a], choices[b]], whole, separator)
    later = [rows[n] for n in range(len(choices))]
    return Trie(first, later, parting or [], end=end, pad=reader.pad)


def _check(reader: Reader, label: str, parts: Sequence[str], row: Sequence[int], separator: str = "") -> None:
    """Raise UsageError where a label's tokens do not say the label."""
    said = str(reader.tokenizer.decode(list(row), skip_special_tokens=True))
    if "".join(said.split()) != "".join(separator.join(parts).split()):
        raise UsageError(
            f"{reader.name}: its tokenizer turns the label {label.strip()!r} into {said.strip()!r}, so no answer can "
            "say it; rename the label, or leave the trie out"
        )


def held(logits: Tensor, allowed: Sequence[Sequence[int] | None]) -> Tensor:
    """Return logits (rows, V) in which a row with allowed tokens has no others: minus infinity stands there."""
    if all(tokens is None for tokens in allowed):
        return logits
    kept = logits.clone()
    for row, tokens in enumerate(allowed):
        if tokens is not None:
            kept[row] = float("-inf")
            kept[row, list(tokens)] = logits[row, list(tokens)]
    return kept
