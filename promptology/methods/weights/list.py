"""LiST: a prompted language model teaches itself on unlabelled text, through small adapters alone.

Yaqing Wang, Subhabrata Mukherjee, Xiaodong Liu, Jing Gao, Ahmed Hassan Awadallah, Jianfeng Gao, "LiST: Lite Prompted
Self-training Makes Parameter-Efficient Few-shot Learners", Findings of NAACL 2022, arXiv:2110.06274 (settings marked
"code": microsoft/LiST).

    theta <- adapters h + W2 W1 h behind the last layer of each block's attention and feed-forward part, and the layers
             of the model's own head; all else is frozen;  p_theta(x) <- softmax over the label words at the gap of T(x)
    teacher 0: minimise the cross-entropy of p_theta on the K labelled texts
    round s = 1..S:
        q_i <- p_theta(x_i), the teacher's soft labels of all unlabelled texts;  theta <- fresh adapters
        for each step, x_1..x_B unlabelled:
            l_i <- KL(q_i || p_theta(x_i));  w_i <- 1/B in the first 60 % of the steps, then
                u_i <- <grad L_meta(theta), grad l_i(theta)>, L_meta the cross-entropy of some labelled texts
                w_i <- max(u_i, 0) / sum_j max(u_j, 0)
            theta <- AdamW on  sum_i w_i l_i
        then the K labelled texts again, with the same optimiser and schedule
    return the last student; no validation item takes part

The paper's u_i is -d L_meta(theta - eta grad sum_i w_i l_i) / d w_i at w = 0, which is eta times this product: no second
derivative is needed, and eta cancels in w. All B products come from one pass with derivatives along grad L_meta.
Where no u_i is above 0 the batch weighs nothing. The code adds 1e-6 to the sum, which its rate makes as large as the
sum itself; here it is left out. The backbone is the frozen model, so that fresh adapters are the paper's student anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from promptology.data.task import Task
from promptology.errors import UsageError
from promptology.methods.registry import method
from promptology.models.access import Trainable
from promptology.prompts.cloze import AUTO, KINDS, OUTPUTS, TOPIC
from promptology.prompts.learned import Learned
from promptology.run.cost import Cost
from promptology.run.engine import Run
from promptology.training.loop import PASSES

if TYPE_CHECKING:
    from torch import Tensor

    from promptology.training.adapters import Adapters
    from promptology.training.cloze import ClozeObjective

META = "meta"
TINY = 1e-30
"""In place of a sum of weights that is 0."""
LABELLED, UNIFORM, WEIGHTED = "labelled", "uniform", "weighted"
Pick = tuple[str, int, int]
"""A phase, the step, and the index of a text."""


@method(
    "list",
    family="weights",
    learns="weights",
    paper="arXiv:2110.06274",
    needs={"model": Trainable},
    kinds=KINDS,
    outputs=OUTPUTS,
)
@dataclass(frozen=True)
class LiST:
    """Tune adapters by self-training at a cloze."""

    words: str = ""
    """One label word of each class in their order, by commas; empty: the class names; auto: as of cloze-tuning."""
    template: str = TOPIC
    """T: {mask} for the gap, {input} for the text, or {name} for the fields of a pair."""
    rank: int = 128
    """Rank of the adapters (code)."""
    std: float = 0.0002
    """Standard deviation at which W1 and W2 start (code)."""
    relu: bool = False
    """Whether adapters have a ReLU (Houlsby); without, they can be merged into the model."""
    rounds: int = 6
    """S (code); 0: teacher 0 alone."""
    steps: int = 1000
    """Steps on unlabelled texts a round (code)."""
    batch: int = 16
    """B (code)."""
    labelled_batch: int = 4
    """Labelled texts per step (code)."""
    epochs: int = 50
    """Passes over the labelled texts, for teacher 0 and at the end of each round (code)."""
    teacher_steps: int = 0
    """Steps of teacher 0; 0: as the epochs say."""
    labelled_steps: int = -1
    """Labelled steps at the end of a round; -1: as the epochs say."""
    rate: float = 0.001
    """Rate of the students; the paper's is 1e-4, for a large model (code)."""
    teacher_rate: float = 0.001
    """Rate of teacher 0; the paper's is 5e-6, for a large model (code)."""
    weights: str = META
    """Weights of pseudo-labels: meta, or uniform."""
    warmup: float = 0.6
    """Share of a round's unlabelled steps whose weights are equal (code)."""
    meta_batch: int = 4
    """Labelled texts in L_meta (code)."""

    def plan(self, task: Task) -> Cost:
        """Return the passes of teacher 0 and of all rounds; raises UsageError where there are no texts for them."""
        self._unlabelled(task)
        labelled = sum(i.labelled for i in task.train)
        first, last, uniform = self._lengths(labelled)
        weighted = self.batch * (PASSES + 1) + PASSES * self.meta_batch
        each = uniform * PASSES * self.batch + (self.steps - uniform) * weighted
        each += PASSES * last * self.labelled_batch + len(task.unlabeled)
        words = labelled if self.words == AUTO else 0
        return Cost(passes=words + PASSES * first * self.labelled_batch + self.rounds * each)

    def fit(self, run: Run) -> Learned:
        """Return adapters and head of the last student, with template and words."""
        from promptology.training.cloze import ClozeObjective

        body = run.model().frozen()
        goal = ClozeObjective(run, body, self.template, self.words)
        rows = goal.clozes(self._unlabelled(run.task))
        theta = self._adapters(run, body, "teacher")
        self._train(run, goal, theta, rows, None, 0)
        for s in range(1, self.rounds + 1):
            run.keep(goal.learned(*theta.parts(), method="list"))
            q = self.pseudo_labels(run, goal, theta, rows, s)
            theta = self._adapters(run, body, f"student {s}")
            self._train(run, goal, theta, rows, q, s)
        return goal.learned(*theta.parts(), method="list")

    def _lengths(self, labelled: int) -> tuple[int, int, int]:
        """Return the steps of teacher 0, the labelled ones of a round, and its unlabelled ones with equal weights."""
        epochs = -(-self.epochs * labelled // self.labelled_batch)
        last = epochs if self.labelled_steps < 0 else self.labelled_steps
        uniform = round(self.warmup * self.steps) if self.weights == META else self.steps
        return self.teacher_steps or epochs, last, uniform

    def _unlabelled(self, task: Task) -> Sequence[Any]:
        if self.weights not in (META, UNIFORM):
            raise UsageError(f"weights of pseudo-labels are {META} or {UNIFORM}, not {self.weights!r}")
        if self.rounds and not task.unlabeled:
            raise UsageError(
                f"list learns from texts without labels, and task {task.name!r} has none: give a split "
                "'unlabeled' (--unlabeled FILE), or take cloze-tuning"
            )
        return task.unlabeled if self.rounds else ()

    def _adapters(self, run: Run, body: Any, name: str) -> Adapters:
        from promptology.training.adapters import Adapters

        made = Adapters(run, body, self.rank, std=self.std, relu=self.relu, head=True, name=name)
        if name == "teacher":
            trained = sum(p.numel() for p in made.parameters.values())
            run.log("list", trained=trained, share=trained / body.parameters(), unlabelled=len(run.task.unlabeled))
        return made

    def _train(self, run: Run, goal: ClozeObjective, theta: Adapters, rows: Any, q: Any, s: int) -> None:
        """Make the unlabelled steps of round s, and then its labelled ones; round 0 is teacher 0's."""
        from promptology.injection import attach
        from promptology.training.batches import Batches
        from promptology.training.influence import divergence
        from promptology.training.loop import Group, train

        first, last, uniform = self._lengths(len(goal.items))
        unlabelled, labelled = (self.steps, last) if s else (0, first)
        if unlabelled + labelled == 0:
            return
        mine = Batches(range(len(goal.items)), self.labelled_batch, run.rng(f"labelled, round {s}"))
        meta = Batches(range(len(goal.items)), self.meta_batch, run.rng(f"meta, round {s}"))
        lengths = [len(row) for row in rows]
        others = (
            Batches(range(len(rows)), self.batch, run.rng(f"unlabelled, round {s}"), lengths) if unlabelled else mine
        )

        def batches(k: int) -> list[Pick]:
            if k >= unlabelled:
                return [(LABELLED, k, i) for i in mine(k - unlabelled)]
            return [(UNIFORM if k < uniform else WEIGHTED, k, i) for i in others(k)]

        def step(picks: list[Pick]) -> Tensor:
            (phase, k, _), chosen = picks[0], [i for _, _, i in picks]
            with goal.body.lock:
                if phase == LABELLED:
                    with attach(goal.body.model, theta.fillings()):
                        return goal.loss(chosen)
                some, target = [rows[i] for i in chosen], q[chosen]
                w = self.weigh(goal, theta, some, target, meta(k), chosen) if phase == WEIGHTED else None
                with attach(goal.body.model, theta.fillings()):
                    losses = divergence(goal, some, target)
            return losses.mean() if w is None else (w * losses).sum()

        def cost(picks: list[Pick]) -> Cost:
            weighted = picks[0][0] == WEIGHTED
            # Texts whose weights are asked for go through the model once more, labelled ones for their gradient.
            return Cost(passes=PASSES * len(picks) + weighted * (len(picks) + PASSES * self.meta_batch))

        groups = [Group("adapters", theta.parameters, self.rate if s else self.teacher_rate)]
        train(run, step, batches, groups, steps=unlabelled + labelled, cost=cost)

    def pseudo_labels(self, run: Run, goal: ClozeObjective, theta: Adapters, rows: Any, s: int) -> Tensor:
        """Return the teacher's class probabilities of all unlabelled texts, float32 (texts, classes)."""
        from promptology.training.pseudo import soft_labels

        return soft_labels(run, goal, theta, rows, f"round {s}")

    def weigh(
        self, goal: ClozeObjective, theta: Adapters, rows: Any, q: Tensor, labelled: Sequence[int], texts: Sequence[int]
    ) -> Tensor:
        """Return the weights of a batch of pseudo-labelled `texts`, (B,), with 1 in sum, or 0 where none would help."""
        from promptology.training.influence import influence

        u = influence(goal, theta, rows, q, labelled).clamp(min=0)
        return u / u.sum().clamp(min=TINY)
