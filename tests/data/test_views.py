"""Random views: what they depend on, that they stay within what they say."""

from __future__ import annotations

import numpy as np
import PIL.Image
from pictures import pixels

from promptology.data.images import Image
from promptology.data.views import Augment, Decoded, Drawn, crops


def picture(height=40, width=30):
    return PIL.Image.fromarray(pixels(0, height, width))


def test_a_view_depends_on_content_seed_and_number_alone():
    image, copy, other = Image(pixels()), Image(pixels(), "copy"), Image(pixels(1))
    view = Drawn(image, seed=3, n=1)
    assert view == Drawn(copy, seed=3, n=1) and view.digest == Drawn(copy, seed=3, n=1).digest
    different = {view.digest, Drawn(image, seed=3).digest, Drawn(image, n=1).digest, Drawn(other, seed=3, n=1).digest}
    assert len({*different, Drawn(image, Augment(flip=0.0), 3, 1).digest, image.digest}) == 6
    assert np.array_equal(np.asarray(view.rgb(32)), np.asarray(Drawn(copy, seed=3, n=1).rgb(32)))
    assert not np.array_equal(np.asarray(view.rgb(32)), np.asarray(Drawn(image, seed=3, n=2).rgb(32)))
    assert view.rgb(32).size == (32, 32)


def test_pictures_are_decoded_once_while_they_fit(monkeypatch):
    counted = []
    real = Image.rgb
    monkeypatch.setattr(Image, "rgb", lambda self, least=0: counted.append(self.name) or real(self, least))
    first, second = Image(pixels(0, 20, 30), "a"), Image(pixels(1, 20, 30), "b")
    plain = [np.asarray(Drawn(one, n=n).rgb(8)) for one in (first, second) for n in range(3)]
    counted.clear()
    decoded = Decoded(room=3 * 20 * 30)
    kept = [np.asarray(Drawn(one, n=n, decoded=decoded).rgb(8)) for one in (first, second) for n in range(3)]
    assert all(np.array_equal(a, b) for a, b in zip(plain, kept, strict=True))
    assert counted == ["a", "b", "b", "b"]
    assert Drawn(first, decoded=decoded) == Drawn(first) and Drawn(first, decoded=decoded).digest == Drawn(first).digest


def test_boxes_keep_to_area_and_shape():
    augment = Augment(scale=(0.2, 0.5), ratio=(0.5, 2.0))
    rng = np.random.default_rng(0)
    boxes = np.array([augment._box(400, 300, rng) for _ in range(500)])
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    area = width * height / 120_000
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2] <= 400).all() and (boxes[:, 3] <= 300).all()
    assert (
        area.min() >= 0.199
        and area.max() <= 0.501
        and (width / height).min() >= 0.49
        and (width / height).max() <= 2.03
    )
    assert area.std() > 0.05 and boxes[:, 0].std() > 30


def test_a_picture_too_long_for_any_shape_is_cut_to_its_middle():
    box = Augment(scale=(1.0, 1.0))._box(1000, 10, np.random.default_rng(0))
    assert box == (493, 0, 506, 10)
    assert Augment()._box(1, 1, np.random.default_rng(0)) == (0, 0, 1, 1)


def test_flips_and_colours():
    whole = Augment(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=1.0)
    square = picture(32, 32)
    rng = np.random.default_rng(0)
    assert np.array_equal(np.asarray(whole(square, 32, rng)), np.asarray(square)[:, ::-1])
    plain = Augment(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0)
    assert np.array_equal(np.asarray(plain(square, 32, rng)), np.asarray(square))
    coloured = Augment(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0, colour=0.3)
    found = [np.asarray(coloured(square, 32, rng)).astype(float) for _ in range(8)]
    assert all(1 < np.abs(f - np.asarray(square)).mean() < 80 for f in found)
    assert np.std([f.mean() for f in found]) > 3


def test_many_views_of_one_image_decode_it_once(monkeypatch):
    seen = []
    rgb = Image.rgb
    monkeypatch.setattr(Image, "rgb", lambda self, least=0: seen.append(least) or rgb(self, least))
    views = crops(Image(pixels()), 24, 5, np.random.default_rng(1))
    again = crops(Image(pixels()), 24, 5, np.random.default_rng(1))
    assert seen == [48, 48] and [v.size for v in views] == [(24, 24)] * 5
    assert all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(views, again, strict=True))
    assert len({np.asarray(v).tobytes() for v in views}) == 5


def test_mean_of_crops_is_near_the_picture():
    """Uniform crops see the middle more often, but none of the picture is lost."""
    views = crops(Image(pixels(0, 64, 64)), 16, 200, np.random.default_rng(2), Augment(scale=(0.5, 1.0), flip=0.0))
    mean = np.mean([np.asarray(v).astype(float) for v in views], 0)
    assert np.abs(mean.mean() - pixels(0, 64, 64).mean()) < 12
