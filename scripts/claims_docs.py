"""Write docs/claims.md: what the papers announce, and what was measured last, from the record of the package.

    python scripts/claims_docs.py

`promptology claims --save` writes the record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from promptology.claims.announced import Entry, entries
from promptology.claims.measuring import measurements
from promptology.claims.recording import recorded
from promptology.claims.running import landed
from promptology.claims.wording import AGAINST, arm_rows, counted, lasted, ranged, term_rows
from promptology.zoo.recipes.cards import table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "claims.md"
Results = Mapping[str, Mapping[str, Any]]

HEAD = """# Claims

What each paper announces, written down with fixture, arms and rule before any code, and measured here. Every arm runs
on every seed; intervals are two-sided 95 % t intervals over seeds, of the differences where two arms are compared on
the same seeds, and of the logs of ratios. *Not reproduced* is a result like any other and stays with its figures. A
**placebo** is an arm that has all of the machinery but not the idea. `python scripts/claims_docs.py` makes this page
from the last recorded runs.

```
promptology claims --list            # what is announced, and what was recorded
promptology claims spo               # measures it here; interrupted, the same command goes on
promptology claims --family soft --json
```

The rules: `better(a, b, by=x)`: the lower end of a - b is above x (0 where none is given). `not_worse(a, b, by=x)`: it
is above -x. `ratio(a, b) <= x`: the upper end of a / b is at most x. `at_least(a, x)`, `at_most(a, x)`: the whole
interval lies on that side. `metric: a` names the metric where a claim has several."""

TIME = """Seconds are processor time of one thread, all arms and seeds, however often the run was interrupted."""


def page(known: Sequence[Entry], results: Results, there: Mapping[str, bool]) -> str:
    """Return the page. `results`: recorded ones by id; `there`: whether the method of an entry is in the package."""
    found = [entry for entry in known if entry.id in results]
    lacking = [entry for entry in known if entry.id not in results and there[entry.id]]
    rest = [entry for entry in known if entry.id not in results and not there[entry.id]]
    parts = [HEAD, "## Verdicts", _summary(found, lacking, rest, results), TIME]
    for method in dict.fromkeys(entry.method for entry in found):
        parts.append(f"## {method}")
        parts += [_claim(entry, results[entry.id]) for entry in found if entry.method == method]
    if rest:
        number = len(dict.fromkeys(entry.method for entry in rest))
        rows = ((f"`{e.id}`", e.method, e.family, _plain(e.says), f"`{e.rule}`") for e in rest)
        parts += [
            "## Methods that are not there yet",
            f"{len(rest)} announced effects of {number} methods that this version does not have.",
            table(("claim", "method", "family", "what the paper says", "rule"), rows),
        ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _summary(found: Sequence[Entry], lacking: Sequence[Entry], rest: Sequence[Entry], results: Results) -> str:
    rows = []
    for entry in found:
        result = results[entry.id]
        rows.append((f"[`{entry.id}`](#{entry.id})", entry.method, f"**{result['verdict']}**", _first(result)))
    rows += [(f"`{entry.id}`", entry.method, "not recorded", "") for entry in lacking]
    counts = counted(results[entry.id] for entry in found)
    also = [f"{len(lacking)} not recorded"] * bool(lacking) + [f"{len(rest)} of methods not there yet"] * bool(rest)
    head = ("claim", "method", "verdict", "figure of the first rule")
    return f"{', '.join([counts, *also])}.\n\n{table(head, rows)}"


def _first(result: Mapping[str, Any]) -> str:
    term = result["terms"][0]
    return f"{ranged(term['value'], term['low'], term['high'])} for `{term['rule']}`"


def _claim(entry: Entry, result: Mapping[str, Any]) -> str:
    arms = result["arms"]
    head, *figures = arm_rows(result)
    rows = ((_plain(row[0]), _plain(arms[name]["text"]), *row[1:]) for name, row in zip(arms, figures, strict=True))
    terms = [(_code(rule), *row) for rule, *row in term_rows(result)[1:]]
    placebo = "".join(f" The placebo is {_plain(name)}." for name, arm in arms.items() if arm["placebo"])
    return "\n\n".join(
        [
            f"### {entry.id}",
            f"**{result['verdict'].capitalize()}.** The paper: {_plain(entry.says)}",
            f"Fixture: {_plain(entry.fixture)}",
            f"Equal between arms: {_plain(entry.equal)}. Measured: {_plain(entry.metric)}.{placebo}",
            table(("arm", "settings", *head[1:]), rows),
            table(("rule", "measured", "holds"), terms),
            _source(result),
        ]
    )


def _plain(text: str) -> str:
    """Return a text of an entry as Markdown that shows it as it is."""
    for sign in "\\`*_[":
        text = text.replace(sign, "\\" + sign)
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _code(rule: str) -> str:
    bare = rule.removesuffix(AGAINST)
    return f"`{bare}`{rule.removeprefix(bare)}"


def _source(result: Mapping[str, Any]) -> str:
    commit = f"commit {result['commit']}" + (" with changes" if result["dirty"] else "")
    libraries = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return (
        f"{result['seeds']} seeds, {lasted(result['seconds'])}; {result['date']}, promptology {result['version']}, "
        f"{commit}, Python {result['python']}, {libraries}."
    )


def current() -> str:
    """Return the page as the package's record has it."""
    known, measured = entries(), measurements()
    results = {result["id"]: result for some in recorded().values() for result in some}
    return page(known, results, {entry.id: landed(entry, measured) for entry in known})


if __name__ == "__main__":
    PAGE.write_text(current(), encoding="utf-8")
