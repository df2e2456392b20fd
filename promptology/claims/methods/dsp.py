"""DSP's claims, with articles whose reporter cannot tell what matters, and a small policy that starts from nothing.

The entries leave open how long sentences are (one or two words beside thing and cue, so that a policy has a chance to
see through them), the policy's heads (4 of 16, a tied embedding, T5's own start) and the rates. Rates and batch are
chosen from a grid, by ROUGE-L on the validation articles of seed 0: first those of imitation, then that of
reinforcement. Everything else is as the method has it, with one answer a hint, as this reporter always says the same.
Mean KL per token is exact, along the hints that the arm's policy writes for the test articles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from promptology.claims.fixtures import Setting, best_of
from promptology.claims.measuring import Bench, measures, run_of
from promptology.data.items import Field, Item, Signature
from promptology.data.metrics import as_metric
from promptology.data.task import Task
from promptology.methods.search.dsp import DSP
from promptology.models.simulated.articles import CUES, FILL, KEPT, THINGS, ArticleWorld, SimulatedReporter
from promptology.prompts.learned import Learned

SIZES: Mapping[str, int] = {"train": 400, "validation": 100, "test": 300}
NOISE = 0.3
"""Share of the keywords to imitate that are another thing of the article."""
IMITATION: Sequence[Setting] = tuple(
    {"imitation_rate": rate, "batch": batch} for rate in (1e-3, 3e-3) for batch in (2, 8)
)
REINFORCEMENT: Sequence[Setting] = tuple({"rate": rate} for rate in (1e-4, 1e-3))
COURSE: Setting = {"iterations": 10, "texts": 64, "samples": 1, "max_tokens": 12}
LEASHLESS: Setting = {"beta": 0.0, "target": 0.0}


def task_of(seed: int, sizes: Mapping[str, int] = SIZES) -> Task:
    """Return the articles of a seed; training ones with noisy keywords to imitate."""
    world, rng = ArticleWorld(seed), np.random.default_rng(seed)
    splits: dict[str, list[Item]] = {}
    for name, size in sizes.items():
        first = sum(map(len, splits.values()))
        splits[name] = [_item(world, n, rng if name == "train" else None) for n in range(first, first + size)]
    signature = Signature((Field("article"),), "text", instruction="Write a summary of the article.")
    return Task(*splits.values(), signature=signature, metric="rouge-l", name="articles")


def _item(world: ArticleWorld, n: int, rng: np.random.Generator | None) -> Item:
    article = world.article(n)
    keywords = list(article.keywords)
    if rng:
        there = things_in(article.text)
        keywords = [there[int(rng.integers(len(there)))] if rng.random() < NOISE else word for word in keywords]
    return Item(str(n), {"article": article.text}, article.summary, {"hint": hint_of(keywords)})


def hint_of(keywords: Sequence[str]) -> str:
    """Return a hint that names keywords."""
    return "; ".join(keywords) + "."


def things_in(text: str) -> list[str]:
    """Return the things that a text names, in order."""
    return [word for word in text.replace(".", " ").replace(";", " ").split() if word in THINGS]


def policy_of(seed: int) -> Any:
    """Return a T5 of 2 + 2 layers, 64 wide, with random weights and a vocabulary of whole words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    from promptology.models.opening import model

    words = ["<pad>", "</s>", "<unk>", *THINGS, *CUES, *FILL, ".", ";", ":", "Extract", "keywords"]
    plain = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, "<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    plain.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    named = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "model_max_length": 256}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, clean_up_tokenization_spaces=False, **named)
    config = T5Config(
        vocab_size=len(words), d_model=64, d_kv=16, d_ff=128, num_layers=2, num_decoder_layers=2, num_heads=4,
        dropout_rate=0.0, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return model(T5ForConditionalGeneration(config), tokenizer, device="cpu", name="policy")


class Fitted:
    """What a setting learns on the articles of a seed: after imitation, and at the end."""

    def __init__(self, seed: int, setting: Setting, task: Task | None = None) -> None:
        self.task, self.policy = task or task_of(seed), policy_of(seed)
        self.run = run_of(self.task, {"model": SimulatedReporter(), "policy": self.policy}, seed)
        self.kept: list[Learned] = []
        self.run.keep = self.kept.append  # type: ignore[method-assign, assignment]
        DSP(**{**COURSE, **setting}).fit(self.run)

    def hints(self, learned: Learned, items: Sequence[Item]) -> list[str]:
        """Return what a policy writes for items."""
        predictor = learned.bind(self.run.model(), {"policy": self.run.model("policy")})
        predictor.prepare(items)
        return [predictor.writer.hint(item) or "" for item in items]

    def score(self, learned: Learned, items: Sequence[Item]) -> float:
        """Return the mean ROUGE-L of the reporter under a policy's hints."""
        return rouge(items, self.hints(learned, items))

    def divergence(self, items: Sequence[Item]) -> float:
        """Return the mean KL per token from the last policy to the imitated one, along what the last one writes."""
        import torch

        from promptology.prompts.injected import injected_of
        from promptology.prompts.render import input_text
        from promptology.prompts.rewriter import Rewriter
        from promptology.training.rollouts import holding

        body, part = self.policy.frozen(), self.kept[-1].part(Rewriter)
        assert part is not None
        prompts = [body.encode(part.reads.replace("{input}", input_text(i.inputs, self.task.signature))) for i in items]
        texts = [body.continuation("", hint, end=True) for hint in self.hints(self.kept[-1], items)]
        found = []
        for learned in (self.kept[-1], self.kept[0]):
            inside = injected_of(learned, "policy")
            assert inside is not None
            weights = {filling.site.removeprefix("weight:"): filling.filler for filling in inside.fillings}
            with torch.no_grad(), holding(body, weights):
                found.append(body.logits(body.target_states(prompts, texts)[0]).float().log_softmax(dim=-1))
        return float((found[0].exp() * (found[0] - found[1])).sum(dim=-1).mean())


def rouge(items: Sequence[Item], hints: Sequence[str]) -> float:
    """Return the mean ROUGE-L of the reporter's summaries under hints."""
    metric, reporter = as_metric("rouge-l"), SimulatedReporter()
    asked = [f"{item.inputs['article']}\n\n{hint}" for item, hint in zip(items, hints, strict=True)]
    said = [reporter.reply([("user", text)]) for text in asked]
    return float(np.mean([metric.item(text, item.target) for text, item in zip(said, items, strict=True)]))


def chosen(bench: Bench) -> Setting:
    """Return the setting that is best on the validation articles of seed 0, stage by stage."""

    def imitation() -> Setting:
        def score(setting: Setting) -> float:
            it = Fitted(0, {**setting, "iterations": 0})
            return it.score(it.kept[-1], it.task.validation)

        return best_of(IMITATION, score)

    first = bench.once("rates of imitation", imitation)

    def reinforcement() -> Setting:
        def score(setting: Setting) -> float:
            it = Fitted(0, {**first, **setting})
            return it.score(it.kept[-1], it.task.validation)

        return best_of(REINFORCEMENT, score)

    return {**first, **bench.once("rate of reinforcement", reinforcement)}


@measures("dsp-hints", together=True)
def hints(seed: int, bench: Bench) -> dict[str, float]:
    """Return the mean ROUGE-L on test of each arm."""
    it = Fitted(seed, chosen(bench))
    test, rng = it.task.open_test(), np.random.default_rng([seed, 1])
    random = [hint_of(list(rng.choice(things_in(i.inputs["article"]), KEPT, replace=False))) for i in test]
    return {
        "rl": it.score(it.kept[-1], test),
        "sft": it.score(it.kept[0], test),
        "none": rouge(test, [""] * len(test)),
        "random": rouge(test, random),
        "oracle": rouge(test, [str(i.meta["hint"]) for i in test]),
    }


@measures("dsp-leash", together=True)
def leash(seed: int, bench: Bench) -> dict[str, dict[str, float]]:
    """Return the divergence from the imitated policy, and the share of distinct keywords in a hint, on test."""
    found = {}
    for arm, changes in (("rl", {}), ("free", LEASHLESS)):
        it = Fitted(seed, {**chosen(bench), **changes})
        test = it.task.open_test()
        found[arm] = {"kl": it.divergence(test), "distinct": distinct(it.hints(it.kept[-1], test))}
    return found


def distinct(hints: Sequence[str]) -> float:
    """Return the mean share of distinct keywords in a hint, over those that name one."""
    named = [[part.strip(" .") for part in hint.split(";") if part.strip(" .")] for hint in hints]
    return float(np.mean([len({*some}) / len(some) for some in named if some]))
