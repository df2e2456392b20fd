"""LoRA and full tuning: the reference arms, on tiny models of every kind."""

from __future__ import annotations

import copy
import json
import subprocess
import sys

import numpy as np
import pytest
import tiny
import torch
from whitebox import many_classes, one_class, run_of, untouched, weights_of

import promptology as pt
from promptology.errors import UsageError
from promptology.injection import Filling, attach
from promptology.injection.modules import Lora
from promptology.methods.weights.full_tuning import FullTuning
from promptology.methods.weights.lora import LoRA
from promptology.models.access import Injected
from promptology.models.local import open_local
from promptology.predict import bind
from promptology.prompts.injected import injected_of
from promptology.prompts.sites import Weights
from promptology.training.layers import linears
from promptology.training.objectives import objective

torch.set_num_threads(1)
MAKE = {
    "gpt2": tiny.tiny_gpt2,
    "llama": tiny.tiny_llama,
    "t5": tiny.tiny_t5,
    "encoder": lambda folder: tiny.tiny_bert(folder, head=False),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {name: make(root / name) for name, make in MAKE.items()}


@pytest.fixture(params=list(MAKE))
def model(request, folders):
    return open_local(folders[request.param])


@pytest.fixture
def llama(folders):
    return open_local(folders["llama"])


def fit(method, task, model):
    run = run_of(task, model)
    return method.fit(run), run


def lora(task, model, **settings):
    return fit(LoRA(**{"rank": 2, "steps": 4, "batch": 8, "checks": 0, "rate": 0.01} | settings), task, model)[0]


def full(task, model, **settings):
    return fit(FullTuning(**{"steps": 3, "batch": 8, "checks": 0, "rate": 0.01} | settings), task, model)[0]


def paths(model, *targets):
    return [layer.path for layer in linears(model.frozen(), targets)]


def test_layers_by_the_table(folders):
    models = {name: open_local(folder) for name, folder in folders.items()}
    assert paths(models["gpt2"], "query", "value") == [f"transformer.h.{n}.attn.c_attn" for n in (0, 1)]
    assert paths(models["llama"], "query", "value") == [
        f"model.layers.{n}.self_attn.{p}_proj" for n in (0, 1) for p in "qv"
    ]
    assert paths(models["encoder"], "query") == [f"encoder.layer.{n}.attention.self.query" for n in (0, 1)]
    assert paths(models["t5"], "query") == [
        *(f"encoder.block.{n}.layer.0.SelfAttention.q" for n in (0, 1)),
        *(f"decoder.block.{n}.layer.{k}.q" for n in (0, 1) for k in ("0.SelfAttention", "1.EncDecAttention")),
    ]
    assert len(paths(models["llama"], "all")) == 2 * 7
    assert paths(models["gpt2"], "mlp.c_fc") == [f"transformer.h.{n}.mlp.c_fc" for n in (0, 1)]
    with pytest.raises(UsageError, match="a block has no linear layer 'gate'; there are attn"):
        paths(models["gpt2"], "gate")
    (first, *_) = linears(models["gpt2"].frozen(), ["query"])
    assert (first.inputs, first.outputs, first.transposed) == (32, 96, True)


def test_at_the_start_it_is_the_model_itself(model):
    learned = lora(one_class(), model, steps=1, rate=1e-12, head_rate=0.0)
    part = learned.part(Weights)
    assert all(np.abs(part.arrays[name]).max() < 1e-9 for name in part.arrays if name.endswith(".B"))
    for name, array in part.arrays.items():
        if name.endswith(".A"):
            assert np.abs(array).max() <= 1 / np.sqrt(array.shape[1])
            assert array.std() == pytest.approx(1 / np.sqrt(3 * array.shape[1]), rel=0.3)
    texts = [i.inputs["text"] for i in one_class().test]
    np.testing.assert_allclose(model.states(texts, injected_of(learned)), model.states(texts), atol=1e-6)


def test_gradients_reach_the_additions_alone(model):
    before = weights_of(model)
    body, run = model.frozen(), run_of(one_class(), model)
    goal = objective(run, body)
    added = {
        layer.path: Lora(torch.randn(2, layer.inputs), torch.randn(layer.outputs, 2), 1.0)
        for layer in linears(body, ["query", "value"])
    }
    with attach(body.model, [Filling(f"linear:{path}", m) for path, m in added.items()]):
        goal.loss(range(8)).backward()
    assert all(m.A.grad.abs().max() > 0 and m.B.grad.abs().max() > 0 for m in added.values())
    assert untouched(model, before)


def test_lora_learns_and_leaves_the_model_as_it_was(model):
    before = weights_of(model)
    learned = lora(one_class(), model)
    assert untouched(model, before)
    assert all(np.abs(array).max() > 1e-4 for array in learned.part(Weights).arrays.values())
    bind(learned, model).predict(one_class().test)
    assert untouched(model, before)


def test_attached_it_is_what_merging_gives(model):
    learned = lora(one_class(), model, alpha=8.0)
    part = learned.part(Weights)
    merged = copy.deepcopy(model.frozen().model)
    with torch.no_grad():
        for layer in linears(model.frozen(), ["query", "value"]):
            a, b = (torch.tensor(part.arrays[f"{layer.path}.{half}"]) for half in "AB")
            change = 8.0 / 2 * b @ a
            merged.get_submodule(layer.path).weight += change.T if layer.transposed else change
    other = pt.model(merged, model.frozen().tokenizer)
    texts = [i.inputs["text"] for i in one_class().test]
    apart = np.abs(model.states(texts, injected_of(learned)) - model.states(texts)).max()
    assert apart > 1e-3
    np.testing.assert_allclose(model.states(texts, injected_of(learned)), other.states(texts), atol=1e-5)


def test_the_seed_makes_the_start(llama):
    runs = [LoRA(rank=2, steps=1, checks=0).fit(run_of(one_class(), llama, seed)) for seed in (0, 0, 1)]
    assert runs[0].same_as(runs[1])
    assert not runs[0].same_as(runs[2])


def test_lora_goes_to_peft_and_back(folders, tmp_path):
    peft = pytest.importorskip("peft")
    import transformers

    for name in ("gpt2", "llama"):
        model = open_local(folders[name])
        learned = lora(one_class(), model, alpha=6.0)
        learned.save(tmp_path / name)
        from promptology.prompts.peft.reading import read_peft
        from promptology.prompts.peft.writing import write_peft

        write_peft(learned, tmp_path / f"{name}-peft")
        again = read_peft(tmp_path / f"{name}-peft", signature=learned.signature)
        for key, array in learned.part(Weights).arrays.items():
            np.testing.assert_array_equal(again.part(Weights).arrays[key], array)
        base = transformers.AutoModelForCausalLM.from_pretrained(folders[name])
        theirs = peft.PeftModel.from_pretrained(base, str(tmp_path / f"{name}-peft")).eval()
        ids = torch.tensor([[5, 9, 30, 41, 7]])
        with torch.no_grad(), attach(model.frozen().model, injected_of(learned).fillings):
            ours = model.frozen().model(input_ids=ids).logits
        torch.testing.assert_close(ours, theirs(input_ids=ids).logits.detach(), atol=1e-5, rtol=1e-5)


def test_full_tuning_is_adamw_on_a_copy(model):
    rate, head_rate, decay = 1e-3, 1e-2, 0.1
    before = weights_of(model)
    task = one_class()
    learned = full(task, model, steps=2, rate=rate, head_rate=head_rate, decay=decay, schedule="constant", warmup=0.0)
    assert untouched(model, before)
    net = copy.deepcopy(model.frozen().model).requires_grad_(True)
    other = pt.model(net, model.frozen().tokenizer, name="copy")
    run = run_of(task, other)
    body = other.frozen()
    net.requires_grad_(True)
    goal = objective(run, body)
    head = [p for group in goal.groups() for p in group.parameters.values()]
    optimizer = torch.optim.AdamW(
        [
            {"params": list(net.parameters()), "weight_decay": decay},
            {"params": head, "lr": head_rate, "weight_decay": 0},
        ]
        if head
        else net.parameters(),
        lr=rate,
        weight_decay=decay,
    )
    batches = goal.batches(8)
    # The bias of a key changes no attention: its gradient is rounding, which Adam makes as large as any other.
    clear = {name: torch.ones_like(p, dtype=torch.bool) for name, p in net.named_parameters()}
    for k in range(2):
        optimizer.zero_grad()
        goal.loss(batches(k)).backward()
        for name, p in net.named_parameters():
            clear[name] &= (p.grad.abs() > 1e-6) | (p.grad == 0) if p.grad is not None else False
        torch.nn.utils.clip_grad_norm_([*net.parameters(), *head], 1.0)
        optimizer.step()
    moved = {n for n, p in net.named_parameters() if not torch.equal(p, before[n])}
    part = learned.part(Weights)
    assert {*part.arrays} == moved
    compared = 0
    for name, value in net.named_parameters():
        if name in moved:
            apart = np.abs(part.arrays[name] - value.detach().numpy())
            assert apart.max() < 2.1 * 2 * rate
            assert apart[clear[name].numpy()].max(initial=0.0) < 1e-6
            compared += int(clear[name].sum())
    assert compared > 0.5 * sum(part.arrays[name].size for name in moved)


def test_a_pooler_that_nobody_reads_is_not_saved(folders):
    model = open_local(folders["encoder"])
    assert any("pooler" in name for name in model.movable())
    assert not any("pooler" in name for name in full(one_class(), model).part(Weights).arrays)


def test_what_moved_is_used(model):
    learned = full(one_class(), model)
    assert learned.roles == {"model": "trainable"}
    texts = [i.inputs["text"] for i in one_class().test]
    merged = copy.deepcopy(model.frozen().model)
    merged.load_state_dict({n: torch.tensor(a) for n, a in learned.part(Weights).arrays.items()}, strict=False)
    merged.tie_weights()
    other = pt.model(merged, model.frozen().tokenizer)
    np.testing.assert_allclose(model.states(texts, injected_of(learned)), other.states(texts), atol=1e-5)


def test_weights_are_kept_in_float32_of_a_model_in_half_precision(folders):
    model = open_local(folders["llama"], dtype="bfloat16")
    before = weights_of(model)
    learned = full(one_class(), model, rate=1e-4)
    assert untouched(model, before)
    part = learned.part(Weights)
    assert all(array.dtype == np.float32 for array in part.arrays.values())
    # Steps of 1e-4 are lost between two numbers of bfloat16; the copies hold them.
    for name, array in part.arrays.items():
        assert 0 < np.abs(array - before[name].float().numpy()).max() < 1e-3
    bind(learned, model).predict(one_class().test)


def test_a_model_too_large_is_refused_before_anything_is_done(llama):
    with pytest.raises(UsageError, match=r"would save 0 MB of weights of llama, more than most_megabytes=0; raise it"):
        full(one_class(), llama, most_megabytes=0)


@pytest.mark.parametrize("name", ["lora", "full-tuning"])
def test_the_plan_is_what_it_takes(folders, name):
    model = open_local(folders["encoder"])
    method = (LoRA if name == "lora" else FullTuning)(steps=7, batch=5, checks=3)
    result = pt.fit(many_classes(), model, method, budget="100000passes", cache=False)
    assert result.learning.passes == method.plan(many_classes()).passes


def test_it_learns(folders):
    """Both solve a task that the model itself does not."""
    model, task = open_local(folders["encoder"]), one_class(train=64, validation=24, test=24)
    for method in (LoRA(rank=4, steps=80, rate=0.02, head_rate=0.02), FullTuning(steps=60, rate=2e-3, head_rate=0.02)):
        learned, run = fit(method, task, model)
        values = [h["values"]["value"] for h in run.history if "value" in h["values"]]
        assert max(values) > 0.8
        outputs = bind(learned, model).predict(task.validation).outputs
        right = np.mean([o == i.target for o, i in zip(outputs, task.validation, strict=True)])
        assert right == pytest.approx(max(values))


@pytest.mark.parametrize("name", ["lora", "full-tuning"])
def test_saved_it_predicts_the_same_in_a_fresh_process(folders, tmp_path, name):
    model, task = open_local(folders["gpt2"]), one_class()
    learned = (lora if name == "lora" else full)(task, model)
    learned.save(tmp_path / "prompt")
    texts = [i.inputs["text"] for i in task.test]
    code = (
        "import json, sys, promptology as pt\n"
        "found = pt.load(sys.argv[1]).bind(pt.model('hf:' + sys.argv[2])).predict(json.loads(sys.argv[3]))\n"
        "print(json.dumps([found.outputs, found.scores.tolist()]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "prompt"), str(folders["gpt2"]), json.dumps(texts)],
        capture_output=True,
        text=True,
        check=True,
    )
    here = bind(learned, model).predict(texts)
    outputs, scores = json.loads(done.stdout)
    assert outputs == here.outputs
    np.testing.assert_allclose(scores, here.scores, atol=1e-5)


def test_settings_that_cannot_be(llama):
    with pytest.raises(UsageError, match="rank 0 has nothing to learn"):
        lora(one_class(), llama, rank=0)
    assert isinstance(injected_of(lora(one_class(), llama, steps=1)), Injected)


def test_copies_of_weights_are_not_kept_by_each_scoring(folders, monkeypatch):
    """What a training scored on the way would otherwise stay in memory, as large as the model each time."""
    import gc

    from promptology.models.local import tenants

    def tensors():
        gc.collect()
        return [t for t in gc.get_objects() if type(t) in (torch.Tensor, torch.nn.Parameter)]

    monkeypatch.setattr(tenants, "LARGE", 1000)
    others = {id(t): t for t in tensors()}  # what other tests hold
    model = open_local(folders["encoder"])
    _, run = fit(FullTuning(steps=6, batch=4, checks=6), one_class(), model)
    size = model.frozen().embeddings.numel()
    alike = [t for t in tensors() if t.numel() == size and id(t) not in others]
    # The model's own, what is learned now, and the last that was attached.
    assert len(alike) <= 4
    assert len(next(iter(run.meter._vectors.values()))) == 6 * len(one_class().validation)
