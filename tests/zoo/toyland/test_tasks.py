import numpy as np
import pytest

from promptology.errors import UsageError
from promptology.zoo.toyland import tasks
from promptology.zoo.toyland.drawing import render
from promptology.zoo.toyland.kinds import Kind, drawn, labels, pairs, scenes, shades
from promptology.zoo.toyland.lists import COLOURS, SEEN, SHAPES, SHIFTS, STYLES, UNSEEN
from promptology.zoo.toyland.styles import amounts, backlit


def words(names: tuple[str, ...]) -> set[str]:
    return {word for name in names for word in name.split()}


def test_disjoint_halves_share_no_word_and_shared_halves_all_words() -> None:
    for halves, counts in (("disjoint", (16, 16)), ("narrow", (8, 16)), ("shared", (16, 16))):
        task = tasks.base_to_novel(3, halves=halves, shots=2, validation=1, test=(2, 3))
        base, new = (tuple(task.classes[k] for k in task.among[split]) for split in ("base", "new"))
        assert (len(base), len(new)) == counts and not set(base) & set(new)
        assert (words(base) & words(new) == set()) == (halves != "shared")
        if halves == "shared":
            assert words(base) == words(new)
        assert task.among["train"] == task.among["validation"] == task.among["base"]
        sizes = {"train": 2 * counts[0], "validation": counts[0], "base": 2 * counts[0], "new": 3 * counts[1]}
        for split, size in sizes.items():
            assert task.images[split].shape == (size, 32, 32, 3) and task.images[split].dtype == np.uint8
            assert set(task.labels[split].tolist()) == set(task.among[split])


def test_the_halves_of_a_seed_are_those_of_the_permutations() -> None:
    rng = np.random.default_rng(1003)
    shapes, colours = rng.permutation(8), rng.permutation(8)
    base, new = tasks.split_kinds(3, "narrow")
    assert base == pairs(shapes[:2].tolist(), colours[:4].tolist())
    assert new == pairs(shapes[2:6].tolist(), colours[4:].tolist())


def test_different_attributes_decide_in_base_and_new() -> None:
    base, new = tasks.split_kinds(0, "attributes")
    assert len({kind.shape for kind in base}) == 1 and len({kind.texture for kind in new}) == 4
    assert len({kind.name for kind in base}) == len({kind.name for kind in new}) == 16


def test_seeds_decide_and_splits_share_no_image() -> None:
    one, again, other = (tasks.base_to_novel(seed, shots=2, validation=2, test=2) for seed in (0, 0, 1))
    assert all(np.array_equal(one.images[split], again.images[split]) for split in one.images)
    assert one.classes != other.classes
    every = [image.tobytes() for split in one.images for image in one.images[split]]
    assert len(set(every)) == len(every)


def test_fewer_shots_are_the_first_of_more() -> None:
    one, sixteen = (tasks.few_shot(2, shots=shots, test=1) for shots in (1, 16))
    assert np.array_equal(one.images["train"], sixteen.images["train"][::16])
    assert np.array_equal(one.images["test"], sixteen.images["test"])
    with pytest.raises(UsageError, match="1 to 16"):
        tasks.few_shot(2, shots=17)


def test_domains_show_the_same_scenes() -> None:
    task = tasks.cross_domain(1, shots=1, test=3)
    assert set(task.images) == {"train", *STYLES, *SHIFTS}
    assert len({images.tobytes() for images in task.images.values()}) == len(task.images)
    made = scenes(tasks.split_kinds(1, "disjoint")[0], 3, 12)
    for style in STYLES:
        assert np.array_equal(task.images[style], render(made.styled(style)))
    level = amounts(made.seed, 0.35)
    assert np.array_equal(drawn(made, "backlit", 0.35), backlit(task.images["clean"], level))
    assert level.min() >= 0 and level.max() < 0.35
    with pytest.raises(UsageError, match="pixelated"):
        drawn(made, "rain")


def test_the_fine_set_has_both_shades_of_every_colour() -> None:
    task = tasks.fine(0, test=1)
    assert len(task.classes) == 64 and len(task.images["train"]) == 32
    base, new = (words(tuple(task.classes[k] for k in task.among[split])) for split in ("base", "new"))
    assert len(base) == len(new) == 8 + 4 and not base & new
    assert shades([0], [5])[0].name == "navy circle" and shades([0], [5])[1].name == "azure circle"


def test_unseen_triples_are_told_among_all() -> None:
    seen, unseen = (tasks.triples(5, seen=seen, each=1) for seen in (True, False))
    assert len(seen.classes) == 192 and len(unseen.classes) == 256 and len(set(unseen.classes)) == 256
    assert unseen.labels["test"].tolist() == list(range(192, 256)) and unseen.among["test"] == tuple(range(256))
    colour, texture, shape = UNSEEN[0]
    assert Kind(shape, colour, texture).name == unseen.classes[192] and (colour, texture, shape) not in SEEN


def test_several_labels_name_what_is_there() -> None:
    task = tasks.multi_label(4, train=40, test=40)
    marks = task.labels["train"]
    assert marks.shape == (40, 12) and set(marks.ravel().tolist()) == {0, 1}
    assert marks.sum(1).min() >= 1 and marks.sum(1).max() <= 4
    assert not np.array_equal(task.images["train"], task.images["test"])


def test_every_image_has_a_caption_of_its_own() -> None:
    task = tasks.retrieval(0, count=256)
    assert len(set(task.descriptions)) == 256 and task.labels["test"].tolist() == list(range(256))
    assert len(set(task.classes)) == 256
    with pytest.raises(UsageError, match="1 to 256"):
        tasks.retrieval(0, count=257)


def test_a_second_object_has_another_colour() -> None:
    kinds, beside = pairs([0, 1], [0, 1, 2]), pairs([6, 7], [0, 1, 2])
    made = scenes(kinds, 40, 0, beside=beside)
    assert np.array_equal(made.shape[:, 0], np.array([kind.shape for kind in kinds])[labels(kinds, 40)])
    assert (made.colour[:, 0] != made.colour[:, 1]).all() and set(made.shape[:, 1].tolist()) == {6, 7}
    with pytest.raises(UsageError, match="another colour"):
        scenes(pairs([0], [3]), 2, 0, beside=pairs([6], [3]))


def test_kinds_have_numbers_of_their_own() -> None:
    kinds = [
        Kind(s, c, t, k)
        for s in range(len(SHAPES))
        for c in range(-1, len(COLOURS))
        for t in range(-1, 6)
        for k in (-1, 0, 1)
    ]
    assert len({kind.number for kind in kinds}) == len(kinds)
