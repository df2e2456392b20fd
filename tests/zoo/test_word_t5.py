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
from promptology.zoo.recipes.course import Course
from promptology.zoo.recipes.rendering import CUE
from promptology.zoo.recipes.word_t5 import GROUPS, IGNORED, SENTINELS, corrupted, vocabulary
from promptology.zoo.wordland.kinds import KINDS


def small(**changes: Any) -> Any:
    made = recipe("word-t5")
    for name, value in {"width": 16, "inner": 32, "layers": 1, "heads": 2, "rows": 16, "steps": 50, **changes}.items():
        setattr(made, name, value)
    return made


def batch_of(made: Any, seed: int = 0) -> dict[str, np.ndarray]:
    return dict(made.batch(np.random.default_rng(seed), 0))


def answered(batch: dict[str, np.ndarray]) -> dict[tuple[int, ...], tuple[int, ...]]:
    """Return the rows of tasks without padding, and what is wanted of each."""
    found = {}
    for n in range(1, GROUPS):
        for ids, mask, wanted in zip(batch[f"ids{n}"], batch[f"mask{n}"], batch[f"wanted{n}"], strict=True):
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
    found = tasks.drawn(np.random.default_rng(4), tasks.trained(), 60)
    batch = batch_of(small(running=0.0, fewer=0.0, bare=0.0 if cue else 1.0, rows=60), 4)
    expected = {}
    for task in found:
        message = (("user", task.prompt + cue),)
        (ids,) = reader.encode_all([message])
        expected[tuple(ids)] = tuple(reader.continuation(message, f" {task.answer}", end=True))
        assert list(expected[tuple(ids)]) == reader.continuation(message, task.answer, end=True)
    assert answered(batch) == expected


def test_the_decoder_is_given_what_stands_before_each_wanted_token() -> None:
    batch, pad = batch_of(small(rows=32)), vocabulary().pad_token_id
    for n in range(GROUPS):
        given_, wanted = batch[f"given{n}"], batch[f"wanted{n}"]
        assert (given_[:, 0] == pad).all()
        assert (given_[:, 1:] == np.where(wanted[:, :-1] == IGNORED, pad, wanted[:, :-1]))[
            wanted[:, 1:] != IGNORED
        ].all()
        ends = [row[row != IGNORED][-1] for row in wanted]
        assert set(ends) == {vocabulary().eos_token_id}
    assert [len(batch[f"ids{n}"]) for n in range(GROUPS)] == [8, 8, 8, 8]


def test_rows_hold_no_held_out_kind_and_no_held_out_wording() -> None:
    kept_back = [wording for kind in KINDS.values() for wording in kind.held_out_wordings]
    kept_back += [wording for kind in tasks.held_out() for wording in kind.wordings]
    allowed = tuple(wording for kind in tasks.trained() for wording in kind.wordings)
    for seed in range(4):
        for row in answered(batch_of(small(running=0.0, rows=96), seed)):
            text = vocabulary().decode(row)
            assert text.startswith(allowed)
            assert not any(text.startswith(f"{wording}\n") for wording in kept_back)


@torch.no_grad()
def test_the_loss_is_the_models_own() -> None:
    made = small(spread=0.5)
    torch.manual_seed(0)
    model, batch = made.model().eval(), {k: torch.from_numpy(v) for k, v in batch_of(made).items()}
    loss, right = made.loss(model, batch)
    own, hits = [], []
    for n in range(GROUPS):
        out = model(input_ids=batch[f"ids{n}"], attention_mask=batch[f"mask{n}"], labels=batch[f"wanted{n}"])
        own.append(float(out.loss))
        hits += [
            bool((row.argmax(1) == wanted)[wanted != IGNORED].all())
            for row, wanted in zip(out.logits, batch[f"wanted{n}"], strict=True)
            if n
        ]
    assert float(loss) == pytest.approx(np.mean(own[1:]) + 0.5 * own[0], rel=1e-5)
    assert float(right) == pytest.approx(np.mean(hits))


def test_a_training_learns_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    seen: list[dict[str, float]] = []
    whole = Course(small(rate=1e-2), tmp_path / "whole", device="cpu", report=seen.append)
    model = whole.run()
    guessing = (1 + word_t5.WordT5.spread) * np.log(len(vocabulary()))
    assert seen[-1]["loss"] < 0.75 * guessing

    def stop(_: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Course(small(rate=1e-2), tmp_path / "parts", device="cpu", report=stop).run()
    again = Course(small(rate=1e-2), tmp_path / "parts", device="cpu")
    other = again.run()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
