"""The budget of a run over its steps, by role: taken from the history, and laid out as areas one on another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from promptology.evidence.pictures import BOTTOM, HUES, LEFT, RIGHT, TOP, UNITS, Frame, number, scale, ticks, unit_of
from promptology.run.cost import Cost
from promptology.run.lineage import counts

POINTS = 80
"""Steps of a run that are drawn; of more, so many evenly spread, the first and the last among them."""
QUARTERS = (0.25, 0.5, 0.75, 1.0)


class Area(NamedTuple):
    """What a role was charged, on top of the roles before it: hue, the path of its area, and the sum in words."""

    role: str
    hue: str
    path: str
    text: str


class Areas(NamedTuple):
    """The budget of one run in one unit. `rows`: for each quarter of the steps the sum of each role."""

    unit: str
    frame: Frame
    areas: list[Area]
    rows: list[tuple[str, list[str]]]
    words: str


def course(spent: Sequence[Mapping[str, Any]], ledger: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return what each role had been charged at the steps of a run, and at the end of learning; None without steps.

    `steps`: how many there were; `at`: the numbers of those that are kept, from 1, the end as `steps` + 1; `roles`:
    by role and unit as many sums.
    """
    known = [(n, s["roles"]) for n, s in enumerate(spent, 1) if "roles" in s]
    if not known:
        return None
    end = {e["role"]: counts(Cost.from_json(e["charged"])) for e in ledger if e["phase"] == "learning"}
    some = known if len(known) <= POINTS else [known[round(k * (len(known) - 1) / (POINTS - 1))] for k in range(POINTS)]
    points = [*some, (len(spent) + 1, end)]
    roles = {
        role: {unit: [sums.get(role, {}).get(unit, 0) for _, sums in points] for unit in units}
        for role, units in end.items()
    }
    return {"steps": len(spent), "at": [n for n, _ in points], "roles": roles}


def areas(found: Mapping[str, Any] | None) -> list[Areas]:
    """Lay out a budget over time; passes through a local model stand apart from what is called or paid."""
    if not found or not any(found["roles"].values()):
        return []
    units = list(dict.fromkeys([unit_of(list(map(_last, found["roles"].values()))), "passes"]))
    return [drawn for unit in units if (drawn := _areas(found, unit))]


def _last(units: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {unit: sums[-1] for unit, sums in units.items()}


def _areas(found: Mapping[str, Any], unit: str) -> Areas | None:
    sums = {role: units[unit] for role, units in found["roles"].items() if any(units.get(unit, ()))}
    if not sums:
        return None
    at, steps = found["at"], found["steps"]
    tops: list[list[float]] = [[0.0] * len(at)]
    for one in sums.values():
        tops.append([below + more for below, more in zip(tops[-1], one, strict=True)])
    most = max(tops[-1])
    x_of, y_of = scale(0, steps + 1, LEFT + 4, RIGHT - 10), scale(0, 1.04 * most, BOTTOM, TOP)
    drawn = []
    for n, (role, one) in enumerate(sums.items()):
        upper = [(x_of(x), y_of(y)) for x, y in zip([0, *at], [0.0, *tops[n + 1]], strict=True)]
        lower = [(x_of(x), y_of(y)) for x, y in zip([0, *at], [0.0, *tops[n]], strict=True)]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in [*upper, *lower[::-1]]) + "Z"
        share = f"{100 * one[-1] / most:.0f} %"
        drawn.append(Area(role, f"s{n % HUES}", path, f"{role}: {_said(one[-1], unit)} {UNITS[unit]}, {share}"))
    rows = []
    for quarter in QUARTERS:
        k = next(k for k, n in enumerate(at) if n >= quarter * (steps + 1))
        name = "end of learning" if quarter == 1 else f"step {at[k]:,}"
        rows.append((name, [_said(one[k], unit) for one in sums.values()]))
    frame = Frame(
        [(x_of(t), f"{t:,g}") for t in ticks(0, steps, 9) if t == round(t)],
        [(y_of(t), number(t)) for t in ticks(0, 1.04 * most)],
        "steps of the history, then the end of learning",
        f"{UNITS[unit]} charged",
    )
    return Areas(UNITS[unit], frame, drawn, rows, "; ".join(area.text for area in drawn))


def _said(value: float, unit: str) -> str:
    return f"{value:.4g}" if unit == "usd" else f"{value:,.0f}"
