"""What calls will cost in tokens, before the first one: estimates from rendered prompts, marked as estimated."""

from __future__ import annotations

from collections.abc import Sequence

from promptology.data.items import Item
from promptology.data.task import Task
from promptology.prompts.learned import Learned
from promptology.prompts.outputs import answer_text
from promptology.prompts.render import input_text, messages
from promptology.prompts.start import start_from
from promptology.run.cost import Cost
from promptology.run.lengths import tokens

PROPOSAL = 150
"""Tokens of a typical proposal: a few words of analysis and an instruction of one paragraph."""
INSTRUCTION = 60
"""Tokens of a typical proposed instruction."""
ANSWER = 100
"""Tokens of a typical free-text answer where the task shows none."""
GRADE = 50
"""Tokens of a typical reply of a judge."""
LOOKED_AT = 50
"""Items whose rendered prompts are measured."""


def labelled_selection(task: Task) -> tuple[Item, ...]:
    """Return the items that `selection_items` takes, without a run; empty where it would find none."""
    labelled = tuple(i for i in task.validation if i.labelled) or tuple(i for i in task.train if i.labelled)
    if labelled or getattr(task.metric, "labels", True):
        return labelled
    return (*task.unlabeled, *task.train, *task.validation)


def fresh_after(task: Task, used: int) -> int:
    """Return how many items are left fresh after a selection on `used` items; see `fresh_pool`."""
    return max(0, len(fresh_pool(task)) - used)


def divided(task: Task, most: int, fresh: int) -> tuple[int, int]:
    """Return on how many items a search selects, at most `most`, and how many are left for the end, at most `fresh`.

    For the end a third of the validation items at most is kept out of the search, and what the search does not need;
    nothing where it has to select on training items. See `rescoring.apart`.
    """
    there = len(labelled_selection(task))
    used = min(most, there - (min(fresh, there // 3) if fresh_pool(task) else 0))
    return used, min(fresh, fresh_after(task, used))


def fresh_pool(task: Task) -> tuple[Item, ...]:
    """Return the items that may confirm a search: labelled validation, or, where a judge needs no labels, inputs."""
    labelled = tuple(i for i in task.validation if i.labelled)
    if getattr(task.metric, "labels", True) or any(i.labelled for i in (*task.train, *task.validation)):
        return labelled
    return (*task.unlabeled, *task.validation)


def error_pool(task: Task) -> tuple[Item, ...]:
    """Return the items that may show errors: labelled training items, or, where a judge needs no labels, inputs."""
    labelled = tuple(i for i in task.train if i.labelled)
    if labelled or getattr(task.metric, "labels", True):
        return labelled
    return (*task.unlabeled, *task.train)


def plain_start(task: Task) -> Learned:
    """Return the start of a model that generates."""
    return start_from(task.signature, ("generates",))


def estimated(calls: int, prompts: Sequence[str], tokens_out: int) -> Cost:
    """Return the cost of calls whose prompts look like these."""
    size = sum(map(tokens, prompts)) / max(len(prompts), 1)
    return Cost(calls, round(calls * size), calls * tokens_out, estimated=True)


def answers(task: Task, calls: int, *, shots: int = 0) -> Cost:
    """Return the cost of that many answers of the task's model to proposed prompts with that many demonstrations."""
    prompt = plain_start(task)
    items = [*task.validation, *task.train, *task.unlabeled, *task.test][:LOOKED_AT]
    longer = " " * 4 * max(0, INSTRUCTION - tokens(prompt.instruction))
    shown = ["\n".join(content for _, content in messages(prompt, i.inputs, task.signature)) for i in items]
    inputs = sum(tokens(input_text(i.inputs, task.signature)) for i in items) / max(len(items), 1)
    cost = estimated(calls, [text + longer for text in shown], answer_tokens(task))
    return cost._replace(tokens_in=cost.tokens_in + round(calls * shots * (inputs + target_tokens(task))))


def scores(task: Task, calls: int, *, shots: int = 0) -> Cost:
    """Return the cost of that many answers and, where a judge is the metric, of their grades."""
    return answers(task, calls, shots=shots).plus(grades(task, calls))


def grades(task: Task, calls: int) -> Cost:
    """Return the cost of grading that many answers; nothing where the metric needs no model."""
    questions = getattr(task.metric, "questions", None)
    if not task.metric.needs or questions is None:
        return Cost(calls=calls * len(task.metric.needs))
    items = [*task.validation, *task.train, *task.unlabeled, *task.test][:LOOKED_AT]
    sources = [input_text(item.inputs, task.signature) for item in items]
    outputs = ["x" * 4 * answer_tokens(task)] * len(items)
    prompts = questions(outputs, sources, [""] * len(items), task.signature.instruction)
    return estimated(calls, prompts, GRADE)


def answer_tokens(task: Task) -> int:
    """Return the tokens of a typical answer: the known targets and a little, of free text a paragraph at least."""
    known = target_tokens(task)
    return known + 2 if known and task.signature.output != "text" else max(ANSWER, known)


def target_tokens(task: Task) -> int:
    """Return the tokens of a typical label: the longest class name, else the mean of the known targets."""
    if task.signature.output == "class":
        return max(map(tokens, task.signature.class_names))
    items = [i for i in (*task.train, *task.validation) if i.labelled][:LOOKED_AT]
    known = [tokens(answer_text(i.target, task.signature, i.inputs)) for i in items]
    return round(sum(known) / len(known)) if known else 0
