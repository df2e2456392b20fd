"""Which model plays which role: what is missing is one line that says how it is given."""

from __future__ import annotations

import pytest

import promptology as pt
from promptology.errors import AccessError
from promptology.evidence.specifying import roles_of
from promptology.methods.registry import card_of
from promptology.testing.fixtures import HashingEncoder


def test_a_helper_that_is_missing_or_cannot_do_it_is_one_line_with_the_option():
    chat = pt.model(lambda prompt: "yes", identity="chat")
    with pytest.raises(
        AccessError, match=r"trainable as 'policy'; .* give one with --policy MODEL \(in Python, helpers="
    ):
        roles_of(card_of("dsp"), chat, {})
    with pytest.raises(AccessError, match="generates as 'optimizer'; hashing offers embeds; give one with --optimizer"):
        roles_of(card_of("crosstune"), HashingEncoder(), {"optimizer": HashingEncoder()})
    with pytest.raises(AccessError, match=r"is trainable as 'model'; <lambda> offers generates$"):
        roles_of(card_of("list"), chat, {})


def test_helpers_that_nobody_has_to_give_are_taken_where_they_can():
    chat, teacher = pt.model(lambda prompt: "yes", identity="chat"), HashingEncoder()
    models, notes = roles_of(card_of("crosstune"), HashingEncoder(), {"optimizer": chat, "teacher": teacher})
    assert models["teacher"] is teacher and models["optimizer"] is chat and not notes
