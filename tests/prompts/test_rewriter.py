"""Kind `rewriter`: a helper's text for each input, saved, shown, and refused where it would be lost."""

from __future__ import annotations

import numpy as np
import pytest

import promptology as pt
from promptology.data.items import Signature
from promptology.errors import ArtifactError, UsageError
from promptology.prompts.learned import Learned, Readout, Text
from promptology.prompts.rewriter import Rewriter
from promptology.prompts.sites import Weights

PART = Rewriter("Keywords: {input}", "Use this.\n\n<hint>\n{hint}\n</hint>", 10, "policy", "small")


def learned(*parts):
    weights = Weights("full", {}, {"shared.weight": np.ones((2, 3), np.float32)}, "policy")
    signature = Signature(instruction="Write.")
    return Learned((Text("Write."), PART, weights, *parts, Readout("answer")), signature,
                   {"model": "generates", "policy": "trainable"})  # fmt: skip


def test_it_is_saved_and_loaded_with_the_weights_of_its_role(tmp_path):
    found = pt.load(learned().save(tmp_path / "prompt"))
    assert found.same_as(learned()) and found.part(Rewriter) == PART
    assert found.part(Weights).role == "policy" and dict(found.roles) == dict(learned().roles)


def test_it_is_shown_as_a_person_reads_it():
    text = learned().as_text()
    assert "[rewriter] policy (small) reads: Keywords: {input}" in text
    assert "[rewriter] the model sees: Use this. <hint> {hint} </hint>" in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reads": "Keywords"}, "reads lacks {input}"),
        ({"shown": "Use this."}, "shown lacks {hint}"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"role": "model"}, "the role 'model'"),
    ],
)
def test_what_cannot_be_is_refused(changes, said):
    with pytest.raises(ArtifactError, match=said):
        Rewriter(**{"reads": "{input}", "shown": "{hint}", **changes})


def test_a_text_is_cut_between_characters():
    part = Rewriter("{input}", "{hint}", 1)
    assert part.cut("  ok \n") == "ok" and part.cut("x" * 100) == "x" * 8
    assert part.cut("\U0001f642" * 9) == "\U0001f642" * 2 and part.cut("a" + "é" * 9) == "a" + "é" * 3


@pytest.mark.parametrize("to", ["text", "messages"])
def test_exports_that_would_lose_it_are_refused(to):
    with pytest.raises(UsageError, match="would lose what the policy writes"):
        learned().export(to)


def test_peft_has_no_place_for_it(tmp_path):
    with pytest.raises(UsageError, match="peft has no type for this combination"):
        learned().export("peft", tmp_path / "adapter")
