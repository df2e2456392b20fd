"""B1: calls per second over HTTP, against DSPy's `Evaluate` with one `Predict`."""

from benchmarks.calling import side_by_side
from benchmarks.common import Session

TITLE = "calls per second at 50 ms, cold durable cache"
PEERS = ("dspy",)
BARS = {8: 1.3, 32: 2.0, 128: 6.0}
CPU_BAR = 0.6  # milliseconds of our process per call


def run(session: Session) -> None:
    """Measure."""
    side_by_side(session, "dspy", BARS, CPU_BAR)
