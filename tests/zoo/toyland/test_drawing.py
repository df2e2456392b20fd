from dataclasses import replace

import numpy as np
import pytest

from promptology.errors import UsageError
from promptology.zoo.toyland.chance import grain, image_seeds, uniform
from promptology.zoo.toyland.drawing import boxes, coverage, masks, render
from promptology.zoo.toyland.lists import BACKGROUNDS, COLOURS, RGB, SEEN, SHAPES, STYLES, TEXTURES, UNSEEN
from promptology.zoo.toyland.scenes import joined, relation, sample
from promptology.zoo.toyland.shapes import distance
from promptology.zoo.toyland.styles import backlit, shift

MIXED = sample(image_seeds(0, 60), objects=np.arange(60) % 4 + 1, style=np.arange(60) % len(STYLES))


def test_there_is_enough_of_everything() -> None:
    assert len(SHAPES) >= 10 and len(COLOURS) >= 8 and len(TEXTURES) >= 4 and len(STYLES) >= 6
    assert "arrow" in SHAPES[:8]
    assert len(RGB) == 2 * len(COLOURS) == len(set(RGB))


def test_three_quarters_of_the_triples_are_seen_and_the_rest_never() -> None:
    assert len(SEEN) == 192 and len(UNSEEN) == 64 and not set(SEEN) & set(UNSEEN)
    for pair in ((0, 1), (0, 2), (1, 2)):
        known = {(t[pair[0]], t[pair[1]]) for t in SEEN}
        assert {(t[pair[0]], t[pair[1]]) for t in UNSEEN} <= known


@pytest.mark.parametrize("px", [32, 48, 64])
def test_a_batch_equals_its_images_one_by_one(px: int) -> None:
    batch = render(MIXED, px)
    assert batch.shape == (60, px, px, 3) and batch.dtype == np.uint8
    alone = [render(MIXED[n : n + 1], px)[0] for n in range(len(MIXED))]
    assert np.array_equal(batch, np.stack(alone))


def test_a_scene_depends_on_its_own_seed_alone() -> None:
    seeds = image_seeds(4, 9)
    whole, part = sample(seeds, objects=2), sample(seeds[5:7], objects=2)
    for name in whole.__dataclass_fields__:
        assert np.array_equal(getattr(whole, name)[5:7], getattr(part, name))
    assert np.array_equal(image_seeds(4, 3), seeds[:3])
    assert not set(image_seeds(5, 9)) & set(seeds) and not set(image_seeds(4, 9, stream=1)) & set(seeds)


def test_the_same_scene_in_another_style_has_the_same_masks() -> None:
    for style in STYLES:
        again = MIXED.styled(style)
        assert np.array_equal(masks(again), masks(MIXED))
    clean, inverted = render(MIXED.styled("clean")), render(MIXED.styled("inverted"))
    assert np.abs(255 - clean.astype(int) - inverted).max() <= 1
    assert len({render(MIXED.styled(style)).tobytes() for style in STYLES}) == len(STYLES)


@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_masks_and_boxes_agree_with_the_pixels(shape: int) -> None:
    made = sample(image_seeds(shape, 12), shape=shape, colour=0, shade=0, texture=0)
    made = replace(made, background=np.full(12, BACKGROUNDS.index("paper")))
    seen, empty = render(made).astype(int), render(replace(made, shape=made.shape * 0 - 1)).astype(int)
    # A pixel that is covered by half has gone half the way from the background to the object's colour.
    target = np.array(RGB[0]) * (0.93 + 0.07 * uniform(made.seed, 8))
    gone = (empty - seen)[..., 1] / (empty[..., 1] - target[:, 1, None, None])
    shown = coverage(made)[:, 0]
    assert np.abs(gone - shown).max() < 0.02
    found = masks(made)[:, 0]
    assert np.array_equal(found, shown >= 0.5) and found.any((1, 2)).all()
    for mask, (left, top, right, bottom) in zip(found, boxes(found), strict=True):
        rows, columns = np.nonzero(mask)
        assert (left, top, right, bottom) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_a_shape_lies_within_its_size(shape: int) -> None:
    u, v = np.meshgrid(np.linspace(-2, 2, 161, dtype=np.float32), np.linspace(-2, 2, 161, dtype=np.float32))
    inside = distance(shape, u, v) < 0
    assert inside.any() and np.abs(u[inside]).max() <= 1 and np.abs(v[inside]).max() <= 1


def test_only_the_arrow_tells_left_from_right() -> None:
    u, v = np.meshgrid(np.linspace(-1, 1, 81, dtype=np.float32), np.linspace(-1, 1, 81, dtype=np.float32))
    for shape in range(8):
        mirrored = np.allclose(distance(shape, u, v), distance(shape, -u, v), atol=1e-5)
        assert mirrored == (SHAPES[shape] != "arrow")


