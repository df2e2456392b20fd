"""SPO's claims are measured as their entries describe them."""

from __future__ import annotations

import numpy as np
import pytest

from promptology.claims.announced import entries
from promptology.claims.measuring import measurements
from promptology.claims.methods import spo
from promptology.methods.search.spo import SPO
from promptology.models.simulated import SimulatedChat

BY_ID = {entry.id: entry for entry in entries()}


def test_every_entry_of_spo_is_measured_and_nothing_else():
    announced = {id for id, entry in BY_ID.items() if entry.method == "spo"}
    assert {id for id in measurements() if id.startswith("spo-")} == announced


def test_the_world_is_that_of_the_entries():
    world = spo.WORLD
    assert len(world.features) == 8 and world.hidden_quality(world.start) == 0.0
    whole = " ".join([world.start, *(f.sentences[0] for f in world.features)])
    assert world.hidden_quality(whole) == 1.0
    for n, feature in enumerate(world.features, 1):
        alone = f"{world.start} {feature.sentences[0]}"
        assert world.shown(alone) == [feature]  # one sentence shows one feature
        whole += f" {feature.harm}"
        assert world.hidden_quality(whole) == 1 - n / 8  # one harmful sentence hides one
    model = SimulatedChat("features", rewrite=spo.REWRITE, judge=spo.JUDGE)
    assert (model.rewrite, model.judge, model.bias) == (0.4, 0.75, 0.0)


@pytest.mark.parametrize("arm", BY_ID["spo-no-labels"].arms)
def test_every_arm_but_the_start_spends_75_calls(arm):
    found = [spo.no_labels(arm, seed, None) for seed in range(4)]
    assert {f["calls"] for f in found} == {0 if arm == "start" else 75}
    assert all(0 <= f["hidden quality"] <= 1 for f in found)
    assert spo.no_labels(arm, 3, None) == found[3]
    if arm == "start":
        assert {f["hidden quality"] for f in found} == {0.0}


def test_taking_every_proposal_takes_every_proposal_at_the_same_calls():
    run = spo.run_in_world(spo.inputs_alone(), 0)
    found = spo.AcceptAll().fit(run)
    outcomes = [h["values"].get("outcome") for h in run.history if h["step"] == "round"]
    assert outcomes == ["accepted"] * 9 and run.meter.charged.calls == 75
    assert found.instruction.count(".") == 10  # the start and nine sentences


def test_the_judge_never_sees_a_label_and_the_validation_items_have_200():
    task = spo.labelled(3)
    assert len(task.validation) == 200 and len({i.inputs["text"] for i in task.validation}) == 200
    assert not task.train and not task.test
    assert spo.labelled(4).validation[0].inputs != task.validation[0].inputs
    assert all(item.target is None for item in spo.inputs_alone().unlabeled)


def test_an_items_score_is_the_hidden_quality_with_noise():
    metric = spo.NoisyQuality(0)
    answer = " ".join(feature.mark for feature in spo.WORLD.features[:2])
    scores = [metric.item(answer, str(n)) for n in range(4000)]
    assert set(scores) == {0.0, 1.0} and np.mean(scores) == pytest.approx(2 / 8, abs=3 * np.sqrt(0.1875 / 4000))
    assert scores == [metric.item(answer, str(n)) for n in range(4000)]
    assert scores != [spo.NoisyQuality(1).item(answer, str(n)) for n in range(4000)]
    assert metric.item(None, "0") == 0.0


def test_a_search_with_labels_stops_where_it_is_as_good_and_pays_for_all_items():
    found = spo.cost(0, None)
    assert found["spo"]["calls"] == 75
    opro = found["opro"]
    assert opro["hidden quality"] >= found["spo"]["hidden quality"] > 0
    scored = 200 * (1 + 8 * opro["steps"])
    assert scored + 8 * opro["steps"] <= opro["calls"] <= scored + 40 * opro["steps"]


def test_a_judge_who_names_the_first_is_asked_in_200_duels(monkeypatch):
    duels = []
    whole = SPO.duel
    monkeypatch.setattr(SPO, "duel", lambda self, *a, **k: duels.append(self.swaps) or whole(self, *a, **k))
    balanced = spo.judge_bias("balanced", 0, None)
    random = spo.judge_bias("random", 0, None)
    assert duels.count("balanced") == duels.count("random") == 200
    assert balanced["accepted"] == 0.0
    assert random["accepted"] == pytest.approx(5 / 16, abs=4 * np.sqrt(5 / 16 * 11 / 16 / 200))
    assert balanced["calls"] == random["calls"] == 23 * 3 + 200 * 8
