"""ProTeGi: prompt optimization with textual gradients. Pryzant et al. 2023, arXiv:2305.03495.

    B <- {p0}
    for t = 1..r:
        D <- mini-batch of 64 labelled training items
        for p in B:
            g1..g4 <- reasons, each for up to 4 random errors of p on D             "gradients"
            p1..p4 <- edits of p, each against one gradient
            C_p <- the edits, and 2 paraphrases of each of them and of p; 8 of these at random
        C <- B + all C_p
        B <- the best 4 of C by a bandit: 8 pulls, each scores the 8 prompts with the highest
             mean + c sqrt(ln pull / n) on the same 32 items
    return the best of B

Calls of a prompt of B: 64 + 4 + 4 + 10; of a round: 2048 scores at most. Choices of ours: pulls are counted from 1 and
prompts that were never scored come first (the code counts from 0, so that its second pull explores nothing); a pull
takes the next items in a random order, so that none comes twice before all came; what was scored before is not bought
again; a prompt without errors on D gets no gradients, only paraphrases. Gradients come from training items, scores from
validation, as long as the task has both. The last beam is scored again on validation items that were kept out of the
search, and those scores choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from promptology.data.items import Item
from promptology.data.task import Task
from promptology.methods.registry import method
from promptology.models.access import Generates, Scores
from promptology.prompts.learned import Learned
from promptology.prompts.outputs import answer_text
from promptology.prompts.render import frame, input_text
from promptology.run.cost import Cost
from promptology.run.engine import Run
from promptology.search.bandit import ucb_rank
from promptology.search.errors import FEEDBACK, REVISE, Report, batches, error_items, examine, feedback, revise
from promptology.search.planning import PROPOSAL, divided, error_pool, estimated, plain_start, scores
from promptology.search.pool import Pool
from promptology.search.proposing import propose
from promptology.search.rescoring import apart, rescore

VARY = """Below is an instruction that is given to an assistant together with an input. Write a variation of it that keeps the same meaning and every {placeholder} in it, and says it in other words. Write the variation, complete, between <prompt> and </prompt>.

