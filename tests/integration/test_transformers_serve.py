"""fit, apply and evaluate against `transformers serve`: a released OpenAI-compatible server with real small models.

A model that is taught on the spot, so that every answer is known; and the embedded one that follows instructions.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from typing import Any, NamedTuple

import pytest

import promptology as pt
from promptology.models.access import Request
from promptology.models.http import ChatEndpoint, CompletionsEndpoint
from promptology.prompts.learned import Text
from promptology.prompts.saving import load
from promptology.zoo.folders import RELEASED

NEEDED = ("torch", "transformers", "fastapi", "uvicorn", "openai")
LACKING = [name for name in NEEDED if find_spec(name) is None]
WHY = f"transformers[serving] is not installed: no {', '.join(LACKING)}"
pytestmark = pytest.mark.skipif(bool(LACKING), reason=WHY)

START = 45.0  # seconds until the server has to be up
COLOURS = {"rose": "red", "grass": "green", "sky": "blue"}
CHAT = "/v1/chat/completions"
INSTRUCT = "word-instruct"
WRITER = "def reword(prompt):\n    return '<prompt>Name the colour : red , green or blue .</prompt>'\n"
PROMPT = "Name the colour : red , green or blue"
TEMPLATE = (
    "{% for m in messages %}<user> {{ m['content'] }} <end> {% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
SERVE = """
import os, sys, threading
from transformers.cli.transformers import main
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()  # ends with the test, however
sys.argv[0] = "transformers"
main()
"""


class Running(NamedTuple):
    """A server that is up: its address, the model's name at it, and the lines of its log."""

    url: str
    name: str
    lines: list[str]

    def answered(self, path: str) -> int:
        """How many POSTs to a path its access log shows as answered with 200."""
        return sum(f'"POST {path} HTTP/1.1" 200' in line for line in list(self.lines))


def question(thing: str, n: int) -> str:
    return f"{thing} number {n}"


def conversation(rng: Any) -> tuple[str, str]:
    """Return a question under the prompt behind up to eight examples of other things, and its answer."""
    things = rng.choice(list(COLOURS), size=int(rng.integers(0, 9)) + 1)
    *shown, asked = [(question(thing, int(rng.integers(40))), COLOURS[thing]) for thing in things]
    examples = "\n\n".join(f"Input: {text}\nOutput: {colour}" for text, colour in shown)
    return "\n\n".join(part for part in (PROMPT, examples, asked[0]) if part), asked[1]


def make_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<unk>", "<pad>", "<user>", "<end>", "<assistant>"]
    words = [*PROMPT.split(), ".", *COLOURS, *COLOURS.values(), "Input", "Output", "number", *map(str, range(40))]
    names = {word: n for n, word in enumerate(dict.fromkeys([*special, *words]))}
    raw = Tokenizer(models.WordLevel(names, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    made = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        model_input_names=["input_ids", "attention_mask"],
        additional_special_tokens=["<user>", "<assistant>"],
        **{"unk_token": "<unk>", "pad_token": "<pad>", "eos_token": "<end>"},
    )
    made.chat_template = TEMPLATE
    return made


def tokens_of(tokenizer: Any, text: str) -> list[int]:
    messages = [{"role": "user", "content": text}]
    return list(tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"])


def learnt(tokenizer: Any) -> Any:
    """Return a two-layer Llama that was taught to name the colour of the last thing."""
    import numpy as np
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4, "num_hidden_layers": 2}
    special = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 128}
    config = LlamaConfig(**sizes, max_position_embeddings=256, **heads, **special)
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(250):
        rows, labels = [], []
        for text, colour in (conversation(rng) for _ in range(16)):
            asked = tokens_of(tokenizer, text)
            said = [*tokenizer.encode(colour), tokenizer.eos_token_id]
            rows.append(asked + said)
            labels.append([-100] * len(asked) + said)
        width = max(map(len, rows))
        ids = torch.tensor([row + [tokenizer.pad_token_id] * (width - len(row)) for row in rows])
        targets = torch.tensor([row + [-100] * (width - len(row)) for row in labels])
        loss = model(input_ids=ids, labels=targets).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer()


