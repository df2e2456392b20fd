"""One virtual environment per peer, made on first use under `.bench/envs`, with the pinned release from PyPI."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / ".bench"
CONSTRAINTS = ROOT / "constraints.txt"


class BenchError(Exception):
    """What stops a benchmark, in one line."""


class Peer(NamedTuple):
    """A released package that we are measured against: its module, and the first Python that it cannot be used with.

    `extra`: of the package's, to install with it; `also`: a package that it uses but does not bring. `heavy`: brings
    torch, for whatever is compared inside a model. `name`: of the environment, where it is not the package's.
    """

    package: str
    version: str
    module: str
    below: tuple[int, int] | None = None
    extra: str = ""
    heavy: bool = False
    also: tuple[str, ...] = ()
    name: str = ""

    @property
    def requirement(self) -> str:
        """Return what pip is asked for."""
        return f"{self.package}{f'[{self.extra}]' if self.extra else ''}=={self.version}"

    @property
    def folder(self) -> Path:
        """Return where the environment lies."""
        return BENCH / "envs" / (self.name or self.package)

    @property
    def python(self) -> Path:
        """Return the environment's interpreter."""
        return self.folder / "bin" / "python"


PEERS = {
    peer.name or peer.package: peer
    for peer in (
        Peer("dspy", "3.4.1", "dspy"),
        Peer("dspy", "3.4.1", "dspy", extra="optuna", name="dspy-optuna"),  # brings gepa 0.1.4 too
        Peer("promptolution", "2.3.0", "promptolution", (3, 13)),
        Peer("gepa", "0.1.4", "gepa"),
        Peer("inspect-ai", "0.3.285", "inspect_ai"),
        Peer("peft", "0.21.2", "peft", heavy=True),
        Peer("lm-eval", "0.4.13", "lm_eval", extra="hf", heavy=True),
        Peer("optuna", "5.0.0", "optuna", also=("scipy",)),
    )
}


def interpreter(name: str) -> Path:
    """Return the interpreter of a side: a peer's own, made now if it is missing, or for "ours" the running one."""
    if name in ("ours", "bare"):
        return Path(sys.executable)
    peer = PEERS[name]
    if _stamp(peer) != peer.requirement:
        make(peer)
    return peer.python


def make(peer: Peer) -> None:
    """Make a peer's environment anew; raises BenchError with pip's last word where that fails."""
    if peer.below and sys.version_info >= peer.below:
        need = ".".join(map(str, peer.below))
        raise BenchError(f"{peer.requirement} needs Python below {need}; run the benchmarks with an older Python")
    print(f"installing {peer.requirement} into .bench/envs/{peer.folder.name}", file=sys.stderr)
    shutil.rmtree(peer.folder, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(peer.folder)], peer)
    # The constraints name the CPU build of torch, and the transformers that our side runs with.
    pip = [str(peer.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--constraint", str(CONSTRAINTS), peer.requirement, *peer.also], peer)
    (peer.folder / "requirement").write_text(peer.requirement)


def _run(command: list[str], peer: Peer) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"cannot install {peer.requirement}: {error}") from None
    if done.returncode:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise BenchError(f"cannot install {peer.requirement}: {said[-1].strip() if said else 'no reason given'}")


def _stamp(peer: Peer) -> str:
    file = peer.folder / "requirement"
    return file.read_text() if file.is_file() else ""


def versions(name: str) -> dict[str, str]:
    """Return the versions of the packages that matter in a side's environment."""
    wanted = [*(peer.module for peer in PEERS.values()), "promptology", "openai", "httpx", "aiohttp", "numpy"]
    wanted += ["torch", "transformers"]
    code = (
        "import json,sys,platform\nfrom importlib import metadata as m\nv={'python':platform.python_version()}\n"
        "for p in json.loads(sys.argv[1]):\n try: v[p]=m.version(p)\n except m.PackageNotFoundError: pass\n"
        "print(json.dumps(v))"
    )
    done = subprocess.run(
        [str(interpreter(name)), "-c", code, json.dumps(wanted)], capture_output=True, text=True, check=True
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found
