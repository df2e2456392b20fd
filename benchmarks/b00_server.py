"""B0: what the local server can carry, asked by a bare aiohttp client: the ceiling of the others, no comparison."""

from benchmarks.calling import LATENCY, ask
from benchmarks.common import Session, column, serving
from benchmarks.faults import Weather
from benchmarks.items import questions
from benchmarks.ratios import bootstrap, median

TITLE = "ceiling: the server with a bare aiohttp client"
PEERS = ()


def run(session: Session) -> None:
    """Measure."""
    asked = questions(200 if session.quick else 600)
    n = len(asked)
    with serving() as server:
        for latency in (0.0, LATENCY):
            for level in (8, 32, 128):
                runs = [ask(server, "bare", level, asked, Weather(latency=latency)) for _ in range(session.repeats)]
                where = f"at {level}, {latency * 1000:g} ms"
                session.runs[where] = [{k: v for k, v in r.items() if k != "answers"} for r in runs]
                session.figure(f"calls/s {where}", bootstrap(lambda s: n / s, column(runs, "wall")), "/s")
                for side, cpu in (("client", column(runs, "cpu")), ("server", [r["server"]["cpu"] for r in runs])):
                    session.figure(f"CPU per call, {side}, {where}", median([1000 * c / n for c in cpu]), "ms")
