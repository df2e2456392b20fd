"""PET: models tuned at the gaps of several patterns say what unlabelled texts are, and one classifier learns from them.

Timo Schick, Hinrich Schuetze, "Exploiting Cloze Questions for Few Shot Text Classification and Natural Language
Inference", EACL 2021, arXiv:2001.07676 (PET and iPET; settings marked "code": timoschick/pet).

    for each pattern p:  w_p <- share of the labelled texts L that the model reads rightly at p before anything is tuned
        for each repetition:  M <- tuned at the gap on  -log softmax(z(x))_y  of L
    for each generation, of iPET alone:
        for each M:  q <- softmax of the mean of z, weighted by w, of a random quarter of the other models
                     T <- texts that q calls y, drawn with chances as q is sure, in the shares of L, five times as many
                          as in the generation before;   M <- tuned anew on L and T
    q(x) <- softmax(sum w_p z_M(x) / sum w_p / 2)                             (soft labels at temperature 2)
    C <- the model with a plain head, tuned on  4 KL(q || softmax(C(x) / 2))  of all unlabelled texts
    predict: one pass of C

What differs: adapters are tuned by default (`tune=full`: all weights, as in the paper); the loss of masked words beside
that of the gap (1 - alpha = 0.0001 of it in the code) is left out; no validation item takes part.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from promptology.data.task import Task
from promptology.errors import UsageError
from promptology.methods.registry import method
from promptology.models.access import Trainable
from promptology.prompts.cloze import AUTO, KINDS, OUTPUTS
from promptology.prompts.learned import Learned
from promptology.run.cost import Cost
from promptology.run.engine import Run
from promptology.training.loop import PASSES

if TYPE_CHECKING:
    from torch import Tensor

    from promptology.training.cloze import ClozeObjective

PARTED = "||"
PATTERNS = "{input} it was about {mask}. || {input} all in all it is {mask}. || {input} this is {mask}."
WMEAN, UNIFORM = "accuracy", "uniform"
Set = list[tuple[int, int]]
"""Unlabelled texts by their number, each with the class that it is taken to be."""


@method(
    "pet",
    family="weights",
    learns="weights, head",
    paper="arXiv:2001.07676",
    needs={"model": Trainable},
    kinds=KINDS,
    outputs=OUTPUTS,
)
@dataclass(frozen=True)
class PET:
    """Tune a model at several patterns, and distil what they say of unlabelled texts into one classifier."""

    words: str = ""
    """The words of each class in their order, "great|good, terrible"; empty: the class names; auto: as of
    cloze-tuning."""
    templates: str = PATTERNS
    """Patterns, parted by ||: {mask} for the gap, {input} for the text, or {name} for the fields of a pair."""
    repetitions: int = 3
    """Models of each pattern (section 3.2)."""
    weighting: str = WMEAN
    """How patterns count: accuracy, that on labelled texts before anything is tuned (section 3.3), or uniform."""
    temperature: float = 2.0
    """Temperature of soft labels and of the classifier that learns from them (section 3.3)."""
    generations: int = 0
    """Generations of iPET, 0 for PET; the paper's iPET makes 3."""
    growth: int = 5
    """By how much a generation's training set grows (section 3.4)."""
    share: float = 0.25
    """Share of the other models that say what a model's further texts are (section 3.4)."""
    tune: str = "adapters"
    """What is tuned: adapters, or full (all weights, as in the paper)."""
    rank: int = 128
    """Rank of the adapters (LiST)."""
    std: float = 0.0002
    """Standard deviation at which adapters start (LiST)."""
    rate: float = 0.001
    """Rate; the paper's is 1e-5, for all weights of a large model."""
    head_rate: float = 0.001
    """Rate of the classifier's head (ours)."""
    steps: int = 250
    """Steps of each model (ours)."""
    batch: int = 8
    """Labelled texts per step (ours)."""
    student_steps: int = 1000
    """Steps of the classifier (ours)."""
    student_batch: int = 16
    """Unlabelled texts per step of the classifier (ours)."""
    decay: float = 0.01
    """Weight decay."""
    warmup: float = 0.06
    """Share of the steps over which the rate rises."""

    def plan(self, task: Task) -> Cost:
        """Return the passes of all models and of the classifier; raises UsageError where there are no texts for them."""
        self._check(task)
        patterns = len(self._patterns)
        models = patterns * self.repetitions
        labelled, unlabelled = sum(i.labelled for i in task.train), len(task.unlabeled)
        one = PASSES * self.steps * self.batch + unlabelled
        read = labelled * patterns * ((self.weighting == WMEAN) + (self.words == AUTO))
        student = PASSES * self.student_steps * self.student_batch
        return Cost(passes=read + models * (1 + self.generations) * one + student)

    def fit(self, run: Run) -> Learned:
        """Return the classifier: the weights that moved, and its head."""
        from promptology.training.cloze import ClozeObjective
        from promptology.training.pseudo import ensembled, watch

        self._check(run.task)
        body, D = run.model().frozen(), run.task.unlabeled
        goals = [ClozeObjective(run, body, template, self.words) for template in self._patterns]
        rows = [goal.clozes(D) for goal in goals]
        models = list(itertools.product(range(len(goals)), range(self.repetitions)))
        w = [self._weight(run, goal) for goal in goals]
        w = w if sum(w) else [1.0] * len(w)
        weights = np.array([w[p] for p, _ in models])
        run.log("patterns", **{f"weight_{p + 1}": weight for p, weight in enumerate(w)})
        sets: list[Set] = [[] for _ in models]
        for g in range(self.generations + 1):
            tuned = [
                self._said(run, goals[p], rows[p], f"generation {g}, model {p + 1}.{r + 1}", more)
                for (p, r), more in zip(models, sets, strict=True)
            ]
            z = np.stack(tuned)
            if g < self.generations:
                sets = [self._annotated(run, z, weights, n, g + 1) for n in range(len(models))]
        q = ensembled(z, weights, self.temperature)
        watch(run, q, run.task.signature.class_names, "classifier")
        return self._distilled(run, body, q)

    @property
    def _patterns(self) -> list[str]:
        return [text.strip() for text in self.templates.split(PARTED)]

    def _check(self, task: Task) -> None:
        if self.weighting not in (WMEAN, UNIFORM):
            raise UsageError(f"patterns count by {WMEAN} or {UNIFORM}, not {self.weighting!r}")
        if min(self.repetitions, self.steps, self.student_steps, self.growth) < 1 or self.generations < 0:
            raise UsageError("pet needs at least one repetition, one step, and a growth of 1; generations is 0 or more")
        if not (0 < self.share <= 1 and self.temperature > 0):
            raise UsageError(f"share is {self.share} and temperature {self.temperature}; above 0, a share 1 at most")
        if self.generations and len(self._patterns) * self.repetitions < 2:
            raise UsageError("in iPET models learn from each other: give several patterns, or repetitions")
        if not task.unlabeled:
            raise UsageError(
                f"pet learns from texts without labels, and task {task.name!r} has none: give a split "
                "'unlabeled' (--unlabeled FILE), or take cloze-tuning"
            )

    def _weight(self, run: Run, goal: ClozeObjective) -> float:
        """w_p: return the share of labelled texts that a pattern reads rightly before anything is tuned."""
        if self.weighting == UNIFORM:
            return 1.0
        from promptology.training.pseudo import class_scores_of

        found = class_scores_of(run, goal, goal.rows, ()).argmax(axis=1)
        return float((found == goal.gold.cpu().numpy()).mean())

    def _said(self, run: Run, goal: ClozeObjective, rows: Any, name: str, more: Set) -> Any:
        """Return what a model, tuned on L and on further texts, says of all unlabelled ones, (texts, classes)."""
        from promptology.injection import attach
        from promptology.training.batches import Batches
        from promptology.training.loop import Group, train
        from promptology.training.pseudo import class_scores_of
        from promptology.training.tuned import tuned

        theta = tuned(run, goal.body, self.tune, self.rank, self.std, head=True, name=name)
        grown = goal.grown([rows[n] for n, _ in more], [c for _, c in more])
        batches = Batches(range(len(grown.rows)), self.batch, run.rng(f"batches, {name}"), [len(r) for r in grown.rows])

        def loss(chosen: list[int]) -> Tensor:
            with goal.body.lock, attach(goal.body.model, theta.fillings()):
                return grown.loss(chosen)

        how: dict[str, Any] = {"steps": self.steps, "warmup": self.warmup, "label": "teacher"}
        train(run, loss, batches, [Group("weights", theta.parameters, self.rate, self.decay)], **how)
        run.keep(goal.learned(*theta.parts(), method="pet"))
        return class_scores_of(run, goal, rows, theta.fillings(), theta.parameters)

    def _annotated(self, run: Run, z: Any, weights: Any, n: int, g: int) -> Set:
        """T: return the further texts of a model in a generation, as some of the others call them."""
        from promptology.training.pseudo import drawn_texts, ensembled

        rng, names = run.rng(f"generation {g}, set {n}"), run.task.signature.class_names
        others = [k for k in range(len(z)) if k != n]
        size = max(1, round(self.share * len(others)))
        some = sorted(rng.choice(others, size, replace=False).tolist())
        q = ensembled(z[some], weights[some])
        counts = [sum(i.target == name for i in run.task.train if i.labelled) for name in names]
        wanted = [count * (self.growth**g - 1) for count in counts]  # with L it is growth^g times as many
        found = drawn_texts(q, wanted, rng)
        run.log("generation", generation=g, model=n + 1, texts=len(found))
        return found

    def _distilled(self, run: Run, body: Any, q: Any) -> Learned:
        """C: return the classifier that learned the soft labels."""
        import torch

        from promptology.injection import attach
        from promptology.training.batches import Batches
        from promptology.training.loop import Group, train
        from promptology.training.objectives import HeadObjective
        from promptology.training.tuned import tuned

        goal = HeadObjective(run, body)
        theta = tuned(run, body, self.tune, self.rank, self.std, head=False, name="classifier")
        rows = goal.encoded(run.task.unlabeled)
        target, T = torch.tensor(q, dtype=torch.float32, device=body.device), self.temperature
        lengths = [len(row) for row in rows]
        batches = Batches(range(len(rows)), self.student_batch, run.rng("batches, classifier"), lengths)

        def loss(chosen: list[int]) -> Tensor:
            with body.lock, attach(body.model, theta.fillings()):
                logs = torch.log_softmax(goal.scores([rows[i] for i in chosen]) / T, dim=1)
            return T * T * torch.nn.functional.kl_div(logs, target[chosen], reduction="batchmean")

        groups = [Group("weights", theta.parameters, self.rate, self.decay), *goal.groups(self.head_rate, self.decay)]
        train(run, loss, batches, groups, steps=self.student_steps, warmup=self.warmup, label="classifier")
        return goal.learned(*theta.parts(), method="pet")
