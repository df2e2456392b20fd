"""Two-tower models: opened from folders and objects, images prepared as transformers does, features as its forward."""

from __future__ import annotations

import json
import pickle
import tracemalloc

import numpy as np
import PIL.Image
import pytest
import tiny_towers
import torch
import transformers

import promptology as pt
from promptology.errors import ModelError, UsageError
from promptology.models.access import TwoTower, offers
from promptology.models.local import TwoTowerModel, pixels

KINDS = ("clip", "siglip")
TEXTS = ["a photo of a dog.", "cat", "a photo of a red garden with one small river and a train, a bus and a bird"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("towers")
    return {kind: tiny_towers.tiny_towers_folder(root / kind, kind) for kind in KINDS}


def unit(values):
    return torch.nn.functional.normalize(values, dim=-1).detach().numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_those_of_transformers(folders, kind):
    model = pt.model(f"hf:{folders[kind]}")
    assert isinstance(model, TwoTowerModel) and isinstance(model, TwoTower)
    assert offers(model) == ("embeds", "two-tower")
    inner = transformers.AutoModel.from_pretrained(folders[kind])
    processor = tiny_towers.processor(kind)
    given = processor.tokenizer(TEXTS, padding="max_length", truncation=True, max_length=20, return_tensors="pt")
    with torch.no_grad():
        texts = inner.get_text_features(input_ids=given["input_ids"]).pooler_output
        images = inner.get_image_features(pixel_values=tiny_towers.pictures(3)).pooler_output
    found = model.text_features(TEXTS)
    assert found.dtype == np.float32 and np.allclose(found, unit(texts), atol=1e-5)
    assert np.allclose(model.image_features(tiny_towers.pictures(3)), unit(images), atol=1e-5)
    assert np.array_equal(model.embed(TEXTS), found)
    towers = model.towers()
    assert towers.causal == (kind == "clip") and towers.positions == model.context == 20
    assert towers.scale == pytest.approx(inner.logit_scale.exp().item(), rel=1e-6)
    assert towers.bias == (0.0 if kind == "clip" else pytest.approx(inner.logit_bias.item()))
    assert towers.dimension == found.shape[1] and not any(p.requires_grad for p in towers.inner.parameters())
    assert towers.truncated == 2  # one of the texts, read twice


def test_an_old_folder_reads_at_the_highest_id(tmp_path):
    folder = tiny_towers.tiny_towers_folder(tmp_path / "old", "clip", eos=2)
    model = pt.model(f"hf:{folder}")
    ids = model.towers().padded(model.towers().rows(TEXTS[:2]))
    assert int(ids.max()) != 2 and model.text_features(TEXTS[:2]).shape == (2, tiny_towers.JOINT)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(24, 24), (37, 61), (90, 41), (5, 7), (1, 1), (16, 100)])
def test_images_are_prepared_as_transformers_does(kind, shape):
    array = np.random.default_rng(3).integers(0, 256, (*shape, 3), dtype=np.uint8)
    processor = tiny_towers.processor(kind)
    wanted = processor.image_processor([PIL.Image.fromarray(array)], return_tensors="np")["pixel_values"]
    prepared = pixels.from_settings(processor.image_processor.to_dict(), kind, tiny_towers.PX)
    for image in (PIL.Image.fromarray(array), array):
        assert np.abs(prepared([image]) - wanted).max() < 1e-5


def test_grey_and_transparent_images_become_colour():
    prepared = pixels.usual("siglip", 4)
    grey = PIL.Image.fromarray(np.full((4, 4), 255, np.uint8))
    assert prepared([grey]).shape == (1, 3, 4, 4) and np.allclose(prepared([grey]), 1)
    assert np.allclose(prepared([grey.convert("RGBA")]), 1)


def test_settings_of_older_folders(tmp_path):
    old = {"size": 24, "crop_size": 24, "do_center_crop": True, "resample": 3, "image_mean": [0.1, 0.2, 0.3]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(old))
    found = pixels.preprocess_of(tmp_path, "clip", 24)
    assert found.size == (24,) and found.crop == (24, 24) and found.mean == (0.1, 0.2, 0.3)
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(ModelError, match=r"preprocessor_config\.json is broken"):
        pixels.preprocess_of(tmp_path, "clip", 24)
    assert pixels.preprocess_of(tmp_path / "none", "siglip", 24).size == (24, 24)


def test_a_held_model_with_tokenizer_or_processor(folders):
    inner = transformers.AutoModel.from_pretrained(folders["siglip"])
    from_folder = pt.model(f"hf:{folders['siglip']}").text_features(TEXTS)
    for brought in (tiny_towers.tokenizer("siglip"), tiny_towers.processor("siglip")):
        model = pt.model(inner, brought)
        assert np.allclose(model.text_features(TEXTS), from_folder, atol=1e-6)
        assert model.towers().preprocess.size == (24, 24)
        assert model.count_tokens("a dog") == len(tiny_towers.tokenizer("siglip")("a dog")["input_ids"]) - 1
        assert model.identity == pt.model(inner, brought).identity
    again = pickle.loads(pickle.dumps(pt.model(f"hf:{folders['clip']}")))
    assert again.identity == pt.model(f"hf:{folders['clip']}").identity


def test_toy_clip_opens():
    model = pt.model("zoo:toy-clip")
    image = np.zeros((40, 50, 3), np.uint8)
    assert model.image_features([image, PIL.Image.fromarray(image)]).shape == (2, model.towers().dimension)
    assert model.image_features([]).shape == (0, model.towers().dimension)
    assert model.identity.startswith("two-tower:")


def test_faults_are_one_line(folders, tmp_path):
    with pytest.raises(UsageError, match=r"takes pixels of shape \(n, 3, 24, 24\), not \(1, 3, 8, 8\)"):
        pt.model(f"hf:{folders['clip']}").image_features(torch.zeros(1, 3, 8, 8))
    other = {"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava", "vision_config": {}}
    (tmp_path / "config.json").write_text(json.dumps(other))
    with pytest.raises(UsageError, match="takes images; of such models CLIPModel and SiglipModel"):
        pt.model(f"hf:{tmp_path}")
    resnet = {"architectures": ["VisionTextDualEncoderModel"], "model_type": "vision-text-dual-encoder"}
    (tmp_path / "config.json").write_text(json.dumps({**resnet, "vision_config": {"model_type": "resnet"}}))
    with pytest.raises(UsageError, match="whose towers are transformers"):
        pt.model(f"hf:{tmp_path}")


def test_a_picture_of_any_shape_stays_small():
    preprocess = pixels.usual("clip", 24)
    rows = np.arange(4000, dtype=np.float32)[:, None, None] / 4000 * 255
    long = np.broadcast_to(rows, (4000, 2, 3)).astype(np.uint8)
    tracemalloc.start()
    found = preprocess.whole(long)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.shape == (24, 24, 3) and np.abs(found.astype(int) - 127).max() <= 2
    assert peak < 2_000_000  # as a whole it would be 24 x 48,000
    assert preprocess.whole(np.zeros((1, 1, 3), np.uint8)).shape == (24, 24, 3)
