"""PEFT folders made by hand: what is read, and what is refused in one line."""

from __future__ import annotations

import json
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from promptology.data.items import ClassLabel, Field, Signature
from promptology.errors import ArtifactError, UsageError
from promptology.prompts import (
    Demonstrations,
    Example,
    Learned,
    Readout,
    SiteModule,
    SiteTensors,
    Text,
    Weights,
    load,
    save,
)
from promptology.prompts.export import export
from promptology.prompts.peft.layout import join, size_of, split, spread


def numbers(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


PROMPT = {"peft_type": "PROMPT_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": 4, "token_dim": 8}
PREFIX = {
    **{"peft_type": "PREFIX_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": 4},
    **{"token_dim": 8, "num_layers": 3, "num_attention_heads": 2},
}
LORA = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4, "target_modules": ["q"]}
ROWS = {"prompt_embeddings": numbers(4, 8)}
DEEP = {"prompt_embeddings": numbers(4, 48)}
PATH = "base_model.model.h.0.q"
PAIR = {f"{PATH}.lora_A.weight": numbers(2, 8), f"{PATH}.lora_B.weight": numbers(6, 2)}


def folder(path, config, tensors, file="adapter_model.safetensors"):
    path.mkdir(exist_ok=True)
    (path / "adapter_config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    if tensors is not None:
        save_file(tensors, path / file)
    return path


def test_a_prompt(tmp_path):
    learned = load(folder(tmp_path / "a", PROMPT, ROWS))
    part = learned.part(SiteTensors)
    assert (part.site, part.values.tolist()) == ("input", ROWS["prompt_embeddings"].tolist())
    assert learned.readout == Readout("answer")
    assert learned.roles == {"model": "differentiable"}
    assert learned.signature == Signature((Field("text"),), "text")
    assert learned.as_text() == "[tensors] input: 4 x 8"


def test_a_signature_of_ones_own(tmp_path):
    mine = Signature((Field("message"),), "class", (ClassLabel("a"), ClassLabel("b")))
    made = folder(tmp_path / "a", PROMPT, ROWS)
    assert load(made, signature=mine).signature == mine
    save(load(made), tmp_path / "b")
    assert load(tmp_path / "b", mine).signature == mine
    assert load(tmp_path / "b").same_as(load(made))


@pytest.mark.parametrize("task", ["FEATURE_EXTRACTION", "TOKEN_CLS", None])
def test_no_readout_where_the_task_is_no_language_model(tmp_path, task):
    learned = load(folder(tmp_path / "a", {**PROMPT, "task_type": task}, ROWS))
    with pytest.raises(ArtifactError, match="has no readout"):
        _ = learned.readout


def test_a_prefix_layer_by_layer(tmp_path):
    learned = load(folder(tmp_path / "a", PREFIX, DEEP))
    rows = DEEP["prompt_embeddings"].reshape(4, 3, 2, 2, 4)
    for n, part in enumerate(learned.parts[:3]):
        assert part.site == f"key_value[{n}]"
        assert np.array_equal(part.values[1, 2, 0], rows[2, n, 1, 0])
    assert learned.as_text() == "[tensors] key_value[0 to 2]: 2 x 4 x 2 x 4"


def test_the_layout_is_its_own_inverse():
    size = size_of({"n_layer": 3, "n_embd": 8, "n_head": 2})
    rows = numbers(4, 48)
    assert size == (3, 2, 4)
    assert np.array_equal(join(split(rows, size)), rows)
    layers = split(rows, size)
    assert [n for stored in spread(layers) for n, mine in enumerate(layers) if mine is stored] == [0, 2, 1]


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ({"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}, (2, 2, 8)),
        ({"d_model": 32, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 4, "d_kv": 16}, (3, 4, 16)),
        (
            {"text_config": {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "head_dim": 4}},
            (1, 1, 4),
        ),
    ],
)
def test_sizes_of_configs(config, size):
    assert size_of(config) == size


def test_the_folders_of_the_authors_of_dept(tmp_path):
    """Their fork of peft: a short prompt, low-rank offsets, scale alpha / sqrt(rank)."""
    config = {
        **PROMPT,
        **{"peft_type": "PROMPT_TUNING_LORA", "task_type": "SEQ_2_SEQ_LM", "num_transformer_submodules": 1},
        **{"r": 3, "lora_alpha": 8, "max_length": 16, "hidden_size": 8, "save_lora_embeddings": True},
    }
    low = {"prompt_encoder.lora_embedding_A": numbers(16, 3), "prompt_encoder.lora_embedding_B": numbers(3, 8)}
    learned = load(folder(tmp_path / "a", config, {**ROWS, **low}))
    part = learned.part(SiteModule)
    assert (part.site, part.type) == ("encoder.input", "offsets")
    assert part.options["scale"] == pytest.approx(8 / math.sqrt(3))
    assert part.arrays["A"].shape == (16, 3)
    with pytest.raises(UsageError, match="no type for this combination"):
        learned.export("peft", tmp_path / "b")


FAULTS = [
    ("{", ROWS, "cannot be read"),
    ("[1]", ROWS, "no JSON object"),
    ("[" * 100_000, ROWS, "cannot be read"),
    ({**PROMPT, "peft_type": None}, ROWS, "peft_type is missing"),
    ({**PROMPT, "peft_type": "BOFT"}, ROWS, "peft_type 'BOFT' is not read; this version reads PROMPT_TUNING"),
    ({**PROMPT, "task_type": "PAINT"}, ROWS, "unknown task_type 'PAINT'"),
    (PROMPT, None, "holds no tensors"),
    (PROMPT, {"prompt": numbers(4, 8)}, "no tensor 'prompt_embeddings', only prompt"),
    (PROMPT, {"prompt_embeddings": numbers(4, 2, 4)}, "shape 4 x 2 x 4; it must have two dimensions"),
    ({**PROMPT, "num_virtual_tokens": 5}, ROWS, "has 4 rows; num_virtual_tokens 5 needs 5"),
    ({**PROMPT, "num_virtual_tokens": "4"}, ROWS, "num_virtual_tokens is '4'; it must be a whole number"),
    ({**PROMPT, "num_virtual_tokens": None}, ROWS, "num_virtual_tokens is missing"),
    ({**PROMPT, "token_dim": 16}, ROWS, "8 wide; token_dim says 16"),
    ({**PROMPT, "num_transformer_submodules": 2}, ROWS, "num_transformer_submodules is 2"),
    ({**PROMPT, "mystery": 3}, ROWS, "sets mystery to 3, which this version does not read"),
    (PROMPT, {"prompt_embeddings": np.full((4, 8), np.nan, np.float32)}, "NaN"),
    (PROMPT, {"prompt_embeddings": np.zeros((4, 8), np.int32)}, "an adapter holds floats"),
    (PROMPT, {**ROWS, "more": numbers(2)}, "unexpected tensor 'more'"),
    ({**PREFIX, "num_layers": 2}, DEEP, "4 virtual tokens, 2 layers and 2 heads of 4 need 4 x 32"),
    ({**PREFIX, "num_attention_heads": 3}, DEEP, "no multiple"),
    ({**PREFIX, "num_layers": None}, DEEP, "num_layers is missing; give the model it belongs to"),
    ({**PREFIX, "task_type": "SEQ_2_SEQ_LM", "num_transformer_submodules": 1}, DEEP, "train it with 2"),
    ({**LORA, "bias": "all"}, PAIR, "bias is 'all'"),
    ({**LORA, "use_dora": True}, PAIR, "sets use_dora to True"),
    ({**LORA, "use_rslora": True}, PAIR, "sets use_rslora to True"),
    ({**LORA, "init_lora_weights": "pissa_niter_4"}, PAIR, "changes the base model's weights"),
    ({**LORA, "r": 4}, PAIR, "gives h.0.q rank 4; its tensors have 2"),
    ({**LORA, "rank_pattern": {"q": 3}}, PAIR, "rank 3"),
    ({**LORA, "alpha_pattern": {"(": 3}}, PAIR, "no regular expression"),
    ({**LORA, "alpha_pattern": ["q"]}, PAIR, "must hold numbers by names"),
    ({**LORA, "lora_alpha": "big"}, PAIR, "alpha 'big'"),
    ({**LORA, "lora_alpha": float("nan")}, PAIR, "alpha nan"),
    ({**LORA, "modules_to_save": "head"}, {**PAIR, "base_model.model.head.weight": numbers(2, 2)}, "a list of names"),
    (LORA, ROWS, "no tensors base_model.model.<path>.lora_A.weight"),
    (LORA, {f"{PATH}.lora_A.weight": numbers(2, 8)}, "holds A; it must hold A and B"),
    (LORA, {**PAIR, "base_model.model.wte.lora_embedding_A": numbers(2, 8)}, "a part of LoRA that is not read"),
    (LORA, {**PAIR, f"{PATH}.lora_magnitude_vector.weight": numbers(6)}, "a part of LoRA that is not read"),
    (LORA, {f"{PATH}.lora_A.weight": numbers(2, 8, 1, 1), f"{PATH}.lora_B.weight": numbers(6, 2)}, "2 x 8 x 1 x 1"),
]


@pytest.mark.parametrize(("config", "tensors", "words"), FAULTS)
def test_faulty_folders_are_one_line(tmp_path, config, tensors, words):
    with pytest.raises(ArtifactError) as caught:
        load(folder(tmp_path / "a", config, tensors))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_corrupt_tensors(tmp_path):
    made = folder(tmp_path / "a", PROMPT, ROWS)
    data = (made / "adapter_model.safetensors").read_bytes()
    for broken in (data[: len(data) // 2], b"\xff" * 50, b""):
        (made / "adapter_model.safetensors").write_bytes(broken)
        with pytest.raises(ArtifactError, match="not a readable safetensors file") as caught:
            load(made)
        assert "\n" not in str(caught.value)


def test_adapters_inside_are_named(tmp_path):
    folder(tmp_path / "first", PROMPT, ROWS)
    folder(tmp_path / "second", PROMPT, ROWS)
    with pytest.raises(ArtifactError, match="holds the adapters first, second; give the folder of one"):
        load(tmp_path)
    with pytest.raises(ArtifactError, match=r"no prompt\.json, and no adapter_config"):
        load(tmp_path / "third")


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_nothing_outside_the_folder_is_read(tmp_path, name):
    made = folder(tmp_path / "a", PROMPT, ROWS)
    (made / name).rename(tmp_path / "outside")
    (made / name).symlink_to(tmp_path / "outside")
    with pytest.raises(ArtifactError, match="points outside the PEFT folder; refused"):
        load(made)


def test_links_of_a_hub_cache_to_its_own_blobs_are_read(tmp_path):
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshots").mkdir()
    made = folder(tmp_path / "snapshots" / "abc", PROMPT, ROWS)
    for path in list(made.iterdir()):
        path.rename(tmp_path / "blobs" / path.name)
        path.symlink_to(tmp_path / "blobs" / path.name)
    assert load(made).part(SiteTensors)


class Trap:
    """Leaves a mark where a pickle of it is opened."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


def test_code_in_a_torch_file_never_runs(tmp_path):
    torch = pytest.importorskip("torch")
    made, mark = folder(tmp_path / "a", PROMPT, None), tmp_path / "mark"
    for write in (lambda value: torch.save(value, made / "adapter_model.bin"), lambda value: dumped(made, value)):
        write({"prompt_embeddings": Trap(mark)})
        with pytest.raises(ArtifactError, match="more than tensors or is corrupt; refused") as caught:
            load(made)
        assert "\n" not in str(caught.value)
    assert not mark.exists()
    torch.save([torch.zeros(2)], made / "adapter_model.bin")
    with pytest.raises(ArtifactError, match="more than named tensors"):
        load(made)


def dumped(made, value):
    (made / "adapter_model.bin").write_bytes(pickle.dumps(value))


def own(*parts, method=""):
    return Learned((*parts, Readout("answer")), Signature((Field("text"),)), {"model": "differentiable"}, method)


def test_texts_stay_behind_and_are_said(tmp_path):
    text = Text("Say it kindly.\nAnd briefly.", "You are kind.")
    shown = Demonstrations((Example({"text": "a"}, "b"),))
    head = Readout("head", {}, {"weight": numbers(2, 8)})
    learned = Learned((SiteTensors("input", numbers(4, 8)), text, shown, head), Signature((Field("text"),)))
    done = learned.export("peft", tmp_path / "a", base="org/name")
    assert [note.split(" ")[1] for note in done.notes] == ["text", "demonstrations", "trained"]
    readme = (done.folder / "README.md").read_text()
    assert 'base_model: "org/name"' in readme
    assert "    Say it kindly.\n    And briefly." in readme
    assert "    You are kind." in readme
    doc = json.loads((done.folder / "adapter_config.json").read_text())
    assert (doc["base_model_name_or_path"], doc["inference_mode"], doc["peft_version"]) == ("org/name", True, "0.21.2")
    assert doc["task_type"] == "FEATURE_EXTRACTION"
    assert load(done.folder).parts[0].to_json() == learned.parts[0].to_json()


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ((Text("a"),), "needs learned vectors or weights"),
        ((SiteTensors("input", numbers(4, 8)), SiteTensors("input", numbers(4, 8))), "no type for this combination"),
        ((SiteTensors("decoder.input", numbers(4, 8)),), "no type for this combination"),
        ((SiteTensors("input", numbers(4, 8), role="judge"),), "no type for this combination"),
        ((SiteTensors("key_value[1]", numbers(2, 4, 2, 4)),), "leave layers out"),
        (
            [SiteTensors(f"{stack}.key_value[0]", numbers(2, 4, 2, 4)) for stack in ("encoder", "decoder")],
            "this has decoder, encoder",
        ),
        ((SiteTensors("layer[1]", numbers(4, 8)),), r"no type for this combination \(\[tensors\] layer\[1\]: 4 x 8\)"),
        ((Weights("full", {}, {"a.weight": numbers(2, 2)}),), "no type for this combination"),
        (
            (SiteTensors("input", numbers(4, 8)), Weights("full", {"modules": ["a"]}, {"b.weight": numbers(2)})),
            "'b.weight' stands in none",
        ),
    ],
)
def test_what_peft_cannot_hold_is_refused(tmp_path, parts, words):
    with pytest.raises(UsageError, match=words) as caught:
        own(*parts).export("peft", tmp_path / "a")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a").exists()


def test_targets_of_exports(tmp_path):
    learned = own(SiteTensors("input", numbers(4, 8)))
    with pytest.raises(UsageError, match="name it: --out FOLDER"):
        learned.export("peft")
    with pytest.raises(UsageError, match="unknown task type 'X'"):
        learned.export("peft", tmp_path / "a", task_type="X")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("precious")
    with pytest.raises(UsageError, match="not an empty folder"):
        learned.export("peft", tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "precious"
    (tmp_path / "empty").mkdir()
    assert export(learned, "peft", tmp_path / "empty").folder == tmp_path / "empty"
    with pytest.raises(UsageError, match="unknown export 'xml'; there are text, messages, peft"):
        learned.export("xml")
    with pytest.raises(UsageError, match="would lose what stands inside the model"):
        learned.export("text")
    with pytest.raises(UsageError, match="no place for a base model"):
        own(Text("a")).export("text", base="b")


def test_neither_reading_nor_writing_loads_torch(tmp_path):
    made = folder(tmp_path / "a", PREFIX, DEEP)
    code = (
        "import sys, promptology as pt; pt.load(sys.argv[1]).export('peft', sys.argv[2])\n"
        "assert not {'torch', 'peft', 'transformers'} & {*sys.modules}"
    )
    arguments = [sys.executable, "-c", code, str(made), str(tmp_path / "b")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert load(tmp_path / "b").same_as(load(made))
