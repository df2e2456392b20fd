"""DSP: a small policy writes a hint for each input, and learns which hints make a black-box model answer well.

Zekun Li, Baolin Peng, Pengcheng He, Michel Galley, Jianfeng Gao, Xifeng Yan, "Guiding large language models via
directional stimulus prompting", NeurIPS 2023, arXiv:2302.11520.

    z* <- for each x:  key phrases of x that its reference y keeps  (summaries),  or a given hint,
          or a trigger sentence with which the model is right                                     (section 2.2)
    pi_SFT <- argmin  -log p(z* | x);  pi <- pi_SFT;  V <- a copy of pi with a linear head
    for each iteration:
        z ~ pi(. | x), token by token, from the nucleus of the mask's policy                      (NLPO, arXiv:2210.01241)
        r_end = c mean over samples of metric(LLM(x, z), y);   r_; = +1 at the end of a new keyword of y, else -0.2
        r_t <- r_t - beta (log pi(z_t) - log pi_SFT(z_t));     A <- generalised advantages        (equations 4 to 6)
        pi, V <- several epochs of PPO's clipped objective and the error of V
        beta <- beta (1 + 0.1 clip((KL - target) / target, -0.2, 0.2))
    predict:  z = argmax pi(. | x), then LLM(x, z)

What differs: hints are written greedily when predicting (paper: sampled at 0.7); a step takes whole hints, not single
tokens; the reward is the task's metric (paper: the mean of three ROUGE figures, or BLEU); a keyword counts as a whole
phrase, where the authors' code takes any substring; of the special tokens only the end is always allowed. A hint that
gets no answer is left out, never counted as 0. An empty hint is not shown. Rates are the paper's for Flan-T5-large; a
small policy takes far larger ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from promptology.data.items import Item
from promptology.data.scoring import references
from promptology.data.task import Task
from promptology.errors import UsageError
from promptology.methods.registry import method
from promptology.models.access import Generates, Trainable
from promptology.prompts.learned import Learned
from promptology.prompts.render import input_text
from promptology.prompts.rewriter import Rewriter
from promptology.prompts.sites import Weights
from promptology.run.cost import Cost
from promptology.run.engine import Run

SHOWN = "{wording}\n\n<hint>\n{hint}\n</hint>"
TRIGGERS = (
    "Go through it step by step before you decide.",
    "Look at what is asked for, and at nothing else.",
    "Ask yourself what the writer wants to happen next.",
    "Rule out what does not fit, then choose.",
)
"""Hints for tasks without texts to take keywords from."""


@method(
    "dsp",
    family="search",
    learns="rewriter",
    paper="arXiv:2302.11520",
    needs={"model": Generates, "policy": Trainable},
)
@dataclass(frozen=True)
class DSP:
    """Train a small model to write a hint for each input of a model that can only be asked."""

    max_tokens: int = 80
    """Longest hint (the authors' code: 80 for summaries, 40 for dialogues)."""
    imitation_epochs: int = 5
    """Epochs of imitation (the authors' code: 5, for 80 dialogues 25); 0 starts from the policy as it is."""
    imitation_rate: float = 2e-5
    """Rate of imitation (the authors' code, Flan-T5-large); 1e-3 suits one of a few million weights."""
    batch: int = 8
    """Hints of a step, of both stages (the authors' code)."""
    iterations: int = 10
    """Iterations of reinforcement (the authors' code: 20 for summaries, 10 for dialogues); 0: imitation only."""
    texts: int = 64
    """Hints of an iteration; the authors' code draws 5,120 tokens, about 200 hints."""
    epochs: int = 5
    """Epochs over the hints of an iteration (the authors' code)."""
    rate: float = 2e-6
    """Rate of reinforcement, of policy and value net (the authors' code, Flan-T5-large); 1e-4 suits one of a few million weights."""
    samples: int = 4
    """Answers of the model to a hint (the authors' code)."""
    temperature: float = 0.7
    """Temperature of these answers (the authors' code)."""
    reward: float = 10.0
    """c: what a metric of 1 is worth (the authors' README; 1 in one of its settings)."""
    baseline: bool = False
    """Whether the score without a hint is taken off (an option of the authors' code)."""
    hit: float = 1.0
    """What a keyword of the reference is worth, where hints are keywords (the authors' code)."""
    miss: float = 0.2
    """What any other keyword costs (the authors' code; 0.25 in its README)."""
    beta: float = 0.005
    """KL coefficient at the start (the authors' code: 0.005 for summaries, 0.01 for dialogues)."""
    target: float = 0.5
    """KL per token, in nats, that it is steered to (the authors' code: 0.5, 0.2 for dialogues); 0: it stays."""
    nucleus: float = 0.9
    """Probability of the tokens that may be drawn, by the mask's policy (NLPO); 1: no mask, which is PPO."""
    least: int = 100
    """Tokens that may be drawn at least (the authors' code)."""
    refresh: int = 20
    """Iterations until the mask's policy becomes the present one (mu)."""
    top_k: int = 100
    """Likeliest tokens that are drawn from (the authors' code: 100, 50 for dialogues); 0: all."""
    critic: str = "copy"
    """Value net: copy, a second copy of the policy (the paper's); head, a linear head on the policy's states."""
    checks: int = 0
    """How often reinforcement is scored on validation items, the best state is kept; 0 keeps the last. The authors'
    code scores every second iteration."""
    ask: str = "Extract the keywords: {input}"
    """What the policy reads; a short instruction before x (section 2.2)."""
    wording: str = "Let this hint guide your answer:"
    """What stands before the hint in the model's prompt."""
    most_megabytes: int = 1000
    """Largest size of the policy's weights, in megabytes; a policy above it is refused."""

    def plan(self, task: Task) -> Cost:
        """Return the calls of the model for rewards and checks, and the passes of the policy, at most."""
        items = [i for i in task.train if i.labelled]
        keywords = task.signature.output == "text" or all(i.meta.get("hint") for i in items)
        tried = 0 if keywords or not self.imitation_epochs else len(TRIGGERS) * min(self.texts, len(items))
        drawn = self.iterations * self.texts
        checked = min(self.checks, self.iterations) * len(task.validation)
        calls = tried + drawn * self.samples * (1 + self.baseline) + checked
        steps = -(-self.imitation_epochs * len(items) // self.batch) * self.batch
        net = 6 if self.critic == "copy" else 4
        passes = 3 * steps + drawn * (4 + (self.nucleus < 1) + self.epochs * net) + checked
        return Cost(calls=calls, passes=passes)

    def fit(self, run: Run) -> Learned:
        """Return the start with the policy that writes its hints."""
        from promptology.predict.rewriting import read
        from promptology.training.hints import check_written
        from promptology.training.objectives import labelled_items, score_of
        from promptology.training.reinforcing import imitate, reinforce, weights_of

        items, helper = labelled_items(run), run.model("policy")
        body, part = helper.frozen(), self.rewriter(run)
        theta = weights_of(body, helper.movable(), self.most_megabytes)
        base = {name: p.detach().clone() for name, p in theta.items()}
        texts = [read(part, input_text(i.inputs, run.task.signature), helper) for i in items]
        prompts = [body.encode([("user", text)]) for text in texts]

        def learned() -> Learned:
            moved = {n: p.detach().cpu().numpy() for n, p in theta.items() if not (p == base[n]).all()}
            weights = [Weights("full", {}, moved, "policy")] if moved else []
            roles = {**run.start.roles, "policy": "trainable"}
            return replace(run.start.with_parts(part, *weights), roles=roles, method="dsp")

        if self.imitation_epochs:
            said = self.imitated(run, learned(), items)
            pairs = [(prompts[n], body.continuation(texts[n], z, end=True)[: self.max_tokens]) for n, z in said.items()]
            check_written(run, body, list(said.values()))
            imitate(run, "policy", body, theta, pairs, epochs=self.imitation_epochs, batch=self.batch,
                    rate=self.imitation_rate)  # fmt: skip
            run.keep(learned())
        if self.iterations:
            every = -(-self.iterations // self.checks) if self.checks else 0
            held = tuple(i for i in run.task.validation if i.labelled)
            evaluate = (lambda: score_of(run, learned(), held)) if self.checks and held else None
            start = learned()
            reinforce(run, "policy", body, theta, prompts, self.rewards(run, start, items, body), self.course(),
                      evaluate=evaluate, every=every)  # fmt: skip
            run.keep(learned())
        return learned()

    def rewriter(self, run: Run) -> Rewriter:
        """Return who writes and how it is shown."""
        shown = SHOWN.replace("{wording}", self.wording)
        return Rewriter(self.ask, shown, self.max_tokens, "policy", run.model("policy").name)

    def course(self) -> Any:
        """Return the settings of PPO."""
        from promptology.training.reinforcing import Course
        from promptology.training.rollouts import Mask

        mask = Mask(self.nucleus, self.least) if self.nucleus < 1 else None
        return Course(
            self.iterations, self.texts, self.epochs, self.batch, self.rate, self.max_tokens, mask, self.refresh,
            self.top_k, beta=self.beta, target=self.target, critic=self.critic,
        )  # fmt: skip

    def imitated(self, run: Run, learned: Learned, items: Sequence[Item]) -> dict[int, str]:
        """z*: return a hint to imitate by the number of its item; items without one are left out."""
        from promptology.training.hints import given_hints, keyword_hints, trigger_hints

        text = run.task.signature.output == "text"
        some = items[: self.texts]  # each takes a call for every trigger
        found = given_hints(items) or (
            keyword_hints(run, items) if text else trigger_hints(run, learned, some, TRIGGERS)
        )
        run.log("hints to imitate", items=len(found), left_out=len(items) - len(found))
        if not found:
            raise UsageError(
                f"task {run.task.name!r} gives no hint to imitate: no text shares a phrase with its label, or no trigger "
                "sentence made the model right; put hints into the items (meta hint), or take imitation_epochs=0"
            )
        return found

    def rewards(self, run: Run, learned: Learned, items: Sequence[Item], body: Any) -> Any:
        """Return the function from written hints to rewards: c times the metric at the end, keywords along the way."""
        from promptology.training.reinforcing import Worth
        from promptology.training.rewarding import keyword_rewards, worths

        keywords = run.task.signature.output == "text"

        def reward(chosen: Sequence[int], hints: Sequence[str], tokens: Sequence[Sequence[int]]) -> list[Worth]:
            some = [items[n] for n in chosen]
            ends = worths(run, learned, some, hints, self.samples, self.temperature)
            if self.baseline:
                plain = worths(run, learned, some, [""] * len(some), self.samples, self.temperature)
                ends = [None if a is None or b is None else a - b for a, b in zip(ends, plain, strict=True)]
            found: list[Worth] = []
            for item, end, row in zip(some, ends, tokens, strict=True):
                texts = [str(t) for t in references(item.target)] if keywords else []
                along = keyword_rewards(body, row, texts, self.hit, self.miss) if keywords else {}
                found.append(Worth(None if end is None else self.reward * end, along))
            return found

        return reward
