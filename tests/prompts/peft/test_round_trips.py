"""Folders of the real peft, both ways: the same logits there and here."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

import promptology as pt
from promptology.data.items import Field, Signature
from promptology.errors import ArtifactError, UsageError
from promptology.prompts import Learned, Readout, SiteTensors, Weights, load

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")
import tiny  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")  # of peft and transformers
LENGTH = 5
CLOSE = 1e-5
TASKS = {"gpt2": "CAUSAL_LM", "llama": "CAUSAL_LM", "t5": "SEQ_2_SEQ_LM", "t5-3": "SEQ_2_SEQ_LM"}
KINDS = ["gpt2", "llama", "t5", "roberta"]


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """One model of each kind; every use takes a copy, or the model itself under attach, which leaves it as it was."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("models")
    causal, seq2seq = transformers.AutoModelForCausalLM, transformers.AutoModelForSeq2SeqLM
    folders = {
        "gpt2": (causal, tiny.tiny_gpt2(root / "gpt2")),
        "llama": (causal, tiny.tiny_llama(root / "llama")),
        "t5": (seq2seq, tiny.tiny_t5(root / "t5")),
        "t5-3": (seq2seq, tiny.tiny_t5(root / "t5-3", num_layers=3, num_decoder_layers=3)),
        "roberta": (transformers.AutoModel, tiny.tiny_roberta(root / "roberta")),
    }
    return {name: kind.from_pretrained(folder).eval() for name, (kind, folder) in folders.items()}


def randomised(model):
    """Give everything that an adapter trains random values, so that a wrong order or layout shows."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "prompt_encoder" in name or "lora_" in name or "modules_to_save" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return model.eval()


def adapted(base, config):
    return randomised(peft.get_peft_model(copy.deepcopy(base), config))


def outputs(name, model, left=False, drop=0):
    """Return logits (of an encoder: hidden states) of three rows of different lengths, at their tokens only."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(8, 200, (3, 9), generator=generator)
    mask = torch.ones_like(ids)
    for row, pads in enumerate((0, 2, 5)):
        mask[row, :pads] = 0 if left else 1
        mask[row, 9 - pads :] = 0 if not left and pads else mask[row, 9 - pads :]
    ids = torch.where(mask.bool(), ids, model.config.pad_token_id or 0)
    with torch.no_grad():
        if name.startswith("t5"):
            decoder = torch.randint(8, 200, (3, 4), generator=generator)
            return model(input_ids=ids, attention_mask=mask, decoder_input_ids=decoder).logits
        out = model(input_ids=ids, attention_mask=mask)
        found = out.logits if hasattr(out, "logits") else out.last_hidden_state
        return found[:, drop:][mask.bool()]


def furthest(a, b):
    assert a.shape == b.shape
    print("D", float((a - b).abs().max()), float(a.abs().max()))
    return float((a - b).abs().max())


def here(name, base, learned, **how):
    with pt.attach(base, learned):
        return outputs(name, base, **how)


def prompt_config(name, kind=None, **changes):
    kind = kind or peft.PromptTuningConfig
    return kind(task_type=TASKS.get(name, "FEATURE_EXTRACTION"), num_virtual_tokens=LENGTH, **changes)


INPUTS = {
    "prompt-tuning": {"kind": peft.PromptTuningConfig},
    "p-tuning": {"kind": peft.PromptEncoderConfig, "encoder_hidden_size": 24},
    "p-tuning-lstm": {
        "kind": peft.PromptEncoderConfig,
        "encoder_hidden_size": 24,
        "encoder_reparameterization_type": "LSTM",
    },
}


# On the left of a RoBERTa's text peft counts pads as positions, which the model itself does not.
SIDES = [(name, left) for name in KINDS for left in (False, True) if (name, left) != ("roberta", True)]


