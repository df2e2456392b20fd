"""Key phrases that a summary keeps, on a pair made by hand."""

from __future__ import annotations

from promptology.data.keyphrases import key_phrases, occurs, stops

ARTICLE = """On Monday the police arrested John Smith near the Old Harbor. A gas leak had closed the harbor for 3 days.
Smith, who sells boats, said the leak was not his fault. The mayor of Port Vale thanked the fire brigade."""
SUMMARY = "The fire brigade was thanked after a gas leak in the old harbor. John Smith was arrested, 3 said."


def test_phrases_of_both_in_the_order_of_the_summary():
    assert key_phrases(ARTICLE, SUMMARY) == [
        "fire brigade",
        "thanked",
        "gas leak",
        "old harbor",
        "john smith",
        "arrested",
    ]


def test_none_is_part_of_a_longer_one_a_number_or_a_stop_word():
    found = key_phrases(ARTICLE, SUMMARY)
    assert not any(a != b and a in b for a in found for b in found)
    assert not any(stops(p) for p in found) and "3" not in found


def test_the_most_joined_ones_are_taken():
    text = "red house. red door. red roof. lone bird."
    assert key_phrases(text, "bird. roof. red.", most=1) == ["red"]
    assert key_phrases(text, "bird. roof. red.") == ["bird", "roof", "red"]
    assert key_phrases(text, "nothing of the kind") == [] and key_phrases("", "") == []


def test_a_phrase_occurs_word_by_word():
    assert occurs("Gas leak", ARTICLE) and occurs("smith, who", ARTICLE)
    assert not occurs("man", "the manager came") and not occurs("", ARTICLE) and not occurs("...", ARTICLE)


def test_stop_words():
    assert stops("the of") and stops("12") and stops("") and stops("--")
    assert not stops("the harbor")
