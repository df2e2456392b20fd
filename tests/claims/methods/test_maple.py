"""The arms of MaPLe's claims: their settings are the entries', and they are measured. Verdicts are measured."""

from __future__ import annotations

import torch

from promptology.claims.announced import entries
from promptology.claims.methods import maple
from promptology.claims.vision import MODEL, zoo_model
from promptology.methods.vision.cocoop import CoCoOp
from promptology.methods.vision.coop import CoOp
from promptology.methods.vision.ivlp import IVLP
from promptology.methods.vision.maple import MaPLe

COURSE = {"rate": 0.01, "batch": 8, "epochs": 5.0}
DEEP = {"length": 2, "depth": 3, "phrase": "a photo of a"}


class Once:
    """A bench that knows level and rates, and remembers the rest."""

    def __init__(self, *arms):
        self.made = {"L": 0.5, **{f"rate of {arm}": {"rate": 0.01} for arm in arms}}

    def once(self, name, make):
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]


def test_every_arm_has_the_settings_of_the_entries():
    arms = {arm for entry in entries() if entry.method == "maple" for arm in entry.arms}
    assert arms == {"maple", "ivlp", "cocoop", "coop"}
    expected = {
        "maple": MaPLe(**DEEP, **COURSE),
        "ivlp": IVLP(**DEEP, image_length=2, **COURSE),
        "cocoop": CoCoOp(length=4, phrase="a photo of a", **COURSE),
        "coop": CoOp(length=4, phrase="a photo of a", **COURSE),
    }
    for arm, method in expected.items():
        assert maple.method_of(arm, 0.01) == method
        assert (method.views, method.optimizer, method.decay, method.checks) == (0, "sgd", 5e-4, 0)
    layers = zoo_model(MODEL).towers().sites.layers
    assert maple.DEEP["depth"] == min(3, layers["text"], layers["vision"])


def test_arms_are_measured_once_for_both_entries(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(maple, "WIDE", maple.WIDE._replace(shots=1, test=(1, 1), epochs=1.0))
    bench = Once("maple", "ivlp")
    found = {arm: maple.coupling(arm, 0, bench) for arm in ("maple", "ivlp")}
    assert all(next(iter(values)) == "h" and values["rate"] == 0.01 for values in found.values())
    made = {*bench.made}
    new = maple.new("maple", 0, bench)
    assert [*new][:2] == ["new", "base"] and new == found["maple"] and {*bench.made} == made