@pytest.mark.parametrize("type_", INPUTS)
@pytest.mark.parametrize(("name", "left"), SIDES)
def test_virtual_tokens_of_peft(bases, tmp_path, name, type_, left):
    model = adapted(bases[name], prompt_config(name, **INPUTS[type_]))
    model.save_pretrained(tmp_path)
    learned = pt.load(tmp_path)
    drop = 0 if name == "t5" else LENGTH
    theirs = outputs(name, model, left=left, drop=drop)
    assert furthest(here(name, bases[name], learned, left=left), theirs) <= CLOSE
    assert furthest(outputs(name, bases[name], left=left), theirs) > 0.01
    assert learned.method == ("prompt-tuning" if type_ == "prompt-tuning" else "p-tuning")


@pytest.mark.parametrize("projected", [False, True], ids=["plain", "projected"])
@pytest.mark.parametrize("name", [*KINDS, "t5-3"])
def test_prefixes_of_peft(bases, tmp_path, name, projected):
    config = prompt_config(name, peft.PrefixTuningConfig, prefix_projection=projected, encoder_hidden_size=24)
    model = adapted(bases[name], config)
    model.save_pretrained(tmp_path)
    learned = pt.load(tmp_path)
    theirs = outputs(name, model)
    assert furthest(here(name, bases[name], learned), theirs) <= CLOSE
    assert furthest(outputs(name, bases[name]), theirs) > 0.01


TARGETS = {
    "gpt2": ["c_attn", "c_proj"],
    "llama": ["q_proj", "v_proj", "down_proj"],
    "t5": ["q", "wo"],
    "roberta": ["query"],
}


def lora_config(name, **changes):
    return peft.LoraConfig(
        task_type=TASKS.get(name, "FEATURE_EXTRACTION"),
        r=4,
        lora_alpha=6,
        target_modules=TARGETS[name],
        fan_in_fan_out=name == "gpt2",
        **changes,
    )


@pytest.mark.parametrize("name", KINDS)
def test_lora_of_peft(bases, tmp_path, name):
    model = adapted(bases[name], lora_config(name))
    model.save_pretrained(tmp_path)
    theirs = outputs(name, model)
    assert furthest(here(name, bases[name], pt.load(tmp_path)), theirs) <= CLOSE
    assert furthest(outputs(name, bases[name]), theirs) > 0.01


def test_ranks_and_alphas_by_module(bases, tmp_path):
    config = lora_config("llama", rank_pattern={r"layers.1.*q_proj": 2}, alpha_pattern={"v_proj": 3})
    model = adapted(bases["llama"], config)
    model.save_pretrained(tmp_path)
    learned = pt.load(tmp_path)
    theirs = outputs("llama", model)
    assert furthest(here("llama", bases["llama"], learned), theirs) <= CLOSE
    learned.export("peft", tmp_path / "again")
    assert furthest(reloaded(bases, "llama", tmp_path / "again"), theirs) <= CLOSE


def reloaded(bases, name, folder, **how):
    model = peft.PeftModel.from_pretrained(copy.deepcopy(bases[name]), str(folder)).eval()
    return outputs(name, model, **how)


def numbers(*shape):
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


def own(*parts, method=""):
    return Learned((*parts, Readout("answer")), Signature((Field("text"),)), {"model": "differentiable"}, method)


@pytest.mark.parametrize("method", ["prompt-tuning", "p-tuning"])
@pytest.mark.parametrize("name", KINDS)
def test_our_virtual_tokens_in_peft(bases, tmp_path, name, method):
    learned = own(SiteTensors("encoder.input" if name == "t5" else "input", numbers(LENGTH, 32)), method=method)
    task = "FEATURE_EXTRACTION" if name == "roberta" else ""
    learned.export("peft", tmp_path / "a", task_type=task)
    ours = here(name, bases[name], learned)
    assert furthest(reloaded(bases, name, tmp_path / "a", drop=0 if name == "t5" else LENGTH), ours) <= CLOSE
    assert furthest(outputs(name, bases[name]), ours) > 0.01


