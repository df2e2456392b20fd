"""Guards of evidence: noise of asking twice, luck of the best of many, copied training text, length of the prompt."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptology.data.items import Item
from promptology.data.scoring import Metric
from promptology.data.task import Task
from promptology.errors import UsageError
from promptology.evidence.leaks import Leak, leak_of
from promptology.evidence.luck import Selection, selection
from promptology.evidence.measuring import Measured, measure, part_of
from promptology.evidence.protocols import Evidence, choosing_items, has_scores
from promptology.models.access import Outcome, Request, State
from promptology.predict import Predictions, Predictor, bind
from promptology.predict.judging import Referee, referee
from promptology.predict.predictor import OneShot
from promptology.prompts.learned import Learned
from promptology.run.engine import Run
from promptology.run.handles import Handle
from promptology.run.lengths import prompt_text
from promptology.run.meter import Meter
from promptology.search.proposing import LONGEST

OPENED = "this test split has been opened"
NOT_ASKED = "noise floor not measured; --noise-floor 20 asks the prompt a second time on 20 items"
OFTEN = 5
"""Runs that may open one test split before its small differences are doubted."""
LONGER, LONG = 10, 500
"""A prompt is called long at more than this many times the start's tokens and more than so many tokens."""
REACH = 1.96
"""Standard deviations that hold 95 % of a normal variable."""
BY_CONSTRUCTION = "zero by construction: a model in this process answers the same again; nothing was asked"
NO_BUDGET = "not measured: the budget covers no second answer"
NO_SCORES = "not measured: a duel gives no score of one prompt"


@dataclass(frozen=True)
class Noise:
    """One prompt scored twice on the same items: the share whose score changed, and second minus first on average.

    `floor`: what two scorings of one prompt on `n` items differ by at most in 95 of 100 cases,
    1.96 sqrt(mean(d^2) / n), where d is second minus first on each of the `items` asked twice. Both draws of an item
    have one distribution, so the mean of d^2 is the variance of such a difference. A prompt that is as noisy as the
    other has the same variance against it from noise alone, whatever the items.
    """

    items: int
    changed: float | None
    difference: float | None
    floor: float | None
    n: int
    note: str = ""


@dataclass(frozen=True)
class Size:
    """Tokens of the found prompt and of the start, without the input; `exact`: by the model's tokenizer."""

    tokens: int
    start: int
    exact: bool


@dataclass(frozen=True)
class Guards:
    """What guards found, each None where there is nothing to say; `warnings` in words."""

    noise: Noise | None = None
    selection: Selection | None = None
    leak: Leak | None = None
    length: Size | None = None
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON; the warnings stand among those of the arm."""
        doc = asdict(self)
        del doc["warnings"]
        if self.leak:
            doc["leak"]["examples"] = list(self.leak.examples)
        return doc


class Again(OneShot):
    """A predictor that asks everything as a second sample.

    The first sample of a request is the one that was asked without `fresh`; the second is a new draw, which only the
    same question asked a second time can find in the cache.
    """

    def __init__(self, first: Predictor) -> None:
        super().__init__(first.learned, {"model": first.handle}, first.signature)
        self._first = first

    def prepare(self, items: Sequence[Item]) -> None:
        """Ask what the first must know."""
        self._first.prepare(items)

    def requests(self, items: Sequence[Item]) -> list[Request]:
        """Return the requests of the first, with the next sample."""
        return [replace(r, sample=r.sample + 1) for r in self._first.requests(items)]

    def texts(self, items: Sequence[Item]) -> Sequence[str | State]:
        """Return the texts of the first."""
        return self._first.texts(items)

    def read(self, items: Sequence[Item], outcomes: Sequence[Outcome]) -> Predictions:
        """Read as the first reads."""
        return self._first.read(items, outcomes)


def steady(predictor: Predictor, items: Sequence[Item], judge: Referee | None) -> bool:
    """Whether a second scoring must be equal: in this process, at temperature 0, and so whoever grades."""
    drawn = any(r.temperature > 0 for r in predictor.requests(items[:1]))
    return predictor.handle.local and not drawn and (judge is None or judge.handle.local)


def noise_of(
    meter: Meter, predictor: Predictor, items: Sequence[Item], first: Measured, metric: Metric, judge: Referee | None
) -> Noise:
    """Score a prompt again on items that it was scored on, as many as the budget covers, and compare."""
    if steady(predictor, items, judge):
        return Noise(0, 0.0, 0.0, 0.0, first.n, BY_CONSTRUCTION)
    second = measure(meter, [Again(predictor)], items, judge and judge._replace(sample=1))
    both = {*first.ids} & {*second[0].ids} if second else set()
    if second is None or not both:
        return Noise(0, None, None, None, first.n, NO_BUDGET)
    before, after = (by_item(metric, m.only(both)) for m in (first, second[0]))
    d = np.array([after[id] - before[id] for id in sorted(both)])
    return Noise(len(d), float((d != 0).mean()), float(d.mean()), floor_of(d, first.n), first.n)


def floor_of(d: NDArray[np.float64], n: int) -> float:
    """Return what two means over n items differ by at most in 95 of 100 cases through noise alone; see `Noise`.

    `d`: second minus first score of items that were scored twice.
    """
    return REACH * math.sqrt(float((d**2).mean()) / n)


def measured_twice(
    meter: Meter, predictor: Predictor, items: Sequence[Item], metric: Metric, judge: Referee | None, again: int
) -> tuple[list[Measured] | None, Noise | None]:
    """Return a prompt's measurement, and where `again` items are asked a second time, the noise; see `measure`."""
    asked = again > 0 and not steady(predictor, items, judge)
    with part_of(meter, len(items) / (len(items) + again) if asked else 1.0):
        one = measure(meter, [predictor], items, judge)
    if one is None or not again:
        return one, None
    by_id = {item.id: item for item in items}
    return one, noise_of(meter, predictor, [by_id[id] for id in one[0].ids[:again]], one[0], metric, judge)


