"""MIPRO (version 2): instructions times demonstrations. Opsahl-Ong et al. 2024, arXiv:2406.11695, as in DSPy.

    D <- N sets of demonstrations: none, labelled, bootstrapped      P <- the start's instruction and N / 2 - 1 proposals,
    V <- a fixed random set of labelled items                             each from a set of D, a look at the data, a tip
    H <- {((i0, d0), mean on V)}
    for t = 1..max(4 log2 N, 1.5 N):
        (i, d) <- TPE(H)                                             multivariate; H: trials and what they scored
        H      <- H + {((i, d), mean on a mini-batch B of V)}
        every 5 trials: the best (i, d) by its mean so far that was not yet scored on all of V, is
    return the best (i, d) of those that were scored on all of V

N, |V| and trials are 6, 100, 10 (light), 12, 300, 18 (medium) or 18, 1000, 27 (heavy), as of DSPy in August 2026. Calls:
4 N for bootstrapping, N / 2 for the optimizer, and |V| + |B| trials + (|V| - |B|) (trials // 5) for scores. Choices of
ours: a mini-batch is the next |B| items of V that the combination was not scored on, in one order for all, so that
combinations are compared on the same items (DSPy draws items at random) and scores add up instead of being paid twice;
a combination that was scored on all of V is not tried again; one call looks at the data (DSPy: up to 10). The first 10
trials are drawn at random, Optuna's default: a light run is a random search. The best few are scored again on items
that the search never saw (a third of the validation split is kept for them), and those scores choose.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from promptology.data.extras import require
from promptology.data.task import Task
from promptology.methods.registry import method
from promptology.models.access import Generates, Scores
from promptology.prompts.learned import Demonstrations, Learned
from promptology.prompts.render import examples_block, frame
from promptology.run.cost import Cost
from promptology.run.engine import Run
from promptology.search.boards import Board
from promptology.search.demonstrations import (
    as_examples,
    demonstration_sets,
    draw_demonstrations,
    labelled_train,
    shortened,
)
from promptology.search.planning import PROPOSAL, divided, estimated, plain_start, scores
from promptology.search.proposing import brief, distinct, propose
from promptology.search.rescoring import apart, rescore
from promptology.search.tpe import TPE

LOOK = """These are inputs of a task and their right outputs.

<examples>
{examples}
</examples>

Describe this data in two or three sentences: what the inputs are about, how they are written, what the outputs look like, and what is easy to overlook."""
PROPOSE = """You see an instruction that is given to an assistant together with each input, a description of the data, and examples of inputs with right outputs.

<prompt>
{instruction}
</prompt>

<data>
{data}
</data>

<examples>
{examples}
</examples>

