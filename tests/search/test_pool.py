"""The pool: what counts as the same prompt, and what was refused."""

from __future__ import annotations

import pytest

from promptology.search.pool import Pool, normal, words


def test_the_same_words_in_the_same_order_are_the_same_prompt():
    pool = Pool(["Answer: yes or no?"])
    assert "answer yes, or NO!" in pool and "**Answer** yes or no" in pool
    assert "no or yes answer" not in pool and "Answer yes or not" not in pool
    assert len(pool) == 1 and list(pool) == ["Answer: yes or no?"]
    pool.add("ANSWER yes or no")
    assert len(pool) == 1 and 3 not in pool


def test_prompts_without_words_and_in_other_scripts_are_told_apart():
    pool = Pool(["???", "Ответь: да или нет"])
    assert "???" in pool and "!!!" not in pool
    assert "ответь да или нет" in pool and "ответь нет" not in pool
    assert "{text}" not in Pool(["text"])
    assert words("Über {text}!") == "über { text }" and normal(" A  b\n") == "a b"


@pytest.mark.parametrize(("near", "found"), [(1.0, False), (0.9, False), (0.8, True)])
def test_near_duplicates_share_their_words(near, found):
    pool = Pool(["one two three four five six seven eight nine ten"], near)
    assert ("one two three four five six seven eight nine TWELVE" in pool) is found  # 9 of 11 words are shared
    assert "a quite different text" not in pool


def test_what_came_of_a_prompt_is_remembered():
    pool = Pool(["first"])
    pool.add("second")
    assert pool.note("second") == pool.note("third") == ""
    pool.add("Second!", "it scored 40 of 100")
    assert pool.note("second") == "it scored 40 of 100" and len(pool) == 2 and list(pool) == ["first", "second"]