@pytest.fixture(scope="module")
def model_folder(tokenizer, tmp_path_factory):
    import torch

    folder = tmp_path_factory.mktemp("tiny") / "colour-llama"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        learnt(tokenizer).save_pretrained(folder)
    finally:
        torch.set_num_threads(threads)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def server(model_folder):
    with serving(model_folder) as running:
        yield running


@contextlib.contextmanager
def serving(folder, *options):
    """Serve a model at a free port, and end the server with the block; skip where it does not start."""
    command = [sys.executable, "-c", SERVE, "serve", str(folder), "--device", "cpu", "--host", "127.0.0.1", *options]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [*command, "--port", "0"],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True)
    reader.start()
    try:
        yield Running(address(process, lines), str(folder), lines)
    finally:
        process.stdin.close()
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        reader.join(10)
        process.stdout.close()


def address(process, lines):
    """Return the address that the server says it listens at."""
    until = time.monotonic() + START
    while time.monotonic() < until and process.poll() is None:
        if found := re.search(r"running on (http://[\d.]+:\d+)", "".join(list(lines))):
            return f"{found[1]}/v1"
        time.sleep(0.05)
    said = [line.strip() for line in lines if line.strip()][-1:]
    pytest.skip(f"transformers serve did not start: {' '.join(said)[:200] or 'it said nothing'}")


