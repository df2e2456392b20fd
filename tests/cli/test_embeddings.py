"""An embeddings endpoint at the command line: every method that needs vectors, budgets, costs, plans, mistakes."""

from __future__ import annotations

import csv
import json

import pytest
from aiohttp import web
from paging import Visitor, paged
from rough_server import RoughServer, error

from promptology.cli.app import run
from promptology.feedback.people import StyleWorld
from promptology.models.simulated import SimulatedChat
from promptology.models.simulated.embedding import embeddings
from promptology.models.simulated.styles import written

CHAT = SimulatedChat("tickets")
WORDS = {"delivery": "parcel late courier", "billing": "invoice charged twice", "account": "password login locked"}


async def simulated(server, request, doc):
    return web.json_response(embeddings(CHAT, doc))


@pytest.fixture
def server():
    with RoughServer(simulated) as server:
        yield server


@pytest.fixture
def asked(capsys, tmp_path, monkeypatch):
    """Return a function that runs the command in this process, and returns its code, output and lines of error."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        code = run(list(arguments))
        shown = capsys.readouterr()
        return code, shown.out, [line for line in shown.err.splitlines() if not line.startswith("note:")]

    return command


@pytest.fixture
def document(asked):
    def of(*arguments):
        code, out, errors = asked(*arguments, "--json")
        assert code == 0, errors
        return json.loads(out)

    return of


@pytest.fixture
def task(tmp_path):
    """Ninety short messages whose words tell their class."""
    with (tmp_path / "task.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        for n in range(90):
            name = list(WORDS)[n % 3]
            rows.writerow([f"{WORDS[name].split()[n // 3 % 3]} message number {n}", name])
    return ("--task", "task.csv", "--text", "text", "--label", "label")


def test_the_real_command_and_the_simulated_server(cli, serve):
    with serve("--latency", "0") as server:
        done = cli("evaluate", "--task", "tickets", "--model", f"embeddings:m@{server.url}", "--budget", "15calls")
        assert done.returncode == 0, done.stderr
        # 448 test items and 8 labels, 32 a call.
        assert "448 test items (simulated model)" in done.stdout and server.stats()["requests"] == 15
        assert "15 calls" in done.stdout and "passes" not in done.stdout


def test_evaluate_is_charged_calls_and_tokens_and_a_repeated_run_asks_for_nothing(document, server):
    evaluate = ("evaluate", "--task", "tickets", "--model", f"embeddings:m@{server.url}", "--budget")
    first = document(*evaluate, "15calls")
    assert first["start"]["score"]["n"] == 448 and len(server.bodies) == 15
    charged = first["charged"]
    assert (charged["calls"], charged["passes"], charged["tokens_out"], charged["estimated"]) == (15, 0, 0, False)
    sent = [text for body in server.bodies for text in json.loads(body)["input"]]
    assert len(sent) == len({*sent}) == 456 and charged["tokens_in"] == sum(-(-len(text) // 4) for text in sent)
    assert first["per_prediction"]["calls"] == 1 and first["per_prediction"]["estimated"]
    again = document(*evaluate, "15calls")
    assert again["charged"] == charged and again["paid"]["calls"] == 0
    assert again["start"]["score"] == first["start"]["score"] and len(server.bodies) == 15
    # Half of what a limit of calls covers is asked first (8 + 60 texts), then what fits in the rest.
    fewer = document(*evaluate, "4calls", "--cache", "off")
    assert fewer["start"]["score"]["n"] == 60 + 32 and len(server.bodies) == 19


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("knn-demos", ()),
        ("linear-probe", ()),
        ("template-search", ()),
        ("crosstune", ("--set", "heads=4", "--set", "labels=names", "--set", "epochs=5")),
    ],
)
def test_methods_that_need_vectors(asked, document, server, task, method, settings):
    if method in ("linear-probe", "crosstune"):
        pytest.importorskip("torch")
    model = ("--model", f"embeddings:m@{server.url}")
    fit = ("fit", *task, *model, "--method", method, *settings, "--budget", "40calls", "--out", "mine")
    (arm,) = document(*fit)["arms"]
    assert arm["score"]["n"] > 0 and 0 < len(server.bodies) <= 40
    before = len(server.bodies)
    (again,) = document(*fit)["arms"]
    assert again["score"] == arm["score"] and len(server.bodies) == before
    measured = document("evaluate", *task, *model, "--prompt", "mine", "--budget", "40calls")
    assert measured["start"]["score"]["value"] == pytest.approx(arm["score"]["value"])
    code, out, errors = asked("apply", "mine", *model, "my parcel", "--json")
    assert code == 0 and any(name in out for name in WORDS), errors


def test_a_memory_asks_it_as_the_encoder(asked, document, server, tmp_path):
    world = StyleWorld(3)
    with (tmp_path / "letters.jsonl").open("w", encoding="utf-8") as file:
        for item in world.items(20):
            text = item.inputs["text"]
            file.write(json.dumps({"text": text, "label": written(text, world.wanted(text))}) + "\n")
    models = ("--model", "simulated:styles?seed=1", "--encoder", f"embeddings:m@{server.url}")
    fit = ("fit", "--task", "letters.jsonl", "--label", "label", *models, "--method", "cipher")
    done = document(*fit, "--metric", "edit_cost", "--budget", "200calls", "--out", "mine")
    assert done["arms"][0]["score"]["n"] > 0 and server.bodies
    code, out, errors = asked("apply", "mine", *models, "some notes")
    assert code == 0 and "some notes" in out.casefold(), errors


def test_the_page_asks_it_for_contexts(server, tmp_path, home):
    pytest.importorskip("fastapi", reason="the page needs the extra web")
    with paged(tmp_path, "--encoder", f"embeddings:m@{server.url}") as page:
        visitor = Visitor(page)
        for n, notes in enumerate(("parcel late", "parcel lost")):
            _, headers, _ = visitor.post("/rounds", **{"id": f"0123456789a{n}", "field-text": notes})
            visitor.settle(headers["location"])
            visitor.get(headers["location"])
            visitor.post(headers["location"], do="done", text=visitor.text.lower(), version=visitor.version)
            visitor.settle(headers["location"])
    sent = [text for body in server.bodies for text in json.loads(body)["input"]]
    assert any("late" in text for text in sent) and any("lost" in text for text in sent)
    assert len(json.loads((tmp_path / "session.json").read_text())["rounds"]) == 2


def test_plans_and_advice_ask_nothing(asked, document, task):
    model = ("--model", "embeddings:m@http://127.0.0.1:9")
    fit = ("fit", "--task", "tickets", *model, "--method", "knn-demos", "--dry-run", "--budget")
    (plan,) = document(*fit, "300calls")["plans"]
    assert plan["learning"]["passes"] == 0 and 0 < plan["learning"]["calls"] < 20 and plan["affordable"] == 1.0
    # 192 validation and 448 test items, 32 a call; start and found read the same vectors, each of its own wordings of
    # eight classes: seven calls and fourteen.
    assert plan["evidence_at_most"]["calls"] == 21 and plan["evidence_items"] == {"validation": 192, "test": 448}
    (few,) = document(*fit, "20calls")["plans"]
    assert 0 < few["evidence_items"]["test"] < 448
    code, out, errors = asked("advise", *task, *model, "--budget", "300calls")
    assert code == 0 and "knn-demos" in out, errors
    assert asked("advise", *task, *model)[0] == 0


def test_mistakes_are_one_line(asked, server, task):
    for more, words in (
        (("embeddings:m@http://127.0.0.1:9",), "nothing answers at http://127.0.0.1:9/v1"),
        (("embeddings:@http://127.0.0.1:9",), "lacks its name; write embeddings:NAME@URL"),
        ((f"embeddings:m@{server.url}", "--key-env", "NO_SUCH_KEY"), "NO_SUCH_KEY (--key-env) is not set"),
        ((f"embeddings:m@{server.url}/v2",), "refused: HTTP 404"),
        ((f"embeddings:m@{server.url}", "--readout", "answer"), "embeds"),
    ):
        code, _, errors = asked("evaluate", *task, "--budget", "8calls", "--model", *more)
        assert code == 2 and len(errors) == 1 and words in errors[0], errors
    assert not server.bodies


def test_a_fault_in_a_run_is_one_line_and_the_run_goes_on_later(asked, document, server, task):
    evaluate = ("evaluate", *task, "--budget", "9calls", "--model", f"embeddings:m@{server.url}")
    server.handler = error(400, "This model's maximum context length is 5 tokens")
    code, _, errors = asked(*evaluate)
    assert code == 2 and len(errors) == 1 and "a text is too long for m, shorten it (HTTP 400: " in errors[0]
    server.handler = simulated
    assert document(*evaluate)["start"]["score"]["n"] > 0
