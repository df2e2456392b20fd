import re

import numpy as np
import pytest
import torch

from promptology.prompts.learned import Learned, Readout, Text
from promptology.prompts.render import renderer
from promptology.zoo.recipes import word_instruct, zero_shot
from promptology.zoo.recipes.building import build
from promptology.zoo.recipes.rendering import CUE
from promptology.zoo.recipes.word_instruct import (
    LAST,
    POOL,
    WordInstruct,
    alike,
    conversation,
    padded,
    reader,
    request,
    rows_of,
)
from promptology.zoo.wordland.kind import for_evaluation
from promptology.zoo.wordland.kinds import HELD_OUT, HELD_OUT_CLASSIFICATION, KINDS, MAPPINGS, TRAINED

SMALL = {"steps": 20, "drawn": 24, "tokens": 400, "texts": 100, "width": 32, "layers": 1, "heads": 2}


def small():
    recipe = WordInstruct()
    for name, value in SMALL.items():
        setattr(recipe, name, value)
    return recipe


@pytest.fixture(scope="module")
def conversations():
    rng = np.random.default_rng(3)
    return [conversation(rng) for _ in range(4000)]


@pytest.mark.parametrize("name", ["topic", "sentiment", "inference", "map-city", "lookup"])
def test_requests_look_as_the_library_renders_them(name):
    kind, rng = KINDS[name], np.random.default_rng(1)
    signature = zero_shot.signature(kind, "")
    example = kind.draw(rng, 1)[0]
    made = {request(rng, kind, example)[0] for _ in range(600)}
    for wording in kind.wordings:
        learned = Learned((Text(wording), Readout("answer")), signature, {}, "manual")
        ((_, content),) = renderer(learned, signature)(example.inputs)
        assert content in made


def test_the_chat_template_gives_the_tokens_of_training():
    rng = np.random.default_rng(2)
    for text in (conversation(rng) for _ in range(100)):
        turns = re.findall(r"<\|(system|user|assistant)\|>(.*?)</s>", text, re.S)
        *asked, last = [{"role": role, "content": content} for role, content in turns]
        written = reader().apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        assert f"{written}{last['content']}</s>" == text
        # The library puts a blank before a class; there it must not matter.
        ids = reader()(f"{written} {last['content']}</s>", add_special_tokens=False)["input_ids"]
        assert ids == list(rows_of([text])[0].tokens)


def test_no_wording_and_no_kind_that_is_held_out_is_ever_shown(conversations):
    unseen = [w for k in KINDS.values() for w in (*k.held_out_wordings, *(k.wordings if k.held_out else ()))]
    for wording in unseen:
        assert not any(f">{wording}\n" in text or f">{wording}<" in text for text in conversations), wording
    for wording in (w for k in TRAINED for w in k.wordings):
        assert any(wording in text for text in conversations), wording


def test_names_of_held_out_classes_are_answers_only_as_words_of_a_row(conversations):
    names = [f"<|assistant|>{name}</s>" for kind in HELD_OUT_CLASSIFICATION for name in kind.class_names]
    for text in conversations:
        if any(name in text for name in names):
            assert any(wording in text for wording in KINDS["second"].wordings)


def test_no_input_for_evaluation_is_shown(conversations):
    wordings = {w for kind in MAPPINGS for w in kind.wordings}
    for text in conversations:
        for asked in re.findall(r"<\|user\|>(.*?)</s>", text, re.S):
            shown = asked.removesuffix(CUE).rpartition("\n\n")[2]
            if shown not in wordings:
                assert not for_evaluation(re.sub(r"^\w+: ", "", shown, flags=re.M))


def test_targets_are_what_the_assistant_says(conversations):
    for text, row in zip(conversations[:200], rows_of(conversations[:200]), strict=True):
        said = "".join(re.findall(r"<\|assistant\|>(.*?</s>)", text, re.S))
        assert reader().decode([row.tokens[n] for n in row.targets]) == said
        assert len(row.judged) == text.count("<|assistant|>")


