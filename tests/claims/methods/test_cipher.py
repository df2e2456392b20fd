"""CIPHER's claims are measured as their entries describe them."""

from __future__ import annotations

import pytest

from promptology.claims.announced import entries
from promptology.claims.measuring import measurements
from promptology.claims.methods import cipher
from promptology.feedback.people import StyleWorld

BY_ID = {entry.id: entry for entry in entries() if entry.method == "cipher"}


def test_every_entry_is_measured_and_every_arm_has_its_learner():
    assert {id for id in measurements() if id.startswith("cipher-")} == set(BY_ID)
    assert {arm for entry in BY_ID.values() for arm in entry.arms} == set(cipher.LEARNERS)


def test_the_same_seed_gives_the_same_figures():
    assert cipher.lowest_cost("cipher_5", 3, None) == cipher.lowest_cost("cipher_5", 3, None)


@pytest.mark.parametrize("arm", cipher.LEARNERS)
def test_calls_are_those_of_the_arm(arm):
    found = cipher.play(cipher.LEARNERS[arm], StyleWorld(1), 1, 0.1, rounds=20)
    most = {"none": 20, "icl_edit": 20, "explore": 21, "continual": 40, "cipher_1": 40, "cipher_5": 60}[arm]
    assert (found["calls"] == most) if arm in ("none", "icl_edit", "explore") else (20 < found["calls"] < most)


def test_who_errs_never_and_knows_no_context_pays_once():
    world = StyleWorld(5, alike=True)
    for arm in ("cipher_5", "cipher_1", "continual"):
        found = cipher.play(cipher.LEARNERS[arm], StyleWorld(5, alike=True), 5, 0.0, rounds=12)
        plain = cipher.play(cipher.LEARNERS["none"], StyleWorld(5, alike=True), 5, 0.0, rounds=12)
        assert found["accepted"] == found["right"] == 11 / 12
        assert found["cost"] == plain["cost"] / 12
    assert len(set(world.styles.values())) == 1


def test_the_order_of_the_card_holds_in_the_mean():
    costs = {
        arm: sum(-cipher.play(learner, StyleWorld(seed), seed, 0.1)["cost"] for seed in range(3))
        for arm, learner in cipher.LEARNERS.items()
    }
    assert costs["cipher_5"] <= 0.5 * costs["continual"] and costs["cipher_5"] <= 0.3 * costs["none"]
    assert costs["cipher_5"] <= costs["cipher_1"] < min(costs["explore"], costs["continual"])


def test_one_preference_for_all_contexts_is_a_share_of_the_plain_prompt():
    found = cipher.needs_context(0, None)
    assert found["none"]["cost"] == -1 and set(found) == set(BY_ID["cipher-needs-context"].arms)
    assert -0.2 < found["cipher_5"]["cost"] < 0


def test_the_limit_that_the_file_names_is_real():
    # Who imitates without an error needs no preference in words: showing the edits costs less than CIPHER.
    def mean(arm, **options):
        learner = cipher.LEARNERS[arm]
        return sum(-cipher.play(learner, StyleWorld(seed), seed, 0.1, **options)["cost"] for seed in range(4)) / 4

    assert mean("icl_edit", imitate=0.0) < mean("cipher_5") < mean("icl_edit")
