"""The number of workers changes nothing: 1 and 8 give the same document byte for byte, also where the budget ends."""

from __future__ import annotations

import json

import pytest
from chatting import Chatting, messages_csv, stable
from rough_server import RoughServer

from promptology.methods.registry import catalogue
from promptology.models.simulated import SimulatedChat

CHAT = SimulatedChat("features")
METHODS = {
    "spo": ("--label", ""),
    "random-search": ("--set", "candidates=4", "--set", "items=5"),
    "evoprompt": ("--set", "population=3", "--set", "generations=2", "--set", "items=4"),
    "opro": ("--set", "steps=2", "--set", "samples=3", "--set", "items=4"),
}
METHODS = {name: options for name, options in METHODS.items() if name in catalogue()}
ROUGH = {"429": 0.08, "500": 0.06, "malformed": 0.04, "dropped": 0.03}


def documents(cli, tmp_path, chatting, server, workers, *arguments):
    """Return the document of each number of workers, each from a store of its own."""
    found = []
    for n in workers:
        chatting.attempts.clear()
        home = {"PROMPTOLOGY_HOME": str(tmp_path / f"home-{n}-{len(found)}-{chatting.requests}")}
        before = chatting.requests
        done = cli(*arguments, "--model", f"openai:m@{server.url}", "--workers", n, "--json", env=home)
        assert done.returncode == 0, done.stderr
        found.append((stable(json.loads(done.stdout)), chatting.requests - before))
    return found


@pytest.mark.parametrize("shares", [{}, ROUGH], ids=["smooth", "rough"])
@pytest.mark.parametrize("method", METHODS)
def test_one_and_eight_workers_at_the_limit(cli, tmp_path, method, shares):
    labels = None if method == "spo" else ("late", "broken")
    path = messages_csv(tmp_path / "messages.csv", CHAT, labels)
    chatting = Chatting(CHAT, shares, latency=0.01)
    limits = ("61calls,9ktok", "40calls") if shares else ("9calls", "57calls", "9ktok")
    with RoughServer(chatting) as server:
        for limit in limits:
            arguments = ("fit", "--task", path, "--method", method, *METHODS[method], "--prompt", "Write a reply.")
            one, eight = documents(
                *(cli, tmp_path, chatting, server, (1, 8)), *arguments, "--budget", limit, "--missing", "0.9"
            )
            assert one == eight, limit
    assert not shares or sum(chatting.faults[name] for name in shares) > 5


@pytest.mark.parametrize("shares", [{}, ROUGH], ids=["smooth", "rough"])
def test_evaluate_with_1_8_and_32_workers(cli, tmp_path, shares):
    chatting = Chatting(SimulatedChat("tickets"), shares, latency=0.002)
    with RoughServer(chatting) as server:
        budget = "130calls" if shares else "60ktok"
        arguments = ("evaluate", "--task", "tickets", "--budget", budget)
        found = documents(cli, tmp_path, chatting, server, (1, 8, 32), *arguments)
    assert found[0] == found[1] == found[2]
    assert 0 < found[0][0]["start"]["score"]["n"] < 448
