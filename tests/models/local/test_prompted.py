"""Learned parts in a two-tower model: wordings with context, rows per class, context of each image, and every fault."""

from __future__ import annotations

import numpy as np
import official_towers as official
import pytest
import tiny_towers
import torch

import promptology as pt
from promptology.errors import UsageError
from promptology.injection import Filling
from promptology.injection.modules import MetaNet
from promptology.injection.towers import TextRows
from promptology.models.access import Injected
from promptology.models.local.wording import around, marked, split_phrase, unmarked, worded

NAMES = ("dog", "red bird", "small garden")
TEXT, IMAGE = tiny_towers.TEXT["hidden_size"], tiny_towers.VISION["hidden_size"]


@pytest.fixture(scope="module", params=["clip", "siglip"])
def model(request):
    return pt.model(tiny_towers.tiny_towers(request.param), tiny_towers.processor(request.param))


def drawn(*shape, seed=0):
    return 0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def part(*fillings, digest="x"):
    return Injected(digest, tuple(Filling(site, filler) for site, filler in fillings))


def test_marks_become_slots(model):
    names = model.towers().tokenizer
    opening, closing = around(names)
    dog = names(" dog.", add_special_tokens=False)["input_ids"]
    found = worded(names, "{context} dog.", 3, 20)
    at = len(opening)
    assert found.slots == [at, at + 1, at + 2] and found.row == -1 and found.cut == 0
    assert found.ids == [*opening, *[(*opening, 0)[0]] * 3, *dog, *closing]
    middle = worded(names, "{context:1#2} dog.{context:2#2}", 3, 20)
    assert middle.slots == [at, at + 1 + len(dog), at + 2 + len(dog)] and middle.row == 2
    assert marked("{context:2} x") and not marked(unmarked("a {context} x")) and not marked("{label}")


def test_a_text_too_long_loses_its_end_and_never_its_context(model):
    names = model.towers().tokenizer
    opening, closing = around(names)
    found = worded(names, "{context} " + "dog " * 30 + "{context}".replace("context", "context:2"), 6, 20)
    assert len(found.ids) == 20 and len(found.slots) == 6 and found.cut > 0
    assert found.ids[-1] == closing[-1] and found.slots[-1] == 18 and found.slots[0] == len(opening)


@pytest.mark.parametrize(
    ("text", "length", "says"),
    [
        ("{context:2} dog", 3, "does not place 3 vectors"),
        ("{context} {context} dog", 3, "does not place 3 vectors"),
        ("{context:4} dog", 3, "does not place 3 vectors"),
        ("dog", 3, "does not place 3 vectors"),
        ("{context:1#0} dog {context:2#1}", 3, "from several rows"),
        ("{context} dog", 30, "leave no room"),
    ],
)
def test_wordings_that_cannot_be(model, text, length, says):
    with pytest.raises(UsageError, match=says):
        worded(model.towers().tokenizer, text, length, 20)


def test_a_phrase_is_split_where_its_tokens_end():
    def count(text):
        return sum(1 + (len(word) > 4) for word in text.split())  # longer words are two tokens

    assert split_phrase(count, "a photo of a", 1) == ("a", "photo of a")
    assert split_phrase(count, "a photo of a", 5) == ("a photo of a", "")
    assert split_phrase(count, "a photo of a", 0) == ("", "a photo of a")
    assert split_phrase(count, "a photo of a", 2) is None and split_phrase(count, "a photo of a", 6) is None


def official_rows(model, texts, length):
    found = model.towers().worded(texts, length)
    return TextRows([one.ids for one in found], [one.slots for one in found])