<prompt>
{instruction}
</prompt>"""


@method(
    "protegi",
    family="search",
    learns="text",
    paper="arXiv:2305.03495",
    needs={"model": Generates | Scores, "optimizer": Generates},
)
@dataclass(frozen=True)
class ProTeGi:
    """Edit a beam of instructions against the reasons for their errors; a bandit selects."""

    rounds: int = 6
    """r: rounds (section 3.2)."""
    beam: int = 4
    """Instructions that go on to the next round (section 3.2)."""
    minibatch: int = 64
    """Training items on which a round looks for errors (section 3.2)."""
    gradients: int = 4
    """Reasons for errors per instruction, each followed by one edit (section 3.2)."""
    errors: int = 4
    """Errors that a reason is asked for, at most (section 3.2)."""
    paraphrases: int = 2
    """Paraphrases of each edit, and of the instruction itself (section 3.2)."""
    children: int = 8
    """New instructions from one of the beam, drawn at random where there are more (section 3.2)."""
    pulls: int = 8
    """Pulls of the bandit a round (code)."""
    arms: int = 8
    """Instructions that a pull scores (code)."""
    block: int = 32
    """Items that a pull scores them on (code)."""
    c: float = 1.0
    """Weight of exploration (code)."""
    temperature: float = 0.7
    """Temperature of the optimizer (code)."""

    def __post_init__(self) -> None:
        counts = (self.rounds, self.beam, self.minibatch, self.errors, self.children, self.pulls, self.arms, self.block)
        if min(counts) < 1 or min(self.gradients, self.paraphrases) < 0 or self.gradients + self.paraphrases < 1:
            raise ValueError("counts are at least 1; gradients and paraphrases may be 0, but not both")
        if self.c < 0 or not 0 <= self.temperature <= 2:
            raise ValueError("c is at least 0, temperature lies between 0 and 2")

    def plan(self, task: Task) -> Cost:
        """Return the cost of learning where every request brings a new prompt and no mini-batch is free of errors."""
        S, fresh = divided(task, self.pulls * self.block, self.block)
        train = error_pool(task)
        born = min(self.children, self.gradients + self.paraphrases * (self.gradients + 1))
        parents, expanded, scored, known = 1, 0, 0.0, 0.0
        for _ in range(self.rounds):
            candidates = parents * (1 + born)
            new = min(self.pulls * min(self.arms, candidates) * min(self.block, S), candidates * S)
            share = new / (candidates * S) if S else 0.0
            # What of these scores the members of the beam have from the round before.
            scored += new - parents * S * share * known
            expanded, parents, known = expanded + parents, min(self.beam, candidates), share
        finals = parents * fresh if parents > 1 else 0
        start = plain_start(task).instruction
        shown = "\n\n".join(
            f"{input_text(i.inputs, task.signature)} {2 * answer_text(i.target, task.signature, i.inputs)}"
            for i in train[: self.errors]
        )
        asked = [FEEDBACK + start + shown, REVISE + start + shown + " " * 4 * PROPOSAL]
        return (
            scores(task, expanded * min(self.minibatch, len(train)) + round(scored) + finals)
            .plus(estimated(2 * expanded * self.gradients, asked, PROPOSAL))
            .plus(estimated(expanded * self.paraphrases * (self.gradients + 1), [VARY + start], PROPOSAL))
        )

    def fit(self, run: Run) -> Learned:
        """Return the best instruction of the last beam, confirmed on items kept out of the search."""
        S, fresh = apart(run, self.pulls * self.block, self.block)
        minibatches = batches(run, error_items(run, [*S, *fresh]), self.minibatch)
        B, scored = [run.start], Pool([run.start.instruction])
        for t in run.track(range(1, self.rounds + 1), "rounds"):
            children = self.expand(run, B, next(minibatches), scored, t)
            if children:
                ranked = ucb_rank(
                    run, [*B, *children], S, pulls=self.pulls, arms=self.arms, block=self.block, c=self.c, name=str(t)
                )
                B = ranked.survivors[: self.beam]
            run.keep(B[0])
            run.log("round", t=t, new=len(children), beam=len(B))
        return rescore(run, B, fresh).best

    def expand(self, run: Run, B: Sequence[Learned], D: Sequence[Item], scored: Pool, t: int) -> list[Learned]:
        """Return new instructions made from the beam, at most `children` of each; they are noted in `scored`."""
        reports = [r for n, p in enumerate(B) for r in self.reports(run, p, D, f"{t}.{n}")]
        reasons = feedback(run, reports, temperature=self.temperature)
        edits = revise(run, reports, reasons, known=scored, temperature=self.temperature)
        seen = Pool(scored)

        def keep(instruction: str) -> bool:
            known = instruction in seen
            seen.add(instruction)
            return not known

        made = [e if e is not None and keep(e.instruction) else None for e in edits]
        families = [[e for r, e in zip(reports, made, strict=True) if e and r.prompt is p] for p in B]
        sources = [(family, p) for family, p in zip(families, B, strict=True) for p in [*family, p]]
        repeated = [pair for pair in sources for _ in range(self.paraphrases)]
        requests = [frame(VARY, {"instruction": p.instruction}) for _, p in repeated]
        varied = propose(run, requests, [p for _, p in repeated], temperature=self.temperature, keep=keep)
        for (family, _), variation in zip(repeated, varied, strict=True):
            if variation is not None:
                family.append(variation)
        children: list[Learned] = []
        for n, family in enumerate(families):
            drawn = run.rng(f"children {t}.{n}").permutation(len(family))[: self.children]
            children += [replace(family[i], method="protegi") for i in sorted(drawn)]
        for child in children:
            scored.add(child.instruction)
        return children

    def reports(self, run: Run, p: Learned, D: Sequence[Item], name: str) -> list[Report]:
        """Return what the gradients of an instruction are asked for: random errors on D; nothing where it has none."""
        wrong = [a for a in examine(run, p, D) if a.score < 1] if self.gradients else []
        rng = run.rng(f"errors {name}")
        draws = [rng.permutation(len(wrong))[: self.errors] for _ in range(self.gradients)]
        return [Report(p, tuple(wrong[i] for i in drawn), True) for drawn in draws if wrong]
