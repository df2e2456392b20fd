"""DePT's claims: as good as a longer prompt of as many parameters, at a lower cost, and because of its offsets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from promptology.claims.costs import interleaved, kept_bytes, one_thread
from promptology.claims.fixtures import Setting, best_of, learned_by, zoo_model
from promptology.claims.measuring import Bench, measures
from promptology.data.generated import kind_task
from promptology.data.task import Task
from promptology.methods.search.manual import Manual
from promptology.methods.soft.dept import DePT
from promptology.methods.soft.prompt_tuning import PromptTuning
from promptology.zoo.wordland.kinds import HELD_OUT_CLASSIFICATION

if TYPE_CHECKING:
    from promptology.zoo.wordland.kind import Kind

MODEL = "word-t5"
KINDS = HELD_OUT_CLASSIFICATION[:2]
SIZES = {"train": 256, "validation": 200, "test": 500}
MOST = 48
"""Tokens of an input at most."""
COURSE: Mapping[str, Any] = {"batch": 8, "steps": 200, "checks": 0}
GRIDS: Mapping[str, tuple[Setting, ...]] = {
    "dept": tuple({"rate": p, "offset_rate": o} for p in (0.003, 0.01) for o in (1e-4, 1e-3)),
    "pt": tuple({"rate": p} for p in (0.001, 0.003, 0.01, 0.03)),
    "frozen": tuple({"rate": p, "offset_rate": 0.0} for p in (0.001, 0.003, 0.01, 0.03)),
}
"""Rates as multiples of E, which is how the methods take them."""


def method_of(arm: str, setting: Setting) -> Any:
    """Return an arm's method; of DePT the rank is the largest whole one with at most 40 d parameters."""
    if arm == "start":
        return Manual()
    if arm == "pt":
        return PromptTuning(length=40, **COURSE, **setting)
    return DePT(length=16, matches=40, max_length=MOST, **COURSE, **setting)


def task_of(kind: Kind, seed: int) -> Task:
    """Return the task of a kind: only items whose input has at most 48 tokens, all that stands in the encoder."""
    from promptology.prompts.render import messages, with_cue
    from promptology.prompts.start import LIKELIHOOD, start_from

    body = zoo_model(MODEL).frozen()
    start = start_from(kind_task(kind, seed, {}).signature, ("differentiable", "scores"))

    def short(rng: Any, target: str) -> Any:
        while True:
            example = kind.make(rng, target)
            asked = with_cue(messages(start, example.inputs, start.signature), LIKELIHOOD["cue"])
            if len(body.encode(asked)) <= MOST:
                return example

    return kind_task(replace(kind, make=short), seed, SIZES)


def accuracy_of(arm: str, setting: Setting, kind: Kind, seed: int, split: str) -> float:
    """Return the share of items of a split whose likeliest class name is the right one."""
    from promptology.training.objectives import score_of

    task = task_of(kind, seed)
    learned, run = learned_by(method_of(arm, setting), task, zoo_model(MODEL), seed)
    return score_of(run, learned, task.open_test() if split == "test" else task.validation, "accuracy")


@measures("dept-offsets", needs=(MODEL,))
@measures("dept-quality", needs=(MODEL,))
def accuracy(arm: str, seed: int, bench: Bench) -> dict[str, float]:
    """Return the mean over the two kinds of the accuracy on test, at the rates that seed 0 of the first one chose."""

    def choice() -> Setting:
        return best_of(GRIDS[arm], lambda setting: accuracy_of(arm, setting, KINDS[0], 0, "validation"))

    setting = {} if arm == "start" else bench.once(f"rates of {arm}", choice)
    return {"accuracy": sum(accuracy_of(arm, setting, kind, seed, "test") for kind in KINDS) / len(KINDS)}


VOCABULARY, WIDTH, TEXT, BATCH = 2000, 128, 64, 16


class Arm:
    """A GPT-2 with random weights and what is attached to it: its training step, and its forward pass.

    `length`: virtual tokens; `rank`: of the offsets, 0 for none.
    """

    def __init__(self, seed: int, length: int, rank: int = 0) -> None:
        import torch
        from transformers import GPT2Config, GPT2LMHeadModel

        from promptology.injection import Filling
        from promptology.injection.modules import Offsets
        from promptology.training.loop import Group
        from promptology.training.stepping import Stepper

        shape = {"n_positions": 256, "n_embd": WIDTH, "n_layer": 4, "n_head": 4}
        config = GPT2Config(vocab_size=VOCABULARY, bos_token_id=None, eos_token_id=None, **shape)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.model = GPT2LMHeadModel(config).eval().requires_grad_(False)
            self.ids = torch.randint(VOCABULARY, (BATCH, TEXT))
            self.wanted = torch.randint(VOCABULARY, (BATCH,))
            words = torch.randint(VOCABULARY, (length,))
            first = torch.empty(TEXT, rank).uniform_(-1, 1) / max(1, rank) ** 0.5
        prompt = torch.nn.Parameter(self.model.get_input_embeddings().weight[words].clone())
        self.fillings, groups = [Filling("input", prompt)], [Group("prompt", {"P": prompt}, rate=1e-3)]
        if rank:
            offsets = Offsets(first, torch.zeros(rank, WIDTH), 8.0 / rank**0.5)
            self.fillings.append(Filling("input", offsets))
            groups.append(Group("offsets", dict(offsets.named_parameters()), rate=1e-4))
        self.parameters = sum(p.numel() for g in groups for p in g.parameters.values())
        how: dict[str, Any] = {"clip": 1.0, "bf16": False, "micro": 0, "seed": seed, "generators": ()}
        how |= {"after_backward": None, "label": "training", "say": print}
        self.stepper = Stepper(lambda _: self.loss(), groups, optimizer="adamw", **how)

    def logits(self) -> Any:
        """Return the logits at the last position, shape (16, 2000)."""
        return self.model(input_ids=self.ids, use_cache=False, logits_to_keep=1).logits[:, -1]

    def loss(self) -> Any:
        """Return the cross-entropy at the last position, under what is attached for this step as in any training."""
        import torch

        from promptology.injection import attach

        with attach(self.model, self.fillings):
            return torch.nn.functional.cross_entropy(self.logits(), self.wanted)

    def step(self) -> None:
        """Make one training step: forward, backward, optimizer."""
        self.stepper.gradients(0, [0])
        self.stepper.update(1.0)


@measures("dept-cost", together=True)
def cost(seed: int, bench: Bench) -> dict[str, dict[str, float]]:
    """Return the CPU time of a step and of a forward pass in ms, and the bytes that a step keeps for its gradients.

    Forward passes are those of a prompt in use: attached once, for as many inputs as come.
    """
    import torch

    from promptology.injection import attach

    arms = {"dept": Arm(seed, length=40, rank=40), "pt": Arm(seed, length=100)}
    with one_thread():
        saved = {name: kept_bytes(arm.model, arm.loss) for name, arm in arms.items()}
        step = interleaved({name: arm.step for name, arm in arms.items()})
        dept, pt = arms["dept"], arms["pt"]
        with torch.no_grad(), attach(dept.model, dept.fillings), attach(pt.model, pt.fillings):
            predict = interleaved({name: arm.logits for name, arm in arms.items()})
    return {name: {"step": step[name], "saved": float(saved[name]), "predict": predict[name]} for name in arms}
