"""CrossTune's claims: the fixture is the entry's, arms differ in what they name, and stand-ins are what they say."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

pytest.importorskip("torch")
from promptology.claims.announced import entries
from promptology.claims.methods import crosstune
from promptology.data.loaders import load_task
from promptology.testing.fixtures import HashingEncoder


@pytest.fixture
def hashed(monkeypatch):
    """The claims over hashed words, so that no MiniLM is needed."""
    monkeypatch.setattr(crosstune, "encoder", HashingEncoder)
    monkeypatch.setattr(crosstune, "_KNOWN", {})


class Chosen:
    def __init__(self, setting):
        self.setting = setting

    def once(self, name, make):
        return self.setting


def test_splits_are_stratified_disjoint_and_the_seed_s():
    for sizes, test in ((crosstune.QUALITY, 56), (crosstune.FEW, 72), (crosstune.SWITCH, 40)):
        parts = crosstune.splits(1, sizes)
        for name, size in sizes.items():
            assert {*Counter(i.target for i in parts[name]).values()} == {size}
        assert min(Counter(i.target for i in parts["test"]).values()) >= test
        ids = [i.id for items in parts.values() for i in items]
        assert len(ids) == len({*ids}) == 1024
    again = crosstune.splits(1, crosstune.SWITCH)
    assert [i.id for i in again["aside"]] == [i.id for i in crosstune.splits(1, crosstune.SWITCH)["aside"]]
    assert [i.id for i in again["aside"]] != [i.id for i in crosstune.splits(2, crosstune.SWITCH)["aside"]]


def test_the_texts_kept_aside_have_right_labels_or_half_of_them_wrong():
    aside = {i.inputs["text"]: i.target for i in crosstune.splits(3, crosstune.SWITCH)["aside"]}
    for clean, wrong in ((True, 0), (False, len(aside) // 2)):
        writer = crosstune.Writer(3, clean)
        offered = {text: name for name, texts in writer.texts.items() for text in texts}
        assert offered.keys() == aside.keys()
        assert sum(offered[text] != right for text, right in aside.items()) == wrong
    said = crosstune.Writer(3, True)("<class>\nrefund\n</class>\nand so on")
    assert said.count("<text>") == 24
    assert aside[said.split("</text>")[0].removeprefix("<text>")] == "refund"


def test_random_labels_have_the_norm_of_vectors_and_lie_around_their_mean(hashed):
    wordings = [c.description for c in load_task("tickets").signature.classes]
    real = crosstune.Remembered().embed(wordings)
    one, two = crosstune.drawn_labels(0), crosstune.drawn_labels(1)
    drawn = one.embed(wordings)
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1.0, rtol=1e-5)
    assert not np.allclose(drawn, two.embed(wordings))
    np.testing.assert_array_equal(one.embed(["a text"]), crosstune.Remembered().embed(["a text"]))
    assert one.identity != two.identity != crosstune.Remembered().identity
    assert abs(float((drawn.mean(axis=0) - real.mean(axis=0)).mean())) < 0.02


def test_each_text_is_embedded_once_in_a_process(hashed, monkeypatch):
    asked = []
    embed = HashingEncoder.embed
    monkeypatch.setattr(HashingEncoder, "embed", lambda self, texts: asked.extend(texts) or embed(self, texts))
    for _ in range(2):
        crosstune.Remembered().embed(["a", "b", "a"])
    assert asked == ["a", "b"]


@pytest.mark.parametrize("arm", ["descriptions", "names", "random", "head"])
def test_arms_of_few_shots(hashed, arm):
    setting = {"decay": 0.1} if arm == "head" else {"rate": 1e-3, "decay": 0.01}
    value = crosstune.descriptions(arm, 0, Chosen(setting))["accuracy"]
    assert 0 < value < 1


def test_arms_of_quality_and_their_passes(hashed):
    found = crosstune.quality("crosstune", 0, Chosen(crosstune.GRID[2]))
    assert found["passes"] == 16 * 8 + 8 * 8 + 8
    search = crosstune.quality("search", 0, Chosen({}))
    # 192 texts in 4 wordings, 8 classes in 16: each is read once at most, however often it is scored.
    assert 192 < search["passes"] <= 192 * 4 + 8 * 16


def test_the_arms_are_those_of_the_entries():
    known = {e.id: e for e in entries() if e.method == "crosstune"}
    assert set(known["crosstune-descriptions"].arms) == {"descriptions", "names", "random", "head"}
    assert set(known["crosstune-switch"].arms) == {"none", "raw", "switch", "clean"}
    assert len(crosstune.GRID) == len(crosstune.DECAYS) == 4
