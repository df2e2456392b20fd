"""LiST's claims: unlabelled text adds accuracy to cloze tuning, weights find wrong labels, few parameters are trained.

600 steps in all, of either arm: LiST makes 150 as teacher 0 and, in each of its 2 rounds, 150 on unlabelled texts and
75 on the labelled ones; prompted tuning makes 600 on the labelled ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from promptology.claims.fixtures import Setting, best_of, learned_by, zoo_model
from promptology.claims.measuring import Bench, measures
from promptology.data.generated import kind_task
from promptology.data.task import Task
from promptology.methods.weights.cloze_tuning import ClozeTuning
from promptology.methods.weights.list import LiST
from promptology.zoo.wordland.kinds import HELD_OUT_CLASSIFICATION

MODEL = "word-mlm"
CLASSES, SHOTS = 4, 5
UNLABELLED, TEST = 1000, 600
GRID: tuple[Setting, ...] = tuple({"rate": r, "teacher_rate": r} for r in (5e-4, 1e-3, 3e-3))
STEPS, ROUNDS = 150, 2
FLIPPED = 0.4


def task_of(seed: int, classes: int = CLASSES) -> Task:
    """Return the task of a seed: the first classes of the first held-out kind that has four or more."""
    kind = next(k for k in HELD_OUT_CLASSIFICATION if len(k.classes) >= CLASSES)
    names = kind.class_names[:classes]
    few = replace(kind, classes=kind.classes[:classes], targets=tuple(t for t in kind.targets if t in names))
    sizes = {"train": SHOTS * classes, "validation": SHOTS * classes, "test": TEST, "unlabeled": UNLABELLED}
    return kind_task(few, seed, sizes)


def list_of(setting: Setting, **changes: Any) -> LiST:
    """Return LiST in 600 steps of 16 texts."""
    course: dict[str, Any] = {"rounds": ROUNDS, "steps": STEPS, "teacher_steps": STEPS, "labelled_steps": STEPS // 2}
    return LiST(**{**course, "batch": 16, "labelled_batch": 16, **setting, **changes})


def prompted(setting: Setting) -> LiST:
    """Return the same adapters tuned on the labelled texts alone, for as many steps."""
    return list_of(setting, rounds=0, teacher_steps=ROUNDS * (STEPS + STEPS // 2) + STEPS)


def method_of(arm: str, setting: Setting) -> Any:
    """Return an arm's method."""
    if arm == "start":
        return ClozeTuning(tune="none")
    return list_of(setting) if arm == "list" else prompted(setting)


def accuracy_of(arm: str, setting: Setting, seed: int, split: str) -> float:
    """Return the accuracy on a split of what an arm learns."""
    from promptology.training.objectives import score_of

    task = task_of(seed)
    learned, run = learned_by(method_of(arm, setting), task, zoo_model(MODEL), seed)
    return score_of(run, learned, task.open_test() if split == "test" else task.validation, "accuracy")


@measures("list-quality", needs=(MODEL,))
def quality(arm: str, seed: int, bench: Bench) -> dict[str, float]:
    """Return the accuracy on test, at the rate that seed 0 chose."""
    setting = {} if arm == "start" else chosen(arm, bench)
    return {"accuracy": accuracy_of(arm, setting, seed, "test")}


def chosen(arm: str, bench: Bench) -> Setting:
    """Return the rate of an arm with four classes."""
    return bench.once(
        f"rate of {arm}", lambda: best_of(GRID, lambda setting: accuracy_of(arm, setting, 0, "validation"))
    )


@dataclass(frozen=True)
class Mistaught(LiST):
    """LiST whose teacher is wrong about 40 % of the texts: their labels are those of the other class."""

    shuffled: bool = False
    """Whether the weights are permuted within each batch."""

    def pseudo_labels(self, run: Any, goal: Any, theta: Any, rows: Any, s: int) -> Any:
        """Return the teacher's labels, two of five of them flipped; which ones, the run's history says."""
        import torch

        q = super().pseudo_labels(run, goal, theta, rows, s).clone()
        flipped = np.sort(run.rng(f"flipped, round {s}").permutation(len(q))[: round(FLIPPED * len(q))])
        q[torch.from_numpy(flipped)] = q[torch.from_numpy(flipped)].flip(1)
        _SEEN[id(goal)] = {*flipped.tolist()}
        return q

    def weigh(self, goal: Any, theta: Any, rows: Any, q: Any, labelled: Any, texts: Sequence[int]) -> Any:
        """Return the weights, and note how well they tell right labels from flipped ones."""
        import torch

        w = super().weigh(goal, theta, rows, q, labelled, texts)
        right = np.array([n not in _SEEN[id(goal)] for n in texts])
        if 0 < right.sum() < len(right):
            AUCS.append(auc(w.cpu().numpy(), right))
        if not self.shuffled:
            return w
        order = np.random.default_rng([len(AUCS), *texts]).permutation(len(w))
        return w[torch.from_numpy(order)]


_SEEN: dict[int, set[int]] = {}
AUCS: list[float] = []


def auc(values: Any, right: Any) -> float:
    """Return the area under the ROC of values as a detector of what is right; ties count half."""
    above = values[right][:, None] - values[~right][None]
    return float((above > 0).mean() + 0.5 * (above == 0).mean())


@measures("list-reweighting", needs=(MODEL,))
def reweighting(arm: str, seed: int, bench: Bench) -> dict[str, float]:
    """Return accuracy on test, and the mean area under the ROC of the weights (one half where they are equal).

    All arms have the rate of LiST in list-quality, whose fixture this is.
    """
    from promptology.training.objectives import score_of

    task = task_of(seed, classes=2)
    AUCS.clear()
    how: Mapping[str, Any] = {"weights": "uniform" if arm == "uniform" else "meta", "shuffled": arm == "shuffled"}
    method = Mistaught(**{**vars(list_of(chosen("list", bench))), **how})
    learned, run = learned_by(method, task, zoo_model(MODEL), seed)
    value = float(np.mean(AUCS)) if AUCS else 0.5
    return {"accuracy": score_of(run, learned, task.open_test(), "accuracy"), "auc": value}


@measures("list-size", together=True)
def size(seed: int, bench: Bench) -> dict[str, dict[str, float]]:
    """Return the trained parameters on a RoBERTa of large size, whose weights are never there."""
    import torch
    from transformers import RobertaConfig, RobertaForMaskedLM

    from promptology.training.layers import block_outputs, head_weights

    shape = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
    with torch.device("meta"):
        model = RobertaForMaskedLM(RobertaConfig(vocab_size=50265, max_position_embeddings=514, **shape))
    adapters = sum(2 * LiST().rank * layer.outputs for layer in block_outputs(model))
    head = sum(p.numel() for p in head_weights(model).values())
    whole = sum(p.numel() for p in model.parameters())
    key = "trained parameters"
    return {"list": {key: float(adapters + head)}, "full": {key: float(whole)}}
