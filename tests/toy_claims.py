"""Measurements of toy claims for the tests of the runner: what they do is told by files beside them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from promptology.claims.measuring import measures

CALLED = Path(os.environ.get("TOY_CALLS", os.devnull))


def called(*parts):
    with CALLED.open("a", encoding="utf-8") as file:
        print(*parts, file=file, flush=True)


def fails(kind):
    return kind in os.environ.get("TOY_FAULT", "")


@measures("toy-plain")
def plain(arm, seed, bench):
    called("plain", arm, seed)
    print("a measurement may print")
    if fails("slow") and seed == 2:
        time.sleep(60)
    if fails("crash") and seed == 2:
        raise ValueError("two is\ntoo much")
    if fails("killed") and seed == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    if fails("nan") and seed == 2:
        return float("nan")
    if fails("text") and seed == 2:
        return "much"
    if fails("fork") and seed == 2:
        os.system("sleep 60 &")
        time.sleep(60)
    base = bench.once("base", lambda: called("once") or {"a": (1.0,), "b": (0.5,)})[arm][0]
    return {"score": base + 0.1 * seed, "threads": float(os.environ["OMP_NUM_THREADS"])}


@measures("toy-again")
def again(arm, seed, bench):
    called("again", arm, seed)
    return {"score": bench.once("base", lambda: 1 / 0)[arm if arm == "a" else "b"][0] + 0.1 * seed}


@measures("toy-together", together=True)
def together(seed, bench):
    called("together", seed)
    return {"a": {"x": seed + 1.0}, "b": {"x": seed + 2.0}, "c": 0} if fails("arms") else {"a": seed + 1.0, "b": 2.0}


@measures("toy-zoo", needs=("word-t5",))
def needy(arm, seed, bench):
    return 1.0
