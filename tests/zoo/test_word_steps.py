"""word-steps: prompts and answers are the library's, held-out problems stay out, a course goes on where it broke."""

import numpy as np
import pytest
import torch

from promptology.data.items import Field, Signature
from promptology.models.local.reading import Reader
from promptology.prompts.learned import Demonstrations, Example, Learned, Readout, Text
from promptology.prompts.parsing import parse_text
from promptology.prompts.render import messages
from promptology.prompts.start import LIKELIHOOD, default_instruction
from promptology.zoo.recipes import recipe, word_steps
from promptology.zoo.recipes.course import Course
from promptology.zoo.wordland import arithmetic


@pytest.fixture(scope="module")
def tokenizer():
    return recipe("word-steps").processors()[0]


def small(**changes):
    made = recipe("word-steps")
    for name, value in {"width": 32, "layers": 1, "heads": 2, "size": 8, "steps": 50, **changes}.items():
        setattr(made, name, value)
    return made


def test_a_row_is_the_librarys_prompt_with_an_answer_that_the_library_reads(tokenizer):
    reader = Reader(tokenizer, "causal", name="word-steps", chat=False, limit=word_steps.POSITIONS)
    rng = np.random.default_rng(0)
    shown, given = arithmetic.draw(rng, 2), arithmetic.draw(rng, 3)
    text, asked = arithmetic.told(rng, shown), arithmetic.told(rng, given)
    for form in arithmetic.FORMS:
        instruction = arithmetic.INSTRUCTIONS[form][0]
        examples = Demonstrations((Example({"text": text}, shown.written(form)),))
        learned = Learned(
            (Text(instruction), examples, Readout("answer")), Signature(), {"model": "generates"}, "manual"
        )
        prompt = messages(learned, {"text": asked}, Signature())
        made = word_steps.row(
            f"{instruction}\n\nInput: {text}\nOutput: {shown.written(form)}\n\n{asked}", f"\n{given.written(form)}"
        )
        tokens = reader.encode_all([prompt])[0]
        assert list(made.tokens[: len(tokens)]) == tokens
        assert made.targets[0] == len(tokens)
        answer = tokenizer.decode(made.tokens[len(tokens) : -1])
        assert parse_text(answer) == given.answer
        assert made.tokens[-1] == tokenizer.eos_token_id
        assert tokenizer.decode([made.tokens[made.judged[0]]]) == f" {given.answer}"


def test_the_cue_is_the_librarys(tokenizer):
    assert LIKELIHOOD["cue"] == word_steps.CUE
    rows = [word_steps._row(np.random.default_rng(seed), 0) for seed in range(60)]
    texts = [tokenizer.decode(made.tokens) for made in rows]
    cued = [text for text in texts if word_steps.CUE in text]
    assert 0 < len(cued) < len(texts)
    assert all(text.removesuffix("</s>")[-3:-1] == ": " for text in cued)


def test_the_default_instruction_of_the_library_asks_for_a_direct_answer():
    assert default_instruction(Signature((Field("text"),))) in arithmetic.INSTRUCTIONS["direct"]


def test_every_wording_falls_into_words(tokenizer):
    for text in arithmetic.texts():
        pieces = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert len(pieces) <= len(text.split()) + sum(text.count(sign) for sign in ".,:?\n")
        assert tokenizer.decode(pieces) == text


def test_training_rows_hold_no_problem_and_no_wording_that_is_held_out(tokenizer):
    held = [line for lines in arithmetic.HELD_OUT_INSTRUCTIONS.values() for line in lines]
    out = {
        arithmetic.problem(n, 2).worked.removesuffix("\n" + arithmetic.problem(n, 2).direct)
        for n in range(arithmetic.count(2))
        if arithmetic.held_out(n)
    }
    for seed in range(200):
        text = tokenizer.decode(word_steps._row(np.random.default_rng(seed), seed % 3).tokens)
        assert not any(line in text for line in held)
        for block in text.split("First")[1:]:
            lines = ("First" + block).split("\nAnswer")[0]
            assert lines.count("\n") > 1 or lines not in out


def test_a_batch_depends_on_its_generator_alone():
    for seed in range(4):
        a, b = (small().batch(np.random.default_rng(seed), 0) for _ in range(2))
        assert all(np.array_equal(a[name], b[name]) for name in a)
        assert (a["judged"].sum(1) == 1).all()


def test_training_goes_on_where_it_broke(tmp_path):
    whole = Course(small(), tmp_path / "whole", device="cpu").run()

    def stop(at):
        if at["step"] == 25:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Course(small(), tmp_path / "halved", device="cpu", report=stop).run()
    again = Course(small(), tmp_path / "halved", device="cpu").run()
    for (name, a), b in zip(whole.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(a, b[1]), name


def test_a_few_steps_lower_the_loss(tmp_path):
    seen = []
    Course(small(steps=100, rate=5e-3), tmp_path, device="cpu", report=seen.append).run()
    assert seen[-1]["loss"] < seen[0]["loss"] - 2
