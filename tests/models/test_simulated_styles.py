"""The simulated writer: styles are written, read and named; errors are as frequent as they should be."""

from __future__ import annotations

from itertools import combinations

import pytest

from promptology.errors import UsageError
from promptology.models.opening import model
from promptology.models.simulated.styles import TRAITS, SimulatedWriter, majority, named, style_in, style_of, written
from promptology.testing import check_model

NOTES = " ".join(f"word{n}" for n in range(40))
STYLES = [frozenset(some) for n in range(7) for some in combinations(TRAITS, n)]


@pytest.mark.parametrize("style", STYLES, ids=named)
def test_a_written_style_is_read_again_and_named(style):
    assert style_of(written(NOTES, style)) == style
    assert style_in(named(style)) == style


def test_a_text_by_hand():
    text = written("one two three four five six seven", frozenset({"bullets", "greeting", "closing", "emoji"}))
    assert text == "Hello there,\n- One two three four five.\n- Six seven.\nKind regards from Mara \U0001f642"


def test_more_than_half_is_a_majority():
    a, b = frozenset({"lower"}), frozenset({"emoji", "lower"})
    assert majority([a, b]) == a and majority([a, b, b]) == b and majority([]) == frozenset()


def infer(final):
    return f"Draft 1:\nwhatever it was\n\nRevised 1:\n{final}\n\nName the style in one short phrase."


def test_it_errs_as_often_as_it_should_and_always_alike():
    style = frozenset({"bullets", "short"})
    finals = [written(f"note{n} {NOTES}", style) for n in range(500)]
    for error in (0.0, 0.1, 1.0):
        writer = SimulatedWriter(seed=1, error=error)
        said = [style_in(writer.reply([("user", infer(f))])) for f in finals]
        share = sum(len(s ^ style) for s in said) / (len(finals) * len(TRAITS))
        assert abs(share - error) < 0.02
        assert said == [style_in(writer.reply([("user", infer(f))])) for f in finals]


def test_it_writes_what_is_asked_for_and_imitates_what_it_is_shown():
    writer = SimulatedWriter(error=0.0)
    style = frozenset({"lower", "closing"})
    asked = f"Write a message in {named(style)}.\n\n{NOTES}"
    assert writer.reply([("user", asked)]) == written(NOTES, style)
    shown = f"Draft 1:\nsomething\n\nRevised 1:\n{written('other notes here', style)}\n\nWrite a message.\n\n{NOTES}"
    assert style_of(writer.reply([("user", shown)])) >= style
    assert writer.reply([("user", f"Write a message.\n\n{NOTES}")]) == written(NOTES, frozenset())
    lines = "lower case, an emoji\nlower case\nplain sentences"
    assert writer.reply([("user", f"{lines}\n\nSay in one short phrase what most have in common.")]) == "lower case"


def test_it_is_opened_by_its_name_and_keeps_the_contract_of_models():
    opened = model("simulated:styles?error=0.2&seed=3")
    assert (opened.error, opened.seed, opened.simulated) == (0.2, 3, True)
    with pytest.raises(UsageError, match="no option 'judge'; there are seed, error, imitate"):
        model("simulated:styles?judge=1")
    with pytest.raises(UsageError, match="error is 2"):
        model("simulated:styles?error=2")
    assert "generates" in check_model(opened).promises
