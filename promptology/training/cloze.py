"""Training for a gap: items and unlabelled texts as clozes, and the class probabilities that the label words give."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from promptology.data.items import Item
from promptology.errors import UsageError
from promptology.prompts.cloze import AUTO, KINDS, MASK, check_template, cloze_of, label_words, membership
from promptology.prompts.learned import Learned, Part, Readout
from promptology.run.engine import Run
from promptology.training.label_words import found_words
from promptology.training.objectives import Objective

ROOM = 8
"""Tokens that must be left for a text beside its template, and for what a model puts around it."""


class ClozeObjective(Objective):
    """Cross-entropy over the label words at the gap (PET, arXiv:2001.07676; LM-BFF, arXiv:2012.15723).

    `template` holds {mask}; `words`: as `prompts.cloze.label_words` reads them, "auto" finds them (the `found` best
    combinations stand in the field of that name, the first is used). A masked model has its mask there; others must
    have {mask} at its end: a causal one goes on with the word, an encoder-decoder begins with it. `clozes` makes rows
    of tokens of further items. Raises UsageError for other models and outputs, and for a word of several tokens.
    """

    def __init__(
        self, run: Run, body: Any, template: str, words: str = "", aggregate: str = "mean", found: int = 1
    ) -> None:
        super().__init__(run, body)
        if self.signature.output != "class":
            raise UsageError(f"a cloze tells one class from others; the output of this task is {self.signature.output}")
        if body.kind not in KINDS:
            raise UsageError(f"{body.name}: a cloze is for language models, and this one is of kind {body.kind}")
        template = check_template(template, self.signature)
        if body.kind != "masked":
            template, rest = template.split(MASK)
            if rest.strip(" ."):
                raise UsageError(
                    f"{body.name} is {body.kind}: {{mask}} must be the end of a template, not before {rest!r}"
                )
            template = f"{template.rstrip()}{MASK}"
        before = self.before = "" if getattr(body, "chat", False) else " "
        mask = str(body.tokenizer.mask_token) if body.kind == "masked" else ""
        count = run.model().count_tokens
        self._cloze = cloze_of(template, mask, self.signature, most=run.model().context or 0, count=count)
        most, frame = body.max_tokens, count(self._cloze({f.name: "" for f in self.signature.fields})) or 0
        if frame + ROOM > most:  # cut off, the gap would be somewhere else
            raise UsageError(
                f"{body.name} reads {most} tokens, and the cloze template alone has {frame}: no text fits; shorten it"
            )
        self.rows = self.clozes(self.items)
        self.gold = torch.tensor([self.signature.class_names.index(i.target) for i in self.items], device=body.device)
        self.found = [",".join(some) for some in found_words(run, self, found)] if words == AUTO else [words]
        words = self.found[0]
        by_class = label_words(words, self.signature)
        options = {"template": template, "mask": mask, "words": {n: list(w) for n, w in by_class.items()}}
        self.readout = Readout("cloze", {**options, "aggregate": aggregate, "before": before})
        self._aggregate = aggregate
        self._matrix = torch.tensor(membership(list(by_class.values())), dtype=torch.float32, device=body.device)
        said = [self._token(word, before) for part in by_class.values() for word in part]
        self._ids = torch.tensor(said, device=body.device)

    def _token(self, word: str, before: str) -> int:
        body, text = self.body, before + word
        ids: list[int] = []
        with suppress(UsageError):  # a masked model says it in words of its own
            ids = body.continuation(self._messages(self.items[0]), text)
        if len(ids) == 1:
            return int(ids[0])
        ids = ids or body.tokenizer(text, add_special_tokens=False)["input_ids"]
        tokens = ", ".join(repr(str(t)) for t in body.tokenizer.convert_ids_to_tokens(ids))
        what = f"falls into {len(ids)} tokens ({tokens})" if len(ids) > 1 else "is not in its vocabulary"
        raise UsageError(
            f"{body.name}: the label word {word!r} {what}; a gap takes one token: give each class a word of one token "
            "(--set words=...), or have them found (--set words=auto)"
        )

    def _messages(self, item: Item) -> tuple[tuple[str, str], ...]:
        return (("user", self._cloze(item.inputs)),)

    def clozes(self, items: Sequence[Item]) -> list[list[int]]:
        """Return the tokens of items as clozes."""
        return [self.body.encode(self._messages(item)) for item in items]

    def grown(self, rows: Sequence[list[int]], classes: Sequence[int]) -> ClozeObjective:
        """Return the objective with further texts, as tokens, and the classes that they are taken to be."""
        other = copy.copy(self)
        other.rows = [*self.rows, *rows]
        other.gold = torch.cat([self.gold, torch.tensor(list(classes), dtype=torch.long, device=self.body.device)])
        return other

    def slot_logits(self, rows: Sequence[list[int]]) -> Tensor:
        """Return the model's logits at the gap, float32 (rows, vocabulary), under whatever is attached."""
        body = self.body
        if body.kind == "seq2seq":
            first, _ = body.target_states(rows, [[0]] * len(rows))
            said: Tensor = body.logits(first).float()
            return said
        if body.kind == "masked":
            placed = [body.reader.masked(list(row)) for row in rows]
            rows, at = [row for row, _ in placed], [place for _, place in placed]
        else:
            at = [len(row) - 1 for row in rows]
        states = body.hidden(rows).states
        found: Tensor = body.logits(states[torch.arange(len(rows)), torch.tensor(at)]).float()
        return found

    def class_logprobs(self, rows: Sequence[list[int]]) -> Tensor:
        """Return log-probabilities of the classes, float32 (rows, classes), under whatever is attached."""
        found = self.slot_logits(rows)[:, self._ids]
        if self._aggregate == "words":
            found = torch.log_softmax(found, dim=1)
        return torch.log_softmax(found @ self._matrix, dim=1)

    def loss(self, batch: Sequence[int]) -> Tensor:
        """Return the mean cross-entropy of labelled items, in nats."""
        logs = self.class_logprobs([self.rows[i] for i in batch])
        return torch.nn.functional.nll_loss(logs, self.gold[list(batch)])

    def learned(self, *parts: Part, method: str = "") -> Learned:
        """Return the parts inside the model with the template and its words."""
        access = "trainable" if any(p.kind == "weights" for p in parts) else "scores"
        found = Learned((*parts, self.readout), self.signature, {"model": access}, method)
        return found if parts else replace(found, roles={"model": "scores"})
