"""A real browser for tests of pages: Chromium without a window, driven over its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
]
WAIT = 60
"""Seconds that a browser or an answer of it may take."""


class Browser:
    """One page in a browser of its own; every message about console and network since `open` is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.messages: list[dict[str, Any]] = []
        self._number = 0

    def __enter__(self) -> Browser:
        profile = self.folder / "profile"
        flags = [*FLAGS, f"--user-data-dir={profile}", "about:blank"]
        log = (self.folder / "browser.log").open("wb")
        with log:
            self._process = subprocess.Popen([str(CHROMIUM), *flags], stdout=log, stderr=log)
        self._runner = asyncio.Runner()
        try:
            self._runner.run(self._connect(profile / "DevToolsActivePort"))
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.ask(f"{domain}.enable")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        if hasattr(self, "_socket"):
            with contextlib.suppress(Exception):  # it may be gone already
                self.ask("Browser.close")
            self._runner.run(self._session.close())
        self._runner.close()
        try:
            self._process.wait(5 if hasattr(self, "_socket") else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    async def _connect(self, port_file: Path) -> None:
        import aiohttp

        end = time.monotonic() + WAIT
        while not (port_file.is_file() and port_file.read_text().count("\n")):
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError((self.folder / "browser.log").read_text(errors="replace")[-500:])
            await asyncio.sleep(0.05)
        port = port_file.read_text().split()[0]
        self._session = aiohttp.ClientSession()
        async with self._session.get(f"http://127.0.0.1:{port}/json/list") as reply:
            target = next(t for t in await reply.json() if t["type"] == "page")
        self._socket = await self._session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0)

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and return its result; what else arrives is kept."""
        return self._runner.run(asyncio.wait_for(self._ask(method, params), WAIT))

    async def _ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        while True:
            message = json.loads((await self._socket.receive()).data)
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self.messages.append(message)

    def open(self, page: Path) -> None:
        """Load a page and wait until it stands."""
        self.messages.clear()
        self.ask("Page.navigate", url=page.as_uri())
        end = time.monotonic() + WAIT
        while not any(m.get("method") == "Page.loadEventFired" for m in self.messages):
            assert time.monotonic() < end, "the page does not load"
            self.run("0")

    def run(self, script: str) -> Any:
        """Return the value of a JavaScript expression."""
        done = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def said(self) -> list[str]:
        """Return what console, log and uncaught errors said."""
        self.run("new Promise(done => setTimeout(done, 100))")
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [json.dumps(m["params"]) for m in self.messages if m.get("method") in kinds]

    def requests(self) -> list[str]:
        """Return the addresses that were asked for."""
        sent = [m["params"] for m in self.messages if m.get("method") == "Network.requestWillBeSent"]
        return [s["request"]["url"] for s in sent]

    def resize(self, width: int, height: int = 900) -> None:
        """Give the window a size in CSS pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.ask("Emulation.setDeviceMetricsOverride", **size)

    def medium(self, scheme: str = "light", medium: str = "screen") -> None:
        """Ask for light or dark, for the screen or for print."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.ask("Emulation.setEmulatedMedia", media=medium, features=features)

    def press(self, key: str) -> None:
        """Press and release a key."""
        code = {"Tab": 9, "Enter": 13}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)
            text = {}

    def pdf(self) -> bytes:
        """Print the page."""
        return base64.b64decode(self.ask("Page.printToPDF")["data"])

    def picture(self, path: Path, whole: bool = True) -> None:
        """Save a picture of the page, or of what stands in the window."""
        found = self.ask("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))
