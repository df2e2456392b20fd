"""Stop marks and max_tokens, for models that do not keep them by themselves."""

from __future__ import annotations

import pytest

import promptology as pt
from promptology.models.cutting import cut
from promptology.models.simulated import SimulatedChat


@pytest.mark.parametrize(
    ("stop", "most", "expected"),
    [
        ((), None, ("one two three", False)),
        (("two",), None, ("one ", False)),
        (("three", "one"), 512, ("", False)),
        (("", "four"), 4, ("one two three", False)),
        ((), 2, ("one two ", True)),
        (("two",), 1, ("one ", False)),
        (("two",), 0, ("", True)),
    ],
)
def test_a_text_is_cut_at_the_first_mark_then_at_the_tokens(stop, most, expected):
    assert cut("one two three", stop, most) == expected


def test_functions_and_the_simulated_model_keep_both():
    request = pt.Request.user("Sort this customer message.\n\nWhere is my parcel?", max_tokens=3)
    for model in (pt.model(lambda prompt: "a long answer to " + prompt), SimulatedChat("tickets")):
        ((_, answer),) = model.generate([request])
        assert len(answer.text) <= 12 and answer.truncated
        ((_, whole),) = model.generate([pt.Request(request.messages)])
        assert not whole.truncated
        ((_, stopped),) = model.generate([pt.Request(request.messages, stop=(whole.text[5:9],))])
        assert stopped.text == whole.text.split(whole.text[5:9])[0] and not stopped.truncated
