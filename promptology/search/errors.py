"""Learning from errors: what a prompt gets wrong on training items, why, and prompts that mend it.

    answered <- examine(run, prompt, batch)                 the task's model answers a mini-batch
    report   <- report_on(prompt, answered)                 its errors, or, where there is none, what went right
    reasons  <- feedback(run, reports)                      one call a report
    new      <- revise(run, reports, reasons, ...)          one call a report and sample

The "text gradient" of ProTeGi (arXiv:2305.03495), the action and transition of PromptAgent (arXiv:2310.16427).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from promptology.data.items import Item
from promptology.data.scoring import feedback_of, score_of
from promptology.errors import UsageError
from promptology.predict import bind, predict_many
from promptology.predict.judging import referee
from promptology.prompts.learned import Learned
from promptology.prompts.outputs import answer_text
from promptology.prompts.render import frame, input_text
from promptology.run.engine import Run
from promptology.search.planning import error_pool
from promptology.search.proposing import ASKED, brief, propose

FEEDBACK = """Current prompt:
<in_use>
{instruction}
</in_use>

An assistant that works with it answered these inputs {how}.

<cases>
{cases}
</cases>

Give feedback on the prompt. {why} Consider different reasons, case by case and step by step. \
End with a list of the aspects of the prompt that should be improved. Do not write the improved text itself."""
WRONG = "For each case, find out why the answer is wrong and what the prompt leaves unclear or out."
RIGHT = "For each case, find out what in the prompt led to the right answer, and what would make it clearer still."
REVISE = """Improve a prompt with which an assistant answers inputs.

<prompt>
{instruction}
</prompt>

With it, the assistant answered these inputs {how}:

<cases>
{cases}
</cases>

Feedback on the prompt:

<reasons>
{reasons}
</reasons>
{earlier}
Write an improved prompt that takes up the feedback{evolve} and holds for all inputs of this kind, \
not only for those above. Copy none of the inputs into it. Write it, complete, between <prompt> and </prompt>."""
EARLIER = """
Earlier versions, the oldest first; each was made from the one before it, and the last led to the version above:

<versions>
{trajectory}
</versions>
"""


class Answered(NamedTuple):
    """An item with the answer of the task's model: as written, as read, its score, and the metric's own words."""

    item: Item
    raw: str
    read: str
    score: float
    note: str = ""


class Report(NamedTuple):
    """What a feedback call is shown of a prompt: answers that are all wrong, or all right."""

    prompt: Learned
    shown: tuple[Answered, ...]
    wrong: bool

    @property
    def how(self) -> str:
        """How the assistant answered, in a word."""
        return "wrongly" if self.wrong else "rightly"


def error_items(run: Run, apart: Sequence[Item] = ()) -> tuple[Item, ...]:
    """Return the items of `planning.error_pool` outside `apart`, on which a search may look for errors.

    Where all of them lie in `apart`, they are returned with a piece of advice in the log: rewards are then optimistic.
    Raises UsageError where there are none.
    """
    items = error_pool(run.task)
    if not items:
        raise UsageError(f"task {run.task.name!r} has no labelled training items in which to look for errors")
    ids = {i.id for i in apart}
    outside = tuple(i for i in items if i.id not in ids)
    if not outside:
        run.log("advice", text="errors are looked for in the items that score: give validation items of their own")
    return outside or items


def batches(run: Run, items: Sequence[Item], size: int) -> Iterator[list[Item]]:
    """Yield mini-batches for ever: items in random order, anew when they are used up; never an item twice in one."""
    size, rest, epoch = min(size, len(items)), list[Item](), 0
    while True:
        batch, rest = rest[:size], rest[size:]
        if len(batch) < size:
            rest = [items[i] for i in run.rng(f"mini-batches {epoch}").permutation(len(items))]
            epoch += 1
            used = {i.id for i in batch}
            more = [i for i in rest if i.id not in used][: size - len(batch)]
            taken = {i.id for i in more}
            batch, rest = batch + more, [i for i in rest if i.id not in taken]
        yield batch


def examine(run: Run, prompt: Learned, items: Sequence[Item]) -> list[Answered]:
    """Return the answers of the task's model to items, with their scores; an answer that never came is left out."""
    metric, signature = run.task.metric, run.task.signature
    helpers = {role: handle for role, handle in run.roles.items() if role != "model"}
    many = predict_many([bind(prompt, run.model(), helpers)], items)
    judge = referee(metric, run.roles, signature)
    (graded,) = judge.judge(many, items) if judge else many
    told = getattr(metric, "feedback", None)
    found: list[Answered] = []
    for item, output, missing, said, read in zip(
        items, graded.outputs, graded.missing, graded.raw, many[0].outputs, strict=True
    ):
        if not missing:
            score = score_of(metric, output, item.target)
            shown = "(could not be read)" if read is None else answer_text(read, signature, item.inputs)
            note = feedback_of(metric, output, item.target) if told or 0 < score < 1 else ""
            found.append(Answered(item, shown if said is None else str(said), shown, score, note))
    return found


