"""Opening: the right class for every folder and object, the contract, pickling, notes, and every fault in one line."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers
from tiny import BUILDERS, tiny_bert, tiny_gpt2, tiny_roberta, tiny_t5, tiny_tokenizer

import promptology as pt
from promptology.errors import ModelError, PromptologyError, UsageError
from promptology.models.access import offers
from promptology.models.local import CausalModel, EncoderModel, MaskedModel, Seq2SeqModel
from promptology.testing import check_model

CLASS = {"bert": MaskedModel, "roberta": MaskedModel, "encoder": EncoderModel, "t5": Seq2SeqModel}
INSIDE = ("embeds", "differentiable", "trainable")
OFFERS = {
    CausalModel: {"generates", "scores", *INSIDE},
    Seq2SeqModel: {"generates", "scores", *INSIDE},
    MaskedModel: {"scores", *INSIDE},
    EncoderModel: set(INSIDE),
}


@pytest.fixture
def gpt2(folders, tmp_path):
    """A folder of its own, to break."""
    return shutil.copytree(folders("gpt2"), tmp_path / "gpt2")


def fault(source, *given, **options):
    """Return the one line that opening and using a model says."""
    with pytest.raises(PromptologyError) as caught:
        pt.model(source if not hasattr(source, "is_dir") else f"hf:{source}", *given, **options).frozen()
    assert isinstance(caught.value, ModelError | UsageError)
    line = str(caught.value)
    assert "\n" not in line and len(line) < 400
    return line


@pytest.mark.parametrize("name", list(BUILDERS))
def test_the_contract_holds(opened, name):
    model = opened(name)
    assert type(model) is CLASS.get(name, CausalModel)
    assert set(offers(model)) == OFFERS[type(model)]
    options = {"choices": [["yes", "no"], ["red", "green", "blue"]]} if model.kind == "masked" else {}
    assert not {"generates", "embeds", "scores"} & {n for n in check_model(model, **options).skipped}


@pytest.mark.parametrize("name", ["gpt2", "bert", "t5", "encoder"])
def test_a_held_model_is_the_same_as_its_folder(opened, folders, name):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders(name))
    kinds = {"gpt2": "CausalLM", "bert": "MaskedLM", "t5": "Seq2SeqLM"}
    auto = getattr(transformers, f"AutoModelFor{kinds[name]}") if name in kinds else transformers.AutoModel
    held = auto.from_pretrained(folders(name))
    before = {k: v.clone() for k, v in held.state_dict().items()}
    model = pt.model(held, tokenizer, name="mine")
    assert type(model) is type(opened(name)) and model.name == "mine"
    np.testing.assert_allclose(model.embed(["the movie"]), opened(name).embed(["the movie"]), atol=1e-6)
    assert model.frozen().model is held
    assert all(torch.equal(v, before[k]) for k, v in held.state_dict().items())
    assert not any(p.requires_grad for p in held.parameters()) and not held.training
    other = auto.from_pretrained(folders(name))
    assert pt.model(other, tokenizer).identity == model.identity
    with torch.no_grad():
        next(other.parameters()).add_(0.1)
    assert pt.model(other, tokenizer).identity != model.identity
    assert pickle.loads(pickle.dumps(model)).identity == model.identity


def test_identity_tells_weights_dtype_and_template_apart(folders, tmp_path):
    first = pt.model(f"hf:{folders('gpt2')}").identity
    assert pt.model(f"hf:{tiny_gpt2(tmp_path / 'gpt2', seed=1)}").identity != first
    assert pt.model(f"hf:{folders('gpt2')}", dtype="bf16").identity != first
    assert pickle.loads(pickle.dumps(pt.model(f"hf:{folders('gpt2')}"))).identity == first
    assert pt.model("minilm").identity == "encoder:53aa51172d142c89:256"


def test_a_pickled_model_is_its_arguments(opened):
    model = opened("gpt2")
    data = pickle.dumps(model)
    assert len(data) < 2000
    np.testing.assert_array_equal(pickle.loads(data).embed(["red"]), model.embed(["red"]))


def test_what_was_chosen_is_said_once(folders, caplog):
    model = pt.model(f"hf:{folders('llama')}", dtype="bfloat16", name="small")
    assert model.notes == []
    with caplog.at_level("WARNING", logger="promptology"):
        model.embed(["red"])
        model.embed(["green"])
    assert model.notes == ["small: CausalModel on cpu, bfloat16, 52,192 parameters"]
    assert [r.getMessage() for r in caplog.records] == model.notes
    assert model.frozen().dtype == torch.bfloat16


def test_what_a_body_says(opened):
    for name in BUILDERS:
        body = opened(name).frozen()
        assert body.embeddings.shape == (len(body.tokenizer), 32) and body.dimension == 32
        assert body.max_tokens == 192
        rows = [n for n in range(len(body.tokenizer)) if n not in body.tokenizer.all_special_ids]
        assert body.norm == pytest.approx(float(body.embeddings[rows].norm(dim=1).mean()), rel=1e-5)
        states, mask = body.hidden([[5, 6, 7], [8]])
        assert states.shape == (2, 3, 32) and mask.tolist() == [[1, 1, 1], [1, 0, 0]]
        assert not states.requires_grad
        assert set(opened(name).movable()) == {n for n, _ in body.model.named_parameters()}
        if body.kind != "encoder":
            assert body.logits(states).shape == (2, 3, len(body.tokenizer))
        else:
            with pytest.raises(UsageError, match="no language-model head"):
                body.logits(states)


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "roberta"])
def test_logits_of_chosen_states_are_the_models_own(opened, name):
    body = opened(name).frozen()
    states, _ = body.hidden([[5, 6, 7]])
    whole = body.model(torch.tensor([[5, 6, 7]])).logits
    torch.testing.assert_close(body.logits(states), whole, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(body.logits(states[0, 1]), whole[0, 1], atol=1e-6, rtol=1e-6)


def test_pooling_by_kind(opened):
    rows = [[5, 6, 7], [8]]
    for name, how in (("gpt2", "last"), ("bert", "mean"), ("t5", "mean")):
        body = opened(name).frozen()
        states, _ = body.hidden(rows)
        expected = torch.stack([states[0, 2], states[1, 0]]) if how == "last" else None
        expected = torch.stack([states[0].mean(0), states[1, 0]]) if expected is None else expected
        torch.testing.assert_close(body.pooled(rows), expected, atol=1e-6, rtol=1e-5)


def test_a_sentence_encoder_folder_stays_an_encoder(folders, tmp_path, caplog):
    folder = shutil.copytree(folders("gpt2"), tmp_path / "sentences")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_lasttoken": True}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 7}))
    kinds = ["Transformer", "Pooling", "Dense", "Normalize"]
    (folder / "modules.json").write_text(json.dumps([{"type": f"sentence_transformers.models.{k}"} for k in kinds]))
    model = pt.model(f"hf:{folder}")
    assert type(model) is EncoderModel
    model.frozen()
    assert "sentences: Dense of its folder is not applied" in caplog.text
    assert model.frozen().pooling == "last" and model.frozen().max_tokens == 7


def test_a_tokenizer_without_pad_token_is_no_fault(opened):
    assert opened("gpt2").frozen().tokenizer.pad_token is None
    together = opened("gpt2").embed(["red", "the movie is great"])
    np.testing.assert_allclose(together[0], opened("gpt2").embed(["red"])[0], atol=1e-6)


# Faults


def test_a_hub_id_without_network_is_one_line_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "not on this machine and HF_HUB_OFFLINE is set" in fault("hf:someone/no-such-model")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://127.0.0.1:9")
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert "not on this machine and https://127.0.0.1:9 cannot be reached" in fault("hf:someone/no-such-model")


def test_a_hub_id_that_was_downloaded_opens_without_network(folders, tmp_path, monkeypatch):
    cached = tmp_path / "models--someone--small"
    shutil.copytree(folders("gpt2"), cached / "snapshots" / "abc123")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc123")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model = pt.model("hf:someone/small")
    assert type(model) is CausalModel and model.name == "small"
    identity = model.identity
    assert model.embed(["red"]).shape == (1, 32)
    assert pickle.loads(pickle.dumps(model)).identity == identity


def test_folders_that_are_not_there_or_hold_no_model(tmp_path):
    assert "does not exist" in fault("hf:./nowhere")
    assert "does not exist" in fault("hf:nowhere")
    (tmp_path / "empty").mkdir()
    assert "it has no config.json" in fault(tmp_path / "empty")
    (tmp_path / "empty" / "config.json").write_text("{")
    assert "config.json is broken" in fault(tmp_path / "empty")


def test_missing_and_damaged_weights(gpt2, tmp_path):
    weights = gpt2 / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-100])
    assert f"has {len(data) - 100:,} bytes and should have {len(data):,}; download it again" in fault(gpt2)
    weights.write_bytes(data[:30])
    assert "model.safetensors is no whole safetensors file" in fault(gpt2)
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    assert header
    weights.unlink()
    assert "it holds no weights" in fault(gpt2)
    (gpt2 / "pytorch_model.bin").write_bytes(b"pickled")
    assert "(pytorch_model.bin) are pickled, which can run code; convert them to safetensors" in fault(gpt2)


def test_a_missing_shard_is_named(folders, tmp_path):
    model = transformers.AutoModelForCausalLM.from_pretrained(folders("gpt2"))
    folder = shutil.copytree(folders("gpt2"), tmp_path / "shards")
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="60KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    assert pt.model(f"hf:{folder}").embed(["red"]).shape == (1, 32)
    shards[1].unlink()
    assert f"{shards[1].name} is missing" in fault(folder)


def test_weights_without_a_head_are_refused(folders, tmp_path):
    folder = shutil.copytree(folders("encoder"), tmp_path / "headless")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["BertForMaskedLM"]}))
    assert "its weights lack cls.predictions" in fault(folder)


def test_a_folder_without_tokenizer(gpt2):
    (gpt2 / "tokenizer.json").unlink()
    assert "it has no tokenizer" in fault(gpt2)


def test_code_in_a_folder_is_not_run(gpt2, tmp_path):
    config = json.loads((gpt2 / "config.json").read_text())
    mark = tmp_path / "ran"
    (gpt2 / "modeling_x.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    asks = {"auto_map": {"AutoModelForCausalLM": "modeling_x.X"}}
    (gpt2 / "config.json").write_text(json.dumps({**config, **asks}))
    line = fault(gpt2)
    assert "auto_map in config.json" in line and "trust_code=True" in line
    assert not mark.exists()
    (gpt2 / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((gpt2 / "tokenizer_config.json").read_text())
    (gpt2 / "tokenizer_config.json").write_text(json.dumps({**tokenizer, "auto_map": {"AutoTokenizer": ["x.Y", None]}}))
    assert "auto_map in tokenizer_config.json" in fault(gpt2)


def test_an_architecture_that_transformers_does_not_know(gpt2):
    config = json.loads((gpt2 / "config.json").read_text())
    (gpt2 / "config.json").write_text(json.dumps({**config, "model_type": "unheard"}))
    assert "unheard" in fault(gpt2)


def test_tokenizers_that_do_not_fit(folders, tmp_path):
    no_mask = tiny_tokenizer("bert", mask_token=None)
    folder = tiny_bert(tmp_path / "bert")
    no_mask.save_pretrained(folder)
    assert "its tokenizer has no mask token" in fault(folder)
    small = tiny_gpt2(tmp_path / "gpt2")
    tokenizer = tiny_tokenizer("gpt2")
    tokenizer.add_tokens(["one-more", "two-more"])
    tokenizer.save_pretrained(small)
    assert "its tokenizer has 525 tokens and its embedding table 523 rows" in fault(small)
    held = transformers.AutoModelForCausalLM.from_pretrained(folders("gpt2"))
    assert "needs its tokenizer: pt.model(model, tokenizer)" in fault(held)


def test_settings_that_cannot_be_used(folders):
    source = f"hf:{folders('gpt2')}"
    assert "device 'tpu9' cannot be used" in fault(source, device="tpu9")
    assert "dtype 'float8' is not understood" in fault(source, dtype="float8")
    assert "bits is 3" in fault(source, bits=3)
    assert "does not take colour; it takes" in fault(source, colour="red")
    assert "brings its own tokenizer" in fault(source, tiny_tokenizer("gpt2"))
    assert "keeps its dtype" in fault(transformers.AutoModel.from_pretrained(folders("encoder")), 0, dtype="bf16")
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        assert 'pip install "promptology[quantised]"' in fault(source, bits=4)


def test_opening_needs_no_torch(folders):
    code = (
        "import sys, promptology as pt; m = pt.model(sys.argv[1], dtype='float32'); m.identity; "
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    for name in ("gpt2", "bert", "t5"):
        subprocess.run([sys.executable, "-c", code, f"hf:{folders(name)}"], check=True)


def test_long_positions_of_roberta_and_none_of_t5(tmp_path):
    roberta = pt.model(f"hf:{tiny_roberta(tmp_path / 'roberta', max_position_embeddings=66)}")
    assert roberta.frozen().max_tokens == 64
    assert roberta.embed(["red " * 100]).shape == (1, 32)
    t5 = tiny_t5(tmp_path / "t5")
    path = t5 / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": int(1e30)}))
    assert pt.model(f"hf:{t5}").frozen().max_tokens == 4096
    assert pt.model(f"hf:{t5}", max_tokens=512).frozen().max_tokens == 512
