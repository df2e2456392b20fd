"""SPO: Self-Supervised Prompt Optimization. Xiang et al. 2025, arXiv:2502.06855.

    P* <- start, A* <- X(P*, Q)                             Q: k inputs without labels
    for t = 2..T:
        P  <- O(R, P*, A*)                                  optimiser sees the incumbent's outputs only
        A  <- X(P, Q)
        v  <- votes of the judge E(R, A, A*)                n votes, the positions swapped in half of them
        if votes for P > votes for P*:  P*, A* <- P, A
    return P*

Calls: k + (T - 1)(1 + k + n), 75 at the defaults. Choices of ours, after the card: the challenger must win a majority
(the public repository inverted this in 2025; the paper's rule stands here), a void vote counts for neither side, an
unusable proposal is a failed round and is never executed, a prompt that was proposed before is executed anew (so that
a round costs what it costs; memory=true asks for another one), and the swaps are balanced, so that a judge who always
names the first answer accepts nothing (random swaps, as published, accept 5 challengers of 16). A last duel, final
prompt against start on inputs that the search never saw, is evidence's work.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from promptology.data.items import Item
from promptology.data.task import Task
from promptology.errors import UsageError
from promptology.feedback.judges import JUDGE, VERDICT, Duel, Votes, balanced, compare_outputs, show
from promptology.methods.registry import method
from promptology.models.access import Generates
from promptology.prompts.learned import Learned
from promptology.prompts.outputs import answer_form
from promptology.prompts.render import frame, messages
from promptology.run.cost import Cost
from promptology.run.engine import Run
from promptology.search.planning import INSTRUCTION, PROPOSAL, answer_tokens, answers, estimated, plain_start
from promptology.search.pool import Pool
from promptology.search.proposing import propose
from promptology.search.scoring import unlabelled_inputs

OPTIMISE = """You improve an instruction that is given to an assistant together with each input. You see what is wanted, the instruction in use, and what the assistant made of it.

<wanted>
{requirements}
</wanted>

<prompt>
{instruction}
</prompt>

<outputs>
{outputs}
</outputs>

