"""In-context mappings: the deciding word's theme gives the label, and what is held out stays out."""

from itertools import product

import numpy as np
import pytest

from promptology.errors import UsageError
from promptology.zoo.wordland import mappings_in_context as world
from promptology.zoo.wordland.words import THEME_OF, THEMES


@pytest.mark.parametrize(("classes", "words"), [*product((2, 3, 8), (1, 2, 3))])
def test_the_theme_of_the_deciding_word_has_the_label(classes, words):
    for seed in range(20):
        made = world.mapping(seed, classes=classes, words=words)
        label_of = dict(zip(made.themes, made.labels, strict=True))
        shown, queries = made.draw(seed, 2, 4 * classes)
        for example in [*shown, *queries]:
            parts = example.text.split()
            assert len(parts) == len(set(parts)) == words
            assert {THEME_OF[part] for part in parts} <= set(made.themes)
            assert example.label == label_of[THEME_OF[parts[made.decides]]] == made.label_of(example.text)


def test_enough_demonstrations_leave_one_mapping():
    # Every other place and every other assignment of the same themes and labels contradicts a demonstration.
    for seed in range(20):
        made = world.mapping(seed)
        shown, _ = made.draw(seed, 8, 0)
        consistent = [
            (place, labels)
            for place in range(2)
            for labels in (made.labels, made.labels[::-1])
            if all(world.Mapping(made.themes, labels, 2, place).label_of(e.text) == e.label for e in shown)
        ]
        assert consistent == [(made.decides, made.labels)]


def test_every_place_decides_and_the_others_say_nothing():
    rng = np.random.default_rng(0)
    drawn = [world.draw(rng) for _ in range(300)]
    assert 0.4 < np.mean([m.decides for m in drawn]) < 0.6
    agree = []
    for made in drawn:
        example = made.example(rng, int(rng.integers(2)))
        themes = [THEME_OF[word] for word in example.text.split()]
        agree.append(themes[0] == themes[1])
    assert 0.4 < np.mean(agree) < 0.6


def test_training_draws_no_assignment_that_is_held_out_and_held_out_mappings_no_other():
    rng = np.random.default_rng(1)
    trained, held = set(), set()
    for _ in range(2000):
        classes = int(rng.integers(2, 9))
        made = world.draw(rng, classes=classes)
        trained |= set(zip(made.themes, made.labels, strict=True))
        made = world.draw(rng, classes=classes, held=True)
        held |= set(zip(made.themes, made.labels, strict=True))
    every = set(product(THEMES, world.LABELS))
    assert held == {(theme, label) for theme, label in every if world.held_out(theme, label)}
    assert trained == every - held
    assert len(held) == len(every) / world.HELD_OUT_ONE_IN


def test_every_theme_and_every_label_is_seen_in_training():
    for theme in THEMES:
        assert sum(not world.held_out(theme, label) for label in world.LABELS) == 30
    for label in world.LABELS:
        assert sum(not world.held_out(theme, label) for theme in THEMES) == 24


def test_labels_mean_nothing():
    assert len(set(world.LABELS)) == len(world.LABELS) == 40
    assert not set(world.LABELS) & {*THEME_OF, *THEMES}


def test_a_mapping_has_hundreds_of_queries_none_of_them_a_demonstration():
    made = world.mapping(5)
    shown, queries = made.draw(5, 4, 300)
    texts = [e.text for e in [*shown, *queries]]
    assert len(set(texts)) == len(texts) == 308
    assert [sum(e.label == label for e in shown) for label in made.labels] == [4, 4]
    assert [sum(e.label == label for e in queries) for label in made.labels] == [150, 150]


def test_a_seed_gives_the_same_mapping_and_examples():
    assert world.mapping(3) == world.mapping(3) != world.mapping(4)
    assert world.mapping(3).draw(1, 4, 10) == world.mapping(3).draw(1, 4, 10) != world.mapping(3).draw(2, 4, 10)


def test_rows_hold_text_and_label():
    shown, _ = world.mapping(0).draw(0, 1, 0)
    assert world.rows(shown) == [{"text": e.text, "label": e.label} for e in shown]


def test_faults_are_named():
    rng = np.random.default_rng(0)
    with pytest.raises(UsageError, match="2 to 8 classes"):
        world.draw(rng, classes=9)
    with pytest.raises(UsageError, match="1 to 3 words"):
        world.draw(rng, words=4)
    with pytest.raises(UsageError, match="20 examples a class"):
        world.mapping(0, words=1).draw(0, 8, 100)
    with pytest.raises(UsageError, match="is no input"):
        world.mapping(0).label_of("plain words here")
