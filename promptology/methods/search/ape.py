"""APE: automatic prompt engineer. Zhou et al. 2022, arXiv:2211.01910.

    U <- {p0}                                               f: score on a fixed random set S of labelled items
    for 5 subsets of 5 training items:
        p1..p50 <- M("what was the instruction?" | the subset's inputs and right outputs)
        U <- U + the new ones
    score U by f
    for each round of iterative APE (none by default):
        U <- U + paraphrases of the best of U, scored by f
    return argmax f

Calls: |S| + 5 * 50 * (1 + |S|), as many again per 250 paraphrases, and the finalists'. f is the task's metric (the
paper's execution accuracy), which any model allows, or the mean log-probability of the right outputs, for models that
tell it of given text: those in this process, and endpoints that echo. Choices of ours: the start is one of the
candidates, so that what is found is not worse. A subset is scored before the next one is asked for, so that a budget
that ends has a best so far. Texts that came before are neither asked for again nor scored again, so that a model that
says the same often costs less than planned. The best few are scored again on items that the search never saw (a third
of the validation split is kept for them), against the winner's curse, and those scores choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from promptology.data.items import Item
from promptology.data.task import Task
from promptology.errors import AccessError, UsageError
from promptology.methods.registry import method
from promptology.models.access import Generates, Scores
from promptology.prompts.learned import Learned
from promptology.prompts.outputs import answer_text
from promptology.prompts.render import examples_block, frame, messages, with_cue
from promptology.prompts.start import LIKELIHOOD
from promptology.run.cost import Cost
from promptology.run.engine import Run
from promptology.run.handles import logprob
from promptology.search.crossing import REWORD, reword
from promptology.search.demonstrations import as_examples, labelled_train
from promptology.search.planning import PROPOSAL, divided, estimated, plain_start, scores
from promptology.search.pool import Pool
from promptology.search.proposing import distinct, propose
from promptology.search.ranking import Scored, best, noted, scored
from promptology.search.rescoring import apart, rescore
from promptology.search.scoring import Scores as ItemScores

INDUCE = """An assistant was given one instruction. By following it, the assistant wrote the right output for each of these inputs.

<examples>
{examples}
</examples>

