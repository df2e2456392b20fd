from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from promptology.data.items import Field, Signature
from promptology.prompts import Learned, Readout, SiteModule, SiteTensors, Text, Weights
from promptology.prompts.injected import injected_of

torch = pytest.importorskip("torch")


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def learned(*parts):
    return Learned((*parts, Text("a"), Readout("answer")), Signature((Field("text"),)), {"model": "differentiable"})


PROMPT = SiteTensors("input", numbers(3, 8))
DEEP = SiteTensors("key_value[1]", numbers(2, 3, 2, 4))
OFFSETS = SiteModule("input", "offsets", {"scale": 2.0}, {"A": numbers(5, 2), "B": numbers(2, 8)})
LORA = Weights("lora", {"alpha": 4, "alphas": {"v": 6}}, {f"{p}.{h}": numbers(2, 2) for p in "qv" for h in "AB"})
FULL = Weights("full", {}, {"head.weight": numbers(4, 8)})


def test_parts_become_fillings_in_their_order():
    made = injected_of(learned(PROMPT, DEEP, OFFSETS, LORA, FULL))
    sites = ["input", "key_value[1]", "input", "linear:q", "linear:v", "weight:head.weight"]
    assert [filling.site for filling in made.fillings] == sites
    fillers = [filling.filler for filling in made.fillings]
    assert np.array_equal(fillers[0].numpy(), PROMPT.values)
    assert np.array_equal(fillers[1].numpy(), DEEP.values)
    assert torch.equal(fillers[5], torch.tensor(FULL.arrays["head.weight"]))
    x, out = torch.randn(3, 2), torch.zeros(3, 2)
    for filler, path, scale in ((fillers[3], "q", 4 / 2), (fillers[4], "v", 6 / 2)):
        a, b = (torch.tensor(LORA.arrays[f"{path}.{half}"]) for half in "AB")
        assert torch.allclose(filler(x, out), scale * x @ a.T @ b.T, atol=1e-6)
    assert not any(p.requires_grad for f in fillers[2:5] for p in f.parameters())


def test_the_digest_tells_parts_apart_and_nothing_else():
    one = injected_of(learned(PROMPT))
    same = injected_of(Learned((SiteTensors("input", numbers(3, 8)),), Signature((Field("other"),)), method="x"))
    assert (one.digest, len(one.digest)) == (same.digest, 32)
    others = [
        learned(SiteTensors("input", numbers(3, 8, seed=1))),
        learned(SiteTensors("encoder.input", numbers(3, 8))),
        learned(SiteTensors("layer[0]", numbers(3, 8))),
        learned(PROMPT, PROMPT),
        learned(PROMPT, DEEP),
        learned(SiteModule("input", "offsets", {"scale": 1.0}, OFFSETS.arrays)),
        learned(OFFSETS),
    ]
    assert len({injected_of(other).digest for other in others} | {one.digest}) == len(others) + 1


def test_roles_are_kept_apart():
    mixed = learned(PROMPT, SiteTensors("input", numbers(4, 8), role="judge"))
    assert injected_of(mixed).fillings[0].filler.shape == (3, 8)
    assert injected_of(mixed, "judge").fillings[0].filler.shape == (4, 8)
    assert injected_of(mixed, "optimizer") is None
    assert injected_of(learned()) is None


def test_made_once_and_forgotten_with_the_prompt():
    one = learned(PROMPT)
    assert injected_of(one) is injected_of(one)
    gone = weakref.ref(injected_of(one).fillings[0].filler)
    del one
    gc.collect()
    assert gone() is None
