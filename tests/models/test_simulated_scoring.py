"""The simulated model's completions over real HTTP: echo, log-probabilities, and what they say about a prompt."""

from __future__ import annotations

import json
import math
import urllib.error
import urllib.request

import numpy as np
import pytest

import promptology as pt
from promptology.models.http import CompletionsEndpoint
from promptology.models.simulated import SimulatedChat
from promptology.models.simulated.scoring import echoed, tokenize

THINGS = {"tap": "wet", "lamp": "dark", "door": "door jam"}
KNOWN = {f"Ticket number {n} about the {thing}.": label for n in range(60) for thing, label in THINGS.items()}
POOR = "Sort this."
GOOD = (
    "Read the whole message before you decide. Think about which team could help. If two classes fit, take the one "
    "that would solve the problem. Decide by what the customer wants. Choose among the classes that are listed. "
    "Answer with the name of one class only."
)


def post(url, **doc):
    request = urllib.request.Request(f"{url}/completions", json.dumps(doc).encode(), {"Content-Type": "text/json"})
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.load(reply)


def asked(prompt, text):
    return f"{prompt}\n\n{text}\n\nAnswer:"


def test_beliefs_are_a_distribution_led_by_the_answer():
    chat = SimulatedChat("tickets", known=KNOWN)
    names = sorted(set(KNOWN.values()))
    for text in list(KNOWN)[:40]:
        prompt = asked(GOOD, text)
        values = chat.score([prompt], [[f" {name}" for name in names]])[0]
        assert math.fsum(math.exp(v) for v in values) == pytest.approx(1.0)
        answer = chat.reply([("user", prompt)])
        assert names[int(np.argmax(values))] == answer
    (odd,) = chat.score([asked(GOOD, text)], [[" nothing"]])[0]
    assert odd < -10


def test_a_better_prompt_makes_the_right_class_likelier():
    chat = SimulatedChat("tickets", known=KNOWN)

    def right(prompt):
        return np.mean([chat.score([asked(prompt, t)], [[f" {label}"]])[0][0] for t, label in KNOWN.items()])

    assert right(GOOD) > right(POOR) + 0.5


def test_a_text_that_the_model_does_not_know_is_guessed_from_the_listed_classes():
    chat = SimulatedChat("tickets", known={})
    prompt = asked("Classes:\n- rain: water from the sky\n- sun: light from the sky", "There was so much water")
    rain, sun = chat.score([prompt], [[" rain", " sun"]])[0]
    assert rain == pytest.approx(sun + 1.0)


def test_over_http_the_echo_says_the_same(serve):
    with serve("--latency", "0") as server:
        text = next(iter(pt.load_task("tickets").test)).inputs["text"]
        prompt, names = asked(GOOD, text), [f" {c.name}" for c in pt.load_task("tickets").signature.classes]
        there = CompletionsEndpoint("s", server.url).score([prompt, prompt + " x:"], [names, names[:1]])
        chat = SimulatedChat("tickets")
        here = chat.score([prompt, prompt + " x:"], [names, names[:1]])
        assert np.allclose(np.concatenate(there), np.concatenate(here))
        assert abs(sum(math.exp(v) for v in there[0]) - 1.0) < 1e-9

        doc = post(server.url, model="s", prompt=prompt + names[0], echo=True, logprobs=1, max_tokens=0)
        (choice,) = doc["choices"]
        shown = choice["logprobs"]
        assert choice["text"] == prompt + names[0] == "".join(shown["tokens"])
        assert shown["token_logprobs"] == echoed(chat, prompt + names[0])[1] and shown["token_logprobs"][0] is None
        assert shown["text_offset"][-1] == len(choice["text"]) - len(shown["tokens"][-1])
        assert doc["usage"]["completion_tokens"] == 0 and doc["system_fingerprint"] == "simulated"

        plain = post(server.url, model="s", prompt=[prompt, "Say something."], max_tokens=2)
        assert [len(tokenize(c["text"])) <= 2 for c in plain["choices"]] == [True, True]
        assert plain["choices"][0]["logprobs"] is None
        with pytest.raises(urllib.error.HTTPError) as caught:
            post(server.url, model="s", prompt=[1, 2])
        assert caught.value.code == 400
