"""What the sides of the soft-prompt benchmarks share: cases, their batches, and how a step is measured."""

from contextlib import nullcontext

import tiny
import torch

RATE = 1e-2


class Step:
    """A case ready to be trained: its parameters, the loss of a batch, and what is entered around it."""

    def __init__(self, parameters, loss, attached=nullcontext):
        self.parameters, self.loss, self.attached = parameters, loss, attached

    def __call__(self, batch):
        """Return the loss of a batch, under what is attached."""
        with self.attached():
            return self.loss(batch)


def batches_of(case, count):
    """Return (numbers of the items, texts, targets) of each step; shapes (batch,), (batch, text), (batch, labels)."""
    made = []
    for n in range(count):
        numbers = torch.arange(case["batch"]) + case["batch"] * (n % case.get("distinct", count))
        sizes = [case["text"], case["labels"]]
        rows = tiny.tokens_of(case["batch"], sum(sizes), case["shape"]["vocab"], 100 + int(numbers[0]))
        made.append((numbers, *(part.contiguous() for part in rows.split(sizes, dim=1))))
    return made


def losses(spec, stopwatch, prepare):
    """Train every case for some steps; return the losses, and the peak memory of a step in MB."""
    found, held = {}, {}
    for name, case in spec["cases"].items():
        watch = tiny.Memory(spec["steps"] - 5)
        step = prepare(case)
        with stopwatch.running():
            batches = batches_of(case, spec["steps"])
            found[name] = tiny.train(step, step.parameters, batches, RATE, before=watch.before, after=watch.after)
        held[name] = watch.median()
    return {"losses": found, "mb": held}


def steps(spec, stopwatch, prepare):
    """Return processor milliseconds of a training step of every case, warmed up, and of a forward pass if asked."""
    found, forward = {}, {}
    for name, case in spec["cases"].items():
        step = prepare(case)
        batches = batches_of(case, spec["warm"] + case["steps"])
        tiny.train(step, step.parameters, batches[: spec["warm"]], RATE)
        before = stopwatch.cpu
        with stopwatch.running():
            tiny.train(step, step.parameters, batches[spec["warm"] :], RATE)
        found[name] = 1000 * (stopwatch.cpu - before) / case["steps"]
        if case.get("forward"):
            forward[name] = passes(step, batches, stopwatch)
    return {"ms": found, "forward": forward}


def passes(step, batches, stopwatch):
    """Return processor milliseconds of a forward pass without gradients; what is attached stays so for all of them."""
    with torch.no_grad(), step.attached():
        step.loss(batches[0])
        before = stopwatch.cpu
        with stopwatch.running():
            for batch in batches[1:]:
                step.loss(batch)
    return 1000 * (stopwatch.cpu - before) / (len(batches) - 1)


def mlp(width, hidden):
    """Return the network of P-tuning: two hidden layers, in the order of Liu et al. 2021 (arXiv:2103.10385)."""
    torch.manual_seed(5)
    parts = [torch.nn.Linear(width, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, hidden), torch.nn.ReLU()]
    return torch.nn.Sequential(*parts, torch.nn.Linear(hidden, width))


def prompt_of(case):
    """Return virtual tokens to begin with, shape (tokens, width)."""
    return torch.nn.Parameter(tiny.start_of((case["tokens"], case["shape"]["width"]), scale=case["scale"]))


def offsets_of(case):
    """Return the two factors of DePT's offsets to begin with, shapes (text, rank) and (rank, width)."""
    shapes = (case["text"], case["rank"]), (case["rank"], case["shape"]["width"])
    return [tiny.start_of(shape, 8 + n, scale=case["scale"]) for n, shape in enumerate(shapes)]
