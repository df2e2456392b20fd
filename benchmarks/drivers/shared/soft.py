"""What the sides of the soft-prompt benchmarks share: cases, their batches, and how a step is measured."""

import tiny
import torch

RATE = 1e-2


def batches_of(case, count):
    """Return (texts, targets) of each step, shapes (batch, text) and (batch, labels); text lengths differ if asked."""
    made = []
    for n in range(count):
        rows = tiny.tokens_of(case["batch"], case["text"] + case["labels"], case["shape"]["vocab"], 100 + n)
        made.append((rows[:, : case["text"]].contiguous(), rows[:, case["text"] :].contiguous()))
    return made


def losses(spec, stopwatch, prepare):
    """Train every case for some steps; return the losses, and the peak memory of a step in MB.

    `prepare(case)` returns (step, parameters).
    """
    found, held = {}, {}
    for name, case in spec["cases"].items():
        watch = tiny.Memory()
        with stopwatch.running():
            found[name] = run(case, prepare, spec["steps"], before=watch.before, after=watch.after)
        held[name] = watch.median()
    return {"losses": found, "mb": held}


def run(case, prepare, steps, **hooks):
    """Train one case from its start."""
    step, parameters = prepare(case)
    return tiny.train(step, parameters, batches_of(case, steps), case.get("rate", RATE), **hooks)


def steps(spec, stopwatch, prepare):
    """Return processor milliseconds of a step of every case, warmed up."""
    found = {}
    for name, case in spec["cases"].items():
        step, parameters = prepare(case)
        batches = batches_of(case, spec["warm"] + case["steps"])
        tiny.train(step, parameters, batches[: spec["warm"]], RATE)
        before = stopwatch.cpu
        with stopwatch.running():
            tiny.train(step, parameters, batches[spec["warm"] :], RATE)
        found[name] = 1000 * (stopwatch.cpu - before) / case["steps"]
    return {"ms": found}


def mlp(width, hidden):
    """Return the network of P-tuning: two hidden layers, in the order of Liu et al. 2021 (arXiv:2103.10385)."""
    torch.manual_seed(5)
    parts = [torch.nn.Linear(width, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, hidden), torch.nn.ReLU()]
    return torch.nn.Sequential(*parts, torch.nn.Linear(hidden, width))
