"""Kind `network`: made, saved, shown and compared without torch; its module is what the arrays say."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import promptology as pt
from promptology.data.items import ClassLabel, Field, Signature
from promptology.errors import ArtifactError
from promptology.predict import bind
from promptology.prompts import Learned, Network, Readout
from promptology.testing.fixtures import HashingEncoder

torch.set_num_threads(1)
SIGNATURE = Signature(
    (Field("text"),), "class", (ClassLabel("fruit", "an apple or a pear"), ClassLabel("tool", "a saw"))
)


def arrays(d=4, heads=1, width=None, seed=0):
    rng = np.random.default_rng(seed)
    shape = (heads, width or d, d)
    made = {"query": rng.normal(size=shape), "key": rng.normal(size=shape)}
    return {**{k: v.astype(np.float32) for k, v in made.items()}, "mean": np.zeros(d, "f"), "spread": np.ones(d, "f")}


def identity(d):
    eye = np.eye(d, dtype=np.float32)[None]
    return {"query": eye, "key": eye, "mean": np.zeros(d, "f"), "spread": np.ones(d, "f")}


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return torch.from_numpy(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def learned(net, **options):
    readout = Readout("network", {"label_template": "{description}", "input_template": "{input}", **options})
    return Learned((net, readout), SIGNATURE, {"model": "embeds"}, "test")


def test_one_head_of_identities_is_a_softmax_of_cosines_over_the_root_of_the_width():
    x, h = unit(np.random.default_rng(0).normal(size=(5, 16))), unit(np.random.default_rng(1).normal(size=(3, 16)))
    found = Network("label-attention", {}, identity(16)).module(x, h).exp()
    torch.testing.assert_close(found, torch.softmax(x @ h.T / 4.0, dim=1))


def test_heads_are_averaged_after_their_softmax():
    net = Network("label-attention", {}, arrays(6, 2, 3))
    x, h = torch.randn(4, 6), torch.randn(3, 6)
    each = []
    for q, k in zip(torch.tensor(net.arrays["query"]), torch.tensor(net.arrays["key"]), strict=True):
        each.append(torch.softmax((x @ q.T) @ (h @ k.T).T / 3**0.5, dim=1))
    found = net.module(x, h).exp()
    torch.testing.assert_close(found, (each[0] + each[1]) / 2)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(4))


def test_the_order_of_classes_permutes_and_a_description_twice_gets_equal_shares():
    net = Network("label-attention", {}, arrays(6, 2, 3)).module
    x, h = torch.randn(4, 6), torch.randn(3, 6)
    order = [2, 0, 1]
    torch.testing.assert_close(net(x, h[order]), net(x, h)[:, order])
    twice = net(x, h[[0, 1, 1]])
    assert torch.equal(twice[:, 1], twice[:, 2])


def test_its_size_does_not_depend_on_the_classes_and_scaling_comes_first():
    net = Network("label-attention", {}, arrays(6, 2, 3))
    assert sum(p.numel() for p in net.module.parameters()) == 2 * 6 * 3 * 2
    mean, spread = np.arange(6, dtype="f"), np.linspace(0.5, 2, 6, dtype="f")
    scaled = Network("label-attention", {}, {**net.arrays, "mean": mean, "spread": spread})
    x, h = torch.randn(4, 6), torch.randn(2, 6)
    plain = net.module((x - torch.tensor(mean)) / torch.tensor(spread), (h - torch.tensor(mean)) / torch.tensor(spread))
    torch.testing.assert_close(scaled.module(x, h), plain)
    assert not any(p.requires_grad for p in scaled.module.parameters())


def test_certain_inputs_stay_finite():
    net = Network("label-attention", {}, {**identity(4), "query": 1e4 * identity(4)["query"]}).module
    assert torch.isfinite(net(torch.eye(4), torch.eye(4))).all()


def test_it_is_saved_shown_and_loaded(tmp_path):
    made = learned(Network("label-attention", {}, arrays(64, 2, 8)))
    again = pt.load(made.save(tmp_path / "prompt"))
    assert again.same_as(made)
    assert made.as_text().splitlines()[-1] == "[network] label-attention: 4 tensors, 2,176 numbers"
    texts = ["an apple", "a saw", "what"]
    here = bind(made, HashingEncoder()).predict(texts)
    code = (
        "import json, sys, promptology as pt\n"
        "from promptology.testing.fixtures import HashingEncoder\n"
        "found = pt.load(sys.argv[1]).bind(HashingEncoder()).predict(json.loads(sys.argv[2]))\n"
        "print(json.dumps([found.outputs, found.scores.tolist()]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "prompt"), json.dumps(texts)],
        capture_output=True,
        text=True,
        check=True,
    )
    outputs, scores = json.loads(done.stdout)
    assert outputs == here.outputs
    np.testing.assert_array_equal(np.array(scores, np.float32), here.scores)


def test_folders_load_without_torch(tmp_path):
    learned(Network("label-attention", {}, arrays(8))).save(tmp_path / "prompt")
    code = "import sys, promptology as pt; pt.load(sys.argv[1]).as_text(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "prompt")], check=True)


def test_faults(tmp_path):
    with pytest.raises(ArtifactError, match="unknown type of network 'gate'; this version knows label-attention"):
        Network("gate", {}, arrays())
    with pytest.raises(ArtifactError, match="holds no tensors"):
        Network("label-attention")
    with pytest.raises(ArtifactError, match="'query' holds NaN"):
        Network("label-attention", {}, {**arrays(), "query": np.full((1, 4, 4), np.nan, "f")})
    with pytest.raises(ArtifactError, match="lacks its tensor 'key'"):
        _ = Network("label-attention", {}, {k: v for k, v in arrays().items() if k != "key"}).module
    with pytest.raises(ArtifactError, match="do not fit together"):
        _ = Network("label-attention", {}, {**arrays(), "mean": np.zeros(3, "f")}).module
    made = learned(Network("label-attention", {"width": 8}, arrays(8)))
    with pytest.raises(ArtifactError, match="reads vectors of width 8, hashing gives 64: it was trained on another"):
        bind(made, HashingEncoder()).predict(["a"])
    with pytest.raises(ArtifactError, match="no part of kind network"):
        bind(Learned(made.parts[1:], SIGNATURE, {"model": "embeds"}), HashingEncoder()).predict(["a"])
    with pytest.raises(ArtifactError, match="features 'mean' are unknown"):
        bind(learned(Network("label-attention", {}, arrays(64)), features="mean"), HashingEncoder()).predict(["a"])
    folder = made.save(tmp_path / "prompt")
    doc = json.loads((folder / "prompt.json").read_text())
    doc["parts"][0]["digest"] = "0" * 32
    (folder / "prompt.json").write_text(json.dumps(doc))
    with pytest.raises(ArtifactError, match="not the ones that were saved"):
        pt.load(folder)
