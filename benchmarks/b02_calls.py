"""B2: calls per second over HTTP, against promptolution's `APILLM` and `ClassificationTask.evaluate`."""

from benchmarks.calling import side_by_side
from benchmarks.common import Session

TITLE = "calls per second at 50 ms (theirs keeps nothing on disk)"
PEERS = ("promptolution",)
BARS = {8: 1.2, 32: 2.5, 128: 8.0}


def run(session: Session) -> None:
    """Measure."""
    side_by_side(session, "promptolution", BARS, None)
