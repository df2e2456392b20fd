"""Vectors of the simulated server: words decide, and a malformed request is refused."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import numpy as np
import pytest

from promptology.models.simulated import SimulatedChat
from promptology.models.simulated.embedding import embeddings, hashed
from promptology.testing.fixtures import HashingEncoder


def test_words_decide_where_a_text_lies():
    found = hashed(["The red door", "door, RED the!", "the red", "zebra", ""])
    assert found.dtype == np.float32 and found.shape == (5, 64)
    cosine = found @ found.T
    np.testing.assert_allclose(np.diag(cosine), 1.0, rtol=1e-6)
    assert cosine[0, 1] == pytest.approx(1.0) and cosine[0, 1] > cosine[0, 2] > cosine[0, 3]
    # Two words of three and one small entry that all share: (2 + 0.01) / sqrt((3 + 0.01) (2 + 0.01)).
    assert cosine[0, 2] == pytest.approx(2.01 / (3.01 * 2.01) ** 0.5, rel=1e-5)
    np.testing.assert_array_equal(HashingEncoder().embed(["zebra", ""]), found[3:])


def test_a_reply_says_that_it_is_simulated_and_counts_its_tokens():
    chat = SimulatedChat("tickets")
    reply = embeddings(chat, {"model": "m", "input": ["abcde", "a"]})
    assert reply["usage"] == {"prompt_tokens": 3, "total_tokens": 3} and reply["system_fingerprint"] == "simulated"
    assert [entry["index"] for entry in reply["data"]] == [0, 1] and reply["model"] == "m"
    assert embeddings(chat, {"input": "abcde"})["data"] == reply["data"][:1]


def test_a_malformed_request_is_refused(serve):
    with serve("--latency", "0") as server:
        for doc in ({}, {"input": []}, {"input": ["a", ""]}, {"input": 3}):
            asked = urllib.request.Request(f"{server.url}/embeddings", json.dumps(doc).encode())
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(asked, timeout=10)
            assert caught.value.code == 400
        assert server.stats()["requests"] == 0
