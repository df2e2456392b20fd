from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoProcessor, AutoTokenizer

from promptology.zoo.recipes import recipe
from promptology.zoo.recipes.building import save
from promptology.zoo.recipes.course import STATE, Course
from promptology.zoo.recipes.toy_clip import DEVIATION, MEAN, POSITIONS, ToyClip, encoded, tokenizer
from promptology.zoo.recipes.toy_clip_ability import Towers, accuracy
from promptology.zoo.toyland.captions import captions, nonsense, truth
from promptology.zoo.toyland.kinds import Kind
from promptology.zoo.toyland.lists import SEEN
from promptology.zoo.toyland.templates import CLEAN, filled
from promptology.zoo.toyland.vocabulary import words


def small(steps: int = 50) -> ToyClip:
    made = ToyClip()
    made.steps, made.size, made.width, made.layers, made.text_width, made.text_layers = steps, 8, 32, 1, 24, 1
    made.joint = 16
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = small()
    torch.manual_seed(0)
    where = tmp_path_factory.mktemp("toy-clip") / "model"
    save(made, made.model(), where)
    return where


def test_every_word_of_toyland_is_one_token() -> None:
    assert isinstance(recipe("toy-clip"), ToyClip)
    ids = [tokenizer().encode(word, add_special_tokens=False) for word in words()]
    assert all(len(row) == 1 for row in ids) and len({row[0] for row in ids}) == len(words())
    assert tokenizer().eos_token_id != 2


def test_an_unknown_word_is_at_most_three_tokens() -> None:
    rng = np.random.default_rng(0)
    letters = list("abcdefghijklmnopqrstuvwxyz019é_AB")
    for _ in range(3000):
        word = "".join(rng.choice(letters, rng.integers(1, 12)))
        assert len(tokenizer().encode(word, add_special_tokens=False)) <= 3, word
    texts = [nonsense(*rng.random(2)) for _ in range(1000)]
    pieces = [tokenizer().tokenize(text) for text in texts]
    assert all(1 <= len(row) <= 3 and tokenizer().unk_token not in row for row in pieces)
    assert len({tuple(row) for row in pieces}) == len(set(texts))
    assert tokenizer().tokenize("Babababa STAR") == ["ba", "##ba", "##b", "star"]


def test_names_and_descriptions_fit_into_the_text_tower() -> None:
    kinds = [Kind(shape, colour, texture) for colour, texture, shape in SEEN]
    longest = max(CLEAN, key=lambda template: len(template.split()))
    texts = [kind.described for kind in kinds] + [filled(longest, kind.name) for kind in kinds]
    texts += [kind.described.replace(kind.name, "lanab") for kind in kinds]
    assert max(len(row) for row in tokenizer()(texts)["input_ids"]) <= POSITIONS
    assert (encoded(["a photo of a star.", "star"])[:, 0] == tokenizer().bos_token_id).all()
    cut = encoded([" ".join(["star"] * 40)])
    assert cut.shape == (1, POSITIONS) and cut[0, -1] == tokenizer().eos_token_id


def test_batches_show_no_unseen_triple_and_depend_on_the_generator_alone() -> None:
    made = ToyClip()
    rng = np.random.default_rng(0)
    seen = set(SEEN)
    for stage in (0, 5, 999):
        scenes = made._scenes(rng, max(0.0, 1 - stage / 10))
        there = scenes.shape >= 0
        shown = zip(scenes.colour[there], scenes.texture[there], scenes.shape[there], strict=True)
        assert {tuple(map(int, triple)) for triple in shown} <= seen
    one, again = (made.batch(np.random.default_rng([0, 7]), 3) for _ in range(2))
    assert all(np.array_equal(one[name], again[name]) for name in one)
    assert one["pixels"].shape == (64, 32, 32, 3) and one["true"].shape == (64, 64) and one["true"].diagonal().all()


