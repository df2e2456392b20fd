"""Classes by their wordings: exact on vectors known beforehand, equal to the towers asked directly on real models."""

from __future__ import annotations

import json
import logging
from contextlib import closing

import numpy as np
import pytest
from pictures import pixels
from safetensors import safe_open
from tiny_towers import tiny_towers_folder
from whitebox import run_of

import promptology as pt
from promptology.api.exporting import export_features
from promptology.data.images import Image
from promptology.data.items import ClassLabel, Field, Item, Signature
from promptology.data.loaders import load_task
from promptology.errors import AccessError, UsageError
from promptology.methods.soft.linear_probe import LinearProbe
from promptology.methods.vision.zero_shot import SEVEN
from promptology.models.access import offers
from promptology.predict import bind
from promptology.predict.images import averaged, confidences
from promptology.prompts.learned import Learned
from promptology.prompts.saving import load, save
from promptology.prompts.start import class_features, start_from
from promptology.run.handles import Handle
from promptology.run.meter import Meter
from promptology.run.store import SQLiteStore

FIELD = (Field("image", "image"),)
AXES = {"up": (0.0, 1.0), "right": (1.0, 0.0), "a up": (0.6, 0.8), "a right": (1.0, 0.0), "both": (0.6, 0.8)}


class Towers:
    scale, bias = 10.0, -1.0


class Flat:
    """Two towers of two dimensions: a text stands where AXES says, an image where its mean red and green say."""

    name, identity, local, context = "flat", "flat", True, 5

    def __init__(self):
        self.seen, self.read = [], []

    def towers(self):
        return Towers()

    def count_tokens(self, text):
        return len(text.split())

    def text_features(self, texts, injected=None):
        self.read += texts
        return np.array([AXES[text] for text in texts], np.float32)

    embed = text_features

    def cosines(self, images, texts, injected=None):
        raise NotImplementedError

    def image_features(self, images, injected=None):
        self.seen += [image.name for image in images]
        means = np.array([np.asarray(image.rgb(8)).mean((0, 1))[:2] for image in images])
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)


def coloured(red, green, name=""):
    return Image(np.full((4, 4, 3), (red, green, 0), np.uint8), name or f"{red} {green}")


def signature(*names, output="class"):
    return Signature(FIELD, output, tuple(ClassLabel(name) for name in names))


def zero_shot(told, templates=("{label}",), **options):
    return Learned((class_features(told, templates, **options),), told, {"model": "two-tower"})


def test_logits_are_scale_times_cosine_plus_bias():
    assert offers(Flat()) == ("embeds", "two-tower")
    found = bind(zero_shot(signature("up", "right")), Flat()).predict([{"image": coloured(30, 40)}])
    assert np.allclose(found.scores, [[10 * 0.8 - 1, 10 * 0.6 - 1]])
    assert found.outputs == ["up"] and found.cost.passes == 1
    assert confidences(zero_shot(signature("up", "right")), found) == [pytest.approx(1 / (1 + np.exp(-2)))]


def test_wordings_are_averaged_and_made_unit_length_again():
    learned = zero_shot(signature("up", "right"), ("{}", "a {}"))
    features = bind(learned, Flat()).class_features()
    assert np.allclose(features, [np.array((0.6, 1.8)) / np.hypot(0.6, 1.8), (1.0, 0.0)])
    assert np.allclose(averaged(np.array([[1, 0], [-1, 0]], np.float32), 1), [[0, 0]])  # no direction, no fault


def test_several_classes_may_apply():
    told = signature("up", "right", "both", output="classes")
    predictor = bind(zero_shot(told, margin=0.25), Flat())
    found = predictor.predict([{"image": coloured(30, 40)}, {"image": coloured(1, 0)}])
    assert found.outputs == [("up", "both"), ("right",)]  # cosines 0.8, 0.6, 1.0 and 0, 1, 0.6
    assert confidences(zero_shot(told), found) == []


def test_names_are_bound_at_use():
    learned = zero_shot(signature("up", "right"))
    found = bind(learned, Flat(), signature=signature("both", "right")).predict([{"image": coloured(30, 40)}])
    assert found.outputs == ["both"] and np.allclose(found.scores, [[9.0, 5.0]])
    words = "one two three four"
    with pytest.raises(UsageError, match="its wording has 6 tokens and flat reads 5"):
        bind(learned, Flat(), signature=signature(words, "right")).predict([{"image": coloured(1, 1)}])


