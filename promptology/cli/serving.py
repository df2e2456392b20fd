"""simulate: the simulated chat model over real HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from promptology.cli.app import app
from promptology.cli.showing import say

SIMULATE = """Serve the simulated chat model with an OpenAI-compatible interface.

Example: promptology simulate --port 8000 --world tickets --latency 0.05

then: promptology fit --task tickets --model openai:simulated@http://127.0.0.1:8000/v1 --budget 300calls

or: promptology evaluate --task tickets --model completions:simulated@http://127.0.0.1:8000/v1
--readout label-likelihood

or: promptology evaluate --task tickets --model embeddings:simulated@http://127.0.0.1:8000/v1"""


@app.command(help=SIMULATE)
def simulate(
    port: Annotated[int, typer.Option("--port", "-p", min=0, max=65535, help="Port; 0 takes any free one.")] = 8000,
    world: Annotated[
        str, typer.Option("--world", metavar="WORLD[?judge=0.75&bias=0.1&seed=1]", help="World and skills.")
    ] = "tickets",
    latency: Annotated[float, typer.Option("--latency", min=0.0, help="Seconds before each answer.")] = 0.05,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Serve the simulated model until interrupted."""
    from promptology.models.simulated.server import serve

    serve(world, port, latency, host, ready=lambda url: say(f"simulated chat model at {url} (stop with Ctrl-C)"))
