"""DSP's claims are measured as their entries describe them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from promptology.claims.announced import entries
from promptology.claims.measuring import measurements
from promptology.claims.methods import dsp
from promptology.models.simulated.articles import ArticleWorld

BY_ID = {entry.id: entry for entry in entries() if entry.method == "dsp"}
FEW = {"train": 16, "validation": 8, "test": 8}
SHORT = {"imitation_rate": 1e-3, "batch": 8, "iterations": 1, "texts": 8, "epochs": 1}


class Bench:
    """Chooses what is first in a grid."""

    def once(self, name, make):
        return {"imitation": dsp.IMITATION, "reinforcement": dsp.REINFORCEMENT}[name.split()[-1]][0]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(dsp, "SIZES", FEW)
    monkeypatch.setattr(dsp.task_of, "__defaults__", (FEW,))
    monkeypatch.setattr(dsp, "COURSE", {**dsp.COURSE, **SHORT})


def test_every_entry_is_measured_with_its_arms():
    assert {id for id in measurements() if id.startswith("dsp-")} == set(BY_ID)
    assert set(dsp.hints(0, Bench())) == set(BY_ID["dsp-hints"].arms)
    found = dsp.leash(0, Bench())
    assert set(found) == set(BY_ID["dsp-leash"].arms)
    assert all(set(values) == {"kl", "distinct"} for values in found.values())


def test_the_articles_are_those_of_the_entry():
    task = dsp.task_of(1, {"train": 400, "validation": 2, "test": 2})
    same = []
    for n, item in enumerate(task.train):
        article = ArticleWorld(1).article(n)
        said = dsp.things_in(item.meta["hint"])
        assert len(said) == 3 and {*said} <= {*dsp.things_in(article.text)}
        same += [a == b for a, b in zip(said, article.keywords, strict=True)]
    # 30 % are drawn anew from the twelve things, one time in twelve the same.
    assert 1 - np.mean(same) == pytest.approx(0.3 * 11 / 12, abs=0.05)
    assert task.validation[0].meta["hint"] == dsp.hint_of(ArticleWorld(1).article(400).keywords)


def test_the_bounds_are_the_reporters():
    task = dsp.task_of(0)
    assert dsp.rouge(task.validation, [i.meta["hint"] for i in task.validation]) == 1.0
    assert dsp.rouge(task.validation, [""] * 8) < 0.5


def test_the_policy_is_small_and_reads_whole_words():
    body = dsp.policy_of(0).frozen()
    text = f"Extract the keywords: {ArticleWorld(0).article(0).text}"
    assert body.tokenizer.unk_token_id not in body.encode(text)
    assert body.model.config.num_layers == body.model.config.num_decoder_layers == 2 and body.dimension == 64
    assert dsp.policy_of(0).identity == dsp.policy_of(0).identity != dsp.policy_of(1).identity


def test_both_stages_are_of_one_run_and_scores_are_those_of_predictions():
    it = dsp.Fitted(0, {})
    assert len(it.kept) == 2 and it.kept[0].same_as(dsp.Fitted(0, {"iterations": 0}).kept[-1])
    items = it.task.validation
    predictor = it.kept[-1].bind(it.run.model(), {"policy": it.run.model("policy")})
    outputs = predictor.predict(items).outputs
    real = np.mean([it.task.metric.item(o, i.target) for o, i in zip(outputs, items, strict=True)])
    assert it.score(it.kept[-1], items) == pytest.approx(float(real))
    assert it.divergence(items) > 0
    it.kept[-1] = it.kept[0]
    assert it.divergence(items) == 0.0


def test_distinct_keywords():
    assert dsp.distinct(["a; b; c.", "a; a; b.", "", "."]) == pytest.approx((1 + 2 / 3) / 2)
