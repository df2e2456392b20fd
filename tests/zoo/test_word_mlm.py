"""word-mlm: labels and losses stand where the mask is, the library reads the same rows, and a training can go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from promptology.models.local.reading import Reader
from promptology.zoo.recipes import recipe, tasks, word_mlm
from promptology.zoo.recipes.building import save
from promptology.zoo.recipes.course import Course
from promptology.zoo.recipes.rendering import CUE
from promptology.zoo.recipes.word_mlm import BUCKETS, PLAIN, running, vocabulary
from promptology.zoo.recipes.zero_shot import accuracies, chance
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
    """Return the rows without padding."""
    return [ids[: mask.sum()].tolist() for ids, mask in zip(batch["ids"], batch["mask"], strict=True)]


def test_an_answer_is_wanted_at_the_mask_and_nowhere_else() -> None:
    batch = batch_of(small(running=0.0, rows=48))
    assert (batch["ids"].ravel()[batch["places"]] == vocabulary().mask_token_id).all()
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
    shown = small(running=0.0, plain=0.0, fewer=0.0, described=0.0, rows=40)
    found = tasks.drawn(np.random.default_rng(3), tasks.trained(classes=True), 40 * BUCKETS)
    batch = batch_of(shown, 3)
    expected = {}
    for task in found:
        (row,) = reader.encode_all([(("user", task.prompt + CUE),)])
        expected[tuple(reader.masked(row)[0])] = reader.label(f" {task.answer}")
    read = dict(zip(map(tuple, rows_of(batch)), batch["wanted"].tolist(), strict=True))
    assert len(read) == 40 and read.items() <= expected.items()


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


def test_a_row_of_running_text_weighs_a_share_of_a_task() -> None:
    batch = batch_of(small(rows=48, running=0.5))
    weights, row = batch["weights"], batch["places"] // batch["ids"].shape[1]
    each = np.bincount(row, weights)
    task = np.bincount(row, batch["tasks"]) > 0
    assert 0 < task.sum() < 48
    assert weights.sum() == pytest.approx(1.0, abs=1e-5)
    assert each[task] == pytest.approx(each[task][0], rel=1e-4)
    assert each[~task] == pytest.approx(word_mlm.WordMlm.spread * each[task][0], rel=1e-4)


def test_every_length_comes_to_its_turn() -> None:
    made = small(running=0.0)
    lengths = {batch_of(made, seed)["ids"].shape[1] for seed in range(12)}
    assert min(lengths) <= 24 and max(lengths) >= 64


@torch.no_grad()
def test_the_loss_is_the_models_own_at_the_wanted_places() -> None:
    made = small()
    torch.manual_seed(0)
    model, batch = made.model().eval(), {k: torch.from_numpy(v) for k, v in batch_of(made).items()}
    loss, right = made.loss(model, batch)
    logits = model(batch["ids"], batch["mask"]).logits.flatten(0, 1)[batch["places"]]
    chances = logits.log_softmax(1)[torch.arange(len(logits)), batch["wanted"]]
    assert float(loss) == pytest.approx(float(-(chances * batch["weights"]).sum()), rel=1e-5)
    judged = batch["tasks"].bool()
    assert float(right) == pytest.approx(float((logits.argmax(1) == batch["wanted"])[judged].float().mean()))
    # Padding changes nothing.
    longer = dict(batch)
    rows, length = batch["ids"].shape
    pad = torch.zeros(rows, 8, dtype=torch.int64)
    longer["ids"] = torch.cat([batch["ids"], pad + vocabulary().pad_token_id], 1)
    longer["mask"] = torch.cat([batch["mask"], pad], 1)
    longer["places"] = batch["places"] // length * (length + 8) + batch["places"] % length
    assert float(made.loss(model, longer)[0]) == pytest.approx(float(loss), rel=1e-4)


def test_plain_templates_hold_the_text_and_one_mask() -> None:
    assert all(template.count("{text}") == template.count("[MASK]") == 1 for template in PLAIN)
    texts = {vocabulary().decode(row) for row in rows_of(batch_of(small(running=0.0, plain=1.0, rows=48)))}
    assert not any("Classes:" in text for text in texts)
    assert any("it was about" in text for text in texts)


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


def test_the_ability_is_the_share_of_items_answered_rightly(tmp_path: Path) -> None:
    made = small()
    model = made.model()
    # A model that says the same whatever is asked is right for one class in so many.
    with torch.no_grad():
        for word in ("positive", "forest", "past"):
            (token,) = vocabulary()(f" {word}", add_special_tokens=False)["input_ids"]
            model.cls.predictions.bias[token] = 50.0
    save(made, model, tmp_path)
    kinds = [KINDS["habitat"], KINDS["sentiment"], KINDS["tense"]]
    expected = {"habitat": 1 / 4, "sentiment": 1 / 2, "tense": 1 / 3}
    assert accuracies(tmp_path, kinds, items=12) == pytest.approx(expected)
    assert accuracies(tmp_path, kinds, "held out", items=12)["habitat"] == pytest.approx(1 / 4)
    assert chance(kinds) == pytest.approx((1 / 4 + 1 / 2 + 1 / 3) / 3)
