"""Keys and bodies stay what they are: a store of an earlier version is read."""

from __future__ import annotations

from promptology.models.access import Answer, Request
from promptology.run.keys import Keys, decode, encode


class Model:
    name, identity = "m", "openai:m@http://h/v1"


def key(request, **options):
    return Keys(0, None, **options).key("model", Model(), request).hex()


def test_a_continuation_makes_another_key_and_changes_no_other():
    request = Request((("user", "q"),), 0.5, 7, ("x",), sample=2, seed=3)
    assert key(request) == "73c4a1a15c31da728143828bc3964579"
    scored = [Request.user("q", continuation=c) for c in ("", " a", " b")]
    assert len({key(r) for r in (Request.user("q"), *scored)}) == 4


def test_bodies_of_both_kinds_and_of_earlier_versions():
    plain, scored = Answer("é", 1, 2, False, 3, True), Answer("", 1, 1, False, 1, False, -0.1)
    assert encode(plain) == b'["\xc3\xa9",1,2,false,true]'
    assert decode(encode(plain)) == Answer("é", 1, 2, False, 1, True)
    assert decode(encode(scored)) == scored
    assert decode(encode(Answer("", logprob=float("-inf")))).logprob == float("-inf")


def test_requests_are_equal_whatever_they_were_built_from():
    request = Request([["user", "q"]], stop=["a", "b"])
    assert request == Request((("user", "q"),), stop=("a", "b")) and hash(request)
    assert Request.user("q", stop="END").stop == ("END",)


def test_a_simulation_is_known_for_one_from_the_store_too(serve):
    import promptology as pt

    with serve("--world", "tickets", "--latency", "0") as server:
        documents = [
            pt.evaluate("tickets", f"openai:m@{server.url}", prompt="Sort this.", split="validation").document
            for _ in range(2)
        ]
    assert [d["model"]["simulated"] for d in documents] == [True, True]
    assert documents[1]["paid"]["calls"] == 0
