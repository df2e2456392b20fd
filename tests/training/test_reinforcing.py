"""Policy gradients on a real model: what is drawn, what is learned, and that a killed run goes on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hinting import policy, run_of
from whitebox import untouched, weights_of

from promptology.errors import BudgetEnded, UsageError
from promptology.run.store import SQLiteStore
from promptology.training import keeping, reinforcing
from promptology.training.policy import nucleus
from promptology.training.reinforcing import Course, Rollouts, Worth, imitate, reinforce
from promptology.training.rollouts import Mask, draw, holding, logprobs, text_of, unpacked

PROMPTS = ["red lamp in the kitchen", "two dog in the garden", "late bus", "cold water and warm stone on the mountain"]
COURSE = Course(iterations=2, texts=4, epochs=2, batch=2, rate=1e-2, most=6, mask=Mask(0.9, 3))


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def rows(body):
    return [body.encode(text) for text in PROMPTS]


def theta_of(body):
    return reinforcing.weights_of(body, policy().movable())


def lengths(chosen, texts, tokens):
    return [Worth(len(text) / 10, {}) for text in texts]


def rollouts(course=COURSE, reward=lengths, run=None):
    body = policy().frozen()
    theta = theta_of(body)
    return Rollouts(run or run_of(), "policy", body, theta, rows(body), reward, course)


@pytest.mark.parametrize("kind", ["t5", "gpt2"])
def test_what_is_drawn_follows_from_the_numbers_and_not_from_its_neighbours(kind):
    body = policy(kind).frozen()
    theta = reinforcing.weights_of(body, policy(kind).movable())
    numbers = np.random.default_rng(0).random((4, 6))
    whole = draw(body, theta, rows(body), 6, numbers, mask=Mask(0.9, 3))
    for n in range(4):
        alone = draw(body, theta, rows(body)[n : n + 1], 6, numbers[n : n + 1], mask=Mask(0.9, 3))
        assert alone.tokens[0] == whole.tokens[n]
        length = len(alone.tokens[0])
        assert (alone.allowed[0] == whole.allowed[n, :length]).all()


def test_no_token_lies_outside_the_nucleus_of_the_masks_policy():
    body = policy().frozen()
    theta, guide = theta_of(body), theta_of(body)
    with torch.no_grad():
        for p in guide.values():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    said = draw(body, theta, rows(body), 8, np.random.default_rng(0).random((4, 8)), mask=Mask(0.5, 1), guide=guide)
    ends = [body.tokenizer.eos_token_id]
    for n, text in enumerate(said.tokens):
        with torch.no_grad(), holding(body, guide):
            states, _ = body.target_states(rows(body)[n : n + 1], [text])
            inside = nucleus(body.logits(states), 0.5, 1, ends)
        bits = unpacked(said.allowed[n, : len(text)])
        assert all(bool(bits[t, token]) for t, token in enumerate(text))
        # The same mask as one forward pass gives, but for ties in the last digit.
        assert (bits[:, : inside.shape[1]] != inside).float().mean() < 1e-3


def test_a_mask_of_all_ones_is_no_mask_bit_for_bit():
    body, numbers = policy().frozen(), np.random.default_rng(0).random((4, 6))
    found = []
    for mask in (None, Mask(0.1, 10**6)):
        run = run_of()
        theta = theta_of(body)
        one = Course(iterations=2, texts=4, epochs=2, batch=2, rate=1e-3, most=6, mask=mask)
        said = draw(body, theta, rows(body), 6, numbers, mask=mask)
        reinforce(run, "policy", body, theta, rows(body), lengths, one)
        found.append((said.tokens, theta))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(p, found[1][1][name]) for name, p in found[0][1].items())


def test_at_the_first_step_the_ratio_is_one_and_the_divergence_zero():
    it = rollouts()
    batch = it(0)
    new = logprobs(it.body, it.theta, [s.prompt for s in batch], [s.text for s in batch], it._allowed(batch))[1]
    old = torch.cat([s.old for s in batch])
    assert (new - old).exp().sub(1).abs().max() < 1e-3
    (entry,) = [e["values"] for e in it.run.history if e["step"] == "rollout"]
    assert entry["kl"] == pytest.approx(0, abs=1e-7)


def test_the_loss_of_parts_of_a_batch_is_that_of_the_whole():
    it = rollouts(Course(iterations=1, texts=4, epochs=1, batch=4, rate=1e-3, most=6, mask=Mask(0.9, 3)))
    batch = it(0)

    def gradients(parts):
        total = 0.0
        for part in parts:
            loss = it.loss(part) * len(part) / len(batch)
            loss.backward()
            total += loss.item()
        found = [p.grad.clone() for p in (*it.theta.values(), *it.critic.values()) if p.grad is not None]
        for p in (*it.theta.values(), *it.critic.values(), it.head):
            p.grad = None
        return total, found

    whole, parts = gradients([batch]), gradients([batch[:1], batch[1:]])
    assert whole[0] == pytest.approx(parts[0], rel=1e-4)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(whole[1], parts[1], strict=True))


def test_only_the_copy_learns_and_the_model_stays_as_it_was():
    before = weights_of(policy())
    it = rollouts()
    start = {name: p.detach().clone() for name, p in it.theta.items()}
    reinforce(it.run, "policy", it.body, it.theta, it.prompts, lengths, COURSE)
    assert untouched(policy(), before)
    assert any(not torch.equal(p, start[name]) for name, p in it.theta.items())


def test_a_head_on_the_policys_states_is_a_value_net_too():
    it = rollouts(replace(COURSE, critic="head"))
    it.loss(it(0)).backward()
    assert it.head.grad is not None and not it.critic
    assert it.cost(it(0)).passes == 2 * 4
    with pytest.raises(UsageError, match="critic is copy or head"):
        replace(COURSE, critic="none")


def test_texts_that_are_worth_more_become_likelier():
    body, run = policy().frozen(), run_of()
    theta = theta_of(body)

    def reward(chosen, texts, tokens):
        return [Worth(float(np.mean([t % 2 == 0 for t in row])), {}) for row in tokens]

    # Of a few tokens, each of which is drawn often enough.
    mask = Mask(1e-6, 8)
    course = Course(iterations=5, texts=16, epochs=4, batch=8, rate=1e-2, most=3, beta=0.0, mask=mask)
    reinforce(run, "policy", body, theta, rows(body), reward, course)
    ends = [e["values"]["end"] for e in run.history if e["step"] == "rollout"]
    assert ends[-1] > ends[0] + 0.2


def test_the_leash_holds_a_policy_near():
    found = []
    for beta in (0.0, 5.0):
        body, run = policy().frozen(), run_of()
        theta = theta_of(body)
        course = Course(iterations=4, texts=16, epochs=3, batch=8, rate=3e-3, most=3, beta=beta, target=0.0)
        reinforce(run, "policy", body, theta, rows(body), lengths, course)
        found.append([e["values"]["kl"] for e in run.history if e["step"] == "rollout"][-1])
    assert abs(found[1]) < abs(found[0])


def test_what_has_no_reward_is_left_out_and_never_counts_as_nothing():
    def reward(chosen, texts, tokens):
        return [Worth([None, float("nan"), 2.0, -1.0][n], {0: 0.5}) for n in range(4)]

    it = rollouts(reward=reward)
    assert len(it(0)) == 2 and len(it.kept["input"]) == 2
    (entry,) = [e["values"] for e in it.run.history if e["step"] == "rollout"]
    assert entry["left_out"] == 2 and entry["end"] == 0.5 and entry["along"] == 0.5


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_without_any_reward_it_is_one_clear_line(value):
    with pytest.raises(UsageError, match="none of the 4 texts of iteration 1 got a reward that is a number"):
        rollouts(reward=lambda c, t, k: [Worth(value, {})] * 4)(0)


@pytest.mark.parametrize(
    ("token", "said"), [("</s>", "writes nothing at all"), ("lamp", "writes the same text for all inputs")]
)
def test_a_policy_that_has_collapsed_is_said_aloud_and_harms_nothing(token, said, monkeypatch):
    body = policy().frozen()
    (one,) = body.tokenizer(token, add_special_tokens=False)["input_ids"][-1:]
    monkeypatch.setattr("promptology.training.rollouts.drawn", lambda logits, *a: torch.full((len(logits),), one))
    it = rollouts(reward=lambda c, texts, k: [Worth(1.0, {})] * 4)
    assert torch.isfinite(it.loss(it(0)))
    assert said in it.run.warnings[0] and len(it.run.warnings) == 1
    (entry,) = [e["values"] for e in it.run.history if e["step"] == "rollout"]
    assert entry["distinct"] == 0.25


def test_rewards_stand_at_their_tokens():
    it = rollouts(reward=lambda c, texts, k: [Worth(3.0, {0: 0.25})] * 4)
    it(0)
    # With gamma and lambda of 1 the return of the first token is all that comes: here none of it is shaped.
    plain = rollouts(replace(COURSE, gamma=1.0, decay=1.0), reward=lambda c, texts, k: [Worth(3.0, {0: 0.25})] * 4)
    plain(0)
    assert plain.kept["goals"][:, 0].tolist() == pytest.approx([3.25] * 4, abs=1e-5)


def test_the_masks_policy_is_refreshed():
    it = rollouts(replace(COURSE, refresh=1))
    it(0)
    with torch.no_grad():
        for p in it.theta.values():
            p.add_(0.01)
    it(it.course.steps)
    assert all(torch.equal(p, it.theta[name]) for name, p in it.guide.items())
    assert not any(torch.equal(p, it.theta[name]) for name, p in it.reference.items())
    doc, tensors = it.pack()
    other = rollouts(replace(COURSE, refresh=1))
    other.unpack(doc, tensors)
    assert all(torch.equal(p, it.guide[name]) for name, p in other.guide.items()) and other.leash == it.leash


def test_imitation_makes_texts_likely():
    body, run, texts = policy().frozen(), run_of(), ["lamp", "dog", "bus", "stone"]
    theta, prompts = theta_of(body), rows(body)
    pairs = [(row, body.continuation("", text, end=True)) for row, text in zip(prompts, texts, strict=True)]
    imitate(run, "policy", body, theta, pairs, epochs=120, batch=4, rate=1e-2)
    said = draw(body, theta, prompts, 3, np.full((4, 3), 0.5))
    assert [text_of(body, text) for text in said.tokens] == texts


class Death(Exception):
    """The process is gone."""


def life(folder, fuse=0, how=Death, budget=None, refresh=1):
    """Run two iterations until a fuse has burnt down; return everything that must be as in one life."""
    store = SQLiteStore(folder / "s.sqlite")
    store.create_run("r", {})
    run, left = run_of(store=store, folder=folder, budget=budget), [fuse]
    body = policy().frozen()
    theta = theta_of(body)

    def burn():
        left[0] -= 1
        if left[0] == 0:
            raise how

    def reward(chosen, texts, tokens):
        burn()
        said = run.model().generate([f"Write.\n\n{text}" for text in texts], temperature=0.7)
        burn()
        return [Worth(len(s or "") / 5, {}) for s in said]

    plain = reinforcing.Rollouts.loss

    def loss(self, items):
        burn()
        return plain(self, items)

    reinforcing.Rollouts.loss = loss
    try:
        course = replace(COURSE, refresh=refresh)
        try:
            found = reinforce(run, "policy", body, theta, rows(body), reward, course)
        except BudgetEnded:
            found = "ended"
        run.meter.flush()
        counts = {k: c._replace(seconds=0) for k, (c, _) in run.meter.ledger.items()}
        return repr(found), {n: p.tolist() for n, p in theta.items()}, run.history, counts, run.meter._seq
    finally:
        reinforcing.Rollouts.loss = plain
        store._answers.clear()
        store._events.clear()
        store.close()


@pytest.mark.parametrize(("how", "budget"), [(Death, None), (KeyboardInterrupt, None), (Death, "60passes")])
def test_killed_anywhere_it_goes_on_to_the_same_weights(how, budget, tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(keeping, "SAVE_SHARE", 1e9)
    (tmp_path / "whole").mkdir()
    whole = life(tmp_path / "whole", budget=budget)
    for fuse in (2, 5, 8):
        folder = tmp_path / f"{fuse}"
        folder.mkdir()
        for again in (fuse, 3):
            try:
                life(folder, again, how, budget)
            except (Death, KeyboardInterrupt):
                continue
            break
        assert life(folder, budget=budget) == whole
