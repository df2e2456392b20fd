"""The server of a page: one process on a session, on this machine's own address, until it is stopped."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import uvicorn

from promptology.errors import UsageError
from promptology.feedback.sessions import Session
from promptology.prompts.saving import PROMPT
from promptology.run.locking import locked
from promptology.web.asking import Asking, Models
from promptology.web.desk import Desk, taken_up
from promptology.web.guard import LOOPBACK, Guard
from promptology.web.site import Site, build
from promptology.web.views import finished


class Place(NamedTuple):
    """Where a page is served, and whether a browser is opened."""

    host: str
    port: int
    open_browser: bool


class _Server(uvicorn.Server):
    """Says when it can be reached; ends at Ctrl-C and at SIGTERM, and leaves what comes then to the caller."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, signals being heard already."""
        await super().startup(sockets)
        self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, frame: FrameType | None) -> None:
            self.should_exit = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def serve(what: Asking, file: Path, out: Path, place: Place, say: Callable[[str], None], command: str) -> None:
    """Serve until stopped; raises UsageError where the session, the folder or the address cannot be used."""
    if place.host not in LOOPBACK:
        raise UsageError(f"--host {place.host}: the page is for this machine alone; {', '.join(LOOPBACK)}")
    if out.exists() and not (out.is_dir() and ((out / PROMPT).exists() or not any(out.iterdir()))):
        raise UsageError(f"{out} exists and is not a prompt folder; choose another --out")
    taken = UsageError(f"session {file} is open in another process; stop that one, or give another --session")
    with locked(file.with_name(f".{file.name}.lock"), taken), _listening(place) as (listener, address):
        session = Session(file)
        fields = [f.name for f in what.task.signature.fields]
        state = taken_up(session, what.method, fields)
        desk = Desk(what.method, session, state, lambda charged: Models(what, charged), out)
        desk.start()
        try:
            for note in what.notes:
                say(f"note: {note}")
            done = len(finished(state))
            say(f"session {file} ({'new' if not state['rounds'] else f'{done} rounds finished'})")
            _serve(
                _guarded(what, desk, file, out, command, int(address.rpartition(":")[2])), listener, address, place, say
            )
        finally:
            desk.close()
        if (out / PROMPT).exists():
            say(f"what was learned: {out}\nuse it: {_use(what, out, command)}")


def _guarded(what: Asking, desk: Desk, file: Path, out: Path, command: str, port: int) -> Guard:
    encoder = what.models.get("encoder")
    about = {
        "task": what.task.name,
        "method": desk.look().state["method"],
        "model": what.models["model"].name,
        "encoder": encoder.name if encoder is not None else "the method",
        "simulated": bool(getattr(what.models["model"], "simulated", False)),
        "session": str(file),
        "prompt": str(out),
        "use": _use(what, out, command),
    }
    return Guard(build(Site(desk, what.task.signature, about)), port)


def _use(what: Asking, out: Path, command: str) -> str:
    return f'{command or "promptology apply"} {out} {"" if command else "--model MODEL "}"a text"'.replace("  ", " ")


@contextlib.contextmanager
def _listening(place: Place) -> Iterator[tuple[socket.socket, str]]:
    """Listen, and give the socket with the address that is printed."""
    family = socket.AF_INET6 if place.host == "::1" else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((place.host, place.port))
        except OSError as error:
            where = f"{place.host}:{place.port}"
            raise UsageError(f"cannot listen on {where}: {error.strerror}; choose another --port") from None
        port = listener.getsockname()[1]
        yield listener, f"http://{f'[{place.host}]' if family == socket.AF_INET6 else place.host}:{port}"


def _serve(guard: Guard, listener: socket.socket, address: str, place: Place, say: Callable[[str], None]) -> None:
    config = uvicorn.Config(
        guard, log_config=None, access_log=False, server_header=False, lifespan="off", timeout_graceful_shutdown=1
    )
    url = f"{address}/?token={guard.token}"

    def ready() -> None:
        say(f"page {url}\n(stop with Ctrl-C; whoever has this address can write here)")
        if place.open_browser:
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()

    _Server(config, ready).run(sockets=[listener])