def test_a_loose_word_for_shades_is_no_caption_of_the_other_shade() -> None:
    made = ToyClip()
    apart = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        scenes = made._scenes(rng, 0.0)
        rng.random()
        told = captions(scenes, rng)
        lenient, strict = truth(told, scenes), made.batch(np.random.default_rng(seed), 999)["true"]
        images, texts = np.nonzero(lenient & ~strict)
        assert not (strict & ~lenient).any() and (told.loose[texts] >= 0).all()
        single = scenes.count[images] == 1
        assert (scenes.shade[images, 0] != told.loose[texts])[single].all()
        apart += int(single.sum())
    assert apart > 10


def test_a_true_caption_of_another_image_is_no_negative() -> None:
    made = small()
    torch.manual_seed(0)
    model = made.model()
    batch = {name: torch.from_numpy(value) for name, value in made.batch(np.random.default_rng(0), 9).items()}
    batch["pixels"][1], batch["ids"][1] = batch["pixels"][0], batch["ids"][0]
    own = torch.eye(8, dtype=torch.bool)
    twins = own.clone()
    twins[0, 1] = twins[1, 0] = True
    first, second = (made.loss(model, {**batch, "true": true})[0] for true in (own, twins))
    assert float(second.detach()) < float(first.detach())
    none = torch.ones(8, 8, dtype=torch.bool)
    assert float(made.loss(model, {**batch, "true": none})[0].detach()) == pytest.approx(0, abs=1e-6)


def test_training_lowers_the_loss_and_goes_on_after_an_interruption(tmp_path: Path) -> None:
    losses: list[float] = []
    whole = Course(small(), tmp_path / "whole", device="cpu", report=lambda at: losses.append(at["loss"]))
    whole.run()
    whole.save()
    assert np.isfinite(losses).all() and losses[-1] < losses[0]

    def killed(at: dict[str, float]) -> None:
        if at["step"] > 25:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        Course(small(), tmp_path / "cut", device="cpu", every=0, report=killed).run()
    resumed = Course(small(), tmp_path / "cut", device="cpu")
    resumed.run()
    resumed.save()
    one, two = (load_file(tmp_path / name / STATE) for name in ("cut", "whole"))
    assert all(torch.equal(one[name], two[name]) for name in two)


def test_the_curriculum_ends_after_its_share_of_the_steps() -> None:
    made = small(steps=1000)
    stages = [0]
    for _ in range(10):
        stages.append(made.after(stages[-1], 0.0))
    assert stages == [0, 1, 2, 3, 4, 4, 4, 4, 4, 4, 4]


def test_the_folder_loads_and_its_processor_does_what_training_did(folder: Path) -> None:
    assert type(AutoModel.from_pretrained(folder)).__name__ == "CLIPModel"
    assert AutoTokenizer.from_pretrained(folder)("a red star")["input_ids"] == encoded(["a red star"])[0].tolist()
    assert type(AutoProcessor.from_pretrained(folder)).__name__ == "CLIPProcessor"
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    given = AutoProcessor.from_pretrained(folder).image_processor(list(pixels), return_tensors="pt")["pixel_values"]
    expected = (torch.from_numpy(pixels).movedim(-1, 1).float() / 255 - MEAN) / DEVIATION
    assert torch.allclose(given, expected, atol=1e-6)


def test_features_are_those_of_the_model_and_accuracy_counts_nearest_classes(folder: Path) -> None:
    towers = Towers(folder)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    texts = ["a red star", "a photo of one blue arrow."]
    given = towers.processor(text=texts, images=list(pixels), padding=True, return_tensors="pt")
    with torch.inference_mode():
        made = towers.model(**given)
    assert torch.allclose(towers.images(pixels), made.image_embeds, atol=1e-5)
    assert torch.allclose(towers.texts(texts), made.text_embeds, atol=1e-5)
    assert accuracy(torch.eye(3), torch.eye(3), np.array([0, 1, 0])) == pytest.approx(2 / 3)
