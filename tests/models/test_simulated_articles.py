"""The reporter acts on content: which things a request names outside of the article decides what it keeps."""

from __future__ import annotations

import pytest

import promptology as pt
from promptology.errors import UsageError
from promptology.models.access import Request
from promptology.models.simulated.articles import CUES, FILL, KEPT, SENTENCES, THINGS, ArticleWorld, reported

ARTICLE = ArticleWorld(0).article(0)


def test_three_of_twelve_sentences_matter_and_a_cue_says_which():
    for n in range(50):
        article = ArticleWorld(3).article(n)
        sentences = [s.split() for s in article.text.rstrip(".").split(". ")]
        cued = [
            (s, w) for s in sentences for w, after in zip(s, [*s[1:], ""], strict=True) if w in CUES and after in THINGS
        ]
        assert len(sentences) == SENTENCES and len(cued) == KEPT == len(article.keywords)
        assert [s[s.index(w) + 1] for s, w in cued] == list(article.keywords)
        assert article.summary == " ".join(" ".join(s) + "." for s, _ in cued)
        assert sum(word in THINGS for s in sentences for word in s) == SENTENCES


def test_worlds_differ_by_seed_and_repeat():
    assert ArticleWorld(1).article(5) == ArticleWorld(1).article(5) != ArticleWorld(2).article(5)
    assert len({*THINGS}) == 60 and len({*CUES}) == 8 and not {*THINGS} & ({*CUES} | {*FILL})


@pytest.mark.parametrize(
    "form", ["{a}\n\n{h}", "Use {h}\n\n{a}", "Write.\n\n{a}\n\nKeep to this:\n\n<hint>\n{h}\n</hint>"]
)
def test_wherever_the_hint_stands_it_keeps_the_right_sentences(form):
    hint = "; ".join(reversed(ARTICLE.keywords)) + "."
    assert reported(form.format(a=ARTICLE.text, h=hint.upper())) == ARTICLE.summary


def test_without_a_thing_of_the_article_it_keeps_the_first_two():
    first = ". ".join(ARTICLE.text.split(". ")[:2]) + "."
    absent = next(t for t in THINGS if t not in ARTICLE.text)
    for request in (
        ARTICLE.text,
        f"Write a summary.\n\n{ARTICLE.text}",
        f"{ARTICLE.text}\n\n<hint>\n{absent}\n</hint>",
    ):
        assert reported(request) == first


def test_it_is_a_simulated_world_by_name():
    model = pt.model("simulated:articles")
    ((_, answer),) = model.generate([Request.user(f"{ARTICLE.text}\n\n{ARTICLE.keywords[0]}", temperature=0.7)])
    assert model.simulated and ARTICLE.keywords[0] in answer.text and answer.text.count(".") == 1
    with pytest.raises(UsageError, match="no option 'seed'"):
        pt.model("simulated:articles?seed=1")
