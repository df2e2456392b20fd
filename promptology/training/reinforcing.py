"""A policy that writes, trained first to imitate, then by policy gradients on what its texts are worth.

`imitate` and `reinforce` are parts of methods: the loop is `training.train`, rollouts are its batches. A rollout is
drawn once and learned from in several epochs; it is part of the training's state, so that a killed run goes on with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptology.data.items import digest
from promptology.errors import UsageError
from promptology.run.cost import Cost
from promptology.run.engine import Run
from promptology.training.batches import Batches, epochs_to_steps
from promptology.training.keeping import digest_of
from promptology.training.loop import PASSES, Group, Trained, train
from promptology.training.policy import Leash, advantages, clipped, normalised, shaped
from promptology.training.rollouts import CHUNK, Mask, Rows, draw, holding, logprobs, text_of, unpacked, values

Parameters = dict[str, Any]


class Worth(NamedTuple):
    """What a text is worth: in the end, and (by the place of the token) along the way; `end` of None leaves it out."""

    end: float | None
    along: dict[int, float]


Reward = Callable[[Sequence[int], Sequence[str], Rows], Sequence[Worth]]
"""From the numbers of inputs, the texts for them and their tokens to what each is worth."""


@dataclass(frozen=True)
class Course:
    """How policy gradients are made: PPO over texts, with a token mask where there is one (NLPO).

    An iteration draws `texts`, each of `most` tokens at most, and learns from them `epochs` times in steps of `batch`.
    """

    iterations: int
    texts: int
    epochs: int
    batch: int
    rate: float
    most: int
    mask: Mask | None = None
    refresh: int = 20
    """Iterations after which the mask's policy becomes the present one."""
    top_k: int = 0
    gamma: float = 0.99
    decay: float = 0.95
    clip: float = 0.2
    value: float = 0.5
    beta: float = 0.005
    target: float = 0.5
    critic: str = "copy"
    """copy: the value net is a second copy of the policy's weights; head: only a linear head on the policy's states."""
    norm: float = 0.5
    weight_decay: float = 1e-6

    def __post_init__(self) -> None:
        if self.critic not in ("copy", "head"):
            raise UsageError(f"critic is copy or head, not {self.critic!r}")
        if min(self.iterations, self.texts, self.epochs, self.batch, self.most) < 1:
            raise UsageError("policy gradients need at least one iteration, text, epoch, text per step, and token")

    @property
    def steps(self) -> int:
        """Steps of an iteration."""
        return epochs_to_steps(self.epochs, self.texts, self.batch)


def weights_of(body: Any, names: Sequence[str], most_megabytes: float = math.inf) -> Parameters:
    """Return a copy of a model's own weights, float32, that can learn to write.

    Raises UsageError where they are too many, or the model writes nothing.
    """
    if body.kind not in ("causal", "seq2seq"):
        raise UsageError(
            f"{body.name} is no model that writes ({body.kind}); as the policy take an encoder-decoder such as T5 or "
            "BART, or a causal language model"
        )
    held = dict(body.model.named_parameters())
    size = sum(4 * held[name].numel() for name in names) / 1e6
    if size > most_megabytes:
        raise UsageError(
            f"{size:,.1f} MB of weights of {body.name} would be saved, more than most_megabytes={most_megabytes:g}; "
            "raise it, or take a smaller policy"
        )
    return {name: torch.nn.Parameter(held[name].detach().float().clone()) for name in names}


def imitate(
    run: Run, role: str, body: Any, theta: Parameters, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], **how: Any
) -> Trained:
    """Train a policy to write given texts: cross-entropy per token of (prompt, text with its end) pairs.

    `how`: epochs, batch, rate. Dropout is off, as it is in what follows.
    """
    batches = Batches(pairs, how["batch"], run.rng("imitation"), [len(text) for _, text in pairs])

    def loss(items: list[Any]) -> Tensor:
        with holding(body, theta):
            found = body.target_logprobs([p for p, _ in items], [t for _, t in items], reduce="mean")
        return -found.mean()

    steps, groups = batches.steps(how["epochs"]), [Group("policy", theta, how["rate"])]
    return train(run, loss, batches, groups, steps=steps, role=role, label="imitation")


