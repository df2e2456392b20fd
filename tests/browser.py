"""A real browser for tests of pages: Chromium without a window, driven over its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
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

CONTRAST = """(() => {
  const parse = text => {
    const numbers = text.match(/-?[\\d.]+(e-?\\d+)?/g).map(Number);
    const scale = text.startsWith("color(") ? 255 : 1;
    return [numbers[0] * scale, numbers[1] * scale, numbers[2] * scale, numbers.length > 3 ? numbers[3] : 1];
  };
  const light = c => c.slice(0, 3).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const behind = e => {
    for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] === 1) return c; }
    return [255, 255, 255, 1];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !e.checkVisibility() || ["title", "desc"].includes(e.tagName)) continue;
    const style = getComputedStyle(e), ink = parse(e.closest("svg") ? style.fill : style.color);
    const [a, b] = [light(ink), light(behind(e))];
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), walker.currentNode.data.slice(0, 40)]);
  }
  return found.sort((x, y) => x[0] - y[0]);
})()"""
"""Contrast of every text that is seen against what is behind it, smallest first, with its beginning."""


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
            self.ask("Page.setLifecycleEventsEnabled", enabled=True)
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
        self.go(page.as_uri())

    def go(self, url: str) -> None:
        """Load an address and wait until it stands; messages of before are kept."""
        asked = self.ask("Page.navigate", url=url)["loaderId"]
        end = time.monotonic() + WAIT
        # Another load, of the page that stood here before, may end meanwhile.
        while not any(m["params"].get("loaderId") == asked for m in self.messages if _is_load(m)):
            assert time.monotonic() < end, "the page does not load"
            self.ask("Browser.getVersion")

    @contextlib.contextmanager
    def loading(self) -> Iterator[None]:
        """Wait until what is done inside has loaded a page."""
        before = self._loaded()
        yield
        end = time.monotonic() + WAIT
        while self._loaded() == before:
            assert time.monotonic() < end, "the page does not load"
            self.ask("Browser.getVersion")  # a page that is going away cannot be asked

    def _loaded(self) -> int:
        return sum(m.get("method") == "Page.loadEventFired" for m in self.messages)

    def until(self, script: str) -> None:
        """Wait until a JavaScript expression is true; it may fail while a page is being loaded."""
        end = time.monotonic() + WAIT
        while not self.run(f"(() => {{ try {{ return !!({script}) }} catch {{ return false }} }})()"):
            assert time.monotonic() < end, f"never true: {script}"
            time.sleep(0.05)

    def click(self, selector: str) -> None:
        """Click in the middle of the first such element that can be seen, as a mouse does."""
        found = f"[...document.querySelectorAll({json.dumps(selector)})].find(e => e.checkVisibility())"
        find = (
            f"(e => {{ if (!e) return null; e.scrollIntoView({{block: 'center', behavior: 'instant'}});"
            f"const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; }})({found})"
        )
        place = self.run(find)
        assert place, f"{selector} is not to be seen"
        at = {"x": place[0], "y": place[1], "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, **at)

    def write(self, selector: str, text: str, over: bool = True) -> None:
        """Type into a field: over what stands there, or at its end."""
        self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        self.run(
            f"(e => {{ if ({json.dumps(over)}) e.select(); else e.setSelectionRange(e.value.length, e.value.length) }})"
            f"(document.querySelector({json.dumps(selector)}))"
        )
        self.ask("Input.insertText", text=text)

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

    def press(self, key: str, *held: str) -> None:
        """Press and release a key, with Control or Shift held if any."""
        code = {"Tab": 9, "Enter": 13}[key]
        text = {"text": "\r"} if key == "Enter" and not held else {}
        keys = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        keys["modifiers"] = sum({"Control": 2, "Shift": 8}[name] for name in held)
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, **keys, **text)
            text = {}

    def pdf(self) -> bytes:
        """Print the page."""
        return base64.b64decode(self.ask("Page.printToPDF")["data"])

    def picture(self, path: Path, whole: bool = True) -> None:
        """Save a picture of the page, or of what stands in the window."""
        found = self.ask("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))


def _is_load(message: dict[str, Any]) -> bool:
    return message.get("method") == "Page.lifecycleEvent" and message["params"]["name"] == "load"
