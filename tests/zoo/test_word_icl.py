"""word-icl: its sequences are the library's own rendering, its curriculum goes up, its course can be broken off."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from promptology.data.items import Item
from promptology.models.local.reading import Reader
from promptology.predict.likelihood import LabelLikelihood
from promptology.prompts.start import LIKELIHOOD
from promptology.run.handles import unmetered
from promptology.zoo.recipes import recipe, word_icl
from promptology.zoo.recipes.course import Course
from promptology.zoo.recipes.word_icl import STAGES, library_row, row, tables
from promptology.zoo.recipes.word_icl_ability import EACH, MAPPINGS, QUERIES, SEED, first, prompt
from promptology.zoo.wordland import mappings_in_context as world
from promptology.zoo.wordland.words import NOUNS, THEME_OF

LAST = len(STAGES) - 1


@pytest.fixture(scope="module")
def reader():
    return Reader(tables().reader, "causal", name="word-icl", chat=False, limit=word_icl.POSITIONS)


def small(**changes):
    made = recipe("word-icl")
    for name, value in {"width": 32, "layers": 1, "heads": 2, "size": 4, "steps": 50, **changes}.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize("seed", range(12))
def test_library_rows_are_the_librarys_prompt_and_choice_token_for_token(seed, reader):
    rng = np.random.default_rng(seed)
    mapping = world.draw(rng, classes=3)
    examples = [mapping.example(rng, int(n)) for n in rng.integers(3, size=9)]
    made = library_row(rng, examples)
    text = tables().reader.decode(made.tokens).removeprefix("<s>")
    used = examples[: text.count("Input:") + 1]
    instruction = next((line for line in word_icl.INSTRUCTIONS if text.startswith(line)), "")
    learned = prompt(mapping, used[:-1], instruction)
    if "Classes:" in text:
        # The order of the classes is the row's.
        order = [line.removeprefix("- ") for line in text.splitlines() if line.startswith("- ")]
        classes = tuple(c for name in order for c in learned.signature.classes if c.name == name)
        learned = replace(learned, signature=replace(learned.signature, classes=classes))
    asked = _request(learned, used[-1])
    expected = [*reader.encode_all([asked.messages])[0], *reader.continuation(asked.messages, asked.continuation)]
    if "Classes:" not in text:
        block = tables().reader("Classes:", add_special_tokens=False)["input_ids"]
        begin, end = _span(expected, block, tables().form)
        expected = expected[:begin] + expected[end:]
    assert list(made.tokens) == expected


def _request(learned, example):
    """Return the request for an example's right label, as readout label-likelihood asks it."""
    predictor = LabelLikelihood(learned, {"model": unmetered(_Scoring(), "model")}, learned.signature)
    requests = predictor.requests([Item("0", {"text": example.text})])
    return requests[learned.signature.class_names.index(example.label)]


class _Scoring:
    name = identity = "scoring"

    def score(self, prompts, choices):
        raise NotImplementedError


def _span(tokens, begin, end):
    """Return where a run of tokens begins and where the next run of others ends."""
    at = next(n for n in range(len(tokens)) if tokens[n : n + len(begin)] == begin)
    return at, next(n for n in range(at, len(tokens)) if tokens[n : n + len(end)] == end) + len(end)


def test_every_word_and_label_is_one_token_behind_a_blank_and_at_the_beginning_of_a_line():
    known = tables()
    for word in (*NOUNS, *world.LABELS):
        assert len(known.behind[word]) == len(known.first[word]) == 1
    assert known.of("horse copper") == known.text("horse copper", first=True)
    assert known.of(" horse copper") == known.text("horse copper")


@pytest.mark.parametrize(
    ("n", "form"), [(n, form) for n, stage in enumerate(STAGES) for form in dict.fromkeys(stage.forms)]
)
def test_targets_follow_from_what_stands_before(n, form):
    stage = STAGES[n]
    for seed in range(8):
        made = row(np.random.default_rng(seed), stage, form, stage.words[seed % len(stage.words)])
        assert set(made.judged) <= set(made.targets)
        assert len(made.tokens) <= word_icl.POSITIONS
        for at in made.targets:
            assert made.tokens[at] in made.tokens[:at]
        if form != "repeated":
            labels = {tables().behind[label][0] for label in world.LABELS}
            assert {made.tokens[at] for at in made.targets} <= labels


