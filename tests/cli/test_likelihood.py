"""Base models at the command line: completions:NAME@URL, with and without --readout label-likelihood."""

from __future__ import annotations

import json


def test_evaluate_fit_and_apply_with_log_probabilities(cli, serve, tmp_path):
    with serve("--latency", "0") as server:
        model = f"completions:base@{server.url}"
        common = ("--task", "tickets", "--model", model)
        generated = json.loads(cli("evaluate", *common, "--budget", "100calls", "--json").stdout)
        assert generated["charged"]["calls"] == 100 and generated["start"]["score"]["n"] == 100

        chosen = ("--readout", "label-likelihood")
        scored = json.loads(cli("evaluate", *common, *chosen, "--budget", "100calls", "--json").stdout)
        classes = 8
        assert scored["start"]["score"]["n"] == 100 // classes
        assert scored["per_prediction"]["calls"] == classes
        assert "label-likelihood" in scored["start"]["prompt"]
        assert server.stats()["requests"] == 100 + classes * (100 // classes)

        before = server.stats()["requests"]
        fitted = cli("fit", *common, *chosen, "--method", "few-shot", "--budget", "200calls", "--out", "mine", "--json")
        assert fitted.returncode == 0, fitted.stderr
        assert json.loads(fitted.stdout)["arms"][0]["per_prediction"]["calls"] == classes
        assert server.stats()["requests"] - before <= 200

        saved = cli("evaluate", *common, *chosen, "--prompt", "mine")
        assert saved.returncode == 2 and "a saved prompt has its own readout (label-likelihood)" in saved.stderr

        settings = ("--workers", "2", "--timeout", "9", "--rpm", "60000")
        applied = cli("apply", "mine", "--model", model, *settings, "My parcel never came")
        assert applied.returncode == 0, applied.stderr
        assert applied.stdout.strip() and "note: the model is simulated" in applied.stderr
        chat = cli("apply", "mine", "--model", f"openai:chat@{server.url}", "My parcel never came")
        assert chat.returncode == 2 and chat.stderr.count("\n") == 1 and "needs a model that scores" in chat.stderr


def test_plans_know_a_call_per_class(cli):
    common = ("--task", "tickets", "--model", "completions:base@http://127.0.0.1:9", "--dry-run", "--json")
    plain, scored = (
        json.loads(cli("fit", *common, "--method", "few-shot", "--budget", "800calls", *more).stdout)["plans"][0]
        for more in ((), ("--readout", "label-likelihood"))
    )
    assert scored["evidence_at_most"]["calls"] == 8 * plain["evidence_at_most"]["calls"]
    assert scored["evidence_items"]["test"] < plain["evidence_items"]["test"]


def test_mistakes_are_one_line(cli):
    base = ("--task", "tickets", "--model", "completions:base@http://127.0.0.1:9")
    for more, words in (
        (("--readout", "likelihood"), "unknown readout 'likelihood'"),
        ((), "nothing answers at http://127.0.0.1:9/v1"),
        (("--key-env", "NO_SUCH_KEY"), "NO_SUCH_KEY (--key-env) is not set"),
    ):
        done = cli("evaluate", *base, *more, "--budget", "8calls")
        assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr
    spo = cli("fit", *base, "--readout", "label-likelihood", "--method", "spo", "--budget", "8calls")
    assert spo.returncode == 2 and "needs a model that scores" in spo.stderr
