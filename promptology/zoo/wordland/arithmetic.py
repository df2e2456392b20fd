"""Arithmetic on a ring of ten digits, told in words, with a direct answer or with worked steps.

A problem starts at a digit and goes through two or three operations; only the last digit of a result counts, so that
behind 9 comes 0 and before 0 comes 9. Each operation is one easy step; a direct answer needs all of them at once.
Every fifth problem, by a scramble of its number, is held out: training never draws it in any wording.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from promptology.errors import UsageError

SIGNS = {"plus": "+", "minus": "-", "times": "*"}
STEPS = (
    *(("plus", n) for n in range(1, 10)),
    *(("minus", n) for n in range(1, 10)),
    # Not 5, whose products are all 0 or 5.
    *(("times", n) for n in (2, 3, 4, 6, 7, 8, 9)),
)
"""Every operation with its number."""
FORMS = ("steps", "direct")
_HELD_OUT_ONE_IN = 5


@dataclass(frozen=True)
class Problem:
    """A start and what is done to it, as pairs of an operation's name and a number."""

    start: int
    steps: tuple[tuple[str, int], ...]

    @property
    def values(self) -> tuple[int, ...]:
        """The digit after each step."""
        found, value = [], self.start
        for name, by in self.steps:
            value = (value + by if name == "plus" else value - by if name == "minus" else value * by) % 10
            found.append(value)
        return tuple(found)

    @property
    def answer(self) -> str:
        """The last digit, as text."""
        return str(self.values[-1])

    @property
    def worked(self) -> str:
        """The steps, a line each, and the answer in a line of its own."""
        lines, before = [], self.start
        for n, ((name, by), value) in enumerate(zip(self.steps, self.values, strict=True)):
            lines.append(f"{'Then' if n else 'First'} {before} {SIGNS[name]} {by} = {value}")
            before = value
        return "\n".join([*lines, self.direct])

    @property
    def direct(self) -> str:
        """The line of the answer alone."""
        return f"Answer: {self.answer}"

    def written(self, form: str) -> str:
        """Return the answer in a form: "steps" or "direct"."""
        return self.worked if form == "steps" else self.direct


def count(operations: int) -> int:
    """Return how many problems there are with so many operations."""
    return int(10 * len(STEPS) ** operations)


def problem(number: int, operations: int) -> Problem:
    """Return a problem by its number. Raises UsageError where there is none of this number."""
    if not 0 <= number < count(operations):
        raise UsageError(f"there is no problem {number} with {operations} operations")
    rest, start = divmod(number, 10)
    steps = []
    for _ in range(operations):
        rest, n = divmod(rest, len(STEPS))
        steps.append(STEPS[n])
    return Problem(start, tuple(steps))


def held_out(number: int) -> bool:
    """Whether training never draws the problem of this number; a rule of whole numbers, the same everywhere."""
    return number * 1_103_515_245 % 2_147_483_647 % _HELD_OUT_ONE_IN == 0


def draw(rng: np.random.Generator, operations: int, *, held: bool = False) -> Problem:
    """Return a problem, evenly from those of training or, with `held`, from those held out."""
    while True:
        number = int(rng.integers(count(operations)))
        if held_out(number) is held:
            return problem(number, operations)


@dataclass(frozen=True)
class _Scene:
    start: tuple[str, ...]
    plus: tuple[str, ...]
    minus: tuple[str, ...]
    times: tuple[str, ...]
    ask: tuple[str, ...]


