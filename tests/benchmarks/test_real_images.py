"""Real images: how pictures are made, what pre-training never sees, figures by hand, and a short run on a SigLIP."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny_towers

from benchmarks import garments, garments_clip, real_images, recording
from benchmarks.garments import COLOURS, GARMENTS, PX, compose, pictures, split
from benchmarks.real import Skipped, real_data
from benchmarks.table import lines_of, place

NAMES = [name for half in GARMENTS for name in half]


def squares(count=6):
    """Return silhouettes by garment that are full squares, a little darker one after the other."""
    return {name: np.stack([np.full((28, 28), 255 - n, np.uint8) for n in range(count)]) for name in NAMES}


def test_halves_of_the_pairs_and_no_word_in_both_base_and_new():
    found = split()
    whole = {(colour, garment) for colour in COLOURS for garment in NAMES}
    assert {k: len(v) for k, v in found.items()} == {"pretraining": 40, "base": 20, "new": 20}
    assert {pair for part in found.values() for pair in part} == whole
    words = [{word for pair in found[part] for word in pair} for part in ("base", "new")]
    assert not words[0] & words[1]
    assert {word for pair in found["pretraining"] for word in pair} == {*COLOURS, *NAMES}


def test_a_silhouette_is_tinted_and_put_where_its_place_says():
    n, names = 200, list(COLOURS)
    colours = np.arange(n) % len(names)
    drawn = compose(np.full((n, 28, 28), 255, np.uint8), colours, np.random.default_rng(0))
    assert drawn.pixels.shape == (n, PX, PX, 3) and drawn.pixels.dtype == np.uint8
    seen = drawn.pixels.astype(float)
    coloured = seen.max(-1) - seen.min(-1) > 80
    for k in range(n):
        if coloured[k].sum() < 100:  # a dark light, or a colour near grey
            continue
        y, x = np.argwhere(coloured[k]).mean(0)
        assert (x > PX / 2, y > PX / 2) == (bool(drawn.places[k] % 2), bool(drawn.places[k] // 2))
    red = seen[colours == names.index("red")]
    covered = red[coloured[colours == names.index("red")]]
    assert (covered[:, 0] > covered[:, 1]).all() and (covered[:, 0] > covered[:, 2]).all()
    # Outside of a silhouette the ground is grey, up to noise.
    assert np.percentile((seen.max(-1) - seen.min(-1))[:, [0, -1]], 20) < 25


def test_an_easy_silhouette_is_as_large_as_can_be_and_nothing_of_a_black_one_is_seen():
    rng = np.random.default_rng
    (easy,) = compose(np.full((1, 28, 28), 255, np.uint8), np.array([0]), rng(3), ease=1.0).pixels.astype(float)
    coloured = easy[..., 0] - easy[..., 1] > 60
    assert coloured.any(0).sum() == coloured.any(1).sum() == garments.LARGEST
    black = compose(np.zeros((4, 28, 28), np.uint8), np.arange(4), rng(0)).pixels.astype(float)
    assert (black.max(-1) - black.min(-1)).max() < 60
    again = [compose(squares()["coat"], np.zeros(6, np.int64), rng(5)).pixels for _ in range(2)]
    assert np.array_equal(*again)


def test_between_pixels_a_silhouette_is_linear_and_beside_it_is_nothing():
    shapes = np.zeros((1, 28, 28), np.uint8)
    shapes[0, 3, 5], shapes[0, 0, 0] = 255, 255
    at = np.array([[[5.0, 5.5, 6.0, -0.5, -3.0, 40.0]]]), np.array([[[3.0, 3.5, 3.0, 0.0, 0.0, 40.0]]])
    assert garments._sampled(shapes, *at)[0, 0] == pytest.approx([1, 0.25, 0, 0.5, 0, 0])


def test_pictures_of_a_pair_come_from_different_silhouettes():
    pairs = split()["new"][:2]
    made = list(pictures(squares(), pairs, 3, np.random.default_rng(0)))
    assert [pair for pair, _ in made] == [pairs[0]] * 3 + [pairs[1]] * 3
    with pytest.raises(ValueError, match="larger sample"):
        list(pictures(squares(2), pairs, 3, np.random.default_rng(0)))


def test_pretraining_never_names_a_pair_that_is_held_out(monkeypatch, tmp_path):
    monkeypatch.setattr(garments_clip, "pretraining", lambda folder: squares())
    recipe = garments_clip.GarmentClip(tmp_path)
    known = split()["pretraining"]
    named = set()
    for step in range(20):
        batch = recipe.batch(np.random.default_rng(step), step)
        texts = garments_clip.tokenizer().batch_decode(batch["ids"], skip_special_tokens=True)
        assert batch["true"].diagonal().all() and not batch["true"].all()
        assert "[UNK]" not in " ".join(garments_clip.tokenizer().batch_decode(batch["ids"]))
        for text in texts:
            text = text.replace(" - ", "-")
            garment = next((name for name in sorted(NAMES, key=len, reverse=True) if f" {name}" in text), None)
            colour = next((name for name in COLOURS if f" {name} " in text), None)
            named |= {(colour, garment)} if colour and garment else set()
    assert named <= {*known} and len(named) == 40
    held_out = {*split()["base"], *split()["new"]}
    assert not named & held_out


def test_no_silhouette_serves_twice():
    try:
        folder = real_data(real_images.DATA)
    except Skipped as why:
        pytest.skip(str(why))
    found = garments.silhouettes(folder)
    assert {use: {len(shapes) for shapes in some.values()} for use, some in found.items()} == {
        "pretraining": {700},
        "train": {150},
        "validation": {150},
        "test": {200},
    }
    for name in NAMES:
        by_use = [{one.tobytes() for one in found[use][name]} for use in found]
        assert len(set.union(*by_use)) == sum(map(len, by_use))


def test_the_line_of_a_method_by_hand():
    found = [real_images.Sat(0.8, 0.4, 1000, 2.0), real_images.Sat(0.8, 0.4, 3000, 4.0)]
    line = real_images.row("coop", found, {"coop": 0.01})
    assert line == ["coop", "80.0 ± 0.0", "40.0 ± 0.0", "53.3 ± 0.0", "0.01", "2,000", "3.0"]
    assert real_images.Sat(0, 0, 0, 0).mean == 0
    estimate = real_images.interval([1.0, 3.0])  # 12.706 is Student's t of one degree of freedom
    assert (estimate.value, estimate.high) == (2.0, pytest.approx(2 + 12.706, abs=1e-3))


def test_without_the_data_there_is_one_line_and_no_error(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PROMPTORIUM_DATA", str(tmp_path))
    assert real_images.main([]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said == [
        f"skipped: there is no {tmp_path / 'image/fashion_mnist'}; set PROMPTORIUM_DATA to the folder of the real data"
    ]


def test_what_is_no_clip_is_refused(monkeypatch, tmp_path, capsys):
    (tmp_path / real_images.DATA).mkdir(parents=True)
    monkeypatch.setenv("PROMPTORIUM_DATA", str(tmp_path))
    monkeypatch.setattr(real_images, "silhouettes", lambda folder: squares())
    assert real_images.main(["--clip", str(tmp_path)]) == 2
    assert "holds no CLIP or SigLIP" in capsys.readouterr().err
    assert real_images.main(["--seeds", "0"]) == 2


def test_a_short_run_on_a_siglip_of_ones_own(monkeypatch, tmp_path, capsys):
    (tmp_path / real_images.DATA).mkdir(parents=True)
    monkeypatch.setenv("PROMPTORIUM_DATA", str(tmp_path))
    uses = dict.fromkeys(("train", "validation", "test"), squares())
    few = {"silhouettes": lambda folder: uses, "BENCH": tmp_path, "SHOTS": 1, "RATES": (0.01, 0.05), "CHOICE": (0,)}
    few |= {"EACH": dict.fromkeys(real_images.EACH, 1), "METHODS": ("zero-shot", "maple")}
    for name, value in few.items():
        monkeypatch.setattr(real_images, name, value)
    monkeypatch.setattr(recording, "RESULTS", tmp_path / "results")
    folder = tiny_towers.tiny_towers_folder(tmp_path / "siglip", "siglip", text={"max_position_embeddings": 40})
    assert real_images.main(["--clip", str(folder), "--seeds", "2", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["quick"]  # not for the table
    (table,) = record["tables"]
    assert [line[0] for line in table["rows"]] == ["zero-shot", "maple"]
    zero, maple = (record["runs"][name] for name in ("zero-shot", "maple"))
    assert all(b["passes"] > a["passes"] for a, b in zip(zero, maple, strict=True))
    assert lines_of(table)[2].startswith("| method | base | new |")
    assert [f["what"] for f in record["figures"]] == [
        f"{what}, maple − zero-shot" for what in ("base", "new", "harmonic mean")
    ]
    kept = sorted(tmp_path.glob("real_images/*.json"))
    assert len(kept) == 2 + 2 + 2  # zero-shot and MaPLe on two seeds, and two rates


def test_benchmarks_without_a_number_stand_last():
    assert sorted(["real-text", "B10", "real-images", "B9"], key=place) == ["B9", "B10", "real-images", "real-text"]
