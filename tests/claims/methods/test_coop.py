"""The arms of CoOp's claim: their settings are the entry's. The verdict is measured."""

from __future__ import annotations

from promptology.claims.announced import entries
from promptology.claims.methods import coop
from promptology.methods.vision.coop import CoOp
from promptology.zoo.toyland.lists import BACKGROUNDS, COLOURS, SHADES, SHAPES, STYLES, TEXTURES


def test_every_arm_has_the_settings_of_the_entry():
    (entry,) = (entry for entry in entries() if entry.method == "coop")
    assert set(entry.arms) == {"coop", "zero_shot", "ensemble", "untrained"}
    trained = coop.method_of("coop", 0.01)
    assert trained == CoOp(length=4, phrase="a photo of a", position="end", rate=0.01, epochs=50.0, batch=32)
    assert (trained.views, trained.optimizer, trained.decay, trained.checks) == (0, "sgd", 5e-4, 0)
    untrained = coop.method_of("untrained", 0.01)
    assert (untrained.length, untrained.phrase, untrained.epochs) == (4, "", 0)
    assert coop.method_of("zero_shot", 0.0).templates == "a photo of a {}."
    assert 16 * coop.LONG.shots * coop.LONG.epochs / coop.LONG.batch == 400


def test_the_ensemble_names_the_class_once_and_nothing_else():
    templates = coop.method_of("ensemble", 0.0).templates
    attributes = {*COLOURS, *SHADES, *SHAPES, *STYLES, *TEXTURES, *BACKGROUNDS, "small", "large"}
    assert len({*templates}) == len(templates) > 100 and "a photo of a {}." in templates
    for template in templates:
        words = {word.strip(".,:!") for word in template.replace("{}", "").split()}
        assert template.count("{}") == 1 and not words & attributes, template
