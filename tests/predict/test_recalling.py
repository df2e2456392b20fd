"""Readout recall: which cases are looked up, what the prompt holds, what it costs at most."""

from __future__ import annotations

import numpy as np
import pytest

from promptology.data.items import Item, Signature
from promptology.errors import AccessError
from promptology.models.access import Failure
from promptology.models.simulated.styles import SimulatedWriter
from promptology.predict import bind
from promptology.prompts import Learned, Memory, Note, Readout, Text
from promptology.run.handles import Handle
from promptology.run.meter import Limits, Meter
from promptology.run.store import memory_store

AXES = {"north": [1, 0, 0], "north-east": [0.8, 0.6, 0], "east": [0, 1, 0], "up": [0, 0, 1]}


class Compass:
    """Texts to directions by their first word."""

    name = identity = "compass"
    local = True
    seen = 0

    def embed(self, texts):
        self.seen += len(texts)
        return np.array([AXES[text.split()[0]] for text in texts], np.float32)


def note(n, context, preference):
    return Note(str(n), context, preference, f"draft {n}", f"final {n}", 1)


NOTES = (note(1, "north", "an emoji"), note(2, "east", "lower case"), note(3, "up", ""))


def remembering(notes=NOTES, pinned=(), encoder="compass", **options):
    vectors = Compass().embed([n.context for n in notes]) if notes else None
    memory = Memory(tuple(notes), vectors, encoder, pinned)
    roles = {"model": "generates", "encoder": "embeds"} if notes else {"model": "generates"}
    return Learned((memory, Text("Write."), Readout("recall", {"k": 2, **options})), Signature(), roles)


def bound(learned, model=None, **limits):
    meter = Meter(memory_store(), limits=Limits(**limits))
    models = {"model": model or SimulatedWriter(error=0.0), "encoder": Compass()}
    handles = {role: Handle(meter, role, m) for role, m in models.items()}
    return bind(learned, handles["model"], {"encoder": handles["encoder"]}), meter


def prompt_for(learned, text="north wind"):
    predictor, _ = bound(learned)
    item = Item("x", {"text": text})
    predictor.prepare([item])
    return predictor.requests([item])[0].messages[-1][1], predictor.recalled(item)


def test_an_empty_memory_is_the_plain_prompt():
    prompt, found = prompt_for(remembering(()))
    assert prompt == "Write.\n\nnorth wind" and found.notes == () and found.preference == ""


def test_the_nearest_come_first_and_k_is_clipped():
    for k, ids in ((1, ["1"]), (2, ["1", "2"]), (9, ["1", "2", "3"])):
        _, found = prompt_for(remembering(k=k), "north-east wind")
        assert [n.id for n in found.notes] == ids
        assert np.allclose(found.cosines, [0.8, 0.6, 0.0][: len(ids)])


def test_one_preference_is_used_as_it_is_and_empty_ones_are_skipped():
    for learned in (remembering(k=1), remembering((NOTES[0], NOTES[2])), remembering([*NOTES[:1]] * 2)):
        predictor, meter = bound(learned)
        item = Item("x", {"text": "north wind"})
        predictor.prepare([item])
        assert predictor.recalled(item).preference == "an emoji" and meter.charged.calls == 0
    prompt, _ = prompt_for(remembering((NOTES[2],)))
    assert prompt == "Write.\n\nnorth wind"


def test_several_are_merged_in_one_call_that_is_part_of_the_cost():
    notes = (*NOTES[:2], note(4, "east", "lower case, a greeting"))
    predictor, meter = bound(remembering(notes, k=3))
    predictions = predictor.predict([{"text": "east wind"}, {"text": "east wind"}, {"text": "up draught"}])
    assert meter.charged.calls == 4  # two contexts: a merge and an answer each
    assert predictions.outputs[0] == predictions.outputs[1] == "east wind."
    assert predictor.recalled(Item("x", {"text": "east wind"})).preference == "lower case"


def test_a_floor_keeps_dissimilar_contexts_out():
    # Cosines of pairs: 0 (north, east), 0.8 and 0.6; their median is 0.6.
    notes = (NOTES[0], NOTES[1], note(4, "north-east", "a greeting"))
    assert [n.id for n in prompt_for(remembering(notes, k=3, floor=0.1), "north wind")[1].notes] == ["1", "4"]
    assert [n.id for n in prompt_for(remembering(notes, k=3, floor=0.3), "north wind")[1].notes] == ["1"]
    assert prompt_for(remembering(notes, k=3, floor=0.1), "up draught")[1].notes == ()


def test_pinned_preferences_hold_everywhere():
    assert prompt_for(remembering((), ("in verse", "kind")))[1].preference == "in verse; kind"
    assert prompt_for(remembering(k=1, pinned=("in verse",)))[1].preference == "in verse; an emoji"


def test_edits_are_shown_instead_of_preferences():
    prompt, found = prompt_for(remembering(show="edits"))
    assert "Draft 1:\ndraft 1\n\nRevised 1:\nfinal 1\n\nDraft 2:\ndraft 2" in prompt
    assert found.preference == "" and "an emoji" not in prompt


def test_without_an_answer_the_nearest_case_decides():
    class Silent(SimulatedWriter):
        def generate(self, requests, attempts=1):
            for n, r in enumerate(requests):
                merging = "one case per line" in r.messages[-1][1]
                yield (n, Failure("gone")) if merging else next((n, o) for _, o in super().generate([r]))

    predictor, _ = bound(remembering(), Silent(error=0.0), missing=1.0, attempts=1)
    item = Item("x", {"text": "north wind"})
    assert predictor.predict([item]).missing == [False] and predictor.recalled(item).preference == "an emoji"


def test_vectors_of_another_encoder_are_made_anew():
    assert [n.id for n in prompt_for(remembering(encoder="another"))[1].notes] == ["1", "2"]


@pytest.mark.parametrize(
    ("options", "calls"),
    # "up" has one preference among its neighbours: nothing to merge.
    [({}, 5), ({"k": 1}, 3), ({"show": "edits"}, 3), ({"pinned": ("in verse \U0001f642",)}, 5)],
)
def test_the_worst_case_covers_what_it_costs(options, calls):
    predictor, meter = bound(remembering(**options))
    items = [Item(str(n), {"text": f"{where} {n}"}) for n, where in enumerate(("north", "east", "up"))]
    known = set()
    worst = predictor.most(items[:1], known)
    for item in items[1:]:
        worst = worst.plus(predictor.most([item], known))
    predictor.predict(items)
    spent = meter.charged
    assert spent.calls == calls and worst.calls == (3 if calls == 3 else 6) and worst.passes == spent.passes == 3
    assert worst.tokens_in >= spent.tokens_in and worst.tokens_out >= spent.tokens_out
    assert predictor.most(items, set()).calls == 0  # all of it is known now


def test_a_memory_needs_an_encoder():
    with pytest.raises(AccessError, match="role 'encoder' that embeds"):
        bind(remembering(), SimulatedWriter())
