"""AugMix: the mixture by hand, and what its operations do to a picture."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
from pictures import pixels

from promptology.data import mixing
from promptology.data.mixing import OPERATIONS, augmix


def picture(height=24, width=18):
    return PIL.Image.fromarray(pixels(0, height, width))


def test_the_mixture_by_hand(monkeypatch):
    def add_10(given, rng):
        return given.point(lambda v: v + 10)

    def add_1(given, rng):
        return given.point(lambda v: v + 1)

    monkeypatch.setattr(mixing, "OPERATIONS", (add_10, add_1))
    seen = set()
    for seed in range(20):
        draws = np.random.default_rng(seed)
        w, m = draws.dirichlet([1, 1, 1]), draws.beta(1, 1)
        moved = []
        for _ in range(3):
            length = int(draws.integers(1, 4))
            moved.append(sum((10, 1)[int(draws.integers(2))] for _ in range(length)))
            seen.add(length)
        grey = PIL.Image.new("RGB", (3, 2), (100, 50, 7))
        wanted = np.rint(np.array([100, 50, 7]) + (1 - m) * float(w @ moved))
        found = np.asarray(augmix(grey, np.random.default_rng(seed)))
        assert found.shape == (2, 3, 3) and (found == wanted).all()
    assert seen == {1, 2, 3}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.__name__.strip("_"))
def test_operations_keep_size_and_mode_and_depend_on_the_generator_alone(operation):
    given = picture()
    before = np.asarray(given).copy()
    for seed in range(10):
        once, again = (operation(given, np.random.default_rng(seed)) for _ in range(2))
        assert once.size == given.size and once.mode == "RGB" and np.array_equal(once, again)
    assert np.array_equal(given, before)


def test_operations_are_mild():
    given = PIL.Image.fromarray(np.tile(np.arange(0, 240, 2, dtype=np.uint8)[:, None, None], (1, 120, 3)))
    for seed in range(30):
        rng = np.random.default_rng(seed)
        assert 1 <= len(np.unique(np.asarray(mixing._posterize(given, rng)))) <= 16  # 4 bits
        dark = np.asarray(mixing._solarize(given, rng))
        assert np.array_equal(dark[:115], np.asarray(given)[:115])  # only the brightest tenth turns
        moved = np.asarray(mixing._translate_y(given, rng)).astype(int)[:, 60, 0]
        assert abs(np.argmax(moved == 120) - 60) <= 4  # at most a tenth of a third
    assert mixing._translate_x(picture(1, 1), np.random.default_rng(0)).size == (1, 1)
