"""Cloze tuning: prompt-based fine-tuning of a language model at the gap of a template, as in PET and LM-BFF.

Timo Schick, Hinrich Schuetze, "Exploiting Cloze Questions for Few Shot Text Classification and Natural Language
Inference", EACL 2021, arXiv:2001.07676 (PET); Tianyu Gao, Adam Fisch, Danqi Chen, "Making Pre-trained Language Models
Better Few-shot Learners", ACL 2021, arXiv:2012.15723 (LM-BFF: settings).

    T(x) <- a template with the text and one mask;  v(y) <- the words of each class, one token each
    z_y(x) <- mean of the model's own logits of v(y) at the mask
    for each step:
        theta <- AdamW on  -log softmax(z(x))_y                    (over the classes alone)
    keep the state that is best on validation items

Nothing is added to the model for that, so it answers before it has learned anything: `tune=none` is the cloze read as
it is. `tune=full` trains all weights, as both papers do; `adapters` a few percent of them (LiST, arXiv:2110.06274). The
model itself stays as it is. A causal model has its gap at the end of the template; an encoder-decoder reads the whole
template, and says the word first of all.

With `words=auto` the label words are those that the model expects at the gap of a class's training texts (LM-BFF,
section 5.1); `candidates` of them are tuned, and validation items choose. PET's ensembles over patterns, with what they
teach a classifier, are the method `pet`. Not here: LM-BFF's generated templates and demonstrations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from promptology.data.task import Task
from promptology.errors import UsageError
from promptology.methods.registry import method
from promptology.models.access import Trainable
from promptology.prompts.cloze import AUTO, KINDS, OUTPUTS, TOPIC, label_words
from promptology.prompts.learned import Learned
from promptology.run.cost import Cost
from promptology.run.engine import Run
from promptology.training.loop import PASSES
from promptology.training.planning import every

if TYPE_CHECKING:
    from promptology.training.cloze import ClozeObjective

TUNED = ("adapters", "full", "none")


@method(
    "cloze-tuning",
    family="weights",
    learns="weights",
    paper="arXiv:2001.07676",
    needs={"model": Trainable},
    kinds=KINDS,
    outputs=OUTPUTS,
)
@dataclass(frozen=True)
class ClozeTuning:
    """Tune a language model on the words that name the classes."""

    words: str = ""
    """v: the words of each class in their order, "great|good, terrible"; empty: the class names; auto: found on
    the training texts (LM-BFF, section 5.1)."""
    candidates: int = 1
    """With words=auto: so many of the best combinations are tuned, the one that validation items like best is kept
    (LM-BFF's code: 100)."""
    template: str = TOPIC
    """T: {mask} for the gap, {input} for the text, or {name} for the fields of a pair."""
    aggregate: str = "mean"
    """How several words of a class count: mean of their logits (PET), or words, their share of all words (KPT)."""
    tune: str = "adapters"
    """What is trained: adapters and the head's own layers, full (all weights, as in the papers), or none."""
    rank: int = 128
    """Rank of the adapters (LiST)."""
    std: float = 0.0002
    """Standard deviation at which adapters start (LiST)."""
    rate: float = 0.001
    """Rate; 1e-5 to 5e-5 where all weights of a large model are trained (LM-BFF)."""
    steps: int = 1000
    """Steps of gradient (LM-BFF)."""
    batch: int = 8
    """Items per step (LM-BFF: 2, 4 or 8)."""
    schedule: str = "linear"
    """Rate over the steps: linear, constant, cosine, exponential or one-cycle."""
    warmup: float = 0.06
    """Share of the steps over which the rate rises."""
    decay: float = 0.01
    """Weight decay."""
    checks: int = 10
    """How often the state is scored on validation items (LM-BFF: every 100 steps); the best is kept. 0: the last is."""

    def plan(self, task: Task) -> Cost:
        """Return three passes for each item of each step, and the scoring of validation items, one for each word."""
        found = sum(i.labelled for i in task.train) if self.words == AUTO else 0
        if self.tune == "none":
            return Cost(passes=found)
        words = sum(map(len, label_words(self.words, task.signature).values())) if task.signature.classes else 1
        scored = sum(i.labelled for i in task.validation) * words
        between = every(self)
        checks = -(-self.steps // between) if between else 0
        one = PASSES * self.steps * self.batch + checks * scored
        return Cost(passes=found + (self.candidates * (one + scored) if self._choosing else one))

    @property
    def _choosing(self) -> bool:
        return self.words == AUTO and self.candidates > 1

    def fit(self, run: Run) -> Learned:
        """Return the weights that moved, with template and words."""
        from promptology.training.cloze import ClozeObjective
        from promptology.training.objectives import score_of

        if self.candidates < 1:
            raise UsageError(f"{self.candidates} candidates leave nothing to tune; take 1 or more")
        if self.tune not in TUNED:
            raise UsageError(f"cloze-tuning tunes {', '.join(TUNED)}, not {self.tune!r}")
        body = run.model().frozen()
        goal = ClozeObjective(run, body, self.template, self.words, self.aggregate, self.candidates)
        if self.tune == "none":
            return goal.learned(method="cloze-tuning")
        if not self._choosing:
            return self._tuned(run, goal)
        held = [i for i in run.task.validation if i.labelled]
        if not held:
            raise UsageError(
                f"candidates are chosen on validation items, and task {run.task.name!r} has no labelled ones"
            )
        best, kept = -math.inf, run.start
        for words in goal.found:
            learned = self._tuned(run, ClozeObjective(run, body, self.template, words, self.aggregate))
            figure = score_of(run, learned, held)
            run.log("candidate", words=words, score=figure)
            if figure > best:
                best, kept = figure, learned
                run.keep(kept)
        return kept

    def _tuned(self, run: Run, goal: ClozeObjective) -> Learned:
        """Return what is learned with the words of an objective."""
        from promptology.training.inside import train_inside
        from promptology.training.loop import Group
        from promptology.training.tuned import tuned

        body = goal.body
        theta = tuned(run, body, self.tune, self.rank, self.std, head=True, name="cloze")
        run.log("cloze-tuning", tune=self.tune, parameters=sum(p.numel() for p in theta.parameters.values()))
        groups = [Group("weights", theta.parameters, self.rate, self.decay)]
        return train_inside(run, goal, self, groups, theta.fillings, "cloze-tuning", theta.parts)