@pytest.mark.parametrize("name", ["gpt2", "llama", "roberta", "t5-3"])
def test_our_prefixes_in_peft(bases, tmp_path, name):
    heads, layers = (2 if name == "llama" else 4), (3 if name == "t5-3" else 2)
    stack = "decoder." if name == "t5-3" else ""
    values = numbers(layers, 2, LENGTH, heads, 8)
    learned = own(*[SiteTensors(f"{stack}key_value[{n}]", values[n]) for n in range(layers)])
    learned.export("peft", tmp_path / "a", task_type="FEATURE_EXTRACTION" if name == "roberta" else "")
    ours = here(name, bases[name], learned)
    assert furthest(reloaded(bases, name, tmp_path / "a"), ours) <= CLOSE
    assert furthest(outputs(name, bases[name]), ours) > 0.01
    again = load(tmp_path / "a")
    assert all(np.array_equal(p.values, q.values) for p, q in zip(again.parts, learned.parts[:layers], strict=False))


# GPT-2 keeps its weights transposed; where the part does not say so, peft sees it.
@pytest.mark.parametrize(("name", "said"), [("gpt2", True), *((name, False) for name in KINDS)])
def test_our_lora_in_peft(bases, tmp_path, name, said):
    paths = [n for n, _ in bases[name].named_modules() if n.split(".")[-1] in TARGETS[name]]
    arrays, alphas = {}, {paths[0]: 9}
    for path in paths:
        weight = bases[name].get_submodule(path).weight
        wide, out = weight.shape if name == "gpt2" else reversed(weight.shape)
        rank = 3 if path == paths[-1] else 2
        arrays |= {f"{path}.A": numbers(rank, wide), f"{path}.B": numbers(out, rank)}
    transposed = {"fan_in_fan_out": True} if said else {}
    learned = own(Weights("lora", {"alpha": 1.5, "alphas": alphas, **transposed}, arrays))
    learned.export("peft", tmp_path / "a", task_type="FEATURE_EXTRACTION" if name == "roberta" else "")
    ours = here(name, bases[name], learned)
    theirs = reloaded(bases, name, tmp_path / "a")
    assert furthest(theirs, ours) <= CLOSE
    assert furthest(outputs(name, bases[name]), ours) > 0.01
    assert load(tmp_path / "a").part(Weights).to_json() == learned.part(Weights).to_json()


def test_both_parts_of_a_t5_file(bases, tmp_path):
    model = adapted(bases["t5"], prompt_config("t5"))
    model.save_pretrained(tmp_path / "a")
    rows = model.prompt_encoder["default"].embedding.weight.detach().numpy()
    assert rows.shape == (2 * LENGTH, 32)
    learned = load(tmp_path / "a")
    assert np.array_equal(learned.part(SiteTensors).values, rows[:LENGTH])
    learned.export("peft", tmp_path / "b")
    assert furthest(reloaded(bases, "t5", tmp_path / "b"), outputs("t5", model)) <= CLOSE
    assert peft.PeftConfig.from_pretrained(str(tmp_path / "b")).num_transformer_submodules == 1
    assert load(tmp_path / "b").same_as(learned)


@pytest.mark.parametrize("kind", ["prompt", "prefix", "lora"])
def test_the_legacy_torch_file(bases, tmp_path, kind):
    config = {
        "prompt": lambda: prompt_config("llama"),
        "prefix": lambda: prompt_config("llama", peft.PrefixTuningConfig),
        "lora": lambda: lora_config("llama"),
    }[kind]()
    model = adapted(bases["llama"], config)
    model.save_pretrained(tmp_path, safe_serialization=False)
    assert (tmp_path / "adapter_model.bin").exists()
    theirs = outputs("llama", model, drop=LENGTH if kind == "prompt" else 0)
    assert furthest(here("llama", bases["llama"], load(tmp_path)), theirs) <= CLOSE


