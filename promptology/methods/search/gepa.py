"""GEPA: reflective prompt evolution on an instance-wise Pareto front. Agrawal et al. 2025, arXiv:2507.19457.

    P <- {p0},  S[p0] <- scores of p0 on each item of V
    while the budget of metric calls lasts:
        p  <- drawn from the Pareto front of P over the items of V, in proportion to the items on which p is the best
        D  <- the next 3 training items;  answers of p on D, with scores and the metric's feedback
        p' <- reflection: one call that reads p, the answers and the feedback     (none where all of D is right)
        if the scores of p' on D add up to more than those of p:
            P <- P + {p'},  S[p'] <- scores on V
            optionally: merge two members of the front that have a common ancestor
    return the member with the best mean on V

Metric calls: |V| + n (3 + 3) + a |V|, n proposals of which a are accepted; one reflection each. Choices of ours: a
round begins only where the budget holds all of it, so that it is never exceeded; V is 100 items at most; the task is
one instruction, so a merge cannot take parts of both and is a call that joins what two prompts have gained over their
nearest common ancestor, accepted as in the code: on 5 items of V, where it must be as good as the better of the two.
What is a member already is not taken up twice; what was refused may come again and is judged on other items, since 3
items are too few to bury it. The best few are scored again on validation items that were kept out of the search, and
those scores choose.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from promptology.data.items import Item
from promptology.data.task import Task
from promptology.methods.registry import method
from promptology.models.access import Generates, Scores
from promptology.prompts.learned import Learned
from promptology.prompts.outputs import answer_text
from promptology.prompts.render import frame, input_text
from promptology.run.cost import Cost
from promptology.run.engine import Run
from promptology.search.errors import Answered, batches, cases, error_items, examine
from promptology.search.pareto import Population, contested, draw
from promptology.search.planning import PROPOSAL, divided, error_pool, estimated, plain_start, scores
from promptology.search.pool import Pool
from promptology.search.proposing import propose
from promptology.search.rescoring import apart, rescore
from promptology.search.scoring import score, scores_of

REFLECT = """An assistant was given this instruction together with each of the inputs below.

<prompt>
{instruction}
</prompt>

Here are the inputs, what the assistant made of them, and notes on what was right or wrong.

<cases>
{cases}
</cases>

Read all of them. Find out what the task demands in detail: the form of the input, facts and rules of the field that the notes reveal, and the way of working that leads to right answers. Then write a new instruction that holds what the assistant has to know for any input of this kind, and keeps what works already. Give rules, not these inputs themselves. Write it, complete, between <prompt> and </prompt>."""
MERGE = """An instruction for an assistant was developed further in two directions, and each result is good on other inputs.

<common_origin>
{ancestor}
</common_origin>

<prompt_i>
{one}
</prompt_i>

<prompt_ii>
{two}
</prompt_ii>

