"""word-t5: spans come back whole, answers stand where the library puts them, and a training can go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from promptology.models.local.reading import Reader
from promptology.zoo.recipes import recipe, tasks, word_t5
from promptology.zoo.recipes.building import save
from promptology.zoo.recipes.course import Course
from promptology.zoo.recipes.rendering import CUE, rendered
from promptology.zoo.recipes.word_t5 import BUCKETS, IGNORED, LAST, SENTINELS, corrupted, vocabulary
from promptology.zoo.recipes.zero_shot import SEED, accuracies
from promptology.zoo.wordland.kinds import KINDS

PLAIN = {"running": 0.0, "fewer": 0.0, "described": 0.0, "repeating": 0.0, "unlisted": 0.0}


def small(**changes: Any) -> Any:
    made = recipe("word-t5")
    for name, value in {"width": 16, "inner": 32, "layers": 1, "heads": 2, "rows": 16, "steps": 50, **changes}.items():
        setattr(made, name, value)
    return made


def batch_of(made: Any, seed: int = 0, stage: int = LAST) -> dict[str, np.ndarray]:
    return dict(made.batch(np.random.default_rng(seed), stage))


def answered(batch: dict[str, np.ndarray]) -> dict[tuple[int, ...], tuple[int, ...]]:
    """Return the rows of tasks without padding, and what is wanted of each."""
    found = {}
    for ids, mask, wanted, task in zip(*(batch[k] for k in ("ids", "mask", "wanted", "tasks")), strict=True):
        if task.any():
            found[tuple(ids[: mask.sum()].tolist())] = tuple(wanted[wanted != IGNORED].tolist())
    return found


@given(size=st.integers(2, 90), seed=st.integers(0, 2**32))
@settings(deadline=None)
def test_spans_and_what_is_left_make_the_text(size: int, seed: int) -> None:
    marks = vocabulary().convert_tokens_to_ids([f"<extra_id_{n}>" for n in range(SENTINELS)])
    end = vocabulary().eos_token_id
    ids = list(range(1000, 1000 + size))
    row = corrupted(np.random.default_rng(seed), ids)
    assert row.ids[-1] == row.wanted[-1] == end
    spans: dict[int, list[int]] = {}
    for token in row.wanted[:-1]:
        if token in marks:
            spans[token] = []
        else:
            spans[list(spans)[-1]].append(token)
    assert list(spans) == [token for token in row.ids if token in marks] == marks[: len(spans)]
    assert all(spans.values()), "no span is empty"
    assert [back for token in row.ids[:-1] for back in spans.get(token, [token])] == ids
    assert sum(map(len, spans.values())) == max(1, min(round(word_t5.HIDDEN * size), size - 1))
    assert row.ids[0] == ids[0]
    assert not any(a in marks and b in marks for a, b in zip(row.ids, row.ids[1:], strict=False))


@pytest.mark.parametrize("cue", [CUE, ""])
def test_the_library_reads_a_task_and_its_answer_as_training_shows_them(cue: str) -> None:
    reader = Reader(vocabulary(), "seq2seq", name="word-t5", chat=False, limit=word_t5.POSITIONS)
    found = tasks.drawn(np.random.default_rng(4), tasks.trained(), 60 * BUCKETS)
    batch = batch_of(small(**PLAIN, bare=0.0 if cue else 1.0, rows=60), 4)
    expected = {}
    for task in found:
        message = (("user", task.prompt + cue),)
        (ids,) = reader.encode_all([message])
        expected[tuple(ids)] = tuple(reader.continuation(message, f" {task.answer}", end=True))
        assert list(expected[tuple(ids)]) == reader.continuation(message, task.answer, end=True)
    read = answered(batch)
    assert len(read) == 60 and read.items() <= expected.items()


def test_the_decoder_is_given_what_stands_before_each_wanted_token() -> None:
    batch = batch_of(small(rows=32))
    before, wanted, end = batch["given"], batch["wanted"], vocabulary().eos_token_id
    assert (before[:, 0] == vocabulary().pad_token_id).all()
    assert (before[:, 1:] == wanted[:, :-1])[wanted[:, 1:] != IGNORED].all()
    assert {int(row[row != IGNORED][-1]) for row in wanted} == {end}
    judged = batch["tasks"].astype(bool)
    assert not (judged & ((wanted == IGNORED) | (wanted == end))).any()
    weights, task = batch["weights"], judged.any(axis=1)
    assert 0 < task.sum() < 32
    assert weights.sum() == pytest.approx(1.0, abs=1e-5)
    assert weights[~task] == pytest.approx(word_t5.WordT5.spread * weights[task][0], rel=1e-5)


def test_first_words_are_repeated_more_of_them_from_stage_to_stage() -> None:
    made, sizes = small(running=0.0, rows=96), []
    for stage in range(LAST):
        words: set[str] = set()
        for ids, wanted in answered(batch_of(made, stage=stage)).items():
            said = vocabulary().decode(wanted, skip_special_tokens=True)
            text = vocabulary().decode(ids, skip_special_tokens=True)
            assert text.removesuffix(CUE).partition("\n\n")[2] == said
            words.update(said.split())
        sizes.append(len(words))
    assert sizes == sorted(sizes) and sizes[0] <= word_t5.POOL
    assert [made.after(stage, right) for stage, right in ((0, 0.1), (0, 0.9), (LAST, 0.9))] == [0, 1, LAST]


def test_rows_hold_no_held_out_kind_and_no_held_out_wording() -> None:
    kept_back = [wording for kind in KINDS.values() for wording in kind.held_out_wordings]
    kept_back += [wording for kind in tasks.held_out() for wording in kind.wordings]
    allowed = tuple(wording for kind in tasks.trained() for wording in kind.wordings)
    for seed in range(4):
        for row in answered(batch_of(small(running=0.0, repeating=0.0, rows=96), seed)):
            text = vocabulary().decode(row)
            assert text.startswith(allowed)
            assert not any(text.startswith(f"{wording}\n") for wording in kept_back)


@torch.no_grad()
def test_attention_and_logits_start_as_in_models_that_scale_them() -> None:
    torch.manual_seed(0)
    made = recipe("word-t5")
    model = made.model().eval()
    batch = {k: torch.from_numpy(v) for k, v in batch_of(made).items()}
    logits = model(input_ids=batch["ids"], attention_mask=batch["mask"], labels=batch["wanted"]).logits
    assert float(logits.std()) == pytest.approx(made.deviation * made.width**0.5, rel=0.1)
    layer = model.encoder.block[0].layer[0]
    normed = layer.layer_norm(model.shared(batch["ids"][0]))
    queries, keys = (
        part(normed).view(-1, made.heads, 32).transpose(0, 1) for part in (layer.SelfAttention.q, layer.SelfAttention.k)
    )
    plain = made.deviation**2 * made.width  # deviation of scaled products, for states of size 1
    assert float((queries @ keys.transpose(1, 2)).std()) == pytest.approx(plain, rel=0.25)


@torch.no_grad()
def test_the_loss_is_the_models_own() -> None:
    made = small(spread=0.5)
    torch.manual_seed(0)
    model, batch = made.model().eval(), {k: torch.from_numpy(v) for k, v in batch_of(made).items()}
    loss, right = made.loss(model, batch)
    wanted = batch["wanted"]
    logits = model(input_ids=batch["ids"], attention_mask=batch["mask"], labels=wanted).logits
    each = [
        -row.log_softmax(1)[torch.arange(int((said != IGNORED).sum())), said[said != IGNORED]].mean()
        for row, said in zip(logits, wanted, strict=True)
    ]
    assert float(loss) == pytest.approx(float((torch.stack(each) * batch["weights"]).sum()), rel=1e-5)
    judged = batch["tasks"].bool()
    assert float(right) == pytest.approx(float((logits.argmax(2) == wanted)[judged].float().mean()))


def test_tasks_that_are_unlisted_say_nothing_of_their_classes() -> None:
    made = tasks.drawn(np.random.default_rng(0), [KINDS["topic"]], 200, unlisted=0.5)
    listed = [task for task in made if "Classes:" in task.prompt]
    assert 60 < len(listed) < 140
    assert all(task.options == KINDS["topic"].class_names for task in made)


def test_a_training_learns_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    seen: list[dict[str, float]] = []
    whole = Course(small(rate=2e-2, rows=8, steps=30), tmp_path / "whole", device="cpu", report=seen.append)
    model = whole.run()
    assert seen[-1]["loss"] < 0.75 * np.log(len(vocabulary())), "better than guessing"

    def stop(_: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Course(small(rate=2e-2, rows=8, steps=30), tmp_path / "parts", device="cpu", report=stop).run()
    again = Course(small(rate=2e-2, rows=8, steps=30), tmp_path / "parts", device="cpu")
    other = again.run()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_the_ability_compares_the_options_of_each_item(tmp_path: Path) -> None:
    made = small()
    model = made.model()
    save(made, model, tmp_path)
    kind = KINDS["extraction"]
    by_scores = accuracies(tmp_path, [kind], items=16)["extraction"]
    rng = np.random.default_rng([SEED, sum(kind.name.encode())])
    right = []
    for n, example in enumerate(kind.draw(rng, 16, evaluation=True)):
        wording = kind.wordings[n % len(kind.wordings)]
        asked = vocabulary()(rendered(wording, example.inputs) + CUE, return_tensors="pt")
        with torch.no_grad():
            logits = model.float()(**asked, decoder_input_ids=torch.zeros(1, 1, dtype=torch.int64)).logits[0, 0]
        tokens = vocabulary()(list(example.options), add_special_tokens=False)["input_ids"]
        right.append(example.options[int(logits[[token for (token,) in tokens]].argmax())] == example.answer)
    assert by_scores == pytest.approx(np.mean(right))
    assert 0 <= accuracies(tmp_path, [kind], items=4, readout="answer")["extraction"] <= 1
