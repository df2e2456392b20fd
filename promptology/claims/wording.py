"""How results of claims are put into words: the same on the terminal and in the docs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from promptology.claims.rules import parse

AGAINST = " (against the placebo)"


def figure(x: float) -> str:
    """Return a figure as people read it: whole numbers whole, else three decimals, fewer of large ones."""
    if x == int(x) or abs(x) >= 1000:
        return f"{x:,.0f}"
    if abs(x) < 0.001:
        return f"{x:.1e}"
    return f"{x:.3f}" if abs(x) < 10 else f"{x:.1f}"


def ranged(value: float, low: float, high: float) -> str:
    """Return a figure with its interval; where all seeds were equal, the figure alone."""
    return figure(value) if low == high else f"{figure(value)} [{figure(low)}, {figure(high)}]"


def arm_name(name: str, arm: Mapping[str, Any]) -> str:
    """Return the name of an arm, a placebo called one."""
    return f"{name} (placebo)" if arm["placebo"] else name


def arm_rows(result: Mapping[str, Any]) -> list[list[str]]:
    """Return a head and one row per arm of a measured result: its name, and each metric with its interval."""
    arms = result["arms"]
    metrics = list(dict.fromkeys(name for arm in arms.values() for name in arm["metrics"]))
    rows = [["arm", *metrics]]
    for name, arm in arms.items():
        found = [arm["metrics"].get(metric) for metric in metrics]
        rows.append([arm_name(name, arm), *(ranged(m["mean"], m["low"], m["high"]) if m else "" for m in found)])
    return rows


def term_rows(result: Mapping[str, Any]) -> list[list[str]]:
    """Return a head and one row per term of the rule: what was measured, whether it holds; placebos are named."""
    rows = [["rule", "measured", "holds"]]
    arms = result["arms"]
    for term in result["terms"]:
        (parsed,) = parse(term["rule"], arms)
        against = any(arms[name]["placebo"] for name in parsed.arms)
        rule = term["rule"] + (AGAINST if against else "")
        rows.append([rule, ranged(term["value"], term["low"], term["high"]), "yes" if term["holds"] else "no"])
    return rows


def lasted(seconds: float) -> str:
    """Return a time in seconds or minutes."""
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def counted(results: Iterable[Mapping[str, Any]]) -> str:
    """Return how many claims there are, and how many of each verdict."""
    verdicts = [result["verdict"] for result in results]
    parts = [f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts)]
    number = "1 claim" if len(verdicts) == 1 else f"{len(verdicts)} claims"
    return f"{number}: {', '.join(parts)}" if parts else "no claim of a landed method"