def test_fit_and_apply_over_http(cli, server, colours_csv, tmp_path):
    (tmp_path / "writer.py").write_text(WRITER)
    model = f"openai:{server.name}@{server.url}"
    before = server.answered(CHAT)
    fit = cli(
        *("fit", "--task", colours_csv, "--model", model, "--optimizer", "writer:reword", "--prompt", PROMPT),
        *("--method", "random-search", "--set", "candidates=3", "--set", "shots=2", "--set", "items=12"),
        *("--budget", "300calls", "--out", tmp_path / "prompt", "--json"),
    )
    assert fit.returncode == 0, fit.stderr
    (arm,) = json.loads(fit.stdout)["arms"]
    paid = {entry["phase"]: entry["paid"] for entry in arm["ledger"] if entry["role"] == "model"}
    assert paid["learning"]["calls"] >= 12
    assert sum(phase["calls"] for phase in paid.values()) == server.answered(CHAT) - before
    assert not any(phase["estimated"] for phase in paid.values())
    assert arm["score"]["missing"] == 0
    assert arm["score"]["value"] >= 0.9  # it was taught to answer this; another score means that answers were lost
    assert load(tmp_path / "prompt").part(Text).instruction in (PROMPT, PROMPT + " .")

    rows = [{"id": n, "text": question(thing, 20 + n)} for n, thing in enumerate([*COLOURS] * 4)]
    with open(tmp_path / "new.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ("id", "text"))
        writer.writeheader()
        writer.writerows(rows)
    before = server.answered(CHAT)
    files = ("--input", tmp_path / "new.csv", "--text", "text", "--out", tmp_path / "out.csv")
    apply = cli("apply", tmp_path / "prompt", "--model", model, *files)
    assert apply.returncode == 0, apply.stderr
    with open(tmp_path / "out.csv", newline="") as file:
        labelled = list(csv.DictReader(file))
    assert [(row["id"], row["text"]) for row in labelled] == [(str(row["id"]), row["text"]) for row in rows]
    assert {row["prediction"] for row in labelled} <= set(COLOURS.values())
    assert server.answered(CHAT) - before == len(rows)


def test_tokens_and_the_end_of_an_answer_are_what_the_server_counted(server, tokenizer):
    endpoint = ChatEndpoint(server.name, server.url)
    text = f"{PROMPT}\n\n{question('sky', 7)}"
    whole, cut = (Request.user(text, max_tokens=limit, seed=1) for limit in (8, 1))
    answers = dict(endpoint.generate([whole, cut]))
    endpoint.close()
    assert answers[0].text == "blue"
    assert (answers[0].truncated, answers[1].truncated) == (False, True)
    assert [answers[n].tokens_in for n in (0, 1)] == [len(tokens_of(tokenizer, text))] * 2
    assert [answers[n].tokens_out for n in (0, 1)] == [2, 1]  # the colour and the end; the colour alone
    assert not answers[0].estimated


def test_plain_completions_generate_and_a_likelihood_is_refused_in_one_line(cli, server, colours_csv):
    endpoint = CompletionsEndpoint(server.name, server.url)
    text = f"<user> {PROMPT}\n\n{question('grass', 2)} <end> <assistant>"
    ((_, answer),) = endpoint.generate([Request.user(text, max_tokens=8)])
    endpoint.close()
    assert answer.text == "green"
    model = f"completions:{server.name}@{server.url}"
    likelihood = ("evaluate", "--task", colours_csv, "--model", model, "--readout", "label-likelihood")
    done = cli(*likelihood, "--prompt", PROMPT)
    assert done.returncode == 2
    assert "gives no log-probabilities of a given text" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_that_the_server_does_not_have_is_one_line(cli, server, colours_csv):
    done = cli("evaluate", "--task", colours_csv, "--model", f"openai:another@{server.url}", "--prompt", PROMPT)
    assert done.returncode == 2
    assert "another" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def embedded():
    folder = RELEASED / INSTRUCT
    if not folder.is_dir():
        pytest.skip(f"no weights of {INSTRUCT} in this checkout; promptology zoo build {INSTRUCT} makes some")
    with serving(folder, "--dtype", "float32") as running:
        yield running


def test_fit_and_apply_with_the_embedded_model_that_follows_instructions(cli, embedded, tmp_path):
    """It answers over HTTP what it answers in this process."""
    (tmp_path / "writer.py").write_text(
        "def reword(prompt):\n    return '<prompt>Is it positive or negative?</prompt>'\n"
    )
    task, model = "wordland:sentiment?train=40&validation=40&test=100", f"openai:{embedded.name}@{embedded.url}"
    before = embedded.answered(CHAT)
    fit = cli(
        *("fit", "--task", task, "--model", model, "--optimizer", "writer:reword", "--method", "random-search"),
        *("--set", "candidates=2", "--set", "shots=0", "--set", "items=20"),
        *("--budget", "300calls", "--out", tmp_path / "prompt", "--json"),
    )
    assert fit.returncode == 0, fit.stderr
    (arm,) = json.loads(fit.stdout)["arms"]
    paid = [entry["paid"]["calls"] for entry in arm["ledger"] if entry["role"] == "model"]
    assert sum(paid) == embedded.answered(CHAT) - before > 100
    assert arm["score"]["missing"] == 0

    items = pt.load_task("wordland:sentiment?seed=1&test=40").open_test()
    with open(tmp_path / "new.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ("id", "text"))
        writer.writeheader()
        writer.writerows({"id": item.id, "text": item.inputs["text"]} for item in items)
    files = ("--input", tmp_path / "new.csv", "--text", "text")
    apply = cli("apply", tmp_path / "prompt", "--model", model, *files, "--out", tmp_path / "out.csv")
    assert apply.returncode == 0, apply.stderr
    with open(tmp_path / "out.csv", newline="") as file:
        served = [row["prediction"] for row in csv.DictReader(file)]
    here = pt.model(f"zoo:{INSTRUCT}", device="cpu", dtype="float32")
    predictions = load(tmp_path / "prompt").bind(here).predict([item.inputs["text"] for item in items])
    assert served == list(predictions.outputs)
    assert sum(a == item.target for a, item in zip(served, items, strict=True)) > len(items) / 2
