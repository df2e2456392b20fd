"""Tokens and longest input of local models, read without their weights."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import tiny

import promptology as pt
from promptology.models.local.counting import stated_limit

TEXT = "sort the following sentence into classes: grey kettle, Straße"


@pytest.mark.parametrize("build", [tiny.tiny_gpt2, tiny.tiny_llama])
def test_counts_are_the_tokenizers_own(tmp_path, build):
    model = pt.model(f"hf:{build(tmp_path / 'model')}")
    counted = model.count_tokens(TEXT)
    body = model.frozen()
    assert counted == len(body.tokenizer(TEXT, add_special_tokens=False)["input_ids"])
    assert model.context == body.max_tokens == tiny.POSITIONS
    held = pt.model(body.model, body.tokenizer)
    assert (held.count_tokens(TEXT), held.context) == (counted, tiny.POSITIONS)
    assert model.count_tokens("") == 0
    assert model.count_tokens("\ud800") > 0


def test_a_cut_that_the_file_asks_for_is_not_made(tmp_path):
    folder = tiny.tiny_gpt2(tmp_path / "model")
    doc = json.loads((folder / "tokenizer.json").read_text())
    doc["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    (folder / "tokenizer.json").write_text(json.dumps(doc))
    assert pt.model(f"hf:{folder}").count_tokens(TEXT) > 4


def test_without_a_readable_tokenizer_the_tokens_are_estimated(tmp_path, colours):
    from promptology.prompts.start import start_from
    from promptology.run.lengths import length_of

    folder = tiny.tiny_gpt2(tmp_path / "model")
    start = start_from(colours.signature, ("generates",))
    assert length_of(start, pt.model(f"hf:{folder}")).exact
    for broken in ("{", None):
        (folder / "tokenizer.json").write_text(broken) if broken else (folder / "tokenizer.json").unlink()
        model = pt.model(f"hf:{folder}")
        assert model.count_tokens(TEXT) is None
        assert not length_of(start, model).exact


def test_what_limits_are_stated(tmp_path):
    assert stated_limit(tmp_path) is None
    (tmp_path / "config.json").write_text('{"n_positions": 300}')
    assert stated_limit(tmp_path) == 300
    assert stated_limit(tmp_path, asked=100) == 100
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 200}')
    assert stated_limit(tmp_path) == 200
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 1000000000000000019884624838656}')
    assert stated_limit(tmp_path) == 300
    (tmp_path / "config.json").write_text("[")
    assert stated_limit(tmp_path) is None


def test_counting_loads_no_torch():
    code = (
        "import sys, promptology as pt; m = pt.model('zoo:word-instruct'); "
        "assert m.count_tokens('sort this') and m.context; assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