def test_an_adapter_with_a_name_of_its_own(bases, tmp_path):
    model = peft.get_peft_model(copy.deepcopy(bases["gpt2"]), lora_config("gpt2"), adapter_name="mine")
    randomised(model).save_pretrained(tmp_path)
    assert furthest(here("gpt2", bases["gpt2"], load(tmp_path / "mine")), outputs("gpt2", model)) <= CLOSE


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_sizes_that_a_config_leaves_out_come_from_the_model(bases, tmp_path, name):
    model = adapted(bases[name], prompt_config(name, peft.PrefixTuningConfig))
    model.save_pretrained(tmp_path)
    kept = ("peft_type", "task_type", "num_virtual_tokens")
    doc = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({key: doc[key] for key in kept}))
    for source in (bases[name], bases[name].config, bases[name].config.to_dict()):
        learned = load(tmp_path, model=source)
        assert furthest(here(name, bases[name], learned), outputs(name, model)) <= CLOSE


def greedy(name, model, ids, steps=6):
    """Return the tokens that follow, each by a forward pass of its own without a cache."""
    # peft 0.21 loses its prompt behind the first token when it generates with transformers 5.24.
    text = torch.zeros((len(ids), 1), dtype=torch.long) if name == "t5" else ids
    for _ in range(steps):
        given = {"input_ids": ids, "decoder_input_ids": text} if name == "t5" else {"input_ids": text}
        given["attention_mask"] = torch.ones_like(given["input_ids"])
        text = torch.cat([text, model(**given).logits[:, -1:].argmax(-1)], dim=1)
    return text[:, -steps:]


@pytest.mark.parametrize("type_", ["prompt", "prefix", "lora"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "t5"])
def test_generation(bases, tmp_path, name, type_):
    configs = {"prompt": prompt_config(name), "prefix": prompt_config(name, peft.PrefixTuningConfig)}
    model = adapted(bases[name], configs.get(type_) or lora_config(name))
    model.save_pretrained(tmp_path)
    ids = torch.randint(8, 200, (2, 6), generator=torch.Generator().manual_seed(0))
    how = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    with torch.no_grad():
        theirs = greedy(name, model, ids)
        with pt.attach(bases[name], load(tmp_path)) as attached:
            ours = attached.generate(input_ids=ids, eos_token_id=-1, **how)
        plain = greedy(name, bases[name], ids)
    assert torch.equal(ours[:, -6:], theirs)
    assert not torch.equal(plain, theirs)


def classifier(base, kind):
    """Return a classification model on the weights of a base."""
    torch.manual_seed(0)
    config = copy.deepcopy(base.config)
    config.num_labels, config.pad_token_id = 3, config.pad_token_id or 0
    model = getattr(transformers, kind)(config).eval()
    getattr(model, model.base_model_prefix).load_state_dict(base.base_model.state_dict(), strict=False)
    return model


def classified(model):
    ids = torch.randint(8, 200, (3, 7), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


def test_the_head_of_an_encoder_comes_along(bases, tmp_path):
    base = classifier(bases["roberta"], "RobertaForSequenceClassification")
    config = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"])
    model = randomised(peft.get_peft_model(copy.deepcopy(base), config))
    model.save_pretrained(tmp_path / "a")
    learned = load(tmp_path / "a")
    before = {name: value.clone() for name, value in base.state_dict().items()}
    with pt.attach(base, learned):
        ours = classified(base)
    assert furthest(ours, classified(model)) <= CLOSE
    assert furthest(classified(base), ours) > 0.01
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())
    learned.export("peft", tmp_path / "b")
    again = peft.PeftModel.from_pretrained(copy.deepcopy(base), str(tmp_path / "b")).eval()
    assert furthest(classified(again), ours) <= CLOSE


def test_the_head_of_a_causal_model_comes_along(bases, tmp_path):
    base = classifier(bases["llama"], "LlamaForSequenceClassification")
    config = peft.PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=LENGTH)
    model = randomised(peft.get_peft_model(copy.deepcopy(base), config))
    model.save_pretrained(tmp_path)
    with pt.attach(base, load(tmp_path)):
        ours = classified(base)
    with torch.no_grad():
        # peft reads the last token by the ids that it no longer passes on: the embeddings are given by hand.
        ids = torch.randint(8, 200, (3, 7), generator=torch.Generator().manual_seed(0))
        rows = model.prompt_encoder["default"].embedding.weight.expand(3, -1, -1)
        inside = torch.cat([rows, base.get_input_embeddings()(ids)], dim=1)
        theirs = model.base_model(inputs_embeds=inside).logits
    assert furthest(ours, theirs) <= CLOSE


