"""Our side: the parts that the methods use: learned parts attached at their sites, and log p of the targets."""

import soft
import tiny
import torch

from promptology.injection import Filling, attach, encode_prefix
from promptology.injection.modules import Offsets
from promptology.models.local import wrap


def losses(spec, stopwatch):
    """Return the losses of some steps, and their memory."""
    return soft.losses(spec, stopwatch, prepare)


def steps(spec, stopwatch):
    """Return the time of a step."""
    return soft.steps(spec, stopwatch, prepare)


def prepare(case):
    """Return the case ready to be trained."""
    shape = case["shape"]
    body = wrap(tiny.model_of(shape), tiny.tokenizer_of(shape["vocab"])).frozen()
    if case["kind"] == "behind":
        return behind(case, body)
    fillings, parameters = KINDS[case["kind"]](case)

    def loss(batch):
        _, texts, targets = batch
        return -body.target_logprobs(texts.tolist(), targets.tolist()).sum() / targets.numel()

    return soft.Step(parameters, loss, lambda: attach(body.model, fillings()))


def site_of(case):
    """Return where the input embeddings come in."""
    return "encoder.input" if case["shape"]["family"] == "t5" else "input"


def prompt(case):
    """Return virtual tokens before the input."""
    tokens = soft.prompt_of(case)
    return lambda: [Filling(site_of(case), tokens)], [tokens]


def dept(case):
    """Return a short prompt, and low-rank offsets of the input's embeddings."""
    tokens, offsets = soft.prompt_of(case), Offsets(*soft.offsets_of(case), 1.0)
    return lambda: [Filling(site_of(case), offsets), Filling(site_of(case), tokens)], [tokens, *offsets.parameters()]


def p_tuning(case):
    """Return virtual tokens that a small network makes out of trained ones."""
    tokens, network = soft.prompt_of(case), soft.mlp(case["shape"]["width"], case["hidden"])
    return lambda: [Filling("input", network(tokens))], [tokens, *network.parameters()]


def prefix(case):
    """Return keys and values of every layer, in the order in which peft keeps them."""
    layers, heads, width = (case["shape"][name] for name in ("layers", "heads", "width"))
    table = torch.nn.Parameter(tiny.start_of((case["tokens"], 2 * layers * width), scale=case["scale"]))

    def fillings():
        pairs = table.view(case["tokens"], layers, 2, heads, width // heads).permute(1, 2, 0, 3, 4)
        return [Filling(f"key_value[{i}]", pairs[i]) for i in range(layers)]

    return fillings, [table]


KINDS = {"prompt": prompt, "dept": dept, "p-tuning": p_tuning, "prefix": prefix}


def behind(case, body):
    """Return a prompt between the input and its last token: keys and values of the input are computed once per item."""
    tokens, known = soft.prompt_of(case), {}

    def loss(batch):
        numbers, texts, targets = batch
        key = int(numbers[0])
        if key not in known:
            with torch.no_grad():
                known[key] = encode_prefix(body.model, input_ids=texts[:, :-1])
        each = tokens.expand(len(texts), -1, -1)
        with attach(body.model, [Filling("input", each)], prefixes=[known[key]]):
            return -body.target_logprobs(texts[:, -1:].tolist(), targets.tolist()).sum() / targets.numel()

    return soft.Step([tokens], loss)