class Sample(NamedTuple):
    """A text to learn from: log-probabilities as it was drawn, gains and goals by token, the mean length around it."""

    prompt: Sequence[int]
    text: Sequence[int]
    old: Tensor
    gains: Tensor
    goals: Tensor
    allowed: NDArray[np.uint8] | None
    length: float


class Rollouts:
    """The batches of a training by policy gradients; what changes is packed with the training's state."""

    def __init__(
        self, run: Run, role: str, body: Any, theta: Parameters, prompts: Rows, reward: Reward, course: Course
    ) -> None:
        self.run, self.role, self.body, self.theta, self.course = run, role, body, theta, course
        self.prompts, self.reward = prompts, reward
        self.said = 1.0
        """Share of different texts in the last rollout."""
        self.reference = {name: p.detach().clone() for name, p in theta.items()}
        self.guide = self.reference
        copied = course.critic == "copy"
        self.critic = {name: torch.nn.Parameter(p.detach().clone()) for name, p in theta.items()} if copied else {}
        start = run.rng("value head").uniform(-1.0, 1.0, body.dimension) / math.sqrt(body.dimension)
        self.head = torch.nn.Parameter(torch.tensor(start, dtype=torch.float32, device=body.device))
        self.leash = Leash(course.beta, course.target)
        self.iteration = -1
        self.kept: dict[str, Tensor] = {}
        """Of the texts to learn from: input, tokens (-1 where none), old, gains, goals, allowed."""
        self._inputs = Batches(range(len(prompts)), course.texts, run.rng("rollout inputs"))

    def __call__(self, k: int) -> list[Sample]:
        """Return the texts of step k; the first of an iteration draws them."""
        iteration, step = divmod(k, self.course.steps)
        if iteration != self.iteration:
            self._roll(iteration)
        rng = self.run.rng(f"minibatches {iteration}")
        chosen = Batches(range(len(self.kept["input"])), self.course.batch, rng).indices(step)
        tokens, gains = self.kept["tokens"][chosen], self.kept["gains"][chosen]
        there = (tokens >= 0).float()
        gains, counts = normalised(gains, there), there.sum(dim=1).int().tolist()
        mean = sum(counts) / len(counts)
        bits = self.kept.get("allowed")
        return [
            Sample(
                self.prompts[int(self.kept["input"][n])],
                tokens[row, :count].tolist(),
                self.kept["old"][n, :count],
                gains[row, :count],
                self.kept["goals"][n, :count],
                None if bits is None else bits[n, :count].numpy(),
                mean,
            )
            for row, (n, count) in enumerate(zip(chosen, counts, strict=True))
        ]

    def loss(self, items: list[Sample]) -> Tensor:
        """Return the loss per token: PPO's, and the error of the value net."""
        prompts, texts = [s.prompt for s in items], [s.text for s in items]
        device = self.body.device
        old, gains, goals = (torch.cat([getattr(s, n) for s in items]).to(device) for n in ("old", "gains", "goals"))
        found = logprobs(self.body, self.theta, prompts, texts, self._allowed(items))[1]
        guessed = self.values(prompts, texts)
        total = clipped(found, old, gains, self.course.clip).sum() + self.course.value * ((guessed - goals) ** 2).sum()
        loss: Tensor = total / (items[0].length * len(items))
        return loss

    def values(self, prompts: Rows, texts: Rows) -> Tensor:
        """Return the value of every place before a token; only a copy's weights learn with its head."""
        with torch.set_grad_enabled(bool(self.critic) and torch.is_grad_enabled()):
            states = values(self.body, self.critic or self.theta, prompts, texts)
        found: Tensor = states @ self.head
        return found

    def _allowed(self, items: Sequence[Sample]) -> Tensor | None:
        if items[0].allowed is None:
            return None
        return unpacked(np.concatenate([s.allowed for s in items if s.allowed is not None]))

    def groups(self) -> list[Group]:
        """Return what learns: the policy, and the value net with its head."""
        rate, decay = self.course.rate, self.course.weight_decay
        net = {**{f"critic.{name}": p for name, p in self.critic.items()}, "critic.head": self.head}
        return [Group("policy", self.theta, rate, decay), Group("value", net, rate, decay)]

    def cost(self, items: Sequence[Sample]) -> Cost:
        """Return what a step costs: policy and value net, with gradients."""
        return Cost(passes=len(items) * (PASSES + (PASSES if self.critic else 1)))

    def passes(self) -> int:
        """Return what a text costs: it is drawn, under a mask, and policy, reference and value net look at it."""
        return 4 + (self.course.mask is not None)

    def _roll(self, iteration: int) -> None:
        """Draw the texts of an iteration, have them rewarded, and keep what is learned from."""
        course, handle = self.course, self.run.model(self.role)
        if iteration and course.refresh and iteration % course.refresh == 0:
            self.guide = {name: p.detach().clone() for name, p in self.theta.items()}
        chosen = self._inputs.indices(iteration)
        numbers = self.run.rng(f"rollout {iteration}").random((course.texts, course.most))
        nets = (self.theta, self.guide, self.reference, self.critic, {"head": self.head})
        parts = ["rollout", iteration, digest(asdict(course)), [digest_of([*net.values()]) for net in nets]]
        parts += [digest([list(self.prompts[n]) for n in chosen]), digest(numbers.tolist())]
        rows = [self.prompts[n] for n in chosen]
        found = handle.compute(parts, self.passes() * course.texts, lambda: self._drawn(rows, numbers))
        texts = [[int(t) for t in row if t >= 0] for row in found["tokens"]]
        said = [text_of(self.body, text) for text in texts]
        self._watch(chosen, said)
        worth = list(self.reward(chosen, said, texts))
        usable = [n for n, w in enumerate(worth) if w.end is not None and math.isfinite(w.end)]
        if not usable:
            raise UsageError(
                f"none of the {len(worth)} texts of iteration {iteration + 1} got a reward that is a number, so there "
                "is nothing to learn from: look at the metric and at the model's answers"
            )
        self._keep(chosen, found, worth, usable, iteration)

    def _watch(self, chosen: Sequence[int], said: Sequence[str]) -> None:
        """Say aloud where a policy has collapsed: it writes nothing, or one text for every input."""
        self.said = len({*said}) / len(said)
        if len({*chosen}) > 1 and len({*said}) == 1:
            what = f"the same text for all inputs, {' '.join(said[0].split())[:60]!r}" if said[0] else "nothing at all"
            self.run.warn(
                f"{self.body.name} writes {what}: rewards cannot tell its texts apart; imitate longer, lower the rate, "
                "or raise beta"
            )

    def _drawn(self, rows: Rows, numbers: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        """Return drawn texts with the log-probabilities of policy and reference, and values; padded with -1 and 0."""
        course, body = self.course, self.body
        said = draw(
            body, self.theta, rows, course.most, numbers, mask=course.mask, guide=self.guide, top_k=course.top_k
        )
        longest = max(map(len, said.tokens))
        shape = (len(rows), longest)
        arrays: dict[str, NDArray[Any]] = {
            name: np.zeros(shape, np.float32) for name in ("plain", "old", "far", "worth")
        }
        arrays["tokens"] = np.full(shape, -1, np.int32)
        for n, text in enumerate(said.tokens):
            arrays["tokens"][n, : len(text)] = text
        if said.allowed is not None:
            arrays["allowed"] = said.allowed
        for at in range(0, len(rows), CHUNK):
            prompts, texts = rows[at : at + CHUNK], said.tokens[at : at + CHUNK]
            some = [(n, t) for n, text in enumerate(texts, at) for t in range(len(text))]
            where = tuple(np.array(some).T)
            bits = None if said.allowed is None else unpacked(said.allowed[where])
            with torch.no_grad():
                plain, old = logprobs(body, self.theta, prompts, texts, bits)
                far, _ = logprobs(body, self.reference, prompts, texts)
                worth = self.values(prompts, texts)
            for name, tensor in (("plain", plain), ("old", old), ("far", far), ("worth", worth)):
                arrays[name][where] = tensor.float().cpu().numpy()
        return arrays

    def _keep(
        self, chosen: Sequence[int], found: Any, worth: Sequence[Worth], usable: Sequence[int], iteration: int
    ) -> None:
        """Shape the rewards, find advantages, let the KL coefficient follow, and say how it went."""
        tokens = torch.tensor(found["tokens"], dtype=torch.long)
        there = (tokens >= 0).float()
        plain, far, value = (torch.tensor(found[name]) for name in ("plain", "far", "worth"))
        rewards = torch.zeros_like(plain)
        for n in usable:
            for place, amount in worth[n].along.items():
                rewards[n, place] += amount
            rewards[n, int(there[n].sum()) - 1] += float(worth[n].end or 0.0)
        beta = self.leash.beta
        rewards = shaped(rewards, plain, far, there, beta)
        gains, goals = advantages(rewards, value, there, self.course.gamma, self.course.decay)
        kl = float(((plain - far) * there).sum() / there.sum())
        self.leash.follow(kl)
        few = list(usable)
        self.kept = {"input": torch.tensor([chosen[n] for n in few]), "tokens": tokens[few], "gains": gains[few]}
        self.kept |= {"old": torch.tensor(found["old"])[few], "goals": goals[few]}
        if "allowed" in found:
            self.kept["allowed"] = torch.tensor(found["allowed"])[few]
        self.iteration = iteration
        ends = [float(worth[n].end or 0.0) for n in few]
        along = [sum(worth[n].along.values()) for n in few]
        figures = {"end": float(np.mean(ends)), "along": float(np.mean(along)), "kl": kl, "beta": beta}
        figures["distinct"] = self.said
        lost = {"left_out": len(worth) - len(few)} if len(few) < len(worth) else {}
        self.run.log("rollout", iteration=iteration + 1, **figures, tokens=float(there.sum(dim=1).mean()), **lost)

    def pack(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the rollout, the mask's policy where it is another than the reference, and the KL coefficient."""
        guide = {} if self.guide is self.reference else {f"guide.{name}": p for name, p in self.guide.items()}
        kept = {f"kept.{name}": tensor for name, tensor in self.kept.items()}
        return {"iteration": self.iteration, "beta": self.leash.beta}, {**guide, **kept}

    def unpack(self, doc: dict[str, Any], tensors: dict[str, Any]) -> None:
        """Put back what `pack` returned."""
        self.iteration, self.leash.beta = int(doc["iteration"]), float(doc["beta"])
        named = [(name.partition("."), tensor) for name, tensor in tensors.items()]
        self.kept = {rest: tensor for (first, _, rest), tensor in named if first == "kept"}
        guide = {rest: t.to(self.body.device) for (first, _, rest), t in named if first == "guide"}
        self.guide = guide or self.reference


def reinforce(
    run: Run,
    role: str,
    body: Any,
    theta: Parameters,
    prompts: Rows,
    reward: Reward,
    course: Course,
    *,
    evaluate: Callable[[], float] | None = None,
    every: int = 0,
) -> Trained:
    """Train a policy by PPO on what its texts are worth, near to what it was before; it then holds the best weights.

    `theta`: weights of the model in `role`, which learn; `prompts`: tokens of what it reads, one row an input. The
    reference of the KL, and the mask's policy, are theta as it comes. `evaluate()`, higher is better, after every
    `every` iterations. A text without a reward (None, or not a finite number) is left out. Raises UsageError where none
    of an iteration has one.
    """
    rollouts = Rollouts(run, role, body, theta, prompts, reward, course)
    steps = course.iterations * course.steps
    return train(
        run,
        rollouts.loss,
        rollouts,
        rollouts.groups(),
        steps=steps,
        schedule="constant",
        clip=course.norm,
        evaluate=evaluate,
        every=every * course.steps,
        role=role,
        label="reinforcement",
        cost=rollouts.cost,
        carried=rollouts,
    )
