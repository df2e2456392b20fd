"""OPRO: optimisation by prompting. Yang et al. 2023, arXiv:2309.03409.

    H <- {(p0, f(p0))}                                      f: score on a fixed random set S of labelled items
    for t = 1..T:
        m  <- meta-prompt: the best 20 (p, f(p)) of H in ascending order, 3 exemplars from train
        p1..p8 <- O(m)                                      8 samples at temperature 1
        drop what repeats an earlier prompt, is too long, leaks a tag or (numeric answers) holds a digit
        H  <- H + {(pi, f(pi))}
    return argmax f

Calls: |S| + T * 8 * (1 + |S|), and the finalists'. Choices of ours: the start stands in H as any other prompt. The
rewriter is asked again in place of proposals that were dropped, with H as it then stands, so that a step always scores
8 new prompts and the cost is known beforehand. A request that brings nothing new is followed by one that shows a
random half of the pairs, then a quarter and so on, so that the rewriter sees something else; the search ends early
where `patience` proposals in a row are not new.
Digits are refused only where the answers are numbers, as the paper did for GSM8K. The best few are scored again on
validation items that the search never saw, against the winner's curse, and those scores choose (skipped where no such
items are left). S is 50 items: the paper's 20 % of a BBH task; its 3.5 % of GSM8K are 261.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from promptology.data.items import Item
from promptology.data.scoring import references
from promptology.data.task import Task
from promptology.methods.registry import method
from promptology.models.access import Generates, Scores
from promptology.prompts.learned import Learned
from promptology.prompts.outputs import answer_text
from promptology.prompts.render import frame, input_text
from promptology.run.cost import Cost
from promptology.run.engine import Run
from promptology.search.planning import PROPOSAL, estimated, fresh_after, labelled_selection, plain_start, scores
from promptology.search.pool import Pool
from promptology.search.proposing import propose
from promptology.search.ranking import Scored, best, scored
from promptology.search.rescoring import fresh_items, rescore
from promptology.search.scoring import selection_items

META = """You are looking for the instruction with which an assistant does a task best. Below are instructions that were tried, each with its score from 0 to 100. They stand in ascending order: the higher the score, the better.

<tried>
{tried}
</tried>
{task}
Find out what lifts the score, and write a new instruction that differs from all of those above and scores higher. Keep it short and general. Write it, complete, between <prompt> and </prompt>."""
EXEMPLARS = """
The assistant reads the instruction together with one input. These inputs and right outputs show the task.

