"""What every method that learns something inside a frozen model keeps, on every kind of model."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import separable
import torch
from separable import Seen, fit

import promptology as pt
from promptology.injection import attach

METHODS = ["prompt-tuning", "prefix-tuning", "p-tuning", "dept"]
EVERY = [(kind, method) for kind in separable.KINDS for method in METHODS]


def arrays(learned):
    return {(n, name): value for n, part in enumerate(learned.parts) for name, value in part.tensors().items()}


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_result_and_another_one_another(method, monkeypatch, tmp_path):
    found = []
    for n, seed in enumerate((3, 3, 4)):
        monkeypatch.setenv("PROMPTOLOGY_HOME", str(tmp_path / str(n)))
        found.append(arrays(fit("gpt2", method, on=separable.without_validation(), seed=seed, steps=3).learned))
    assert found[0].keys() == found[1].keys()
    assert all(np.array_equal(value, found[1][key]) for key, value in found[0].items())
    assert not all(np.array_equal(value, found[2][key]) for key, value in found[0].items())


@pytest.mark.parametrize(("kind", "method"), EVERY)
def test_the_model_is_as_it_was_and_the_saved_prompt_works_as_the_live_one(kind, method, monkeypatch, tmp_path):
    seen = Seen(monkeypatch)
    network = separable.model(kind).frozen().model
    before = {name: t.clone() for name, t in network.state_dict().items()}
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules()]
    result = fit(kind, method, on=separable.without_validation(), steps=3)
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(t, after[name]) for name, t in before.items())
    assert all(p.grad is None and not p.requires_grad for p in network.parameters())
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules()]
    assert any(not torch.equal(p, seen.start[name]) for name, p in seen.parameters.items())
    inputs = [dict(i.inputs) for i in separable.task().test]
    loaded = pt.load(result.save(tmp_path / "prompt"))
    assert loaded.bind(separable.model(kind)).predict(inputs).outputs == result.predict(inputs)


def test_saved_prompts_predict_the_same_in_a_fresh_process(tmp_path):
    kinds, wanted = ["gpt2", "t5", "encoder"], {}
    inputs = [dict(i.inputs) for i in separable.task().test][:8]
    for kind in kinds:
        for method in METHODS:
            result = fit(kind, method, on=separable.without_validation(), steps=3, rate=0.05)
            result.save(tmp_path / f"{kind}-{method}")
            wanted[f"{kind}-{method}"] = result.predict(inputs)
    code = (
        "import json, sys, torch\nimport promptology as pt\ntorch.set_num_threads(1)\n"
        "base, folders, inputs = json.loads(sys.argv[1])\n"
        "models = {kind: pt.model('hf:' + folder) for kind, folder in folders.items()}\n"
        "names = [f'{k}-{m}' for k in models for m in METHODS]\n"
        "found = {n: pt.load(f'{base}/{n}').bind(models[n.partition('-')[0]]).predict(inputs).outputs for n in names}\n"
        "print(json.dumps(found))\n"
    ).replace("METHODS", repr(METHODS))
    given = json.dumps([str(tmp_path), {kind: str(separable.folder(kind)) for kind in kinds}, inputs])
    done = subprocess.run([sys.executable, "-c", code, given], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == wanted


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_training_takes_the_loss_below_seven_tenths_of_the_start(kind, method, monkeypatch):
    seen = Seen(monkeypatch)
    settings = {"steps": 150, "batch": 8, "checks": 0, "rate": 0.03 if method in ("prompt-tuning", "dept") else 0.003}
    model = separable.model(kind)
    pt.fit(separable.without_validation(), model, method, settings=settings, budget="50000passes")
    items = list(range(len(seen.goal.items)))

    def loss():
        with torch.no_grad(), attach(seen.goal.body.model, seen.fillings()):
            return float(seen.goal.loss(items))

    after = loss()
    with torch.no_grad():
        for name, parameter in seen.parameters.items():
            parameter.copy_(seen.start[name])
    assert after < 0.7 * loss()
