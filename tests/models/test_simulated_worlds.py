"""The simulated chat model: the worlds' figures, skills by content, the same in process and over HTTP."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from itertools import pairwise

import numpy as np
import pytest

import promptology as pt
from promptology.errors import UsageError
from promptology.feedback.judges import JUDGE
from promptology.methods.search.spo import OPTIMISE
from promptology.models.simulated import WORLDS, SimulatedChat, from_spec
from promptology.models.simulated.skills import regions, skill_of
from promptology.prompts.parsing import extract
from promptology.prompts.render import fill
from promptology.search.crossing import REWORD

WORLD = WORLDS["features"]
QUESTION = WORLD.inputs[0]


def ask(chat, text, seed=None, temperature=0.0):
    return chat.reply([("user", text)], seed, temperature)


def meta(prompt, outputs="(none)"):
    return fill(OPTIMISE, {"requirements": "A good reply.", "instruction": prompt, "outputs": outputs})


def duel(first, second):
    def block(answer):
        return f"Input 1: {QUESTION}\nOutput 1: {answer}"

    return fill(JUDGE, {"requirements": "A good reply.", "first": block(first), "second": block(second)})


def answer(prompt):
    return ask(SimulatedChat("features"), f"{prompt}\n\n{QUESTION}")


def test_quality_is_the_share_shown_and_not_hidden():
    f = WORLD.features
    assert len(f) == 8
    assert WORLD.hidden_quality(WORLD.start) == 0
    two = f"{WORLD.start} {f[0].sentences[0]} {f[3].sentences[1]}"
    assert WORLD.hidden_quality(two) == 2 / 8
    assert WORLD.hidden_quality(f"{two} {f[0].harm}") == 1 / 8
    assert WORLD.hidden_quality(f"{two} {f[5].harm}") == 2 / 8
    assert WORLD.hidden_quality(" ".join(x.sentences[0] for x in f)) == 1
    for feature in f:
        assert WORLD.shown(feature.sentences[0]) == WORLD.shown(feature.sentences[1]) == [feature]
        assert WORLD.shown(feature.harm) == []


def test_the_answer_shows_what_the_prompt_asks_for():
    f = WORLD.features
    text = answer(f"{WORLD.start} {f[0].sentences[0]} {f[1].sentences[0]} {f[1].harm}")
    assert f[0].mark in text
    assert f[1].mark not in text


def test_proposals_help_four_times_in_ten():
    chat = SimulatedChat("features")
    base = f"{WORLD.start} {WORLD.features[0].sentences[0]}"
    gains = [WORLD.hidden_quality(extract(ask(chat, meta(base), seed, 0.7), "prompt")) - 1 / 8 for seed in range(2000)]
    assert set(np.round(gains, 3)) == {-0.125, 0.125}
    assert np.mean(np.array(gains) > 0) == pytest.approx(0.4, abs=0.035)


def test_judge_is_right_three_times_in_four_in_either_position():
    chat = SimulatedChat("features")
    good, bad = answer(WORLD.features[0].sentences[0]), answer(WORLD.start)
    for first, second, right in ((good, bad, "A"), (bad, good, "B")):
        votes = [extract(ask(chat, duel(first, second), seed, 0.3), "choice") for seed in range(3000)]
        assert np.mean(np.array(votes) == right) == pytest.approx(0.75, abs=0.025)
    ties = [extract(ask(chat, duel(bad, bad), seed, 0.3), "choice") for seed in range(3000)]
    assert np.mean(np.array(ties) == "A") == pytest.approx(0.5, abs=0.03)


def test_settable_judge_and_bias():
    good, bad = answer(WORLD.features[0].sentences[0]), answer(WORLD.start)
    sure = SimulatedChat("features", judge=1.0)
    assert {extract(ask(sure, duel(bad, good), s, 0.3), "choice") for s in range(50)} == {"B"}
    biased = SimulatedChat("features", bias=1.0)
    assert {extract(ask(biased, duel(bad, good), s, 0.3), "choice") for s in range(50)} == {"A"}


def test_better_prompts_are_right_on_a_superset():
    known = {f"message {n} about something": "ab"[n % 2] for n in range(300)}
    chat = SimulatedChat("tickets", known=known)
    prompt, right = "Sort it.\n\nClasses:\n- a: one\n- b: two", []
    for extra in ("", *(f.sentences[0] for f in chat.world.features)):
        prompt = f"{prompt} {extra}"
        right.append({t for t, label in known.items() if label in ask(chat, f"{prompt}\n\n{t}").split()[-1]})
        assert len(right[-1]) / 300 == pytest.approx(chat.accuracy(prompt), abs=0.08)
    assert all(a <= b for a, b in pairwise(right))
    assert len(right[-1]) > len(right[0])


@pytest.mark.parametrize(
    ("text", "skill"),
    [
        (meta("Answer the question."), "rewrite"),
        (fill(REWORD, {"instruction": "Answer the question.", "{placeholder}": "x"}), "paraphrase"),
        (duel("x", "y"), "judge"),
        ("Which response is better?\n\nResponse 1:\nyes\n\nResponse 2:\nno\n\nSay 1 or 2.", "judge"),
        (
            "I have some texts along with their scores, the best last.\n\ntext: Solve it.\nscore: 61\n\n"
            "Write a new instruction that differs from the old ones and scores higher, in square brackets.",
            "rewrite",
        ),
        (
            "Cross over the two prompts and mutate the result.\nPrompt 1: Sort the text.\nPrompt 2: Label it.\n"
            "Put the new prompt between <prompt> and </prompt>.",
            "rewrite",
        ),
        (
            "Current instruction:\n```\nSort the text.\n```\nThese are examples with feedback on the responses. "
            "Write a new instruction for the assistant within ``` blocks.",
            "rewrite",
        ),
        (
            "Generate a variation of the following instruction, keep the same meaning.\n\nInstruction: Sort it.",
            "paraphrase",
        ),
        (
            "My prompt is:\nprompt: Sort the text.\n\nIt fails on these inputs. Give reasons why.",
            "criticise",
        ),
        ("Sort this customer message.\n\nI would like to compare two answers from you, which is better?", "solve"),
        ("Rewrite the message politely.\n\nGive me my money.", "solve"),
        ("Sort this.\n\nPlease improve the instruction manual of the kettle.", "solve"),
    ],
)
def test_skills_are_read_from_the_wording(text, skill):
    assert skill_of(text, text.rstrip().rfind("\n\n") + 2) == skill


def test_an_input_cannot_change_the_skill():
    text = "Improve the prompt <prompt></prompt>. Which output is better, A or B?"
    chat = SimulatedChat("tickets", known={text: "billing", "other": "refund"})
    assert ask(chat, f"Sort it. Answer with the class name.\n\n{text}") in ("billing", "refund")


def test_forms_of_the_reply():
    chat = SimulatedChat("features", rewrite=1.0)
    prompt = f"Answer {{text}}. {WORLD.start}"
    asks = {
        "tags": "Improve this prompt. Reply in <new_prompt></new_prompt>.\n\n<prompt>{p}</prompt>",
        "json": 'Improve this prompt. Reply in JSON as {{"prompt": "..."}}.\n\n<instruction>{p}</instruction>',
        "fence": "Improve this prompt and write the new prompt in ``` fences.\n\nCurrent prompt:\n```\n{p}\n```",
    }
    replies = {form: ask(chat, text.format(p=prompt)) for form, text in asks.items()}
    assert replies["tags"].startswith("<new_prompt>Answer {text}.")
    assert json.loads(replies["json"])["prompt"].startswith("Answer {text}.")
    assert replies["fence"].startswith("```\nAnswer {text}.")
    marked = "Propose a better instruction.\n\ninstruction: Sort it all.\n\n[[ ## proposed_instruction ## ]]"
    assert "[[ ## proposed_instruction ## ]]\nSort it all." in ask(chat, marked)


def test_regions_by_tags_and_headings():
    assert regions(duel("one", "two")).first.strip().endswith("one")
    sides = regions("Answer A: x is\n\nAnswer B: y is\n\nWhich answer is better?")
    assert (sides.first.strip(), sides.second.strip()) == ("x is", "y is")
    assert regions("nothing to compare") is None


def test_paraphrases_keep_what_is_asked():
    chat = SimulatedChat("features")
    prompt = f"{WORLD.start} {WORLD.features[2].sentences[0]}"
    reply = extract(ask(chat, fill(REWORD, {"instruction": prompt})), "prompt")
    assert reply != prompt
    assert WORLD.shown(reply) == WORLD.shown(prompt)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("mars", "features, tickets"),
        ("features?juge=1", "no option 'juge'"),
        ("features?judge=2", "between 0 and 1"),
        ("features?judge=high", "takes a number"),
    ],
)
def test_bad_specifications(spec, words):
    with pytest.raises(UsageError, match=words):
        from_spec(spec)


def test_specification_and_identity():
    chat = from_spec("features?judge=0.9&bias=0.1,seed=3")
    assert (chat.judge, chat.bias, chat.seed, chat.simulated) == (0.9, 0.1, 3, True)
    assert chat.identity != from_spec("features").identity
    assert from_spec("").world.name == "tickets"


def test_in_process_equals_http(serve):
    prompts = [meta(WORLD.start), duel("x", "y"), f"{WORLD.start}\n\n{QUESTION}"]
    with serve("--world", "features?seed=4", "--latency", "0") as server:
        remote = pt.model(f"openai:m@{server.url}")
        requests = [pt.Request.user(p, temperature=0.7, seed=s) for p in prompts for s in range(3)]
        over_http = dict(remote.generate(requests))
        here = dict(from_spec("features?seed=4").generate(requests))
        assert {n: a.text for n, a in over_http.items()} == {n: a.text for n, a in here.items()}
        assert {n: (a.tokens_in, a.tokens_out) for n, a in over_http.items()} == {
            n: (a.tokens_in, a.tokens_out) for n, a in here.items()
        }
        assert remote.simulated
        assert server.stats()["requests"] == 9
        bad = urllib.request.Request(server.url + "/chat/completions", data=b"{}")
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(bad, timeout=10)
        assert caught.value.code == 400
