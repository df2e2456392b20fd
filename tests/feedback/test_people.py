"""The simulated person and the world that the person lives in."""

from __future__ import annotations

from collections import Counter

from promptology.feedback.people import KINDS, SHARED, WORDS, SimulatedPerson, StyleWorld, kind_of
from promptology.models.access import offers
from promptology.models.simulated.styles import TRAITS, named, style_of, written


def test_the_world_is_that_of_the_claims():
    vocabularies = [{*own} for own in KINDS.values()]
    assert len(KINDS) == 4 and len(TRAITS) == 6 and WORDS == 40
    assert all(len(own) == len(set(own)) == len(SHARED) == len({*SHARED}) for own in KINDS.values())
    assert len({*SHARED}.union(*vocabularies)) == 5 * len(SHARED)  # nothing else is shared


def test_contexts_are_of_their_kind_and_each_kind_is_equally_frequent():
    world = StyleWorld(7)
    items = world.items(120)
    kinds = [kind_of(item.inputs["text"].split()) for item in items]
    assert Counter(kinds) == dict.fromkeys(KINDS, 30)
    assert all(item.target == named(world.styles[kind]) for item, kind in zip(items, kinds, strict=True))
    assert kinds != sorted(kinds) and all(len(item.inputs["text"].split()) == 40 for item in items)
    assert [i.inputs for i in StyleWorld(7).items(120)] == [i.inputs for i in items]


def test_styles_differ_by_kind_or_are_alike_and_are_never_plain():
    for seed in range(50):
        assert len(set(StyleWorld(seed).styles.values())) == 4
        assert len(set(StyleWorld(seed, alike=True).styles.values())) == 1
        assert all(StyleWorld(seed).styles.values())


def test_the_person_lets_the_wanted_style_stand_and_rewrites_any_other():
    world = StyleWorld(2)
    person = SimulatedPerson(world)
    assert offers(person) == ("edits",)
    for item in world.items(8):
        context = item.inputs["text"]
        wanted = written(context, world.wanted(context))
        assert person.edit(context, wanted + " ") == wanted + " "
        other = written(context, world.wanted(context) ^ {"emoji"})
        assert person.edit(context, other) == wanted and style_of(wanted) == world.wanted(context)