def test_every_conversation_is_in_one_group_of_like_length():
    rng = np.random.default_rng(6)
    rows = rows_of([conversation(rng) for _ in range(96)])
    groups = alike(rows, 800)
    assert sorted(map(id, rows)) == sorted(id(row) for group in groups for row in group)
    assert all(len(group) == 1 or padded(group) * len(group) <= 800 for group in groups)
    filled = sum(len(row.tokens) for row in rows) / sum(padded(group) * len(group) for group in groups)
    assert filled > 0.75


def test_what_follows_is_answered_by_a_class_that_was_offered(conversations):
    for text in conversations:
        if offered := re.search(r"(?:Is it|Choose one:|What is it:) (\w+(?:, \w+)* or \w+)[?.]", text):
            names = re.split(r", | or ", offered[1])
            assert set(re.findall(r"<\|assistant\|>(.*?)</s>", text)) <= set(names)


def test_batches_follow_from_the_generator():
    recipe = small()
    one, two = (recipe.batch(np.random.default_rng([0, 5]), LAST) for _ in range(2))
    assert all(np.array_equal(one[name], two[name]) for name in one)
    judged = one["places"][one["judged"] > 0] // one["tokens"].shape[1]
    asked = len(set(judged.tolist()))
    assert set(judged.tolist()) == set(range(asked)) and asked < len(one["tokens"])
    assert one["tokens"][:asked].size <= SMALL["tokens"] and (one["tokens"][asked:] != reader().pad_token_id).all()
    assert set(one["weights"].tolist()) == {1.0, np.float32(recipe.text_weight)}


def test_both_tokens_of_a_word_start_an_equal_step_apart():
    torch.manual_seed(0)
    weight = small().model().get_input_embeddings().weight.detach()
    blank = reader().convert_tokens_to_ids(["Ġfox", "Ġparis", "Ġred"])
    plain = reader().convert_tokens_to_ids(["fox", "paris", "red"])
    steps = weight[plain] - weight[blank]
    assert torch.allclose(steps[1:], steps[:1].expand(2, -1), atol=1e-6) and steps.norm() > 0
    assert not torch.allclose(weight[blank][0], weight[blank][1], atol=1e-2)


def test_first_words_are_repeated_more_of_them_from_stage_to_stage():
    recipe, sizes = WordInstruct(), []
    for stage in range(LAST):
        made = recipe.batch(np.random.default_rng(stage), stage)
        row = next(row for row in made["tokens"] if reader().convert_tokens_to_ids("<|assistant|>") in row)
        text = reader().decode(row, skip_special_tokens=False)
        asked, said = re.search(r"\n\n(.*?)</s><\|assistant\|>(.*?)</s>", text).groups()
        assert asked == said
        sizes.append(len({int(t) for t in made["tokens"].ravel()[made["places"][made["judged"] > 0] + 1]}))
    assert sizes[0] <= 2 * POOL + 2 and sizes[-1] > 1.5 * sizes[0]
    assert [recipe.after(stage, accuracy) for stage, accuracy in ((0, 0.1), (0, 0.9), (LAST, 0.9))] == [0, 1, LAST]


def test_a_few_steps_lower_the_loss_and_a_folder_comes_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(zero_shot, "ITEMS", 4)
    monkeypatch.setattr(word_instruct, "WRITTEN", 4)
    monkeypatch.setattr("promptology.zoo.recipes.course.ROUND", 5)
    losses = []
    card = build(
        "word-instruct",
        tmp_path / "word-instruct",
        device="cpu",
        report=lambda at: losses.append(at["loss"]),
        **SMALL,
    )
    assert losses[-1] < losses[0] - 0.3
    found = card["ability"]
    assert set(card["bar"]) <= set(found)
    assert all(-1 <= value <= 1 for value in found.values())
    assert {kind.name for kind in (*TRAINED, *HELD_OUT)} <= set(found)
    gap = found["mappings"] - found["mappings, held-out wordings"]
    assert found["seen over held-out wordings"] == pytest.approx(gap)