def test_several_objects_never_touch_and_all_lie_within_the_image() -> None:
    made = sample(image_seeds(7, 300), objects=np.arange(300) % 4 + 1)
    shown = coverage(made) > 0
    assert np.array_equal(shown.any((2, 3)), made.shape >= 0)
    assert shown.sum(1).max() == 1
    for centre in (made.x, made.y):
        assert (centre - made.size >= 0).all() and (centre + made.size <= 1).all()


def test_what_lies_in_front_hides_what_lies_behind() -> None:
    made = sample(image_seeds(1, 5), objects=2)
    made = replace(made, x=made.x[:, :1].repeat(2, 1), y=made.y[:, :1].repeat(2, 1))
    first, second = masks(made).transpose(1, 0, 2, 3)
    assert not (first & second).any() and np.array_equal(second, coverage(made)[:, 1] >= 0.5)


def test_relations_follow_from_the_places() -> None:
    made = sample(image_seeds(2, 200), objects=2)
    found = relation(made, 0, 1)
    assert not (found[:, 0] & found[:, 1]).any() and not (found[:, 2] & found[:, 3]).any()
    there = boxes(masks(made))
    left_of = found[:, 0]
    assert left_of.any() and (there[left_of, 0, 0] < there[left_of, 1, 0]).all()
    assert np.array_equal(found[:, [1, 0, 3, 2]], relation(made, 1, 0))


def test_what_is_given_is_kept_and_what_is_free_is_drawn_from_the_known() -> None:
    made = sample(image_seeds(3, 500), objects=2, shape=np.array([[4, -1]] * 500), texture=5)
    assert (made.shape[:, 0] == 4).all() and (made.texture == 5).all()
    assert set(made.shape[:, 1].tolist()) == set(range(8)) == set(made.colour.ravel().tolist())
    with pytest.raises(UsageError, match="shape"):
        sample(image_seeds(3, 5), shape=len(SHAPES))
    with pytest.raises(UsageError, match="1 to 4"):
        sample(image_seeds(3, 5), objects=5)


def test_easy_scenes_are_large_and_in_the_middle() -> None:
    easy, hard = (sample(image_seeds(5, 100), ease=ease) for ease in (1.0, 0.0))
    assert (easy.x == 0.5).all() and (easy.y == 0.5).all() and easy.size.min() > hard.size.mean()


def test_backlit_is_the_formula() -> None:
    images = render(MIXED.styled("clean"))
    amount = np.linspace(0, 1, 60)
    x, level = images / 255, amount[:, None, None, None]
    expected = ((1 - level) * x**2.2 + 0.875 * level) * 255
    assert np.abs(backlit(images, amount) - expected).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("name", ["backlit", "haze", "faint"])
def test_a_shift_differs_from_image_to_image_and_grows_with_its_strength(name: str) -> None:
    images = np.repeat(render(MIXED.styled("clean")[:1]), 60, 0)
    weak, strong = (shift(name, images, MIXED.seed, strength) for strength in (0.1, 1.0))
    assert len({image.tobytes() for image in strong}) > 50
    assert weak.std((1, 2)).mean() > strong.std((1, 2)).mean()
    with pytest.raises(UsageError, match="between 0 and 1"):
        shift(name, images, MIXED.seed, 1.5)


def test_unknown_styles_and_shifts_are_refused() -> None:
    with pytest.raises(UsageError, match="sketch"):
        MIXED.styled("cubist")
    with pytest.raises(UsageError, match="haze"):
        shift("rain", render(MIXED), MIXED.seed)


def test_random_numbers_are_uniform_and_grain_is_centred() -> None:
    drawn = uniform(image_seeds(0, 4000), 1, 5)
    assert drawn.min() >= 0 and drawn.max() < 1 and np.abs(drawn.mean(0) - 0.5).max() < 0.02
    assert np.abs(np.corrcoef(drawn.T) - np.eye(5)).max() < 0.06
    noise = grain(image_seeds(1, 50), 2, 32)
    assert abs(noise.mean()) < 0.01 and abs(noise.std() - 1) < 0.02


def test_scenes_of_different_numbers_of_objects_can_be_joined() -> None:
    one, three = sample(image_seeds(8, 4)), sample(image_seeds(9, 4), objects=3)
    both = joined([one, three])
    assert np.array_equal(both.count, [1] * 4 + [3] * 4)
    assert np.array_equal(render(both), np.concatenate([render(one), render(three)]))
