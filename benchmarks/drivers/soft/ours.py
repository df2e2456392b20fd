"""Our side: the parts that the methods use: learned parts attached at their sites, and log p of the targets."""

import soft
import tiny
import torch

from promptology.injection import Filling, attach
from promptology.models.local import wrap


def losses(spec, stopwatch):
    """Return the losses of some steps."""
    return soft.losses(spec, stopwatch, prepare)


def steps(spec, stopwatch):
    """Return the time of a step."""
    return soft.steps(spec, stopwatch, prepare)


def prepare(case):
    """Return a training step on a batch, and the parameters that move."""
    shape = case["shape"]
    body = wrap(tiny.model_of(shape), tiny.tokenizer_of(shape["vocab"])).frozen()
    fillings, parameters = KINDS[case["kind"]](case)

    def step(batch):
        texts, targets = batch
        with attach(body.model, fillings()):
            return -body.target_logprobs(texts.tolist(), targets.tolist()).sum() / targets.numel()

    return step, parameters


def prompt(case):
    """Return virtual tokens before the input."""
    tokens = torch.nn.Parameter(tiny.start_of((case["tokens"], case["shape"]["width"]), scale=case["scale"]))
    site = "encoder.input" if case["shape"]["family"] == "t5" else "input"
    return lambda: [Filling(site, tokens)], [tokens]


def p_tuning(case):
    """Return virtual tokens that a small network makes out of trained ones."""
    tokens = torch.nn.Parameter(tiny.start_of((case["tokens"], case["shape"]["width"]), scale=case["scale"]))
    network = soft.mlp(case["shape"]["width"], case["hidden"])
    return lambda: [Filling("input", network(tokens))], [tokens, *network.parameters()]


def prefix(case):
    """Return keys and values of every layer, in the order in which peft keeps them."""
    shape = case["shape"]
    layers, heads, width = shape["layers"], shape["heads"], shape["width"]
    table = torch.nn.Parameter(tiny.start_of((case["tokens"], 2 * layers * width), scale=case["scale"]))

    def fillings():
        pairs = table.view(case["tokens"], layers, 2, heads, width // heads).permute(1, 2, 0, 3, 4)
        return [Filling(f"key_value[{i}]", pairs[i]) for i in range(layers)]

    return fillings, [table]


KINDS = {"prompt": prompt, "p-tuning": p_tuning, "prefix": prefix}