First name the weaknesses of these outputs between <analysis> and </analysis>. Then state the one change to the instruction that would help most between <modification> and </modification>. Then write the complete improved instruction, different from the one in use, between <prompt> and </prompt>."""


@method(
    "spo",
    family="search",
    learns="text",
    paper="arXiv:2502.06855",
    needs={"model": Generates, "optimizer": Generates, "judge": Generates},
    labels=False,
)
@dataclass(frozen=True)
class SPO:
    """Improve an instruction by duels between its outputs, with no labels."""

    rounds: int = 10
    """T: rounds, the start's own included (section 4; code default 10)."""
    questions: int = 3
    """k: inputs without labels that every prompt answers (section 4)."""
    votes: int = 4
    """n: votes per duel (code)."""
    swaps: str = "balanced"
    """Positions of the two outputs: balanced, or random as published."""
    fresh_questions: bool = False
    """Draw new questions every round, against over-fitting to three topics (ours; k more calls a round)."""
    memory: bool = False
    """Ask once more where the optimizer proposes what lost before, and say how it lost (ours; a call more each time)."""
    requirements: str = ""
    """R: what is wanted, in free text; empty takes the instruction at the start and the classes."""

    def __post_init__(self) -> None:
        if self.swaps not in ("balanced", "random"):
            raise ValueError(f"swaps is balanced or random, not {self.swaps!r}")
        if min(self.rounds, self.questions, self.votes) < 1:
            raise ValueError("rounds, questions and votes are at least 1")

    def plan(self, task: Task) -> Cost:
        """Return the calls of learning, k + (T - 1)(1 + k + n), and their tokens as estimated."""
        k, duels = self.questions, self.rounds - 1
        executed = answers(task, k + duels * k * (1 + self.fresh_questions))
        outputs = "x" * 4 * k * (answer_tokens(task) + INSTRUCTION)
        wanted = self.requirements or plain_start(task).instruction
        optimised = estimated(duels, [OPTIMISE + wanted + outputs], PROPOSAL)
        return executed.plus(optimised).plus(estimated(duels * self.votes, [JUDGE + wanted + 2 * outputs], VERDICT))

    def fit(self, run: Run) -> Learned:
        """Return the prompt of the last accepted round."""
        R = self.requirements or requirements(run)
        if self.questions < 5 and not self.fresh_questions:
            run.log(
                "advice",
                text=f"{self.questions} questions over-fit easily; try questions=5 or fresh_questions=true",
            )
        Q = draw(run, self.questions, "questions")
        best, known = run.start, Pool([run.start.instruction])
        A_best = execute(run, best, Q)
        for t in run.track(range(2, self.rounds + 1), "rounds"):
            if self.fresh_questions:
                Q = draw(run, self.questions, f"questions {t}")
                A_best = execute(run, best, Q)
            challenger = rewrite(run, R, best, Q, A_best, known if self.memory else ())
            if challenger is None:
                run.log("round", t=t, outcome="no usable proposal")
                continue
            A = execute(run, challenger, Q, fresh=True)
            votes = self.duel(run, R, Q, A, A_best, t)
            run.log("round", t=t, outcome="accepted" if votes.accepted else "rejected", **votes._asdict())
            known.add(challenger.instruction, f"its outputs won {votes.challenger} votes and lost {votes.incumbent}")
            if votes.accepted:
                best, A_best = challenger, A
            run.keep(best)
        return best

    def duel(
        self,
        run: Run,
        R: str,
        Q: list[Item],
        A: list[str | None],
        A_best: list[str | None],
        t: int,
    ) -> Votes:
        """Return the judge's votes on challenger and incumbent."""
        coin = [bool(c) for c in run.rng(f"swaps {t}").random(self.votes) < 0.5]
        swaps = balanced(self.votes) if self.swaps == "balanced" else coin
        (votes,) = compare_outputs(run.model("judge"), [Duel(Q, A, A_best, swaps)], run.task.signature, requirements=R)
        run.tally.update(votes=sum(votes), void=votes.void)
        return votes


def requirements(run: Run) -> str:
    """Return what is wanted, as far as the task says."""
    wanted, signature = run.start.instruction, run.task.signature
    if signature.classes:
        which = "one of" if signature.output == "class" else "all that apply of"
        wanted += f"\nThe answer is {which}: " + "; ".join(
            f"{c.name} ({c.description})" if c.description else c.name for c in signature.classes
        )
    form = answer_form(signature)
    return wanted if signature.output == "class" or not form else f"{wanted}\n{form}"


def draw(run: Run, k: int, name: str) -> list[Item]:
    """Return k inputs, labels unseen."""
    pool = unlabelled_inputs(run)
    if not pool:
        raise UsageError(f"task {run.task.name!r} has no inputs outside its test split; spo needs a few without labels")
    return [pool[i] for i in run.rng(name).permutation(len(pool))[:k]]


def execute(run: Run, prompt: Learned, Q: list[Item], fresh: bool = False) -> list[str | None]:
    """X: return the model's outputs on the questions."""
    return run.model().generate([messages(prompt, q.inputs, run.task.signature) for q in Q], fresh=fresh)


def rewrite(
    run: Run,
    R: str,
    best: Learned,
    Q: list[Item],
    A_best: list[str | None],
    known: Collection[str] = (),
) -> Learned | None:
    """O: return a changed prompt that is not `known`, None where no usable one came."""
    outputs = show(Q, A_best, run.task.signature)
    request = frame(OPTIMISE, {"requirements": R, "instruction": best.instruction, "outputs": outputs})
    (challenger,) = propose(run, [request], best, temperature=0.7, known=known, why=[outputs])
    return challenger and replace(challenger, method="spo")
