"""What may reach a page: this machine, under its own name, by whoever holds the address that was printed.

The address holds a token; it is changed at the first visit for a cookie that no script can read and no other site can
send. The Host header must be ours, for else a name of somebody else could be pointed at this machine (DNS rebinding).
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = ("/style.css", "/page.js", "/icon.svg")
"""What holds nothing of anybody and is served without a cookie."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    # With "no-referrer" a browser would send forms with Origin: null.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # Not no-store: going back must bring back what was typed.
    "cache-control": "no-cache",
}
LOCKED = "Open this page by the address that was printed when it was started: it holds the key."


class Guard:
    """An ASGI application before another: lets through what has the key, and adds headers to every answer."""

    def __init__(self, app: App, port: int) -> None:
        self.app = app
        self.token, self._secret = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        self._cookie = f"promptology-{port}"
        names = ["127.0.0.1", "localhost", "[::1]"]
        self._hosts = {f"{name}:{port}" for name in names} | ({*names} if port == 80 else set())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close"})

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *added]
            await send(message)

        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if line := self._foreign(scope["method"], headers):
            return await _answer(with_headers, 403, line)
        open_to_it = scope["path"] in OPEN or self._known(headers.get("cookie", ""))
        if open_to_it and b"token=" not in scope["query_string"]:
            return await self.app(scope, receive, with_headers)
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = query.pop("token", [""])[0]
        if scope["method"] != "GET" or not secrets.compare_digest(given.encode(), self.token.encode()):
            return await _answer(with_headers, 403, LOCKED)
        # The token leaves the address, and with it the history of the browser.
        rest = urlencode(query, doseq=True)
        # One leading slash: two would name another host.
        where = "/" + quote(scope["path"].lstrip("/")) + (f"?{rest}" if rest else "")
        cookie = f"{self._cookie}={self._secret}; HttpOnly; SameSite=Strict; Path=/"
        await _answer(with_headers, 303, "", [("location", where), ("set-cookie", cookie)])

    def _foreign(self, method: str, headers: MutableMapping[str, str]) -> str:
        """Return why a request does not come from one of our own pages; empty where it may."""
        if headers.get("host", "") not in self._hosts:
            return "This page answers under the address that was printed alone."
        if method not in ("GET", "HEAD"):
            origin = headers.get("origin")
            if origin is not None and origin not in {f"http://{host}" for host in self._hosts}:
                return "This page takes forms from itself alone."
            if headers.get("sec-fetch-site", "same-origin") != "same-origin":
                return "This page takes forms from itself alone."
        return ""

    def _known(self, cookies: str) -> bool:
        pairs = (part.strip().partition("=") for part in cookies.split(";"))
        return any(
            name == self._cookie and secrets.compare_digest(value.encode(), self._secret.encode())
            for name, _, value in pairs
        )


async def _answer(send: Send, status: int, line: str, headers: list[tuple[str, str]] | None = None) -> None:
    given = [("content-type", "text/plain; charset=utf-8"), *(headers or [])]
    encoded = [(name.encode(), value.encode("latin-1", "replace")) for name, value in given]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": f"{line}\n".encode() if line else b""})
