"""PTEC's claims: a trained head is better than written labels and costs less, and no order of labels matters to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from promptology.claims.costs import interleaved, one_thread
from promptology.claims.fixtures import Setting, best_of, learned_by, zoo_model
from promptology.claims.measuring import Bench, measures, run_of
from promptology.data.items import ClassLabel, Field, Item, Signature
from promptology.data.metrics import metric
from promptology.data.task import Task
from promptology.methods.soft.prompt_tuning import PromptTuning
from promptology.methods.soft.ptec import CUE, PTEC
from promptology.prompts.learned import Learned, Readout
from promptology.run.engine import Run
from promptology.zoo.wordland.kinds import KINDS, joined

MODEL = "word-instruct"
CLASSES, LENGTH = 12, 20
PARTED = "; "
TEMPLATE = f"{{input}}{CUE}"
"""What prompt tuning reads of an item: what PTEC reads."""
SIZES = {"train": 600, "validation": 150, "test": 600}
COURSE: Mapping[str, Any] = {"batch": 8, "steps": 300}
GRIDS: Mapping[str, tuple[Setting, ...]] = {
    "ptec": tuple({"rate": p, "head_rate": h} for p in (0.003, 0.01) for h in (1e-3, 1e-2)),
    "pt": tuple({"rate": p} for p in (0.001, 0.003, 0.01, 0.03)),
    "frozen": tuple({"rate": 0.0, "head_rate": h} for h in (3e-4, 1e-3, 1e-2, 3e-2)),
}
"""Rates of prompts as multiples of E, which is how the methods take them."""


def model() -> Any:
    """Return word-instruct; it reads the text and the cue as they are, without the marks of a chat."""
    return zoo_model(MODEL, chat=False)


def task_of(seed: int, sizes: Mapping[str, int]) -> Task:
    """Return the multi-label task of kind topic: sentences of one to three of the first 12 classes, one each."""
    drawn = joined(KINDS["topic"], seed, sizes, first=CLASSES, most=3)

    def items(split: str) -> list[Item]:
        return [Item(f"{split}-{n}", e.inputs, e.meta["classes"]) for n, e in enumerate(drawn.get(split, ()))]

    names = sorted(KINDS["topic"].class_names)[:CLASSES]
    signature = Signature((Field("text"),), "classes", tuple(map(ClassLabel, names)), separator=PARTED.strip())
    train, validation, test = map(items, ("train", "validation", "test"))
    return Task(train, validation, test, signature=signature, metric="macro_f1", name="topics joined")


def head_method(setting: Setting, **changes: Any) -> PTEC:
    """Return PTEC with 20 virtual tokens, which keeps its last state."""
    return PTEC(length=LENGTH, select=False, **{**COURSE, **changes, **setting})


def text_method(setting: Setting, **changes: Any) -> PromptTuning:
    """Return prompt tuning on written labels, with as many parameters as PTEC; it reads what PTEC reads."""
    length = LENGTH + CLASSES
    return PromptTuning(length=length, template=TEMPLATE, checks=0, **{**COURSE, **changes, **setting})


def with_options(learned: Learned, **options: Any) -> Learned:
    """Return the same weights, decoded in another way."""
    readout = learned.readout
    return learned.with_parts(Readout(readout.type, {**readout.options, **options}, readout.arrays))


def written(learned: Learned, run: Run, items: Sequence[Item]) -> list[str]:
    """Return what a prompt has the model write for each item."""
    from promptology.predict import bind

    raw = bind(learned, run.model()).predict(items).raw
    return [(text or "").strip() for text in raw]


def labels_in(text: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return the labels of a written answer: its parts that are exact label strings."""
    return tuple(part for part in dict.fromkeys(text.split(PARTED)) if part in names)


def valid(text: str, names: Sequence[str]) -> bool:
    """Return whether an answer is known labels joined by the separator, none twice."""
    parts = text.split(PARTED)
    return all(part in names for part in parts) and len(set(parts)) == len(parts)


def macro_f1(arm: str, learned: Learned, run: Run, items: Sequence[Item]) -> float:
    """Return the macro-F1 over the classes: of probabilities above 0.5, or of exact label strings."""
    from promptology.training.objectives import score_of

    if arm in ("ptec", "frozen"):
        return score_of(run, learned, items)
    names = run.task.signature.class_names
    found = [labels_in(text, names) for text in written(learned, run, items)]
    return metric("macro_f1").aggregate(found, [i.target for i in items])["macro_f1"]


def trained(arm: str, setting: Setting, task: Task, seed: int) -> tuple[Learned, Run]:
    """Return what an arm of ptec-quality learns, and its run."""
    method = text_method(setting) if arm == "pt" else head_method(setting, cap=50.0)
    return learned_by(method, task, model(), seed)


@measures("ptec-quality", together=True, needs=(MODEL,))
def quality(seed: int, bench: Bench) -> dict[str, dict[str, float]]:
    """Return the macro-F1 on test; arm trie is the prompt of arm pt, decoded with trie search."""
    task, values = task_of(seed, SIZES), dict[str, dict[str, float]]()
    for arm, grid in GRIDS.items():

        def score(setting: Setting, arm: str = arm) -> float:
            first = task_of(0, SIZES)
            return macro_f1(arm, *trained(arm, setting, first, 0), first.validation)

        def choice(grid: Sequence[Setting] = grid, score: Callable[[Setting], float] = score) -> Setting:
            return best_of(grid, score)

        learned, run = trained(arm, bench.once(f"rates of {arm}", choice), task, seed)
        values[arm] = {"macro-F1": macro_f1(arm, learned, run, task.open_test())}
        if arm == "pt":
            held = with_options(learned, trie=True, before=" ")
            values["trie"] = {"macro-F1": macro_f1("trie", held, run, task.open_test())}
    return values