def test_classes_that_a_model_reads_alike_are_refused(toy):
    pairs = [({"image": pixels(n)}, name) for n, name in enumerate(["собака", "猫"] * 6)]
    with pytest.raises(UsageError, match="reads the classes 'собака' and '猫' as the same tokens and cannot tell them"):
        pt.evaluate(load_task(pairs), toy)
    told = [pt.ClassLabel("собака", "red star"), pt.ClassLabel("猫", "cyan cross")]
    signature = pt.Signature((pt.Field("image", "image"),), "class", tuple(told))
    learned = pt.Learned(
        (class_features(signature, ["a photo of a {description}."]),), signature, {"model": "two-tower"}
    )
    assert learned.bind(toy).predict([{"image": pixels(0)}]).scores.shape == (1, 2)
    with pytest.raises(UsageError, match="as the same tokens"):
        learned.with_parts(class_features(signature, ["a photo of a {label}."])).bind(toy)


def test_an_image_is_seen_once_whatever_stands_beside_it(tmp_path, caplog):
    images = [coloured(n + 1, 50, f"image {n}") for n in range(6)]
    model, learned = Flat(), zero_shot(signature("up", "right"))
    items = [{"image": image} for image in images]
    with caplog.at_level(logging.WARNING, "promptology"):
        first = pt.apply(learned, model, items[:4], store=tmp_path / "s.sqlite")
    assert "vectors of 4 images are kept in" in caplog.text and "s.sqlite: 0.0 kB" in caplog.text
    assert model.seen == [f"image {n}" for n in range(4)] and first.cost.passes == 4
    again = pt.apply(learned, model, [*items[2:], {"image": coloured(1, 50, "the same")}], store=tmp_path / "s.sqlite")
    assert model.seen == [f"image {n}" for n in range(6)]
    assert np.array_equal(again.scores[[0, 1, 4]], first.scores[[2, 3, 0]])
    pt.apply(learned, model, items, store=tmp_path / "s.sqlite", cache=False)
    assert len(model.seen) == 12


def test_a_continued_run_charges_once_and_pays_nothing_again(tmp_path):
    model, learned = Flat(), zero_shot(signature("up", "right"))
    items = [Item(str(n), {"image": coloured(n + 1, 50)}) for n in range(5)]

    def run():
        with closing(SQLiteStore(tmp_path / "s.sqlite")) as store:
            store.create_run("r", {})
            meter = Meter(store, "r")
            predictor = bind(learned, Handle(meter, "model", model))
            predictor.predict(items[:3])
            return meter, predictor.predict(items).scores

    meter, scores = run()
    assert meter.charged.passes == meter.paid.passes == 7 and len(model.seen) == 5
    again, same = run()
    assert again.charged == meter.charged and again.paid == meter.paid and len(model.seen) == 5
    assert np.array_equal(same, scores)


def test_a_broken_image_is_one_line(tmp_path):
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"no image")
    with pytest.raises(UsageError, match=r"broken.jpg: this image cannot be read"):
        bind(zero_shot(signature("up", "right")), Flat()).predict([{"image": str(path)}])
    with pytest.raises(UsageError, match="input 0 lacks image"):
        bind(zero_shot(signature("up", "right")), Flat()).predict([{"picture": str(path)}])
    two = Signature((Field("a", "image"), Field("b", "image")), "class", signature("up", "right").classes)
    with pytest.raises(UsageError, match="one image an input is read"):
        bind(zero_shot(two), Flat()).predict([{"a": pixels(), "b": pixels()}])


def test_the_start_words_classes_as_the_user_does():
    told = signature("cat", "dog")
    access = ("embeds", "two-tower")
    assert start_from(told, access).readout.options == {"templates": ["a photo of a {label}."]}
    lines = start_from(told.with_prompt("a {}\n\n one {description} "), access)
    assert lines.readout.options == {"templates": ["a {label}", "one {description}"]}
    assert start_from(Signature((Field("text"),), "class", told.classes), access).readout.type == "nearest-label"
    with pytest.raises(UsageError, match=r"holds \{label\}"):
        start_from(told.with_prompt("a photo"), access)
    for offered, readout in ((("generates",), ""), (("embeds",), ""), (access, "nearest-label")):
        with pytest.raises(AccessError, match="'image' holds images, which a model with two towers reads"):
            start_from(told, offered, readout)
    with pytest.raises(AccessError, match="free text"):
        start_from(Signature(FIELD, "text"), access)


