"""Policy gradients over tokens, against figures that are worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from promptology.training.policy import (
    Leash,
    advantages,
    clipped,
    drawn,
    masked,
    normalised,
    nucleus,
    shaped,
)

LOGITS = torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.05, 0.05, 0.1, 0.8]]).log()


def test_the_nucleus_is_the_fewest_tokens_that_reach_p():
    assert nucleus(LOGITS, 0.75, 1, []).tolist() == [[True, True, False, False], [False, False, False, True]]
    assert nucleus(LOGITS, 0.81, 1, []).tolist() == [[True, True, True, False], [False, False, True, True]]


def test_so_many_tokens_are_allowed_at_least_and_the_end_always():
    assert nucleus(LOGITS, 0.1, 3, []).sum(dim=1).tolist() == [3, 3]
    assert nucleus(LOGITS, 0.1, 1, [3]).tolist() == [[True, False, False, True], [False, False, False, True]]
    assert nucleus(LOGITS, 0.1, 100, []).all()
    assert nucleus(LOGITS, 1.0, 1, []).all()


def test_every_nucleus_holds_p_and_its_least_likely_token_is_needed():
    logits = 3 * torch.randn((200, 50), generator=torch.Generator().manual_seed(0))
    allowed = nucleus(logits, 0.9, 1, [])
    inside = torch.softmax(logits, dim=-1).masked_fill(~allowed, 0.0)
    total = inside.sum(dim=1)
    least = inside.masked_fill(~allowed, 2.0).min(dim=1).values
    assert (total >= 0.9 - 1e-6).all() and (total - least < 0.9).all()
    assert (torch.softmax(masked(logits, allowed), dim=-1)[~allowed] == 0).all()


def test_nothing_outside_of_the_nucleus_is_ever_drawn():
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn((500, 40), generator=generator)
    allowed = nucleus(torch.randn((500, 40), generator=generator), 0.5, 1, [7])
    tokens = drawn(masked(logits, allowed), torch.rand(500, generator=generator, dtype=torch.float64))
    assert allowed.gather(1, tokens[:, None]).all()


def test_numbers_draw_tokens_by_the_inverse_of_the_distribution():
    rows = LOGITS[:1].expand(5, -1)
    numbers = torch.tensor([0.0, 0.49, 0.51, 0.9, 0.999], dtype=torch.float64)
    assert drawn(rows, numbers).tolist() == [0, 0, 1, 2, 3]
    # Of the two likeliest 0.5 and 0.3 are left, which is 0.625 and 0.375.
    assert drawn(rows, torch.tensor([0.0, 0.6, 0.63, 0.9, 0.999], dtype=torch.float64), 2).tolist() == [0, 0, 1, 1, 1]


def test_advantages_by_hand():
    # gamma 0.5, lambda 0.5; delta_2 = 4 - 2 = 2, delta_1 = 1 + 0.5 * 2 - 1 = 1, delta_0 = 0 + 0.5 * 1 - 3 = -2.5
    rewards, values = torch.tensor([[0.0, 1.0, 4.0]]), torch.tensor([[3.0, 1.0, 2.0]])
    gains, goals = advantages(rewards, values, torch.ones(1, 3), 0.5, 0.5)
    assert gains.tolist() == [[-2.5 + 0.25 * 1.5, 1 + 0.25 * 2, 2.0]]
    assert goals.tolist() == [[3 - 2.125, 2.5, 4.0]]


def test_nothing_behind_the_end_of_a_text_reaches_it():
    there = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    rewards, values = torch.tensor([[1.0, 2.0, 9.0], [1.0, 2.0, 0.0]]), torch.tensor([[0.0, 0.0, 7.0], [0.0, 0.0, 0.0]])
    gains, goals = advantages(rewards, values, there, 0.9, 0.8)
    assert gains[0].tolist() == pytest.approx([1 + 0.72 * 2, 2.0, 0.0]) and goals[0, 2] == 0
    assert gains[1].tolist() == pytest.approx(gains[0].tolist())


def test_lambda_of_one_gives_what_comes_less_the_value():
    rewards, values = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.5, 0.25, 0.125]])
    _, goals = advantages(rewards, values, torch.ones(1, 3), 1.0, 1.0)
    assert goals.tolist() == [[6.0, 5.0, 3.0]]


def test_gains_are_normalised_over_the_tokens_that_are_there():
    values, there = torch.tensor([[1.0, 3.0], [5.0, 99.0]]), torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    found = normalised(values, there)
    assert found[there > 0].mean().item() == pytest.approx(0, abs=1e-6)
    assert found[there > 0].pow(2).mean().item() == pytest.approx(1, rel=1e-5) and found[1, 1] == 0
    assert normalised(torch.full((1, 1), 4.0), torch.ones(1, 1)).tolist() == [[0.0]]


def test_the_clipped_loss_by_hand():
    old, gains = torch.zeros(4), torch.tensor([1.0, 1.0, -1.0, -1.0])
    new = torch.tensor([1.5, 0.5, 1.5, 0.5]).log()
    # A better token counts up to a ratio of 1.2, a worse one down to 0.8; in the other direction nothing is held.
    assert clipped(new, old, gains, 0.2).tolist() == pytest.approx([-1.2, -0.5, 1.5, 0.8])
    assert clipped(old, old, gains, 0.2).tolist() == [-1.0, -1.0, 1.0, 1.0]


def test_where_nothing_has_moved_the_gradient_is_that_of_the_plain_policy_gradient():
    new, gains = torch.tensor([0.3, -0.2], requires_grad=True), torch.tensor([2.0, -3.0])
    clipped(new, new.detach(), gains, 0.2).sum().backward()
    assert new.grad.tolist() == [-2.0, 3.0]


def test_rewards_are_shaped_by_the_log_ratio_of_every_token():
    rewards, there = torch.tensor([[0.0, 5.0, 1.0]]), torch.tensor([[1.0, 1.0, 0.0]])
    policy, reference = torch.tensor([[-1.0, -2.0, -9.0]]), torch.tensor([[-3.0, -1.0, 0.0]])
    assert shaped(rewards, policy, reference, there, 0.5).tolist() == [[-1.0, 5.5, 0.0]]
    assert shaped(rewards, policy, policy, there, 0.5).tolist() == [[0.0, 5.0, 0.0]]


@pytest.mark.parametrize(("kl", "factor"), [(0.5, 1.0), (0.55, 1.01), (50.0, 1.02), (0.0, 0.98), (-3.0, 0.98)])
def test_the_coefficient_follows_by_two_per_cent_at_most(kl, factor):
    leash = Leash(0.005, 0.5)
    leash.follow(kl)
    assert leash.beta == pytest.approx(0.005 * factor)


def test_without_a_target_or_a_coefficient_it_stays():
    for leash in (Leash(0.3, 0.0), Leash(0.0, 0.5)):
        before = leash.beta
        leash.follow(9.0)
        assert leash.beta == before and not math.isnan(leash.beta)
