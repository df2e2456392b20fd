"""What training shows a model is what the library shows it, and nothing that is held out."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptology.data.items import ClassLabel, Field, Signature
from promptology.prompts.learned import Learned, Readout, Text
from promptology.prompts.render import messages
from promptology.prompts.start import LIKELIHOOD
from promptology.zoo.recipes import tasks
from promptology.zoo.recipes.rendering import CUE, rendered
from promptology.zoo.recipes.vocabulary import tokenizer
from promptology.zoo.wordland.kind import for_evaluation
from promptology.zoo.wordland.kinds import KINDS

LINES = st.text(st.characters(exclude_characters="{}", exclude_categories=["Cs"]), min_size=1, max_size=30)
NAMES = st.lists(st.sampled_from(["sports", "music", "law", "Art", "outer space"]), min_size=2, unique=True)


def by_library(instruction: str, inputs: dict[str, str], classes: list[str]) -> str:
    fields = tuple(Field(name) for name in inputs)
    labels = tuple(ClassLabel(name) for name in classes)
    signature = Signature(fields, "class" if classes else "text", labels, instruction)
    ((role, content),) = messages(Learned((Text(instruction), Readout("answer")), signature, {}), inputs, signature)
    assert role == "user"
    return content


def key(fields: tuple[str, ...], text: str) -> str:
    lines = text.split("\n") if len(fields) > 1 else [f"{fields[0]}: {text}"]
    return "\n".join(line.removeprefix(f"{field}: ") for field, line in zip(fields, lines, strict=True))


@given(instruction=LINES, text=LINES, classes=NAMES | st.just([]))
def test_a_text_is_rendered_as_the_library_renders_it(instruction: str, text: str, classes: list[str]) -> None:
    expected = by_library(instruction, {"text": text}, classes)
    assert rendered(instruction, text, classes) == rendered(instruction, {"text": text}, classes) == expected


@given(instruction=LINES, one=LINES, two=LINES, classes=NAMES | st.just([]))
def test_fields_are_rendered_as_the_library_renders_them(
    instruction: str, one: str, two: str, classes: list[str]
) -> None:
    inputs = {"premise": one, "hypothesis": two}
    assert rendered(instruction, inputs, classes) == by_library(instruction, inputs, classes)


def test_descriptions_are_rendered_as_the_library_renders_them() -> None:
    said = {"sports": "Games and matches.", "music": "", "law": "Courts."}
    labels = tuple(ClassLabel(name, text) for name, text in said.items())
    signature = Signature((Field("text"),), "class", labels, "Which class?")
    learned = Learned((Text("Which class?"), Readout("answer")), signature, {})
    ((_, content),) = messages(learned, {"text": "a river."}, signature)
    assert rendered("Which class?", "a river.", said) == content


def test_an_instruction_that_names_every_class_needs_no_list() -> None:
    named = rendered("Is it Sports or music?", "a river.", ["sports", "music"])
    assert named == "Is it Sports or music?\n\na river."
    listed = rendered("Is it sports?", "a river.", ["sports", "music"])
    assert listed == (
        "Is it sports?\n\nClasses:\n- sports\n- music\n\nAnswer with the name of one class only.\n\na river."
    )


def test_the_cue_is_the_librarys() -> None:
    assert LIKELIHOOD["cue"] == CUE


def test_drawn_tasks_are_of_trained_kinds_seen_wordings_and_the_part_for_pre_training() -> None:
    allowed = {
        kind.name: {rendered(wording, "", kind.class_names) for wording in kind.wordings} for kind in tasks.trained()
    }
    kept_back = [wording for kind in KINDS.values() for wording in kind.held_out_wordings]
    found = tasks.drawn(np.random.default_rng(0), tasks.trained(), 400)
    assert {task.kind for task in found} == set(allowed)
    for task in found:
        assert task.prompt.removesuffix(f"\n\n{task.text}") in allowed[task.kind]
        assert not any(task.prompt.startswith(wording) for wording in kept_back)
        assert not for_evaluation(key(KINDS[task.kind].fields, task.text))
        assert task.answer in task.options


@pytest.mark.parametrize("classes", [False, True])
def test_kinds_are_trained_or_held_out_and_share_a_batch_evenly(classes: bool) -> None:
    trained, held_out = tasks.trained(classes=classes), tasks.held_out(classes=classes)
    every = [kind.name for kind in KINDS.values() if kind.classes or not classes]
    assert sorted(kind.name for kind in (*trained, *held_out)) == sorted(every)
    counts = Counter(task.kind for task in tasks.drawn(np.random.default_rng(1), trained, 2 * len(trained) + 3))
    assert sorted(counts.values()) == [2] * (len(trained) - 3) + [3] * 3


def test_fewer_classes_hold_the_answer_and_come_in_any_order() -> None:
    topic = KINDS["topic"]
    found = tasks.drawn(np.random.default_rng(2), [topic], 60, fewer=1.0)
    assert all(task.answer in task.options and set(task.options) <= set(topic.class_names) for task in found)
    assert {len(task.options) for task in found} >= {2, 5, 10}
    assert any(list(task.options) != sorted(task.options) for task in found)


def test_few_classes_may_be_described() -> None:
    kinds = tasks.trained(classes=True)
    found = tasks.drawn(np.random.default_rng(2), kinds, 300, described=1.0)
    for task in found:
        said = {one.name: one.description for one in KINDS[task.kind].classes}
        listed = "Classes:\n" in task.prompt
        assert all((f"- {name}: {said[name]}" in task.prompt) is (listed and len(said) <= 8) for name in said)
    assert {task.kind for task in found if ": " in task.prompt} >= {"question", "sentiment"}


def test_every_word_of_wordland_is_known() -> None:
    made = tokenizer(tasks.words_known(), "causal", positions=8)
    rng = np.random.default_rng(3)
    for kind in KINDS.values():
        for example in kind.draw(rng, 40, evaluation=True):
            for option in (*example.options, example.answer):
                assert len(made(f" {option}", add_special_tokens=False)["input_ids"]) == len(option.split()), option
            text = " ".join(example.inputs.values())
            unknown = [w for w in text.split() if w.isalpha() and len(made(f" {w}")["input_ids"]) != 2]
            assert not unknown, kind.name
