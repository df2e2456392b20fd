import re

import pytest

from promptology.zoo.recipes.vocabulary import tokenizer
from promptology.zoo.wordland import words
from promptology.zoo.wordland.kinds import KINDS
from promptology.zoo.wordland.vocabulary import vocabulary
from promptology.zoo.wordland.wordings import WORDINGS


def test_no_noun_stands_in_two_themes_and_every_theme_has_enough():
    assert len(words.THEMES) >= 24
    assert {len(nouns) for nouns in words.THEMES.values()} == {20}
    assert len(words.NOUNS) == sum(map(len, words.THEMES.values()))
    assert set(words.TOPICS) < set(words.THEMES) and len(words.TOPICS) >= 12
    assert sorted(words.THEMES) == list(words.THEMES)


def test_words_that_speak_for_a_held_out_class_speak_for_no_other():
    for classes in (words.SEASONS, words.ROOMS, words.MOODS):
        listed = [word for signs in classes.values() for word in signs]
        assert len(listed) == len(set(listed))
        assert not set(listed) & set(words.NOUNS)


def test_opposites_and_synonyms_go_both_ways():
    for table in (words.OPPOSITE, words.SYNONYM):
        assert all(table[table[word]] == word != table[word] for word in table)


@pytest.mark.parametrize(
    ("one", "many"),
    [("fox", "foxes"), ("cherry", "cherries"), ("donkey", "donkeys"), ("mouse", "mice"), ("axe", "axes")],
)
def test_plurals(one, many):
    assert words.plural(one) == many


def test_vocabulary_is_of_ordinary_size_and_each_word_is_one_token():
    listed = vocabulary()
    assert 1500 <= len(listed) <= 2500
    assert len(words.content_words()) >= 700
    reader = tokenizer(listed, "causal", positions=64, chat=True)
    for word in listed:
        for text in (word, f" {word}"):
            assert len(reader(text, add_special_tokens=False)["input_ids"]) == 1, text


def test_class_names_are_single_words_of_the_vocabulary_and_distinct():
    for kind in KINDS.values():
        assert len(set(kind.class_names)) == len(kind.class_names)
        assert set(kind.class_names) <= set(vocabulary())
        assert all(c.description.endswith(".") for c in kind.classes)


def test_mappings_have_eighteen_wordings_of_which_six_are_held_out():
    assert set(WORDINGS) == set(KINDS)
    for name, (seen, held_out) in WORDINGS.items():
        assert len({*seen, *held_out}) == len(seen) + len(held_out), name
        assert len(seen) >= 4 and len(held_out) >= 2
        if name.startswith("map-"):
            assert len(seen) >= 12 and len(held_out) == 6


def test_held_out_wordings_hold_words_that_no_seen_wording_has():
    seen = {w for s in WORDINGS.values() for text in s.seen for w in re.findall(r"\w+", text.lower())}
    for name, wordings in WORDINGS.items():
        if name.startswith("map-"):
            new = [set(re.findall(r"\w+", text.lower())) - seen for text in wordings.held_out]
            assert sum(map(bool, new)) >= 4, name


def test_the_first_wording_names_few_classes_all():
    for kind in KINDS.values():
        if 0 < len(kind.classes) <= 6:
            assert all(name in kind.wordings[0].lower() for name in kind.class_names), kind.name