SCENES = (
    _Scene(
        ("Start with {n}.", "Begin at {n}.", "Take the number {n}."),
        ("Add {n}.", "Now add {n} to it."),
        ("Take away {n}.", "Now take {n} from it."),
        ("Multiply by {n}.", "Now multiply it by {n}."),
        ("What is the last digit?", "Which digit comes out?"),
    ),
    _Scene(
        ("The counter shows {n}.", "A counter on the wall shows {n}."),
        ("It goes up by {n}.", "Somebody counts {n} more."),
        ("It goes down by {n}.", "Somebody counts {n} less."),
        ("It is multiplied by {n}.", "It grows to {n} times as much."),
        ("What does the counter show?", "Which digit is on the counter?"),
    ),
    _Scene(
        ("The old dial stands at {n}.", "Nora sets the dial to {n}."),
        ("She turns it on by {n}.", "It moves on by {n}."),
        ("She turns it back by {n}.", "It moves back by {n}."),
        ("A spring takes it to {n} times its place.", "It jumps to {n} times its place."),
        ("Where does the dial stand?", "Where is the dial in the end?"),
    ),
    _Scene(
        ("Ten seats stand in a ring and Paul sits on seat {n}.", "In a ring of ten seats Paul has seat {n}."),
        ("He moves to the right by {n}.", "He goes on by {n}."),
        ("He moves to the left by {n}.", "He goes back by {n}."),
        ("He finds the seat with {n} times that number.", "He goes to {n} times the number of his seat."),
        ("On which seat is he?", "Where does Paul sit now?"),
    ),
    _Scene(
        ("The screen of the toy says {n}.", "On the small screen there is a {n}."),
        ("The blue key adds {n}.", "Lena adds {n} on the blue key."),
        ("The red key takes away {n}.", "Lena takes away {n} on the red key."),
        ("The green key makes it {n} times as much.", "Lena makes it {n} times as much."),
        ("What is on the screen?", "Which digit does the screen say?"),
    ),
    _Scene(
        ("The lift waits at floor {n} of the ring tower.", "In the ring tower the lift is at floor {n}."),
        ("It rides up by {n}.", "Somebody calls it up by {n}."),
        ("It rides down by {n}.", "Somebody calls it down by {n}."),
        ("It goes where {n} times its floor would be.", "It is sent to {n} times its floor."),
        ("At which floor does the lift stop?", "Where is the lift?"),
    ),
    _Scene(
        ("The wheel of the lock is on {n}.", "Omar puts the wheel of the lock on {n}."),
        ("Push it forward by {n}.", "He pushes it forward by {n}."),
        ("Pull it back by {n}.", "He pulls it back by {n}."),
        ("Set it to {n} times its digit.", "He sets it to {n} times its digit."),
        ("Which digit opens the lock?", "On which digit is the wheel?"),
    ),
    _Scene(
        ("The train is at stop {n} of the round line.", "A train leaves stop {n} of the round line."),
        ("It runs on by {n}.", "It goes further by {n}."),
        ("It runs back by {n}.", "It has to go back by {n}."),
        ("It is sent to the stop with {n} times that number.", "It must go to {n} times the number of its stop."),
        ("At which stop is it?", "Where does the train stand now?"),
    ),
)
"""Wordings of a start, of each operation and of the question."""

INSTRUCTIONS = {
    "steps": (
        "Work it out step by step.",
        "Show every step, then give the answer.",
        "Think step by step and end with the answer.",
        "Write down each step before the answer.",
        "Go through the text one step at a time.",
        "First write the steps, then the answer.",
        "Solve this in steps and show your work.",
        "Show your work line by line.",
        "Reason step by step before you answer.",
        "Do one operation after the other and write each down.",
        "Give all steps and the result.",
        "Explain each step on the way to the answer.",
        "Take it slowly: one line for each step.",
        "Calculate with worked steps.",
    ),
    "direct": (
        "Give the right answer for the text.",
        "Give only the answer.",
        "Answer with one digit.",
        "Answer at once, without any steps.",
        "Say only the last digit.",
        "Give the result and nothing else.",
        "Name the answer directly.",
        "Just answer the question.",
        "No steps, only the answer.",
        "Write the answer alone.",
        "Reply with the digit only.",
        "Solve this and give the answer.",
        "Answer shortly.",
        "What is the answer?",
    ),
}
"""Wordings of an instruction that training draws, by the form that they ask for."""
HELD_OUT_INSTRUCTIONS = {
    "steps": (
        "Show each step on a line, and the answer at the end.",
        "Think before you answer and write the steps down.",
        "Please solve it step by step.",
        "Work line by line to the result.",
    ),
    "direct": (
        "Only name the digit.",
        "Give the answer directly, nothing else.",
        "Please answer with the digit alone.",
        "Say the result at once.",
    ),
}
"""Wordings that training never draws."""


def told(rng: np.random.Generator, given: Problem) -> str:
    """Return a problem in words, in a scene and wordings drawn evenly."""
    scene = _one(rng, SCENES)
    parts = [_one(rng, scene.start).format(n=given.start)]
    parts += [_one(rng, getattr(scene, name)).format(n=by) for name, by in given.steps]
    return " ".join([*parts, _one(rng, scene.ask)])


def rows(seed: int, many: int, operations: int, *, held: bool = True) -> list[dict[str, str]]:
    """Return rows with the fields text, answer and steps (the worked answer), by default of problems held out."""
    rng = np.random.default_rng([seed, operations, int(held)])
    made = []
    for _ in range(many):
        given = draw(rng, operations, held=held)
        made.append({"text": told(rng, given), "answer": given.answer, "steps": given.worked})
    return made


def texts() -> list[str]:
    """Return one of every wording, so that a tokenizer can learn its words."""
    found = [part.format(n=n) for scene in SCENES for part in _wordings(scene) for n in range(10)]
    found += [line for table in (INSTRUCTIONS, HELD_OUT_INSTRUCTIONS) for form in FORMS for line in table[form]]
    return [*found, *(f"First 1 {sign} 2 = 3\nThen 4 {sign} 5 = 6\nAnswer: 7" for sign in SIGNS.values())]


def _wordings(scene: _Scene) -> tuple[str, ...]:
    return (*scene.start, *scene.plus, *scene.minus, *scene.times, *scene.ask)


def _one(rng: np.random.Generator, options: tuple[Any, ...]) -> Any:
    return options[int(rng.integers(len(options)))]
