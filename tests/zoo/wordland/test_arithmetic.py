"""Arithmetic in words: every answer is recomputed from the text alone, and held-out problems stay out."""

import re

import numpy as np
import pytest

from promptology.errors import UsageError
from promptology.prompts.parsing import parse_text
from promptology.zoo.wordland import arithmetic


def by_hand(start: int, steps: tuple[tuple[str, int], ...]) -> int:
    """Return the last digit without going digit by digit: the whole numbers first, then one remainder."""
    value = start
    for name, by in steps:
        value = eval(f"({value}) {arithmetic.SIGNS[name]} {by}")
    return value % 10


@pytest.mark.parametrize("operations", [2, 3])
def test_answers_are_the_last_digits_of_whole_numbers(operations):
    rng = np.random.default_rng(1)
    for number in rng.integers(arithmetic.count(operations), size=500).tolist():
        made = arithmetic.problem(number, operations)
        assert made.answer == str(by_hand(made.start, made.steps))
        assert len(made.values) == operations


def test_numbers_and_problems_are_one_to_one():
    made = {arithmetic.problem(n, 2) for n in range(arithmetic.count(2))}
    assert len(made) == arithmetic.count(2) == 10 * 25**2
    assert arithmetic.count(3) == 10 * 25**3
    with pytest.raises(UsageError, match="no problem 6250 with 2"):
        arithmetic.problem(6250, 2)


def test_worked_steps_are_right_line_by_line_and_read_by_the_library():
    rng = np.random.default_rng(2)
    for _ in range(200):
        made = arithmetic.draw(rng, 3)
        *lines, last = made.worked.splitlines()
        value = made.start
        for line in lines:
            before, sign, by, after = re.fullmatch(r"(?:First|Then) (\d) ([-+*]) (\d) = (\d)", line).groups()
            assert int(before) == value
            value = eval(f"{before} {sign} {by}") % 10
            assert int(after) == value
        assert last == made.direct == f"Answer: {value}"
        assert [line.split()[0] for line in lines] == ["First", "Then", "Then"]
        assert parse_text(f"\n{made.worked}") == parse_text(f"\n{made.direct}") == made.answer


@pytest.mark.parametrize("operations", [2, 3])
def test_a_fifth_is_held_out_and_never_drawn_for_training(operations):
    numbers = range(arithmetic.count(operations))
    out = {arithmetic.problem(n, operations) for n in numbers if arithmetic.held_out(n)}
    assert len(out) / len(numbers) == pytest.approx(0.2, abs=0.005)
    rng = np.random.default_rng(3)
    assert not out & {arithmetic.draw(rng, operations) for _ in range(2000)}
    assert {arithmetic.draw(rng, operations, held=True) for _ in range(500)} <= out


def test_what_is_held_out_leans_to_no_start_operation_or_answer():
    out = [arithmetic.problem(n, 2) for n in range(arithmetic.count(2)) if arithmetic.held_out(n)]
    every = [arithmetic.problem(n, 2) for n in range(arithmetic.count(2))]
    for key in (lambda p: p.start, lambda p: p.steps[0], lambda p: p.steps[1], lambda p: p.answer):
        for value in {key(p) for p in every}:
            share = sum(key(p) == value for p in out) / sum(key(p) == value for p in every)
            assert 0.1 < share < 0.3


def test_a_text_tells_its_numbers_in_order_in_every_wording():
    rng = np.random.default_rng(4)
    seen = set()
    for _ in range(400):
        made = arithmetic.draw(rng, 3)
        text = arithmetic.told(rng, made)
        assert [int(n) for n in re.findall(r"\d", text)] == [made.start, *(by for _, by in made.steps)]
        seen.add(text.split(".")[0].translate(str.maketrans("", "", "0123456789")))
    assert len(seen) == sum(len(scene.start) for scene in arithmetic.SCENES)


def test_wordings_of_different_operations_differ():
    for scene in arithmetic.SCENES:
        parts = [*scene.plus, *scene.minus, *scene.times]
        assert len(set(parts)) == len(parts)


def test_rows_follow_from_the_seed_and_are_held_out():
    rows = arithmetic.rows(7, 50, 2)
    assert rows == arithmetic.rows(7, 50, 2) != arithmetic.rows(8, 50, 2)
    assert all(row["steps"].endswith(f"Answer: {row['answer']}") for row in rows)
    out = {arithmetic.problem(n, 2).worked for n in range(arithmetic.count(2)) if arithmetic.held_out(n)}
    assert {row["steps"] for row in rows} <= out
    assert not {row["steps"] for row in arithmetic.rows(7, 50, 2, held=False)} <= out


def test_held_out_instructions_are_no_trained_ones():
    for form in arithmetic.FORMS:
        trained, held = arithmetic.INSTRUCTIONS[form], arithmetic.HELD_OUT_INSTRUCTIONS[form]
        assert len(set(trained)) == len(trained) >= 12
        assert not set(trained) & set(held)
        assert len(set(held)) == len(held) >= 4
