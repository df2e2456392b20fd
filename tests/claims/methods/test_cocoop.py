"""The arms of CoCoOp's claims: their settings are the entries', and they are measured. Verdicts are measured."""

from __future__ import annotations

import torch

from promptology.claims.announced import entries
from promptology.claims.methods import cocoop
from promptology.methods.vision.cocoop import CoCoOp
from promptology.methods.vision.coop import CoOp

COURSE = {"rate": 0.05, "batch": 8, "epochs": 40.0}


class Once:
    """A bench that knows level and rates, and remembers the rest."""

    def __init__(self, *arms):
        self.made = {"L": 0.5, **{f"rate of {arm}": {"rate": 0.05} for arm in arms}}

    def once(self, name, make):
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]


def test_every_arm_has_the_settings_of_the_entries():
    arms = {arm for entry in entries() if entry.method == "cocoop" for arm in entry.arms}
    assert arms == {"cocoop", "coop", "zero_shot", "constant"}
    ours, constant = (cocoop.method_of(arm, 0.05) for arm in ("cocoop", "constant"))
    assert ours == CoCoOp(length=4, phrase="a photo of a", constant=False, **COURSE)
    assert constant == CoCoOp(length=4, phrase="a photo of a", constant=True, **COURSE)
    assert cocoop.method_of("coop", 0.05) == CoOp(length=4, phrase="a photo of a", **COURSE)
    assert {(one.views, one.optimizer, one.decay, one.checks) for one in (ours, constant)} == {(0, "sgd", 5e-4, 0)}
    assert cocoop.method_of("zero_shot", 0.0).templates == "a photo of a {}."


def test_arms_are_measured(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(cocoop, "NARROW", cocoop.NARROW._replace(shots=1, test=(2, 2), epochs=1.0))
    bench = Once("cocoop", "constant", "coop")
    found = {arm: cocoop.narrow(arm, 0, bench) for arm in ("cocoop", "constant", "coop", "zero_shot")}
    assert all([*values][:2] == ["new", "base"] for values in found.values())
    assert all(0 <= values[name] <= 1 for values in found.values() for name in ("base", "new", "h"))
    assert {arm for arm, values in found.items() if values.get("rate") == 0.05} == {"cocoop", "constant", "coop"}
    assert cocoop.narrow("cocoop", 0, bench) == found["cocoop"]