def test_an_image_by_itself_is_an_input(tmp_path):
    predictor = bind(zero_shot(signature("up", "right")), Flat())
    picture = coloured(30, 40).rgb()
    picture.save(tmp_path / "a.png")
    given = [coloured(30, 40), picture, np.asarray(picture), str(tmp_path / "a.png"), (tmp_path / "a.png").read_bytes()]
    assert predictor.predict(given).outputs == ["up"] * 5
    with pytest.raises(UsageError, match="does not exist"):
        predictor.predict(["nowhere.png"])


def test_a_text_method_says_that_it_cannot_read_images():
    from promptology.prompts.render import input_text

    with pytest.raises(AccessError, match="'image' holds an image"):
        input_text({"image": pixels()}, signature("up", "right"))


@pytest.fixture(scope="module")
def toy():
    return pt.model("zoo:toy-clip")


def test_zero_shot_is_what_the_towers_say(toy):
    task = load_task("toyland:base?seed=1&test=6&domain=backlit&shots=1&validation=1")
    result = pt.fit(task, toy, "zero-shot")
    names = task.signature.class_names
    images = toy.image_features([i.inputs["image"] for i in task.test])
    texts = toy.text_features([f"a photo of a {name}." for name in names])
    right = [names[c] == i.target for c, i in zip((images @ texts.T).argmax(1), task.open_test(), strict=True)]
    measured = pt.evaluate(task, toy)
    assert measured.score.value == pytest.approx(np.mean(right)) and 0.3 < measured.score.value < 1
    found = result.learned.bind(toy).predict(list(task.test))
    assert np.allclose(found.scores, toy.towers().scale * images @ texts.T, atol=1e-4)


def test_an_ensemble_and_its_matrix(toy, tmp_path):
    task = load_task("toyland:base?shots=1&validation=1&test=1")
    learned = pt.fit(task, toy, "zero-shot", settings={"templates": "seven"}, prompt="the {}").learned
    assert learned.readout.options["templates"] == [t.replace("{}", "{label}") for t in (*SEVEN, "the {label}")]
    path = export_features(load(save(learned, tmp_path / "p")), toy, tmp_path / "f.safetensors")
    with safe_open(path, "np") as file:
        features, scale, said = file.get_tensor("features"), file.get_tensor("scale"), file.metadata()
    assert json.loads(said["classes"]) == list(task.signature.class_names) and said["identity"] == toy.identity
    texts = toy.text_features([t.replace("{}", n) for n in task.signature.class_names for t in (*SEVEN, "the {}")])
    mean = texts.reshape(16, 8, -1).mean(1)
    assert np.allclose(features, mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-6)
    logits = scale * toy.image_features([task.test[0].inputs["image"]]) @ features.T
    assert np.allclose(learned.bind(toy).predict([task.test[0]]).scores, logits, atol=1e-4)
    templates = pt.fit(task, toy, "zero-shot", settings={"templates": "a {} | one {description}"}).learned
    assert templates.readout.options["templates"] == ["a {label}", "one {description}"]
    with pytest.raises(UsageError, match="no matrix of class features"):
        export_features(LinearProbe().fit(run_of(task, toy)), toy, tmp_path / "g.safetensors")
    assert not (tmp_path / "g.safetensors").exists()


def test_a_linear_probe_reads_images(toy):
    task = load_task("toyland:few-shot?shots=4&test=4&domain=backlit&strength=0.9&seed=2")
    learned = LinearProbe().fit(run_of(task, toy))
    readout = learned.readout
    assert (readout.options["features"], learned.roles) in (("image", {"model": "two-tower"}),)
    images = toy.image_features([i.inputs["image"] for i in task.test])
    expected = images @ readout.arrays["weight"].T + readout.arrays["bias"]
    found = learned.bind(toy).predict(list(task.test))
    assert np.allclose(found.scores, expected, atol=1e-4)
    assert np.mean([a == i.target for a, i in zip(found.outputs, task.open_test(), strict=True)]) > 0.5
    assert pt.fit(task, toy, "linear-probe").evidence is not None


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_any_two_tower_model_is_evaluated(tmp_path, kind):
    model = pt.model(f"hf:{tiny_towers_folder(tmp_path / kind, kind)}")
    task = load_task([({"image": pixels(n)}, "cat" if n % 2 else "dog") for n in range(20)])
    found = pt.evaluate(task, model)
    assert found.score.n == 8 and 0 <= found.score.value <= 1
    towers = model.towers()
    learned = start_from(task.signature, offers(model))
    scores = learned.bind(model).predict(list(task.test)).scores
    texts = model.text_features(["a photo of a cat.", "a photo of a dog."])
    images = model.image_features([i.inputs["image"] for i in task.test])
    assert np.allclose(scores, towers.scale * images @ texts.T + towers.bias, atol=1e-4)
