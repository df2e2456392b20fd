import re

import numpy as np
import pytest

from promptology.zoo.toyland.captions import COLOUR, PLACE, SHADE, SHAPE, SIZE, STYLE, Mix, captions, nonsense, truth
from promptology.zoo.toyland.chance import image_seeds
from promptology.zoo.toyland.lists import COLOURS, SHADES, SHADES_OF, SHAPES, STYLES, TEXTURES
from promptology.zoo.toyland.naming import described, name
from promptology.zoo.toyland.scenes import sample
from promptology.zoo.toyland.templates import CATALOGUE, CLEAN, EVERYDAY, STYLED, filled
from promptology.zoo.toyland.vocabulary import attribute_words, filler_words, words

SCENES = sample(image_seeds(0, 1500), objects=np.arange(1500) % 4 + 1, style=np.arange(1500) % len(STYLES))
MADE = captions(SCENES, np.random.default_rng(0))
ALONE = sample(image_seeds(1, 2000))


def test_every_template_names_the_class_once_and_no_attribute() -> None:
    styled = [template for wordings in STYLED.values() for template in wordings]
    every = [*CLEAN, *styled]
    assert EVERYDAY[0] == "a photo of a {}." and len(set(every)) == len(every)
    assert len(EVERYDAY) > 100 and not set(EVERYDAY) & set(CATALOGUE) and CLEAN == EVERYDAY + CATALOGUE
    for template in every:
        assert template.count("{}") == 1
        assert not set(re.findall("[a-z]+", template)) & set(attribute_words())
    told = {style: set(re.findall("[a-z]+", " ".join(wordings))) for style, wordings in STYLED.items()}
    assert all(len(STYLED[style]) >= 2 for style in STYLES) and "sketch" in told["sketch"] and "night" in told["night"]


def test_catalogue_and_everyday_wording_share_words() -> None:
    everyday, catalogue = (set(re.findall("[a-z]+", " ".join(texts))) for texts in (EVERYDAY, CATALOGUE))
    assert len(everyday & catalogue) > 10 and {"catalogue", "exact"} <= catalogue - everyday


def test_every_word_is_in_the_vocabulary_and_class_names_share_words() -> None:
    known = set(words())
    for text in MADE.text:
        assert all(word in known or len(word) == 5 for word in re.findall("[a-z]+", text)), text
    assert list(filler_words()) == sorted(filler_words()) and not set(filler_words()) & set(attribute_words())
    assert name(3, 0, 1) == "striped red star" and name(3, 0, shade=1) == "scarlet star"
    assert {*COLOURS, *SHADES, *SHAPES, *TEXTURES} <= set(attribute_words()) <= known


def test_a_caption_is_true_of_its_own_image() -> None:
    part = slice(0, 200)
    made = MADE._replace(text=MADE.text[part], says=MADE.says[part], more=MADE.more[part])
    assert truth(made, SCENES[part]).diagonal().all()


def test_truth_agrees_with_a_plain_reading_of_names() -> None:
    made = captions(ALONE[:150], np.random.default_rng(1), Mix(described=0, detail=0, synonym=0, shade=0, catalogue=0))
    found = truth(made, ALONE[:150])
    for image in range(150):
        shown = {
            SHAPES[ALONE.shape[image, 0]],
            COLOURS[ALONE.colour[image, 0]],
            TEXTURES[ALONE.texture[image, 0]],
        }
        for caption in range(0, 150, 7):
            said = set(re.findall("[a-z]+", made.text[caption])) & {*SHAPES, *COLOURS, *TEXTURES}
            assert found[image, caption] == (said <= shown), made.text[caption]


def test_what_is_said_holds_for_one_object_of_the_image() -> None:
    facts = {COLOUR: SCENES.colour, SHADE: SCENES.shade, SHAPE: SCENES.shape}
    for n in range(len(SCENES)):
        if not MADE.more[n]:
            fits = SCENES.shape[n] >= 0
            for column, fact in facts.items():
                fits = fits & ((MADE.says[n, column] < 0) | (MADE.says[n, column] == fact[n]))
            assert fits.any() and MADE.says[n, STYLE] in (-1, SCENES.style[n])


