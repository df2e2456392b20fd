"""B6: calls used over calls allowed. Ours is counted where the model is called, with and without failing calls.

gepa takes a number of metric calls; promptolution has no such limit, so its token limit stands in, in its own tokens.
"""

from __future__ import annotations

from benchmarks.b05_overhead import spec_of
from benchmarks.common import Bar, Session, run_side

TITLE = "calls used over calls allowed"
PEERS = ("gepa", "promptolution")
BUDGETS = (100, 300, 1000, 3000, 6000)


def run(session: Session) -> None:
    """Measure; nothing here depends on time, so one run of each is enough."""
    budgets = BUDGETS[:3] if session.quick else BUDGETS
    worst: dict[str, float] = {}
    for calls in budgets:
        for side, name, failing in (
            ("ours", "ours", 0.0),
            ("ours", "ours, 5 % of calls failing", 0.05),
            ("gepa", "gepa", 0.0),
            ("promptolution", "promptolution, tokens", 0.0),
        ):
            one = run_side(side, "search", spec_of(session, calls, failing))
            session.runs.setdefault(name, []).append(one)
            used = one["used"] / one["allowed"]
            worst[name] = max(worst.get(name, 0.0), used)
            session.figure(f"used ÷ allowed at {calls}, {name}", used, "×")
    for name, most in worst.items():
        session.figure(f"worst used ÷ allowed, {name}", most, "×", Bar("≤", 1.0) if name.startswith("ours") else None)
    session.notes.append(
        f"our method: {session.method}; counted in the model's function, retries and evidence included"
    )