def report_on(prompt: Learned, answered: Sequence[Answered], most: int | None = None) -> Report | None:
    """Return the report on at most so many errors (scores below 1); on right answers where there is none.

    None where nothing was answered.
    """
    wrong = tuple(a for a in answered if a.score < 1)
    shown = (wrong or tuple(answered))[:most]
    return Report(prompt, shown, bool(wrong)) if shown else None


def feedback(run: Run, reports: Sequence[Report], *, temperature: float = 1.0) -> list[str]:
    """Return reasons for what each report shows, one call each; "" where no answer came."""
    requests = [
        frame(
            FEEDBACK.replace("{how}", r.how).replace("{why}", WRONG if r.wrong else RIGHT),
            {"instruction": r.prompt.instruction, "cases": cases(run, r.shown)},
        )
        for r in reports
    ]
    texts = run.model("optimizer").generate(requests, temperature=temperature, max_tokens=ASKED, fresh=True)
    return [brief(text) for text in texts]


def revise(
    run: Run,
    reports: Sequence[Report],
    reasons: Sequence[str],
    *,
    trajectory: Sequence[Learned] = (),
    known: Collection[str] = (),
    samples: int = 1,
    temperature: float = 1.0,
) -> list[Learned | None]:
    """Return new prompts, `samples` for each report in turn, None where no usable one came; see `propose`.

    `trajectory`: ancestors of the prompt, the oldest first, from which the rewrite is to evolve. `known`: texts that
    are not to come again.
    """
    requests = [request for r, why in zip(reports, reasons, strict=True) for request in [_ask(run, r, why, trajectory)]]
    repeated = [request for request in requests for _ in range(samples)]
    parents = [r.prompt for r in reports for _ in range(samples)]
    led = [f"{cases(run, r.shown)}\n\n{why}" for r, why in zip(reports, reasons, strict=True) for _ in range(samples)]
    return propose(run, repeated, parents, temperature=temperature, known=known, why=led) if repeated else []


def _ask(run: Run, report: Report, reasons: str, trajectory: Sequence[Learned]) -> str:
    evolve = ", goes on from the earlier versions" if trajectory else ""
    template = REVISE.replace("{earlier}", EARLIER if trajectory else "").replace("{evolve}", evolve)
    values: dict[str, Any] = {
        "instruction": report.prompt.instruction,
        "cases": cases(run, report.shown),
        "reasons": reasons or "(none)",
        "trajectory": "\n\n".join(f"Version {n}: {p.instruction}" for n, p in enumerate(trajectory, 1)),
    }
    return frame(template.replace("{how}", report.how), values)


def cases(run: Run, answered: Sequence[Answered]) -> str:
    """Return cases as a reader sees them: input, answer as written, as read where that differs, right answer, note."""
    signature = run.task.signature
    blocks = []
    for n, a in enumerate(answered, 1):
        lines = [f"Input {n}: {input_text(a.item.inputs, signature)}", f"Answer {n}: {a.raw}"]
        lines += [f"Read as {n}: {a.read}"] if a.read != a.raw else []
        if a.item.labelled and not a.item.sealed:
            lines.append(f"Right answer {n}: {answer_text(a.item.target, signature, a.item.inputs)}")
        lines += [f"Note {n}: {a.note}"] if a.note else []
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)