def by_item(metric: Metric, measured: Measured) -> dict[str, float]:
    """Return the score of every item that was answered."""
    rows = zip(measured.ids, measured.outputs, measured.targets, strict=True)
    return {id: metric.item(output, target) for id, output, target in rows}


def noise_of_run(run: Run, meter: Meter, evidence: Evidence, found: Learned, items: int) -> Noise | None:
    """Return the noise floor of what a run found, None where it was not asked for."""
    first = evidence.found_measured
    if not items or first is None:
        return None
    if evidence.protocol != "holdout":
        return Noise(0, None, None, None, evidence.n, NO_SCORES)
    truth = {item.id: item for item in run.task.open_test()}
    predictor = bind(found, run.model(), dict(run.roles))
    judge = referee(run.task.metric, run.roles, run.task.signature)
    return noise_of(meter, predictor, [truth[id] for id in first.ids[:items]], first, run.task.metric, judge)


@contextmanager
def room_for_noise(run: Run, meter: Meter, found: Learned, wanted: int, protocol: str | None) -> Iterator[None]:
    """Keep for `wanted` second answers the part of what is left that they are of all answers of evidence.

    All answers are those of start and found on every validation and test item, and these. Nothing is kept where
    nothing will be asked.
    """
    task = run.task
    others = 2 * (len(task.test) + len(choosing_items(task)))
    judge = referee(task.metric, run.roles, task.signature)
    scored = protocol == "holdout" or (protocol is None and has_scores(task))
    asked = wanted > 0 and scored and not steady(bind(found, run.model(), dict(run.roles)), task.test, judge)
    with part_of(meter, others / (others + wanted) if asked and others else 1.0):
        yield


def guard(run: Run, meter: Meter, evidence: Evidence, found: Learned, noise_floor: int) -> Guards:
    """Return the guards of a run; asks its model where a noise floor is wanted, else nobody."""
    noise = noise_of_run(run, meter, evidence, found, noise_floor)
    leak = None if found.same_as(run.start) else leak_of(run.task, found, run.start)
    size = size_of(found, run.start, run.model())
    said = [below_noise(evidence, noise, run.task.metric), leak.warning if leak else ""]
    said += [too_long(size, run.model()) if size else "", opened_often(evidence.openings), dropped(run)]
    lucky = selection(run.scored, sealed_mean(evidence, run.task.metric))
    return Guards(noise, lucky, leak, size, tuple(text for text in said if text))


def sealed_mean(evidence: Evidence, metric: Metric) -> float | None:
    """Return the mean score of what was found on the sealed items, in the terms in which a search scores."""
    found = evidence.found_measured
    if evidence.protocol != "holdout" or found is None or not found.n:
        return None
    return float(np.mean(list(by_item(metric, found).values())))


def guard_prompt(task: Task, learned: Learned, handle: Handle, noise: Noise | None, openings: int) -> Guards:
    """Return the guards of one prompt that was measured by itself."""
    leak = leak_of(task, learned, None)
    size = size_of(learned, learned, handle)
    said = [leak.warning if leak else "", too_long(size, handle) if size else "", opened_often(openings)]
    return Guards(noise, None, leak, size, tuple(text for text in said if text))


def size_of(found: Learned, start: Learned, handle: Handle) -> Size | None:
    """Return the lengths of found and start, None where no text is sent."""
    if not prompt_text(found):
        return None
    length = handle.length(found)
    return Size(length.tokens, handle.length(start).tokens, length.exact)