LABELS = {"train": 600, "test": 300}
SHORT: Mapping[str, Any] = {"steps": 200}
MOST = 24
"""Tokens that arm plain may write."""


@measures("ptec-labels", needs=(MODEL,))
def labels(arm: str, seed: int, bench: Bench) -> dict[str, float]:
    """Return the share of valid outputs of an untrained prompt, or by how much the order of labels moves a loss."""
    from promptology.training.objectives import by_frequency

    task = task_of(seed, LABELS)
    items = task.open_test()
    if arm in ("trie", "plain"):
        learned, run = learned_by(text_method({}, steps=0, trie=arm == "trie"), task, model(), seed)
        learned = learned if arm == "trie" else with_options(learned, max_tokens=MOST)
        found = [valid(text, task.signature.class_names) for text in written(learned, run, items)]
        return {"valid": sum(found) / len(found)}
    setting = {"rate": 0.003, "head_rate": 1e-3} if arm == "ptec" else {"rate": 0.003}
    method: Any = (head_method if arm == "ptec" else text_method)(setting, **SHORT)
    learned, _ = learned_by(method, task, model(), seed)
    first = losses_of(arm, learned, task, seed, by_frequency(task.train))
    last = losses_of(arm, learned, task, seed, lambda names: by_frequency(task.train)(names)[::-1])
    return {"order": sum(abs(a - b) for a, b in zip(first, last, strict=True)) / len(first)}


def losses_of(arm: str, learned: Learned, task: Task, seed: int, listed: Callable[..., Sequence[str]]) -> list[float]:
    """Return the loss, in nats, of each test item with two labels or more that are listed in this order.

    It is the loss of the training; that of a written answer is the mean over its tokens.
    """
    import torch

    from promptology.injection import attach
    from promptology.prompts.injected import injected_of
    from promptology.training.objectives import HeadObjective, TextObjective, class_weights, gold_of

    names = task.signature.class_names
    several = [i.with_target(tuple(listed(i.target))) for i in task.open_test() if len(i.target) > 1]
    run = run_of(Task(several, [], [], signature=task.signature), {"model": model()}, seed)
    body = run.model().frozen()
    if arm == "pt":
        goal: Any = TextObjective(run, body, "answer", template=TEMPLATE, order=listed)
    else:
        goal, weights = HeadObjective(run, body, bias=False, cue=CUE), class_weights(task.train)
        goal.positive = torch.tensor([weights[name] for name in names])
        goal.weight = torch.tensor(learned.readout.arrays["weight"])
        goal.gold = gold_of(several, names)  # the task puts the labels of its own items into one order
    inside = injected_of(learned)
    with torch.no_grad(), attach(body.model, inside.fillings if inside else ()):
        return [float(goal.loss([n])) for n in range(len(several))]


VOCABULARY, PROMPT, TEXT, TOKENS, BATCH = 2500, 50, 32, 8, 16


class Answers:
    """A Llama with random weights and a prompt of 50 vectors: a prediction by a head, and one that is written."""

    def __init__(self, seed: int) -> None:
        import torch
        from tokenizers import Tokenizer, models
        from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

        from promptology.injection import encode_prefix
        from promptology.models.local import Body

        words = Tokenizer(models.WordLevel({f"w{n}": n for n in range(VOCABULARY)}, unk_token="w0"))
        shape = {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 4}
        heads = {"num_attention_heads": 4, "num_key_value_heads": 4}
        # Without an end token every answer has the eight tokens that the claim asks for, the last in its place.
        config = LlamaConfig(vocab_size=VOCABULARY, bos_token_id=None, eos_token_id=None, **shape, **heads)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            net = LlamaForCausalLM(config)
            self.rows = torch.randint(VOCABULARY, (BATCH, TEXT)).tolist()
            tokens = net.get_input_embeddings().weight[torch.randint(VOCABULARY, (PROMPT,))].detach()
            self.weight = torch.randn(CLASSES, 256) / 256**0.5
        self.body = Body(net, PreTrainedTokenizerFast(tokenizer_object=words), "causal", "random Llama")
        with self.body.quiet():
            self.prefix = encode_prefix(net, inputs_embeds=tokens[None])

    def classes(self, rows: Sequence[list[int]]) -> list[list[bool]]:
        """Return which classes the head says of rows: one forward pass."""
        with self.body.quiet():
            scores = self.body.pooled(rows) @ self.weight.T
        said: list[list[bool]] = (scores.sigmoid() > 0.5).tolist()
        return said

    def texts(self, rows: Sequence[list[int]]) -> list[Any]:
        """Return what the model writes behind rows, eight tokens each."""
        from promptology.models.access import Request
        from promptology.models.local.decoding import Asked, decode

        asked = [Asked(Request(()), row, TOKENS) for row in rows]
        return [answer for _, answer in decode(self.body, asked, lambda _: nullcontext())]


@measures("ptec-inference", together=True)
def inference(seed: int, bench: Bench) -> dict[str, dict[str, float]]:
    """Return the CPU time in ms of one prediction, and of 16 at once; the prompt's keys and values are at hand."""
    from promptology.injection import attach

    made = Answers(seed)
    found: dict[str, dict[str, float]] = {"ptec": {}, "pt": {}}
    with one_thread(), attach(made.body.model, [], prefixes=[made.prefix]):
        for name, rows in (("single", made.rows[:1]), ("batch", made.rows)):
            times = interleaved({"ptec": partial(made.classes, rows), "pt": partial(made.texts, rows)})
            for arm, value in times.items():
                found[arm][name] = value
    return found