Write a new instruction that joins what each of them has gained over the common origin, without contradictions. Write it, complete, between <prompt> and </prompt>."""
MERGE_ITEMS = 5


@method(
    "gepa",
    family="search",
    learns="text",
    paper="arXiv:2507.19457",
    needs={"model": Generates | Scores, "optimizer": Generates},
)
@dataclass(frozen=True)
class GEPA:
    """Reflect on answers and their feedback; go on from prompts that are the best somewhere."""

    metric_calls: int = 780
    """Answers that the search scores at most, on V and on mini-batches (DSPy's light setting with 100 items)."""
    minibatch: int = 3
    """|D|: training items that a reflection reads (section 3, code)."""
    items: int = 100
    """|V|: labelled items on which members are compared, at most (ours; the code takes all)."""
    merges: int = 0
    """Merges that are tried at most (code: off; DSPy: 5)."""
    temperature: float = 1.0
    """Temperature of the optimizer (code)."""
    finalists: int = 3
    """Best instructions that are scored again on as many fresh items at the end (ours); 1 turns it off."""

    def __post_init__(self) -> None:
        if min(self.metric_calls, self.minibatch, self.items, self.finalists) < 1 or self.merges < 0:
            raise ValueError("metric_calls, minibatch, items and finalists are at least 1, merges at least 0")
        if not 0 <= self.temperature <= 2:
            raise ValueError("temperature lies between 0 and 2")

    def plan(self, task: Task) -> Cost:
        """Return the cost of learning where every third proposal is accepted; a round always has a proposal."""
        V, fresh = divided(task, self.items, self.fresh)
        train = error_pool(task)
        D = min(self.minibatch, len(train))
        one = 2 * D + V / 3
        # The last round that does not fit leaves half of its cost on average.
        rounds = max(0, round((self.metric_calls - V - (2 * D + V) / 2) / one)) if D else 0
        finals = min(self.finalists, 1 + rounds // 3)
        graded = round(V + rounds * one) + (finals * fresh if finals > 1 else 0)
        shown = "\n\n".join(
            f"{input_text(i.inputs, task.signature)} {3 * answer_text(i.target, task.signature, i.inputs)}"
            for i in train[:D]
        )
        reflected = estimated(rounds, [REFLECT + plain_start(task).instruction + shown], PROPOSAL)
        return scores(task, graded).plus(reflected)

    @property
    def fresh(self) -> int:
        """How many items are kept out of the search for its end."""
        return self.items if self.finalists > 1 else 0

    def fit(self, run: Run) -> Learned:
        """Return the member with the best mean, confirmed on items kept out of the search."""
        V, fresh = apart(run, self.items, self.fresh)
        train = error_items(run, [*V, *fresh])
        minibatches = batches(run, train, self.minibatch)
        round_at_most = 2 * min(self.minibatch, len(train)) + len(V)
        if self.metric_calls < len(V) + 3 * round_at_most:
            run.warn(f"metric_calls={self.metric_calls} may not be enough for 3 proposals on {len(V)} items")
        P = Population([run.start], [()], score(run, [run.start], V).values)
        known, merges, spent, t = Pool([run.start.instruction]), 0, len(V), 0
        while spent + round_at_most <= self.metric_calls:
            t += 1
            run.progress("metric calls", spent, self.metric_calls)
            k = draw(P.scores, run.rng(f"parent {t}"))
            D = next(minibatches)
            child, outcome, used = self.evolve(run, P.members[k], D, known)
            spent += used
            if child is not None:
                P.add(child, (k,), score(run, [child], V).values)
                spent += len(V)
                if merges < self.merges and spent + MERGE_ITEMS + len(V) <= self.metric_calls and P.pairs():
                    merges += 1
                    spent += self.merge(run, P, V, known, t)
                run.keep(P.best()[0])
            run.log("round", t=t, parent=k, outcome=outcome, members=len(P.members), metric_calls=spent)
        return rescore(run, P.best(self.finalists), fresh).best

    def evolve(self, run: Run, p: Learned, D: Sequence[Item], known: Pool) -> tuple[Learned | None, str, int]:
        """Return a new instruction that is better on D, or None; what came of it; and the metric calls it took."""
        before = examine(run, p, D)
        if all(a.score >= 1 for a in before):
            return None, "nothing to learn", len(D)
        shown = cases(run, before)
        request = frame(REFLECT, {"instruction": p.instruction, "cases": shown})
        (child,) = propose(run, [request], p, temperature=self.temperature, known=known, why=[shown])
        if child is None:
            return None, "no usable proposal", len(D)
        if gain(before, examine(run, child, D)) > 0:
            known.add(child.instruction)
            return replace(child, method="gepa"), "accepted", 2 * len(D)
        return None, "rejected", 2 * len(D)

    def merge(self, run: Run, P: Population, V: Sequence[Item], known: Pool, t: int) -> int:
        """Try to join two members of the front; take the result up where it holds; return the metric calls spent."""
        rng = run.rng(f"merge {t}")
        pairs = P.pairs()
        i, j, a = pairs[int(rng.integers(len(pairs)))]
        P.merged.add((i, j))
        texts = {"ancestor": P.members[a], "one": P.members[i], "two": P.members[j]}
        request = frame(MERGE, {name: p.instruction for name, p in texts.items()})
        (child,) = propose(run, [request], P.members[i], temperature=self.temperature, known=known)
        if child is None:
            return 0
        some = contested(P.scores[i], P.scores[j], MERGE_ITEMS, rng)
        new = np.nansum(scores_of(run, [child], [V[n] for n in some]).values)
        accepted = bool(some) and bool(new >= np.nansum(P.scores[[i, j]][:, some], axis=1).max())
        run.log("merge", t=t, one=i, two=j, ancestor=a, accepted=accepted)
        if accepted:
            known.add(child.instruction)
            P.add(replace(child, method="gepa"), (i, j), score(run, [child], V).values)
        return len(some) + (len(V) if accepted else 0)


def gain(before: Sequence[Answered], after: Sequence[Answered]) -> float:
    """Return by how much the scores rose in sum, over the items that were answered both times."""
    old = {a.item.id: a.score for a in before}
    return math.fsum(a.score - old[a.item.id] for a in after if a.item.id in old)