def test_features_under_learned_parts(model):
    towers = model.towers()
    context, deep = drawn(3, TEXT), drawn(2, TEXT, seed=1)
    tokens, deep_tokens = drawn(2, IMAGE, seed=2), drawn(2, IMAGE, seed=3)
    texts = [f"{{context}} {name}." for name in NAMES]
    given = part(
        ("text.context[0]", context),
        ("vision.context[1]", deep_tokens),
        ("text.context[1]", deep),
        ("vision.context[0]", tokens),
    )
    pad, opening = towers.prompted.pad, towers.prompted.opening
    with torch.no_grad():
        wanted = official.texts(towers.inner, official_rows(model, texts, 3), pad, opening, context, [deep])
        shown = official.images(towers.inner, tiny_towers.pictures(4), tokens, [deep_tokens])
    assert np.allclose(model.text_features(texts, given), wanted, atol=1e-5)
    assert np.array_equal(model.states(texts, given), model.text_features(texts, given))
    assert np.allclose(model.image_features(tiny_towers.pictures(4), given), shown, atol=1e-5)
    assert np.allclose(model.cosines(tiny_towers.pictures(4), texts, given), shown @ wanted.T, atol=1e-5)


def test_texts_name_their_row_in_any_order(model):
    context = drawn(3, 2, TEXT)
    given = part(("text.context[0]", context))
    texts = [f"{{context#{n}}} {name}." for n, name in enumerate(NAMES)]
    whole = model.text_features(texts, given)
    assert np.allclose(model.text_features(texts[::-1], given)[::-1], whole, atol=1e-5)
    alone = part(("text.context[0]", context[1]))
    assert np.allclose(model.text_features([f"{{context}} {NAMES[1]}."], alone)[0], whole[1], atol=1e-5)


def test_context_of_each_image(model):
    towers = model.towers()
    net = MetaNet(drawn(3, towers.dimension), drawn(3, seed=1), drawn(TEXT, 3, seed=2), drawn(TEXT, seed=3))
    context, texts = drawn(4, TEXT), [f"{{context}} {name}." for name in NAMES]
    given = part(("text.context[0]", context), ("text.context[0]", net))
    images = tiny_towers.pictures(3)
    with torch.no_grad():
        shown = official.images(towers.inner, images)
        rows = official_rows(model, texts, 4)
        found = official.texts_per_image(
            towers.inner, rows, towers.prompted.pad, towers.prompted.opening, net(context, shown)[:, 0]
        )
    wanted = torch.einsum("bd,btd->bt", shown, found)
    assert np.allclose(model.cosines(images, texts, given), wanted, atol=1e-5)
    with pytest.raises(UsageError, match="needs the images"):
        model.text_features(texts, given)


def test_parts_that_do_not_fit(model):
    texts = ["{context} dog."]
    with pytest.raises(UsageError, match=r"the context is 5 wide, the tower of .* 24; it belongs"):
        model.text_features(texts, part(("text.context[0]", drawn(2, 5))))
    with pytest.raises(UsageError, match=r"was learned for layers \[1\]; they begin at 0"):
        model.text_features(texts, part(("text.context[1]", drawn(2, TEXT))))
    with pytest.raises(UsageError, match="two towers take"):
        model.text_features(texts, part(("input", drawn(2, TEXT))))
    with pytest.raises(UsageError, match="the texts name none of them"):
        model.text_features(texts, part(("text.context[0]", drawn(3, 2, TEXT))))
    with pytest.raises(UsageError, match="names row 7 of the context; there are 0 to 2"):
        model.text_features(["{context#7} dog."], part(("text.context[0]", drawn(3, 2, TEXT))))


def test_parts_that_are_attached_take_part(model):
    from promptology.injection import attach

    class Twice(torch.nn.Module):
        def forward(self, hidden, spans, batch):
            return 2 * hidden

    before = model.text_features(["a dog"])
    towers = model.towers()
    with attach(towers.inner, [Filling("text.layer[1]", Twice())]):
        changed = model.text_features(["a dog"])
        with pytest.raises(UsageError, match="cannot be used at once"):
            model.text_features(["{context} dog."], part(("text.context[0]", drawn(2, TEXT))))
    assert not np.allclose(before, changed, atol=1e-3)
    assert np.array_equal(model.text_features(["a dog"]), before)