<examples>
{examples}
</examples>
"""
LEAKED = re.compile(r"</?\s*(prompt|instruction|ins|text|score|tried|examples)\s*>|^\s*score\s*:", re.I | re.M)


@method(
    "opro",
    family="search",
    learns="text",
    paper="arXiv:2309.03409",
    needs={"model": Generates | Scores, "optimizer": Generates},
)
@dataclass(frozen=True)
class OPRO:
    """Let a model propose instructions from the scores of earlier ones."""

    steps: int = 200
    """T: steps (code)."""
    samples: int = 8
    """New instructions a step (section 5.1)."""
    history: int = 20
    """Best pairs of instruction and score that the meta-prompt shows (section 5.1)."""
    exemplars: int = 3
    """Training items that the meta-prompt shows, drawn anew for every request (section 5.1)."""
    temperature: float = 1.0
    """Temperature of the optimizer (section 5.1); the scorer's is 0."""
    items: int = 50
    """|S|: labelled items that score every instruction (section 5: 20 % of a BBH task)."""
    threshold: float = 0.0
    """Pairs that score less are not shown, the best always is (code: 0.3 with GPT scorers, else 0)."""
    longest: int = 500
    """Characters of an instruction at most (code)."""
    finalists: int = 5
    """Best instructions that are scored again on as many fresh items at the end (ours); 1 turns it off."""
    patience: int = 40
    """Proposals in a row without a new instruction that end the search (ours)."""

    def __post_init__(self) -> None:
        if min(self.steps, self.samples, self.history, self.items, self.finalists, self.patience) < 1:
            raise ValueError("steps, samples, history, items, finalists and patience are at least 1")
        if self.exemplars < 0 or not 0 <= self.temperature <= 2:
            raise ValueError("exemplars is at least 0, temperature lies between 0 and 2")

    def plan(self, task: Task) -> Cost:
        """Return the cost of learning where the optimizer has something new to say to the end."""
        items = min(self.items, len(labelled_selection(task)))
        fresh = min(self.items, fresh_after(task, items))
        new = self.steps * self.samples
        finals = min(self.finalists, 1 + new)
        graded = scores(task, items * (1 + new) + (finals * fresh if finals > 1 else 0))
        H = [Scored(plain_start(task), 0.5)] * min(self.history, 1 + new)
        return graded.plus(
            estimated(new, [meta_prompt(task, H, [i for i in task.train if i.labelled][: self.exemplars])], PROPOSAL)
        )

    def fit(self, run: Run) -> Learned:
        """Return the instruction with the best score, confirmed on fresh items."""
        pool = selection_items(run)
        S = [pool[i] for i in run.rng("items").permutation(len(pool))[: self.items]]
        H = scored(run, [run.start], S) or [Scored(run.start, 0.0)]
        tried = Pool([run.start.instruction])
        idle, stuck = 0, 0
        for t in run.track(range(1, self.steps + 1), "steps"):
            found, tries = 0, 0
            while found < self.samples and idle < self.patience:
                lacking = self.samples - found
                new = self.sample(run, H, tried, lacking, stuck, f"{t}.{tries}")
                H += scored(run, new, S)
                found, tries = found + len(new), tries + 1
                idle, stuck = (0, 0) if new else (idle + lacking, stuck + 1)
            top = best(H, 1)[0]
            run.keep(top.prompt)
            run.log("step", t=t, new=found, best=top.score)
            if idle >= self.patience:
                run.log("advice", text=f"the optimizer only repeated itself: the search ended in step {t}")
                break
        finalists = [h.prompt for h in best(H, self.finalists)]
        return rescore(run, finalists, fresh_items(run, S, self.items)).best

    def sample(self, run: Run, H: Sequence[Scored], tried: Pool, count: int, stuck: int, name: str) -> list[Learned]:
        """O: return those of `count` proposals that are new and usable; `stuck`: requests before that had none."""
        train = [i for i in run.task.train if i.labelled]
        shown = [train[i] for i in run.rng(f"exemplars {name}").permutation(len(train))[: self.exemplars]]
        pairs = self.visible(H)
        if stuck:
            some = run.rng(f"pairs {name}").permutation(len(pairs))[: max(1, len(pairs) >> stuck)]
            pairs = [pairs[i] for i in sorted(some)]
        request = meta_prompt(run.task, pairs, shown)

        def keep(instruction: str) -> bool:
            known = instruction in tried
            tried.add(instruction)
            return not known and self.allowed(instruction, run.task)

        why = ["Shown were, the best first:\n\n" + listed(pairs[::-1])] * count
        proposals = propose(run, [request] * count, run.start, temperature=self.temperature, keep=keep, why=why)
        return [replace(p, method="opro") for p in proposals if p is not None]

    def visible(self, H: Sequence[Scored]) -> list[Scored]:
        """Return the best pairs in ascending order; among equals the newest stands last."""
        ascending = sorted(H, key=lambda h: h.score)
        return [h for h in ascending if h.score >= self.threshold][-self.history :] or ascending[-1:]

    def allowed(self, instruction: str, task: Task) -> bool:
        """Whether an instruction passes the paper's filters."""
        numbers = numeric(task) and re.search(r"\d", instruction)
        return len(instruction) <= self.longest and not LEAKED.search(instruction) and not numbers


def meta_prompt(task: Task, H: Sequence[Scored], exemplars: Sequence[Item]) -> str:
    """m: return the request for a new instruction; scores are shown as integers."""
    signature = task.signature
    shown = [
        f"Input: {input_text(i.inputs, signature)}\nOutput: {answer_text(i.target, signature, i.inputs)}"
        for i in exemplars
    ]
    about = EXEMPLARS if shown else ""
    return frame(META.replace("{task}", about), {"tried": listed(H), "examples": "\n\n".join(shown)})


def listed(H: Sequence[Scored]) -> str:
    """Return pairs of instruction and score in the order given."""
    return "\n\n".join(f"text: {h.prompt.instruction}\nscore: {round(100 * h.score)}" for h in H)


def numeric(task: Task) -> bool:
    """Whether the answers are numbers, which an instruction could give away."""
    known = [str(t) for i in (*task.train, *task.validation) if i.labelled for t in references(i.target)]
    return task.signature.output == "text" and bool(known) and all(re.fullmatch(r"[-+$]?[\d.,]+%?", k) for k in known)