def too_long(size: Size, handle: Handle) -> str:
    """Return a warning where a prompt is much longer than the start, or fills half of what the model reads."""
    about, context = "" if size.exact else "about ", handle.context
    if context and size.tokens > context / 2:
        return f"the prompt takes {about}{size.tokens} of the {context} tokens that the model reads"
    if size.tokens > LONG and size.tokens > LONGER * size.start:
        return (
            f"the prompt has {about}{size.tokens} tokens, the start {size.start}: every prediction pays for them; "
            "--max-prompt-tokens N sets a limit"
        )
    return ""


def below_noise(evidence: Evidence, noise: Noise | None, metric: Metric) -> str:
    """Return a warning where found and start differ by less than two scorings of one prompt do."""
    start, found = evidence.start_measured, evidence.found_measured
    if noise is None or not noise.items or start is None or found is None or evidence.verdict == "start":
        return ""
    before, after = by_item(metric, start), by_item(metric, found)
    difference = float(np.mean([after[id] - before[id] for id in after]))
    if noise.floor is None or abs(difference) >= noise.floor:
        return ""
    what = "" if metric.decomposes else " in item scores"
    return (
        f"the difference of {difference:+.3f}{what} is below the noise floor: the same prompt asked twice on "
        f"{noise.n} items differs by up to {noise.floor:.3f}"
    )


def opened_often(openings: int) -> str:
    """Return the warning about a test split that many runs have opened, empty where few have."""
    if openings <= OFTEN:
        return ""
    return f"{OPENED} by {openings} runs: treat small differences with care"


def dropped(run: Run) -> str:
    """Return in words how many proposals were too long; where most were of no use, how many and why; else nothing."""
    count = run.tally
    lost = count["proposals"] - count["usable"]
    most = f"max_prompt_tokens {run.max_prompt_tokens}" if run.max_prompt_tokens else f"{LONGEST} tokens"
    if 2 * lost > count["proposals"]:
        why = [(count["unanswered"], "unanswered"), (count["declined"], "declined")]
        why.append((count["too long"], f"longer than {most}"))
        told = ", ".join(f"{n} {reason}" for n, reason in why if n)
        return f"{lost} of {count['proposals']} proposals held no new prompt{f' ({told})' if told else ''}"
    n = count["too long"]
    return f"{n} proposal{'s were' if n > 1 else ' was'} longer than {most}" if n else ""


def check_length(learned: Learned, handle: Handle, most: int) -> None:
    """Raise UsageError where a prompt that the user gave is longer than the user allows."""
    if most and (length := handle.length(learned)).tokens > most:
        about = "" if length.exact else "about "
        raise UsageError(
            f"the prompt has {about}{length.tokens} tokens, classes and system prompt included, and "
            f"max_prompt_tokens is {most}; shorten it or allow more"
        )


def within(run: Run, found: Learned) -> Learned:
    """Return what a method found, or the start where that is longer than the user allows, with a warning."""
    if run.fits(found):
        return found
    tokens = run.model().length(found).tokens
    run.warn(f"what the search found has {tokens} tokens, {run.max_prompt_tokens} are allowed: the start was kept")
    return run.start


def lines(guards: Mapping[str, Any]) -> list[str]:
    """Return noise and luck in words, a line each, from the guards of a document's arm."""
    said: list[str] = []
    if noise := guards.get("noise"):
        said.append(f"noise floor {noise['note']}" if noise["note"] else noise_line(noise))
    if chosen := guards.get("selection"):
        end = "" if chosen["sealed"] is None else f"; sealed test {chosen['sealed']:.2f}"
        part = f"about {chosen['luck']:.2f}" if chosen["luck"] >= 0.005 else "hardly any"
        said.append(
            f"search's best {chosen['best']:.2f} on {chosen['items']} items, best of {chosen['candidates']}: "
            f"{part} of that is luck; corrected {chosen['corrected']:.2f}{end}"
        )
    return said


def noise_line(noise: Mapping[str, Any]) -> str:
    """Return a measured noise floor in words; where nothing changed, the most that may (exact binomial, 95 %)."""
    items = noise["items"]
    if not noise["changed"]:
        most = 1 - 0.05 ** (1 / items)
        return (
            f"noise floor: asked again, none of {items} items scored differently (95 % limit: {most:.0%} of items may)"
        )
    return (
        f"noise floor: asked again, {noise['changed']:.0%} of {items} items scored differently (mean "
        f"{noise['difference']:+.3f}); a difference below {noise['floor']:.3f} on {noise['n']} items may be noise"
    )