Write an improved instruction for the same task. {tip} Write it, complete, between <prompt> and </prompt>."""
TIPS = (
    "Take the way that seems most natural to you.",
    "Be inventive in how you put it.",
    "Keep it short and clear.",
    "Be thorough and leave nothing open that matters.",
    "Make plain how much depends on a right output.",
    "Give the assistant a role that suits the task.",
)
LOOKED_AT = 20
Combination = tuple[int, int]


@method(
    "mipro",
    family="search",
    learns="text, demonstrations",
    paper="arXiv:2406.11695",
    needs={"model": Generates | Scores, "optimizer": Generates},
)
@dataclass(frozen=True)
class MIPRO:
    """Choose among proposed instructions and bootstrapped demonstrations by Bayesian optimisation."""

    candidates: int = 6
    """N: sets of demonstrations, and twice the instructions; without demonstrations, the instructions (code: light)."""
    shots: int = 4
    """Demonstrations in a set at most (code); 0 learns the instruction only."""
    items: int = 100
    """|V|: labelled items of a full evaluation at most (code: light)."""
    trials: int = 0
    """Combinations to try; 0 takes the code's formula."""
    minibatch: int = 35
    """|B|: items of a trial (code)."""
    full_every: int = 5
    """Trials between two full evaluations (code)."""
    random_trials: int = 10
    """Trials drawn at random before TPE has enough to go by, the start's counted (Optuna)."""
    temperature: float = 1.0
    """Temperature of the optimizer (code)."""
    finalists: int = 3
    """Best combinations that are scored again on as many fresh items at the end (ours); 1 turns it off."""

    def __post_init__(self) -> None:
        if min(self.items, self.minibatch, self.full_every, self.random_trials, self.finalists) < 1:
            raise ValueError("items, minibatch, full_every, random_trials and finalists are at least 1")
        if self.candidates < 4 or min(self.shots, self.trials) < 0 or not 0 <= self.temperature <= 2:
            raise ValueError("candidates is at least 4, shots and trials at least 0, temperature lies from 0 to 2")
        if self.total < self.full_every:
            raise ValueError(f"{self.total} trials end before the first full evaluation, after {self.full_every}")

    @property
    def total(self) -> int:
        """Trials: as given, or max(2 V log2 N, 1.5 N) with V = 2 things to choose, 1 without demonstrations."""
        variables = 2 if self.shots else 1
        return self.trials or int(max(2 * variables * math.log2(self.candidates), 1.5 * self.candidates))

    @property
    def instructions(self) -> int:
        """Instructions to choose from, the start's counted."""
        return self.candidates // 2 if self.shots else self.candidates

    def plan(self, task: Task) -> Cost:
        """Return the cost of learning where every trial brings a new combination."""
        train = labelled_train(task)
        whole, fresh = divided(task, self.items, self.items if self.finalists > 1 else 0)
        part = min(self.minibatch, whole)
        sets = self.candidates if self.shots else 1
        every = whole * self.instructions * sets
        calls = min(every, whole + part * self.total + (whole - part) * (self.total // self.full_every))
        # A combination is scored on all of V when its turn comes, or bit by bit.
        complete = max(self.total // self.full_every, self.total * part // whole)
        finals = min(self.finalists, 1 + complete, self.instructions * sets)
        graded = scores(task, calls + finals * fresh, shots=self.shots // 2)
        examples = examples_block(as_examples(train[:LOOKED_AT], task.signature), task.signature)
        cost = graded.plus(scores(task, min(len(train), self.candidates * self.shots)))
        cost = cost.plus(estimated(1, [LOOK + examples], PROPOSAL))
        return cost.plus(
            estimated(self.instructions - 1, [PROPOSE + examples + plain_start(task).instruction], PROPOSAL)
        )

    def fit(self, run: Run) -> Learned:
        """Return the combination with the best score on all of V, confirmed on fresh items."""
        require("optuna", "optuna", "method mipro")
        V, fresh = apart(run, self.items, self.items if self.finalists > 1 else 0)
        D = demonstration_sets(run, self.candidates, self.shots) if self.shots else [None]
        P = [run.start, *self.propose(run, D)]
        board = Board(run, {(i, d): combined(run, P[i], D[d]) for i, d in product(range(len(P)), range(len(D)))}, V)
        H = TPE((len(P), len(D)), int(run.rng("tpe").integers(2**31)), self.random_trials)
        H.tell((0, 0), board.more((0, 0), len(V)))
        run.keep(run.start)
        for t in run.track(range(1, self.total + 1), "trials"):
            tried = suggest(H, board, run.rng(f"trial {t}"))
            if tried is None:
                break
            value = board.more(tried, self.minibatch)
            H.tell(tried, value)
            if t % self.full_every == 0 and (promising := board.promising()):
                board.more(promising, len(V))
            top = board.full(1)[0]
            run.keep(top.prompt)
            run.log("trial", t=t, instruction=tried[0], demonstrations=tried[1], score=value, best=top.score)
        finalists = [h.prompt for h in board.full(self.finalists)]
        return rescore(run, finalists, fresh).best

    def propose(self, run: Run, D: Sequence[Demonstrations | None]) -> list[Learned]:
        """Return new instructions, each grounded on what the data look like, one of the sets, and a tip."""
        signature, rng, train = run.task.signature, run.rng("proposals"), labelled_train(run.task)
        looked = draw_demonstrations(train, LOOKED_AT, rng, signature).examples
        (data,) = run.model("optimizer").generate([frame(LOOK, {"examples": examples_block(looked, signature)})])
        shown = [d.examples for d in D if d] or [draw_demonstrations(train, 4, rng, signature).examples]
        about = {"instruction": run.start.instruction, "data": brief(data) or "Nothing is known of it."}
        tips = [TIPS[int(rng.integers(len(TIPS)))] for _ in range(self.instructions - 1)]
        examples = [examples_block(shown[n % len(shown)], signature) for n in range(self.instructions - 1)]
        requests = [
            frame(PROPOSE.replace("{tip}", tip), {**about, "examples": block})
            for tip, block in zip(tips, examples, strict=True)
        ]
        why = [f"{tip}\n\n{block}" for tip, block in zip(tips, examples, strict=True)]
        return distinct(propose(run, requests, run.start, temperature=self.temperature, why=why))


def suggest(H: TPE, board: Board[Combination], rng: np.random.Generator) -> Combination | None:
    """Return what TPE proposes of what was not yet scored on all of V, None where nothing is left of it."""
    left = [c for c in board.prompts if not board.complete(c)]
    if not left:
        return None
    for _ in range(20):
        i, d = H.ask()
        if not board.complete((i, d)):
            return i, d
    return left[int(rng.integers(len(left)))]


def combined(run: Run, instruction: Learned, shown: Demonstrations | None) -> Learned:
    """Return an instruction with demonstrations in front of the input, as many as the run's longest prompt allows."""
    if shown is None:
        return instruction if instruction is run.start else replace(instruction, method="mipro")
    return replace(shortened(run, instruction.with_parts(shown)), method="mipro")
