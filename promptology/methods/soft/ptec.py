"""PTEC: virtual tokens and a classification head on the last state, trained together at rates of their own.

Valentin Leonhard Buchner, Lele Cao, Jan-Christoph Kalo, Vilhelm von Ehrenheim, "Prompt Tuned Embedding Classification
for Multi-Label Industry Sector Allocation", 2023, arXiv:2309.12075 (settings marked "code": EQTPartners/PTEC).

    P <- l embeddings: tokens of the class names, a fixed run of the vocabulary behind them
    W <- C x d numbers in +-1/sqrt(d), no bias
    for each step:
        h <- last hidden state of [P; E(text + cue)] at the last token     (an encoder: its own pooling)
        s <- W h
        loss <- mean over items and classes of the binary cross-entropy of sigmoid(s_c), positives weighing
                max_k n_k / n_c                                            (one class an item: cross-entropy)
        P, W <- AdamW at two rates, which fall exponentially to 1 %; gradients of norm 1 at most
    each epoch: macro F1 on validation items; keep the state where it rises by more than 0.005, stop after 2 epochs
    without
    predict every class with s_c > 0

What differs: the rate of P is a multiple of E, the mean norm of the model's embeddings. Nothing is searched (the paper
tries 40 settings), and no run is given up for a low score. Thresholds can be set on validation items afterwards, which
the paper does not do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from promptology.data.task import Task
from promptology.methods.registry import method
from promptology.models.access import Differentiable
from promptology.prompts.learned import Learned, Part, Readout
from promptology.prompts.sites import SiteTensors
from promptology.run.cost import Cost
from promptology.run.engine import Run

if TYPE_CHECKING:
    from promptology.training.objectives import HeadObjective

CUE = " It belongs to:"


@method("ptec", family="soft", learns="tensors, head", paper="arXiv:2309.12075", needs={"model": Differentiable})
@dataclass(frozen=True)
class PTEC:
    """Learn virtual tokens together with a classification head."""

    length: int = 20
    """l: virtual tokens; the paper's are 50 to 200. 0: a head alone."""
    init: str = "names"
    """Where they start: names (tokens of the class names, section 3), run (a fixed run of the vocabulary), or
    vocabulary, classes, random as for prompt tuning."""
    rate: float = 0.03
    """Rate of the prompt as a multiple of E; 0 leaves it as it starts. The paper searches 1e-9 to 1 (code)."""
    head_rate: float = 0.03
    """Rate of the head; the paper searches 1e-9 to 0.1 (code)."""
    decay: float = 0.01
    """Weight decay of prompt and head; the paper searches up to 0.5 (code)."""
    epochs: float = 10.0
    """Passes over the training items; the paper's are 5 to 18 (code)."""
    steps: int = 0
    """Steps of gradient; 0: as many as the epochs take, which may be none."""
    batch: int = 32
    """Items per step (code)."""
    micro: int = 0
    """Items at once; 0: the whole batch. The paper's are 2 to 8 (code)."""
    patience: int = 2
    """Epochs without a better score after which the training ends; 0: never (code)."""
    better_by: float = 0.005
    """By how much macro F1 must rise to count (code)."""
    select: bool = True
    """Whether the best state on validation items is kept; false: the last one, and nothing is scored."""
    cap: float = 0.0
    """Largest weight of a rare class; 0: none, as in the paper's code."""
    cue: str = CUE
    """What stands behind a text, so that the last token asks for the classes."""
    thresholds: bool = False
    """Whether each class gets the threshold that is best on validation items, where several classes may apply."""

    def _steps(self, items: int) -> tuple[int, int]:
        """Return the steps of gradient, and of one epoch."""
        epoch = max(1, -(-items // self.batch))
        return self.steps or -(-round(self.epochs * items) // self.batch), epoch

    def plan(self, task: Task) -> Cost:
        """Return three passes for each item of each step, and one for each validation item after each epoch."""
        steps, epoch = self._steps(sum(i.labelled for i in task.train))
        checks = -(-steps // epoch) if self.select else int(self.thresholds)
        return Cost(passes=3 * steps * self.batch + checks * sum(i.labelled for i in task.validation))

    def fit(self, run: Run) -> Learned:
        """Return the virtual tokens and the head."""
        from promptology.injection import Filling, attach
        from promptology.training.initial import array, virtual_tokens
        from promptology.training.loop import Group, train
        from promptology.training.objectives import HeadObjective

        body = run.model().frozen()
        goal = HeadObjective(run, body, bias=False, cap=self.cap, cue=self.cue, room=self.length)
        P = virtual_tokens(run, body, self.length, self.init) if self.length else None
        groups = goal.groups(self.head_rate, self.decay)
        if P is not None:
            P.requires_grad_(self.rate > 0)
            groups = [Group("prompt", {"P": P}, self.rate * body.norm, self.decay), *groups]
        inside = [] if P is None else [Filling(goal.site, P)]

        def loss(batch):  # type: ignore[no-untyped-def]
            with body.lock, attach(body.model, inside):
                return goal.loss(batch)

        def learned() -> Learned:
            parts: list[Part] = [] if P is None else [SiteTensors(goal.site, array(P))]
            return goal.learned(*parts, method="ptec")

        steps, epoch = self._steps(len(goal.items))
        if steps:
            train(
                run,
                loss,
                goal.batches(self.batch),
                groups,
                steps=steps,
                schedule="exponential",
                evaluate=goal.validate(learned, "macro_f1") if self.select else None,
                every=epoch,
                patience=self.patience,
                better_by=self.better_by,
                micro=self.micro,
            )
        found = learned()
        run.keep(found)
        return self._with_thresholds(run, goal, found) if self.thresholds and goal.several else found

    def _with_thresholds(self, run: Run, goal: HeadObjective, learned: Learned) -> Learned:
        """Return what was learned with the best threshold of each class on validation items, and say what it brings."""
        from promptology.training.objectives import gold_of, score_of
        from promptology.training.thresholds import best_thresholds, scores_of

        items = [i for i in run.task.validation if i.labelled]
        if not items:
            run.warn("thresholds need labelled validation items; there are none, so a probability of one half decides")
            return learned
        names = goal.signature.class_names
        scores, gold = scores_of(run, learned, items), gold_of(items, names).numpy()
        found = best_thresholds(scores, gold)
        readout = learned.readout
        options = {**readout.options, "thresholds": dict(zip(names, map(float, found), strict=True))}
        tuned = learned.with_parts(Readout("head", options, readout.arrays))
        before, after = (score_of(run, one, items, "macro_f1") for one in (learned, tuned))
        run.log("thresholds", macro_f1_without=before, macro_f1_with=after)
        return tuned