Work out what that instruction was, and propose it as an instruction that also serves other inputs of this kind: leave out what is true of these examples alone. Write it, complete, between <prompt> and </prompt>."""


@method(
    "ape",
    family="search",
    learns="text",
    paper="arXiv:2211.01910",
    needs={"model": Generates | Scores, "optimizer": Generates},
)
@dataclass(frozen=True)
class APE:
    """Let a model guess the instruction from examples, many times; keep the best guess."""

    subsets: int = 5
    """Draws of training items that the optimizer is shown (code)."""
    samples: int = 50
    """Instructions proposed for each draw, and in each round of paraphrases (code)."""
    demos: int = 5
    """Training items in a draw (code)."""
    temperature: float = 0.9
    """Temperature of the optimizer (code)."""
    score: str = "accuracy"
    """f: accuracy (the task's metric), or likelihood, the mean log-probability of the right outputs (section 3.2)."""
    items: int = 50
    """|S|: labelled items that score every instruction (code)."""
    rounds: int = 0
    """Rounds of iterative APE (section 3.3), which brought little over one shot (section 5)."""
    top: int = 10
    """Best instructions that a round paraphrases in turn (ours: the paper keeps k % and leaves k open)."""
    finalists: int = 5
    """Best instructions that are scored again on as many fresh items at the end (ours); 1 turns it off."""

    def __post_init__(self) -> None:
        if min(self.subsets, self.samples, self.demos, self.items, self.top, self.finalists) < 1 or self.rounds < 0:
            raise ValueError("subsets, samples, demos, items, top and finalists are at least 1, rounds is not below 0")
        if self.score not in ("accuracy", "likelihood"):
            raise ValueError(f"score is accuracy or likelihood, not {self.score!r}")
        if not 0 <= self.temperature <= 2:
            raise ValueError("temperature lies between 0 and 2")

    def plan(self, task: Task) -> Cost:
        """Return the cost of learning where the optimizer has something new to say to the end."""
        items, fresh = divided(task, self.items, self.items if self.finalists > 1 else 0)
        induced, reworded = self.subsets * self.samples, self.rounds * self.samples
        finals = min(self.finalists, 1 + induced + reworded)
        graded = scores(task, items * (1 + induced + reworded) + finals * fresh)
        asked = estimated(induced, [request(task, labelled_train(task)[: self.demos])], PROPOSAL)
        return graded.plus(asked).plus(estimated(reworded, [REWORD + plain_start(task).instruction], PROPOSAL))

    def fit(self, run: Run) -> Learned:
        """Return the instruction with the best score, confirmed on fresh items."""
        S, fresh = apart(run, self.items, self.items if self.finalists > 1 else 0)
        train = labelled_train(run.task)
        f = scored if self.score == "accuracy" else likelihood
        U = f(run, [run.start], S) or [Scored(run.start, 0.0 if f is scored else -inf)]
        seen = Pool([run.start.instruction])
        for t in run.track(self.subsets + self.rounds, "draws"):
            if t < self.subsets:
                drawn = run.rng(f"subset {t}").permutation(len(train))[: self.demos]
                demos = [train[i] for i in drawn]
                asked, why = [request(run.task, demos)] * self.samples, [shown(run.task, demos)] * self.samples
                proposals = propose(run, asked, run.start, temperature=self.temperature, known=seen, why=why)
            else:
                parents = [h.prompt for h in best(U, self.top)]
                some = [parents[n % len(parents)] for n in range(self.samples)]
                proposals = reword(run, some, temperature=self.temperature, known=seen)
            new = [replace(p, method="ape") for p in distinct(proposals)]
            for p in new:
                seen.add(p.instruction)
            U += (latest := f(run, new, S))
            noted(seen, latest if f is scored else [])
            top = best(U, 1)[0]
            run.keep(top.prompt)
            run.log(
                "draw", t=t + 1, kind="examples" if t < self.subsets else "paraphrases", new=len(new), best=top.score
            )
        finalists = [h.prompt for h in best(U, self.finalists)]
        return rescore(run, finalists, fresh).best


def likelihood(run: Run, prompts: Sequence[Learned], items: Sequence[Item]) -> list[Scored]:
    """Return prompts with their mean log-probability, in nats, of the right outputs, without those it is unknown of.

    The right output stands behind the prompt, the input and a cue, as readout label-likelihood has it. Raises
    AccessError where the model does not score given text, UsageError where the items have no labels.
    """
    model, signature = run.model(), run.task.signature
    if "scores" not in model.access:
        raise AccessError(f"ape with score=likelihood needs a model that scores given text; {model.name} does not")
    if not all(i.labelled for i in items):
        raise UsageError(f"ape with score=likelihood needs labels, and task {run.task.name!r} has none")
    asked = [
        model.scoring(
            with_cue(messages(p, i.inputs, signature), LIKELIHOOD["cue"]),
            f" {answer_text(i.target, signature, i.inputs)}",
        )
        for p in prompts
        for i in items
    ]
    came = [logprob(outcome) for outcome in model.outcomes(asked)] if asked else []
    values = np.array([np.nan if v is None else v for v in came]).reshape(len(prompts), len(items))
    means = ItemScores(values).means
    return [Scored(p, float(m)) for p, m in zip(prompts, means, strict=True) if not np.isnan(m)]


def request(task: Task, items: Sequence[Item]) -> str:
    """Return the request for the instruction behind these items."""
    return frame(INDUCE, {"examples": shown(task, items)})


def shown(task: Task, items: Sequence[Item]) -> str:
    """Return items with their right outputs."""
    return examples_block(as_examples(items, task.signature), task.signature)
