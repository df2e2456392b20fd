"""A count budget is exact: a server never sees one call more, in process and by the real command."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from counting import counting

import promptology as pt
from promptology.models.simulated import SimulatedChat

# Messages the world knows, so that executor, optimiser and judge all act on them.
CHAT = SimulatedChat("features")


def task():
    inputs = list(CHAT.world.inputs)
    return pt.Task(unlabeled=inputs[:12], test=inputs[12:], signature=pt.Signature(instruction="Write a reply."))


def labelled(tmp_path):
    path = tmp_path / "tickets.csv"
    rows = [f"{text.replace(',', ' ')},{'late' if n % 2 else 'broken'}" for n, text in enumerate(CHAT.world.inputs)]
    path.write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("method", ["spo", "manual", "random-search"])
def test_in_process(method, tmp_path):
    tasks = {"spo": task(), "manual": pt.load_task(labelled(tmp_path))}
    with counting(chat=CHAT) as server:
        for limit in range(1, 201):
            model = pt.model(f"openai:{method}-{limit}@{server.url}")
            result = pt.fit(tasks.get(method, tasks["manual"]), model, method, budget=f"{limit}calls", cache=False)
            assert server.by_model[f"{method}-{limit}"] <= limit
            assert result.charged.calls == server.by_model[f"{method}-{limit}"]
            assert result.evidence.n > 0 or result.evidence.verdict in ("not measured: budget", "start")


@pytest.mark.parametrize("chunk", range(2))
def test_by_the_real_command(cli, tmp_path, chunk):
    path = labelled(tmp_path)
    # Every limit up to 200 is tried in process; a process each takes a second.
    limits = [*range(chunk + 1, 9, 2), *range(9 + 7 * chunk, 201, 14)]
    with counting(chat=CHAT) as server:

        def fit(limit):
            return cli(
                *("fit", "--task", path, "--model", f"openai:m{limit}@{server.url}", "--method", "spo"),
                *("--budget", f"{limit}calls", "--prompt", "Sort this.", "--json"),
            )

        with ThreadPoolExecutor(2) as pool:
            for limit, done in zip(limits, pool.map(fit, limits), strict=True):
                assert done.returncode == 0, done.stderr
                assert server.by_model[f"m{limit}"] <= limit
                arm = json.loads(done.stdout)["arms"][0]
                assert arm["score"] or arm["verdict"] == "not measured: budget"


def test_failing_requests_count_too():
    with counting(chat=CHAT, fault=lambda n: 503 if n % 3 == 0 else 0) as server:
        for limit in (1, 5, 20, 60):
            model = pt.model(f"openai:f{limit}@{server.url}", backoff=0.001)
            pt.fit(task(), model, "spo", budget=f"{limit}calls", cache=False, missing=1.0)
            assert (limit >= 5) <= server.by_model[f"f{limit}"] <= limit


def test_prices_by_role_and_what_a_plan_says_of_them(cli, tmp_path):
    path = labelled(tmp_path)
    arguments = ("fit", "--task", path, "--model", "simulated:features", "--prompt", "Sort this.", "--budget", "1usd")
    done = cli(*arguments, "--method", "spo", "--price", "1000,1000", "--price", "judge=0,0", "--json")
    assert done.returncode == 0, done.stderr
    ledger = json.loads(done.stdout)["arms"][0]["ledger"]
    usd = {role: sum(e["charged"]["usd"] for e in ledger if e["role"] == role) for role in ("model", "judge")}
    assert usd["judge"] == 0 < usd["model"] <= 1
    missing = cli(*arguments, "--method", "spo", "--price", "judge=0,0")
    assert (missing.returncode, "price of model, optimizer" in missing.stderr) == (2, True)
    for wrong in ("1", "judge=1", "nobody=1,1", "-1,1"):
        refused = cli(*arguments, "--method", "spo", "--price", wrong)
        lines = [line for line in refused.stderr.splitlines() if not line.startswith("note:")]
        assert (refused.returncode, len(lines)) == (2, 1), refused.stderr
        assert "--price" in lines[0]


def test_a_plan_says_what_a_budget_buys(cli):
    arguments = ("fit", "--task", "tickets", "--model", "simulated:tickets", "--method", "spo", "--dry-run", "--json")
    small, large = (
        json.loads(cli(*arguments, "--budget", budget).stdout)["plans"][0] for budget in ("100calls", "5000calls")
    )
    assert small["affordable"] == 60 / 75
    assert large["affordable"] == 1.0
    assert large["evidence_items"] == {"validation": 192, "test": 448}
    assert 0 < small["evidence_items"]["test"] < 20
