"""word-mlm: labels and losses stand where the mask is, the library reads the same rows, and a training can go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from promptology.models.local.reading import Reader
from promptology.zoo.recipes import recipe, tasks, word_mlm
from promptology.zoo.recipes.course import Course
from promptology.zoo.recipes.rendering import CUE
from promptology.zoo.recipes.word_mlm import GROUPS, PLAIN, running, vocabulary
from promptology.zoo.wordland.kinds import KINDS
from promptology.zoo.wordland.passages import unlabelled


def small(**changes: Any) -> Any:
    made = recipe("word-mlm")
    for name, value in {"width": 16, "layers": 1, "heads": 2, "rows": 12, "steps": 50, **changes}.items():
        setattr(made, name, value)
    return made


def batch_of(made: Any, seed: int = 0) -> dict[str, np.ndarray]:
    return dict(made.batch(np.random.default_rng(seed), 0))


def rows_of(batch: dict[str, np.ndarray]) -> list[list[int]]:
    """Return the rows of all groups without padding."""
    pairs = [pair for n in range(GROUPS) for pair in zip(batch[f"ids{n}"], batch[f"mask{n}"], strict=True)]
    return [ids[: mask.sum()].tolist() for ids, mask in pairs]


def test_an_answer_is_wanted_at_the_mask_and_nowhere_else() -> None:
    batch = batch_of(small(running=0.0, rows=48))
    at = np.concatenate([batch[f"ids{n}"].ravel()[batch[f"places{n}"]] for n in range(GROUPS)])
    assert (at == vocabulary().mask_token_id).all()
    assert len(batch["wanted"]) == 48 == sum(row.count(vocabulary().mask_token_id) for row in rows_of(batch))
    names = {name for kind in tasks.trained(classes=True) for name in kind.class_names}
    assert {vocabulary().decode([token]).strip() for token in batch["wanted"]} <= names


def test_running_text_wants_the_tokens_that_were_there() -> None:
    made, texts = vocabulary(), unlabelled(np.random.default_rng(5), 60)
    rows = running(np.random.default_rng(5), 60)
    told = []
    for text, row in zip(texts, rows, strict=True):
        before = made(text, truncation=True)["input_ids"]
        after = list(row.ids)
        assert [before[at] for at in row.places] == row.wanted
        told += [(before[at], after[at]) for at in row.places]
        for at, token in zip(row.places, row.wanted, strict=True):
            after[at] = token
        assert after == before
        assert len(row.places) == max(1, round(word_mlm.MASKED * (len(before) - 2)))
    hidden = np.mean([now == made.mask_token_id for _, now in told])
    kept = np.mean([now == then for then, now in told])
    assert hidden == pytest.approx(0.8, abs=0.08) and kept == pytest.approx(0.1, abs=0.06)
    assert not {now for _, now in told} & ({*made.all_special_ids} - {made.mask_token_id})


def test_the_library_reads_a_task_as_training_shows_it() -> None:
    reader = Reader(vocabulary(), "masked", name="word-mlm", chat=False, limit=word_mlm.POSITIONS)
    shown = small(running=0.0, plain=0.0, fewer=0.0, rows=40)
    found = tasks.drawn(np.random.default_rng(3), tasks.trained(classes=True), 40)
    batch = batch_of(shown, 3)
    expected = {}
    for task in found:
        (row,) = reader.encode_all([(("user", task.prompt + CUE),)])
        expected[tuple(reader.masked(row)[0])] = reader.label(f" {task.answer}")
    read = dict(zip(map(tuple, rows_of(batch)), batch["wanted"].tolist(), strict=True))
    assert read == expected


def test_rows_hold_no_held_out_kind_and_no_held_out_wording() -> None:
    kept_back = [wording for kind in KINDS.values() for wording in kind.held_out_wordings]
    kept_back += [wording for kind in tasks.held_out() for wording in kind.wordings]
    made, instructions = small(running=0.0, plain=0.0, rows=96), 0
    allowed = tuple(wording for kind in tasks.trained(classes=True) for wording in kind.wordings)
    for seed in range(4):
        for row in rows_of(batch_of(made, seed)):
            text = vocabulary().decode(row).removeprefix("[CLS]")
            assert text.startswith(allowed)
            instructions += any(text.startswith(f"{wording}\n") for wording in kept_back)
    assert not instructions


def test_weights_balance_tasks_and_running_text() -> None:
    batch = batch_of(small(rows=32))
    tasks_, weights = batch["tasks"].astype(bool), batch["weights"]
    assert tasks_.sum() == 24
    assert weights[tasks_].sum() == pytest.approx(1.0, abs=1e-5)
    assert weights[~tasks_].sum() == pytest.approx(word_mlm.WordMlm.spread, abs=1e-5)


@torch.no_grad()
def test_the_loss_is_the_models_own_at_the_wanted_places() -> None:
    made = small()
    torch.manual_seed(0)
    model, batch = made.model().eval(), {k: torch.from_numpy(v) for k, v in batch_of(made).items()}
    loss, right = made.loss(model, batch)
    logits = torch.cat(
        [
            model(input_ids=batch[f"ids{n}"], attention_mask=batch[f"mask{n}"]).logits.flatten(0, 1)[
                batch[f"places{n}"]
            ]
            for n in range(GROUPS)
        ]
    )
    chances = logits.log_softmax(1)[torch.arange(len(logits)), batch["wanted"]]
    assert float(loss) == pytest.approx(float(-(chances * batch["weights"]).sum()), rel=1e-5)
    judged = batch["tasks"].bool()
    assert float(right) == pytest.approx(float((logits.argmax(1) == batch["wanted"])[judged].float().mean()))
    # Padding changes nothing.
    longer = dict(batch)
    rows, length = batch["ids0"].shape
    pad = torch.zeros(rows, 8, dtype=torch.int64)
    longer["ids0"] = torch.cat([batch["ids0"], pad + vocabulary().pad_token_id], 1)
    longer["mask0"] = torch.cat([batch["mask0"], pad], 1)
    longer["places0"] = batch["places0"] // length * (length + 8) + batch["places0"] % length
    assert float(made.loss(model, longer)[0]) == pytest.approx(float(loss), rel=1e-4)


def test_plain_templates_hold_the_text_and_one_mask() -> None:
    assert all(template.count("{text}") == template.count("[MASK]") == 1 for template in PLAIN)
    texts = {vocabulary().decode(row) for row in rows_of(batch_of(small(running=0.0, plain=1.0, rows=48)))}
    assert not any("Classes:" in text for text in texts)
    assert any("it was about" in text for text in texts)


def test_a_training_learns_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    seen: list[dict[str, float]] = []
    whole = Course(small(rate=1e-2), tmp_path / "whole", device="cpu", report=seen.append)
    model = whole.run()
    guessing = (1 + word_mlm.WordMlm.spread) * np.log(len(vocabulary()))
    assert seen[-1]["loss"] < 0.75 * guessing

    def stop(_: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Course(small(rate=1e-2), tmp_path / "parts", device="cpu", report=stop).run()
    again = Course(small(rate=1e-2), tmp_path / "parts", device="cpu")
    other = again.run()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