def test_some_captions_of_several_objects_name_one_and_some_count_or_relate() -> None:
    several = SCENES.count > 1
    assert not MADE.more[~several].any() and 0.05 < MADE.more[several].mean() < 0.4
    twins = sample(image_seeds(3, 400), objects=3, shape=1, colour=2)
    told = captions(twins, np.random.default_rng(2))
    assert {text for text, more in zip(told.text, told.more, strict=True) if more} == {"three yellow squares"}
    pairs = sample(image_seeds(4, 400), objects=2, shape=np.array([[0, 1]] * 400), colour=np.array([[0, 1]] * 400))
    told = captions(pairs, np.random.default_rng(3), Mix(more=1.0))
    for n in np.flatnonzero(told.more):
        related = re.fullmatch("a red circle (left of|right of|above|below) a orange square", told.text[n])
        assert related is not None
        dx, dy = pairs.x[n, 0] - pairs.x[n, 1], pairs.y[n, 0] - pairs.y[n, 1]
        assert {"left of": -dx, "right of": dx, "above": -dy, "below": dy}[related[1]] > 0


def test_shades_are_loose_in_everyday_wording_and_exact_in_the_catalogue() -> None:
    everyday = captions(ALONE, np.random.default_rng(4), Mix(catalogue=0, described=0, shade=1, levels=(0, 1, 0, 0, 0)))
    shelf = captions(ALONE, np.random.default_rng(4), Mix(catalogue=1, described=0, levels=(0, 1, 0, 0, 0)))
    right = {"everyday": [], "catalogue": []}
    for kind, made in (("everyday", everyday), ("catalogue", shelf)):
        for n, text in enumerate(made.text):
            said = [word for word in re.findall("[a-z]+", text) if word in SHADES]
            if said:
                colour = COLOURS[ALONE.colour[n, 0]]
                assert said[0] in SHADES_OF[colour]
                right[kind].append(SHADES.index(said[0]) == ALONE.tone[n, 0])
    assert all(right["catalogue"]) and len(right["catalogue"]) > 1000
    assert 0.45 < np.mean(right["everyday"]) < 0.55
    assert np.array_equal(everyday.loose, ALONE.shade[:, 0]) and (shelf.loose == -1).all()
    assert (everyday.says[:, SHADE] == -1).all() and (shelf.says[:, SHADE] >= 0).any()


def test_styles_sizes_and_places_are_named_now_and_then() -> None:
    for column in (STYLE, SIZE, PLACE):
        assert 0.005 < (MADE.says[:, column] >= 0).mean() < 0.6
    told = [text for text, style in zip(MADE.text, MADE.says[:, STYLE], strict=True) if style == STYLES.index("sketch")]
    assert told and all(re.search("sketch|pencil|drawn|outline", text) for text in told)


def test_a_description_tells_the_class_without_its_name() -> None:
    texts = {described(s, c, t, called="thing") for s in range(12) for c in range(10) for t in range(6)}
    assert len(texts) == 12 * 10 * 6
    assert not set(re.findall("[a-z]+", " ".join(texts))) & set(attribute_words())
    assert described(3, 0).startswith("a red star has")
    assert any("has " in text and "colour of" in text for text in MADE.text)


def test_a_template_is_filled_once() -> None:
    assert filled("a {} here", "red star") == "a red star here"


@pytest.mark.parametrize("first", [0.0, 0.37, 1 - 2**-53])
def test_nonsense_words_have_the_form_of_unknown_ones(first: float) -> None:
    assert re.fullmatch("[bdfgklmnprstvz][aeiou][bdfgklmnprstvz][aeiou][bdfgklmnprstvz]", nonsense(first, first))


def test_captions_are_a_function_of_scenes_and_seed() -> None:
    assert captions(SCENES, np.random.default_rng(0)).text == MADE.text
    assert captions(SCENES, np.random.default_rng(1)).text != MADE.text