def test_no_row_holds_an_assignment_that_is_held_out():
    words = {tokens[0]: word for table in (tables().behind, tables().first) for word, tokens in table.items()}
    for n, stage in enumerate(STAGES):
        for seed in range(60):
            if stage.forms == ("repeated",) or 1 not in stage.words:
                continue
            made = row(np.random.default_rng([n, seed]), stage, "bare", 1)
            shown = [words[token] for token in made.tokens[1:]]
            pairs = zip(shown[::2], shown[1::2], strict=True)
            assert not any(world.held_out(THEME_OF[word], label) for word, label in pairs)


def test_the_curriculum_goes_up_by_accuracy_alone_and_one_stage_at_a_time():
    made = recipe("word-icl")
    for stage in range(len(STAGES)):
        reached = [made.after(stage, accuracy) for accuracy in np.linspace(0, 1, 21)]
        assert reached == sorted(reached)
        assert reached[0] == stage
        assert reached[-1] == min(stage + 1, LAST)
    pools = [stage.pool for stage in STAGES if stage.pool]
    assert pools == sorted(pools)
    assert pools[0] == 64
    assert pools[-1] == len(NOUNS)
    assert all(b <= np.ceil(a * word_icl.GROWTH) for a, b in pairwise(pools))
    assert "library" in STAGES[LAST].forms


def test_a_batch_depends_on_its_generator_and_stage_alone():
    made = small()
    for stage in (0, 3, LAST):
        a, b = (made.batch(np.random.default_rng([1, 2]), stage) for _ in range(2))
        assert a.keys() == b.keys()
        assert all(np.array_equal(a[name], b[name]) for name in a)


def test_a_word_starts_alike_behind_a_blank_and_at_the_beginning_of_a_line():
    weight = small().model().get_input_embeddings().weight
    known = tables()
    assert all(torch.equal(weight[known.first[w][0]], weight[known.behind[w][0]]) for w in NOUNS)


def test_heads_of_the_first_layer_start_with_a_look_at_one_distance_each():
    torch.manual_seed(0)
    made = small(width=128, heads=4).model()
    made.set_attn_implementation("eager")
    tokens = torch.randint(300, 2000, (4, 32), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        seen = made(tokens, output_attentions=True).attentions[0].mean(0)
    for head in range(4):
        back = [seen[head, at, at - head - 1].item() for at in range(8, 32)]
        assert np.mean(back) > 0.7


def test_training_goes_on_where_it_broke(tmp_path):
    whole = Course(small(), tmp_path / "whole", device="cpu").run()

    def stop(at):
        if at["step"] == 25:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Course(small(), tmp_path / "halved", device="cpu", report=stop).run()
    again = Course(small(), tmp_path / "halved", device="cpu").run()
    for (name, a), b in zip(whole.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_a_few_steps_lower_the_loss(tmp_path):
    seen = []
    Course(small(steps=100, rate=5e-3), tmp_path, device="cpu", report=seen.append).run()
    assert seen[-1]["loss"] < seen[0]["loss"] - 1


def test_demonstrations_of_fewer_shots_are_the_first_of_more():
    shown, _ = world.mapping(0).draw(0, 8, 0)
    four, two = first(shown, 4), first(shown, 2)
    assert len(four) == 8 and len(two) == 4
    assert [e for e in four if e in two] == two == first(four, 2)


def test_the_ability_is_measured_on_mappings_that_are_held_out():
    for seed in range(SEED, SEED + MAPPINGS):
        made = world.mapping(seed)
        assert all(world.held_out(t, label) for t, label in zip(made.themes, made.labels, strict=True))
    shown, queries = made.draw(SEED, EACH, QUERIES)
    assert not {e.text for e in shown} & {e.text for e in queries}
    assert LIKELIHOOD["cue"] == word_icl.CUE
    json.dumps(dict(recipe("word-icl").bars))