def test_the_head_of_an_encoder_beside_virtual_tokens_is_refused(bases, tmp_path):
    base = classifier(bases["roberta"], "RobertaForSequenceClassification")
    config = peft.PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=LENGTH)
    peft.get_peft_model(base, config).save_pretrained(tmp_path)
    with pytest.raises(ArtifactError, match="reads the first virtual token"):
        load(tmp_path)


def test_bfloat16_tensors_are_read_exactly(bases, tmp_path):
    from safetensors.torch import load_file, save_file

    model = adapted(bases["gpt2"], lora_config("gpt2"))
    model.save_pretrained(tmp_path)
    halves = {name: t.bfloat16() for name, t in load_file(tmp_path / "adapter_model.safetensors").items()}
    save_file(halves, tmp_path / "adapter_model.safetensors", metadata={"format": "pt"})
    part = load(tmp_path).part(Weights)
    for path in part.paths:
        for half in "AB":
            wanted = halves[f"base_model.model.{path}.lora_{half}.weight"].float().numpy()
            assert np.array_equal(part.arrays[f"{path}.{half}"], wanted)


def test_layers_of_a_t5_prefix_that_peft_cannot_hold(bases, tmp_path):
    values = numbers(2, 2, LENGTH, 4, 8)
    parts = [SiteTensors(f"decoder.key_value[{n}]", values[n]) for n in range(2)]
    with pytest.raises(UsageError, match="shows layers 0 and 1 of a decoder"):
        own(*parts).export("peft", tmp_path / "a")
    shared = own(parts[0], SiteTensors("decoder.key_value[1]", values[0]))
    shared.export("peft", tmp_path / "a")
    assert furthest(reloaded(bases, "t5", tmp_path / "a"), here("t5", bases["t5"], shared)) <= CLOSE


def test_a_bare_stack_takes_the_lora_of_a_model_with_a_head(bases, tmp_path):
    adapted(bases["gpt2"], lora_config("gpt2")).save_pretrained(tmp_path)
    learned, bare = load(tmp_path), bases["gpt2"].base_model
    ids = torch.randint(8, 200, (2, 6), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        with pt.attach(bare, learned):
            states = bare(input_ids=ids).last_hidden_state
        with pt.attach(bases["gpt2"], learned):
            logits = bases["gpt2"](input_ids=ids).logits
    assert furthest(bases["gpt2"].lm_head(states), logits) <= CLOSE


@pytest.mark.parametrize("type_", ["prompt", "prefix", "lora"])
def test_a_bound_folder_answers_as_the_attached_model(bases, tmp_path, type_):
    from promptology.models.access import Request
    from promptology.prompts.injected import injected_of

    configs = {"prompt": prompt_config("llama"), "prefix": prompt_config("llama", peft.PrefixTuningConfig)}
    adapted(bases["llama"], configs.get(type_) or lora_config("llama")).save_pretrained(tmp_path)
    model = pt.model(bases["llama"], tokenizer=tiny.tiny_tokenizer("llama"))
    learned, body = load(tmp_path), model.frozen()
    texts = ["the red bus is", "where is my parcel now"]
    asked = [Request.user(text, max_tokens=5, injected=injected_of(learned)) for text in texts]
    answers = [outcome.text for _, outcome in sorted(model.generate(asked))]
    for text, answer in zip(texts, answers, strict=True):
        ids = torch.tensor([body.encode([("user", text)])])
        with torch.no_grad(), pt.attach(bases["llama"], learned):
            ahead = greedy("llama", bases["llama"], ids, steps=5)
        assert body.tokenizer.decode(ahead[0], skip_special_tokens=True).strip() == answer.strip()
    assert len(set(answers)) == 2
