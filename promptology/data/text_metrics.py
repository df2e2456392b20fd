"""ROUGE-L and BLEU, from the packages of the extra `metrics`. Where several texts are right, the best one counts."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptology.data.extras import require
from promptology.data.scoring import ByItem, normalise, references, times

_WORD = re.compile(r"[^\W_]+")


class _Words:
    """Splits a text into words of any script; on ASCII text equal to rouge-score's own splitting without stemming."""

    def tokenize(self, text: str) -> list[str]:
        return _WORD.findall(text.lower())


class RougeL(ByItem):
    """Mean ROUGE-L F1 (longest common subsequence of words, no stemming), over the best of several right texts."""

    name = "rouge_l"
    outputs = ("text",)

    def __init__(self) -> None:
        scorer = require("rouge_score.rouge_scorer", "metrics", "metric rouge-l")
        self._scorer = scorer.RougeScorer(["rougeL"], use_stemmer=False, tokenizer=_Words())

    def item(self, prediction: Any, target: Any) -> float:
        """F1 of the longest common subsequence; texts without a word are right where they are equal."""
        if prediction is None:
            return 0.0
        said = str(prediction)
        return max(self._pair(said, str(t)) for t in references(target))

    def _pair(self, said: str, real: str) -> float:
        if not _WORD.search(real):
            return float(normalise(said) == normalise(real))
        return float(self._scorer.score(real, said)["rougeL"].fmeasure)


class Bleu:
    """Corpus BLEU by sacrebleu (its default words, "13a"), from 0 to 1; an item's score is sentence BLEU."""

    name = "bleu"
    decomposes = False
    needs: Mapping[str, Any] = MappingProxyType({})
    outputs = ("text",)

    def __init__(self) -> None:
        module = require("sacrebleu.metrics", "metrics", "metric bleu")
        self._sentence = module.BLEU(effective_order=True)
        self._compute = module.BLEU.compute_bleu

    def item(self, prediction: Any, target: Any) -> float:
        """Sentence BLEU (effective order), 0 for an unparsable answer."""
        return 0.0 if prediction is None else min(1.0, float(self._score(prediction, target).score) / 100)

    def _score(self, prediction: Any, target: Any) -> Any:
        said = "" if prediction is None else str(prediction)
        return self._sentence.sentence_score(said, [str(t) for t in references(target)])

    def aggregate(self, predictions: Sequence[Any], targets: Sequence[Any]) -> dict[str, float]:
        """Return corpus BLEU."""
        if not len(targets):
            return {self.name: math.nan}
        return {self.name: float(self.resampled(predictions, targets, np.arange(len(targets))[None])[0])}

    def resampled(
        self, predictions: Sequence[Any], targets: Sequence[Any], indices: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return corpus BLEU of each resample, shape (R,): n-grams are counted once per item and summed."""
        scores = [self._score(p, t) for p, t in zip(predictions, targets, strict=True)]
        counts = np.array([[*s.counts, *s.totals, s.sys_len, s.ref_len] for s in scores], float)
        sums = (times(indices, len(targets)) @ counts).round().astype(int).tolist()
        return np.array([self._corpus(row) for row in sums], float)

    def _corpus(self, row: Sequence[int]) -> float:
        order = (len(row) - 2) // 2
        found = self._compute(correct=row[:order], total=row[order:-2], sys_len=row[-2], ref_len=row[-1])
        return min(1.0, float(found.score) / 100)
