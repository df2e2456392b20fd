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
from promptology.prompts.cloze import TOPIC
from promptology.prompts.learned import Learned
from promptology.run.cost import Cost
from promptology.run.engine import Run
from promptology.training.loop import PASSES

if TYPE_CHECKING:
    from torch import Tensor

    from promptology.training.adapters import Adapters
    from promptology.training.cloze import ClozeObjective

META = "meta"
ALONG = 2
"""Passes that an item costs with derivatives along a direction: each product of the pass is made twice."""
LABELLED, UNIFORM, WEIGHTED = "labelled", "uniform", "weighted"
Pick = tuple[str, int]
"""A phase, and the index of a text in it."""


@method("list", family="weights", learns="weights", paper="arXiv:2110.06274", needs={"model": Trainable})
@dataclass(frozen=True)
class LiST:
    """Tune adapters by self-training at a cloze."""

    template: str = TOPIC
    """T: {mask} for the gap, {input} for the text, or {name} for the fields of a pair."""
    words: str = ""
    """One label word of each class in their order, by commas; empty: the class names."""
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
        """Return the passes of teacher 0 and of all rounds."""
        first, last, uniform = self._lengths(sum(i.labelled for i in task.train))
        weighted = self.batch * (PASSES + ALONG) + PASSES * self.meta_batch
        each = uniform * PASSES * self.batch + (self.steps - uniform) * weighted
        each += PASSES * last * self.labelled_batch + len(task.unlabeled)
        return Cost(passes=PASSES * first * self.labelled_batch + self.rounds * each)

    def fit(self, run: Run) -> Learned:
        """Return adapters and head of the last student, with template and words."""
        from promptology.training.cloze import ClozeObjective

        body = run.model().frozen()
        goal = ClozeObjective(run, body, self.template, self.words)
        texts = self._unlabelled(run)
        rows = goal.clozes(texts)
        first, last, _ = self._lengths(len(goal.items))
        theta = self._adapters(run, body, "teacher")
        self._train(run, goal, theta, rows, None, 0, first)
        for s in range(1, self.rounds + 1):
            run.keep(goal.learned(*theta.parts(), method="list"))
            q = self.pseudo_labels(run, goal, theta, rows, s)
            theta = self._adapters(run, body, f"student {s}")
            self._train(run, goal, theta, rows, q, self.steps, last)
        return goal.learned(*theta.parts(), method="list")

    def _lengths(self, labelled: int) -> tuple[int, int, int]:
        """Return the steps of teacher 0, the labelled ones of a round, and its unlabelled ones with equal weights."""
        epochs = -(-self.epochs * labelled // self.labelled_batch)
        last = epochs if self.labelled_steps < 0 else self.labelled_steps
        uniform = round(self.warmup * self.steps) if self.weights == META else self.steps
        return self.teacher_steps or epochs, last, uniform

    def _unlabelled(self, run: Run) -> Sequence[Any]:
        if self.weights not in (META, UNIFORM):
            raise UsageError(f"weights of pseudo-labels are {META} or {UNIFORM}, not {self.weights!r}")
        if self.rounds and not run.task.unlabeled:
            raise UsageError(
                f"list learns from texts without labels, and task {run.task.name!r} has none: give a split "
                "'unlabeled', or take cloze-tuning"
            )
        return run.task.unlabeled if self.rounds else ()

    def _adapters(self, run: Run, body: Any, name: str) -> Adapters:
        from promptology.training.adapters import Adapters

        made = Adapters(run, body, self.rank, std=self.std, relu=self.relu, head=True, name=name)
        if name == "teacher":
            trained = sum(p.numel() for p in made.parameters.values())
            run.log("list", trained=trained, share=trained / body.parameters(), unlabelled=len(run.task.unlabeled))
        return made

    def _train(
        self, run: Run, goal: ClozeObjective, theta: Adapters, rows: Any, q: Any, unlabelled: int, labelled: int
    ) -> None:
        """Make the unlabelled steps of a round, and then its labelled ones."""
        from promptology.injection import attach
        from promptology.training.batches import Batches
        from promptology.training.loop import Group, train

        body, B = goal.body, self.batch
        if unlabelled + labelled == 0:
            return
        mine = Batches(range(len(goal.items)), self.labelled_batch, run.rng("labelled"))
        meta = Batches(range(len(goal.items)), self.meta_batch, run.rng("meta"))
        others = Batches(range(len(rows)), B, run.rng("unlabelled"), [len(r) for r in rows]) if unlabelled else None
        uniform = self._lengths(len(goal.items))[2]

        def batches(k: int) -> list[Pick]:
            if k >= unlabelled or others is None:
                return [(LABELLED, i) for i in mine(k - unlabelled)]
            if k < uniform:
                return [(UNIFORM, i) for i in others(k)]
            # Texts of L_meta stand behind: one step, one batch.
            return [*((WEIGHTED, i) for i in others(k)), *((META, i) for i in meta(k))]

        def step(picks: list[Pick]) -> Tensor:
            chosen = [i for phase, i in picks if phase != META]
            with body.lock:
                if picks[0][0] == LABELLED:
                    with attach(body.model, theta.fillings()):
                        return goal.loss(chosen)
                some, target = [rows[i] for i in chosen], q[chosen]
                w = None
                if picks[0][0] == WEIGHTED:
                    labelled = [i for phase, i in picks if phase == META]
                    w = self.weigh(goal, theta, some, target, labelled, chosen)
                with attach(body.model, theta.fillings()):
                    losses = divergence(goal, some, target)
            return losses.mean() if w is None else (w * losses).sum()

        def cost(picks: list[Pick]) -> Cost:
            along = ALONG * sum(phase == WEIGHTED for phase, _ in picks)
            return Cost(passes=PASSES * len(picks) + along)

        rate = self.rate if unlabelled else self.teacher_rate
        groups = [Group("adapters", theta.parameters, rate)]
        train(run, step, batches, groups, steps=unlabelled + labelled, cost=cost)

    def pseudo_labels(self, run: Run, goal: ClozeObjective, theta: Adapters, rows: Any, s: int) -> Tensor:
        """Return the teacher's class probabilities of all unlabelled texts, float32 (texts, classes)."""
        import torch

        from promptology.injection import attach
        from promptology.prompts.arrays import fingerprint
        from promptology.training.initial import array

        mark = fingerprint({name: array(p) for name, p in theta.parameters.items()})
        parts = ["pseudo-labels", mark, goal.readout.to_json(), rows]

        def work() -> dict[str, Any]:
            with goal.body.quiet(), attach(goal.body.model, theta.fillings()):
                found = [goal.class_logprobs(rows[at : at + 64]) for at in range(0, len(rows), 64)]
            return {"q": array(torch.cat(found).exp())}

        q = torch.tensor(run.model().compute(parts, len(rows), work)["q"], device=goal.body.device)
        counts = torch.bincount(q.argmax(dim=1), minlength=q.shape[1]).tolist()
        run.log("pseudo-labels", round=s, confidence=float(q.amax(dim=1).mean()), most=max(counts), least=min(counts))
        if max(counts) == len(rows):
            only = goal.signature.class_names[counts.index(max(counts))]
            run.warn(f"round {s}: the teacher calls every unlabelled text {only!r}; self-training can only repeat that")
        return q

    def weigh(
        self, goal: ClozeObjective, theta: Adapters, rows: Any, q: Tensor, labelled: Sequence[int], texts: Sequence[int]
    ) -> Tensor:
        """Return the weights of a batch of pseudo-labelled `texts`, (B,), with 1 in sum, or 0 where none would help."""
        u = influence(goal, theta, rows, q, labelled).clamp(min=0)
        return u / u.sum().clamp(min=torch_tiny(u))


def torch_tiny(u: Tensor) -> float:
    """Return the smallest normal number of a tensor's type."""
    import torch

    return float(torch.finfo(u.dtype).tiny)


def divergence(goal: ClozeObjective, rows: Any, q: Tensor) -> Tensor:
    """Return KL(q_i || p(x_i)) of each row, in nats, under whatever is attached."""
    import torch

    losses: Tensor = (torch.special.xlogy(q, q) - q * goal.class_logprobs(rows)).sum(dim=1)
    return losses


def influence(goal: ClozeObjective, theta: Adapters, rows: Any, q: Tensor, labelled: Sequence[int]) -> Tensor:
    """Return u_i = <grad L_meta, grad l_i> over all that is trained, for each row: (B,)."""
    import torch
    from torch.autograd import forward_ad
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from promptology.injection import attach

    model, parameters = goal.body.model, theta.parameters
    with torch.enable_grad(), attach(model, theta.fillings()):
        g = torch.autograd.grad(goal.loss(labelled), list(parameters.values()), allow_unused=True)
    # Fused attention has no derivative along a direction; this one is made of operations that have.
    with torch.no_grad(), forward_ad.dual_level(), sdpa_kernel(SDPBackend.MATH):
        along = {
            name: p.detach() if d is None else forward_ad.make_dual(p.detach(), d)
            for (name, p), d in zip(parameters.items(), g, strict=True)
        }
        with attach(model, theta.fillings(along)):
            found = forward_ad.unpack_dual(divergence(goal, rows, q)).tangent
    return torch.zeros(len(rows), device=q.device) if found is None else found
