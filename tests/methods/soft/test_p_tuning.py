"""P-tuning: what is saved is what the prompt encoder makes of the pseudo tokens."""

from __future__ import annotations

import numpy as np
import pytest
import separable
import torch
from separable import Seen, fit, found_by, part

from promptology.errors import UsageError
from promptology.injection import attach
from promptology.prompts.injected import injected_of


@pytest.mark.parametrize("encoder", ["lstm", "mlp"])
@pytest.mark.parametrize("kind", ["gpt2", "t5", "encoder"])
def test_what_is_saved_gives_what_the_live_encoder_gives(kind, encoder, monkeypatch):
    seen = Seen(monkeypatch)
    learned = found_by(kind, "p-tuning", steps=3, encoder=encoder)
    goal, batch = seen.goal, [0, 1, 2, 3]
    with torch.no_grad():
        with attach(goal.body.model, seen.fillings()):
            live = float(goal.loss(batch))
        with attach(goal.body.model, injected_of(learned).fillings):
            baked = float(goal.loss(batch))
        bare = float(goal.loss(batch))
    assert live == baked != bare
    assert [p.kind for p in learned.parts if hasattr(p, "site")] == ["tensors"]


def test_pseudo_tokens_and_encoder_all_move(monkeypatch):
    seen = Seen(monkeypatch)
    found_by("gpt2", "p-tuning", steps=2)
    assert all(not torch.equal(p, seen.start[n]) for n, p in seen.parameters.items())
    assert {"e", "lstm.weight_hh_l1_reverse", "mlp.2.weight"} <= set(seen.parameters)


@pytest.mark.parametrize("kind", ["gpt2", "t5"])
def test_it_starts_as_long_as_the_model_s_own_embeddings(kind):
    learned = found_by(kind, "p-tuning", steps=0, hidden=8)
    rows = part(learned, "encoder.input" if kind == "t5" else "input")
    assert np.linalg.norm(rows, axis=1).mean() == pytest.approx(separable.model(kind).frozen().norm, rel=1e-4)


def test_tokens_know_of_each_other_through_the_lstm_alone(monkeypatch):
    for encoder, apart in (("lstm", False), ("mlp", True)):
        seen = Seen(monkeypatch)
        found_by("gpt2", "p-tuning", steps=0, encoder=encoder)
        with torch.no_grad():
            before = seen.fillings()[0].filler.clone()
            seen.parameters["e"][0] += 1.0
            after = seen.fillings()[0].filler
        assert torch.equal(before[1:], after[1:]) is apart
        assert not torch.equal(before[0], after[0])


def test_an_unknown_encoder_is_refused():
    with pytest.raises(UsageError, match="unknown prompt encoder 'gru'; there are lstm, mlp"):
        fit("gpt2", "p-tuning", encoder="gru")
