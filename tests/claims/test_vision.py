"""The words that the claims of the family `vision` share: classes, light, level, grid. Verdicts are measured."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from promptology.claims import vision
from promptology.claims.vision import NARROW, WIDE
from promptology.methods.vision.zero_shot import ZeroShot
from promptology.zoo.toyland import styles
from promptology.zoo.toyland.drawing import render
from promptology.zoo.toyland.kinds import scenes
from promptology.zoo.toyland.lists import KNOWN
from promptology.zoo.toyland.tasks import split_kinds

SIZES = {
    "narrow": (NARROW, 8, 16, {"train": 32, "validation": 128, "base": 384, "new": 640}, 160),
    "wide": (WIDE, 16, 16, {"train": 256, "validation": 256, "base": 512, "new": 512}, 160),
}


class Once:
    """A bench that remembers what was made, and knows the level."""

    def __init__(self, level=0.5):
        self.made = {"L": level}

    def once(self, name, make):
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]


@pytest.fixture
def small():
    """A regime with two images a class."""
    torch.set_num_threads(1)
    return NARROW._replace(shots=1, validation=1, test=(2, 2), epochs=1.0)


@pytest.mark.parametrize("name", SIZES)
def test_a_regime_has_the_sizes_of_the_head(name):
    regime, base, new, sizes, steps = SIZES[name]
    tasks = vision.tasks_of(regime, 3, 0.5)
    found = {"train": tasks.base.train, "validation": tasks.base.validation}
    found |= {"base": tasks.base.open_test(), "new": tasks.new.open_test()}
    assert {split: len(items) for split, items in found.items()} == sizes
    assert (len(tasks.base.signature.classes), len(tasks.new.signature.classes)) == (base, new)
    assert {regime.batch, regime.epochs * sizes["train"] / regime.batch} == {8, steps}
    assert sizes["train"] * regime.epochs == 1280


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("regime", (NARROW, WIDE), ids=lambda regime: regime.halves)
def test_base_and_new_classes_of_a_seed_share_no_word(regime, seed):
    rng = np.random.default_rng(1000 + seed)
    shapes, colours = rng.permutation(8).tolist(), rng.permutation(8).tolist()
    cut = 2 if regime is NARROW else 4
    base, new = split_kinds(seed, regime.halves)
    assert {(k.shape, k.colour) for k in base} == {(s, c) for s in shapes[:cut] for c in colours[:4]}
    assert {(k.shape, k.colour) for k in new} == {(s, c) for s in shapes[cut : cut + 4] for c in colours[4:]}
    words = [{word for kind in kinds for word in kind.name.split()} for kinds in (base, new)]
    assert not words[0] & words[1] and all(k.shape < KNOWN and k.colour < KNOWN for k in (*base, *new))


def test_a_picture_of_a_task_is_backlit_by_the_formula_of_the_head():
    level = 0.8
    item = vision.tasks_of(NARROW, 2, level).base.train[5]
    kinds, _ = split_kinds(2, "narrow")
    made = scenes(kinds, NARROW.shots, 20)
    lit = styles.amounts(made.seed, level)
    x = render(made)[5] / 255
    expected = (1 - lit[5]) * x**2.2 + 0.875 * lit[5]
    assert np.abs(np.asarray(item.inputs["image"].rgb()) / 255 - expected).max() <= 0.5 / 255 + 1e-9
    assert item.target == kinds[1].name
    assert lit.min() >= 0 and lit.max() <= level and len({*lit.tolist()}) == len(lit)


def test_light_from_behind_by_hand():
    """Half light on black, grey and white: 0.4375, (1 - 0.5) (128 / 255)^2.2 + 0.4375 = 0.5472, 0.9375."""
    pixels = np.array([0, 128, 255], np.uint8).reshape(1, 1, 3, 1)
    found = styles.backlit(pixels, np.array([0.5])).ravel().tolist()
    assert found == [112, 140, 239]
    assert styles.backlit(pixels, np.array([0.0])).ravel().tolist() == [0, 56, 255]


def test_the_level_is_the_nearest_and_of_equally_near_ones_the_smaller():
    assert vision.nearest({0.0: 0.9, 0.05: 0.86, 0.1: 0.7}, 0.85) == 0.05
    assert vision.nearest({0.3: 0.87, 0.35: 0.83, 0.4: 0.80}, 0.85) == 0.3
    assert vision.nearest({0.35: 0.83, 0.3: 0.87}, 0.85) == 0.3
    assert vision.LEVELS[0] == 0 and vision.LEVELS[-1] == 1 and len(vision.LEVELS) == 21
    assert np.allclose(np.diff(vision.LEVELS), 0.05)


def test_the_level_is_found_on_pictures_that_no_claim_uses():
    torch.set_num_threads(1)
    kinds = split_kinds(1, "narrow")[0]
    shown = vision.pictures(kinds, 1, 0.4)
    tasks = vision.tasks_of(NARROW, 1, 0.4)
    used = [*tasks.base.train, *tasks.base.validation, *tasks.base.open_test(), *tasks.new.open_test()]
    assert len(shown) == 16 * len(kinds)
    assert not {one.tobytes() for one in shown} & {item.inputs["image"].rgb().tobytes() for item in used}


def test_calibration_is_the_mean_of_the_zero_shot_accuracies(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(vision, "LEVELS", (0.0, 1.0))
    monkeypatch.setattr(vision, "CALIBRATED_ON", (3,))
    monkeypatch.setattr(vision, "CALIBRATION", 4)
    found = vision.calibration(NARROW)
    values = []
    for kinds in split_kinds(3, "narrow"):
        f = vision.zoo_model(vision.MODEL).image_features(list(vision.pictures(kinds, 3, 1.0)))
        g = vision.zoo_model(vision.MODEL).text_features([f"a photo of a {kind.name}." for kind in kinds])
        values.append(np.mean([(f[n] @ g.T).argmax() == n // 4 for n in range(len(f))]))
    assert set(found) == {0.0, 1.0} and found[1.0] == pytest.approx(np.mean(values), abs=1e-9)
    assert found[0.0] > found[1.0] > 1 / 16


def test_the_rate_is_chosen_on_base_validation_over_two_seeds(monkeypatch):
    asked = []
    scores = {(0.002, 0): 0.5, (0.002, 1): 0.7, (0.01, 0): 0.8, (0.01, 1): 0.4, (0.05, 0): 0.6, (0.05, 1): 0.5}

    def on_validation(regime, level, method, seed):
        asked.append((method, seed))
        return scores[method, seed]

    monkeypatch.setattr(vision, "on_validation", on_validation)
    monkeypatch.setattr(vision, "on_test", None)
    bench = Once()
    assert vision.rate_of(bench, NARROW, "arm", lambda rate: rate) == 0.002  # 0.6, 0.6, 0.55: the smaller on a tie
    assert asked == [(rate, seed) for rate in (0.002, 0.01, 0.05) for seed in (0, 1)]
    assert vision.rate_of(bench, NARROW, "arm", lambda rate: rate) == 0.002 and len(asked) == 6
    assert vision.best({0.002: 0.5, 0.01: 0.6, 0.05: 0.6}) == 0.01


def test_validation_sees_no_test_image(small, monkeypatch):
    tasks = vision.tasks_of(small, 0, 0.5)
    for task in tasks:
        monkeypatch.setattr(task, "open_test", None)
    assert 0 <= vision.on_validation(small, 0.5, ZeroShot(vision.TEMPLATE), 0) <= 1


def test_what_an_arm_reaches_stands_before_its_rate_and_the_level(small, monkeypatch):
    monkeypatch.setattr(vision, "rate_of", lambda *given: 0.01)
    bench, made = Once(), []

    def method(rate):
        made.append(rate)
        return ZeroShot(vision.TEMPLATE)

    found = vision.measured(bench, small, "zero", 0, method, "h", trained=False)
    assert [*found] == ["h", "base", "new", "L"] and found["L"] == 0.5
    assert found["h"] == pytest.approx(2 * found["base"] * found["new"] / (found["base"] + found["new"]))
    again = vision.measured(bench, small, "zero", 0, method, "new", "base", trained=False)
    assert [*again] == ["new", "base", "h", "L"] and made == [0.0]
    learned = vision.measured(bench, small, "one", 0, method, "base")
    assert [*learned] == ["base", "rate", "L"] and learned["rate"] == 0.01 and made == [0.0, 0.01]


def test_the_harmonic_mean():
    assert vision.harmonic(0.8, 0.4) == pytest.approx(0.64 / 1.2)
    assert vision.harmonic(0.0, 0.0) == 0.0
