"""Chat models behind an OpenAI-compatible endpoint: hosted, vLLM, Ollama, or any server that speaks the protocol."""

from __future__ import annotations

import asyncio
import email.utils
import ipaddress
import json
import math
import os
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from promptology.errors import ModelError, UsageError
from promptology.models.access import Answer, Failure, Outcome, Request
from promptology.models.loop import background_loop, stream

DEFAULT_KEY = "OPENAI_API_KEY"
TRANSIENT = {408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529}
REFUSED = {401, 402, 403, 404, 405}
LONGEST_WAIT = 120.0


class ChatEndpoint:
    """A chat-completions endpoint; offers `Generates`.

    `url` without a path gets /v1. The key is read from `key_env` (default OPENAI_API_KEY, and none for addresses of
    this machine) at every request and is never kept. `workers`: requests in flight at most; `rpm`: requests started
    per minute at most; `timeout`: seconds until an attempt counts as hung. Transient failures are retried with capped
    back-off, full jitter and Retry-After. Raises ModelError where the endpoint refuses for good.
    """

    local = False

    def __init__(
        self,
        model: str,
        url: str,
        *,
        key_env: str | None = None,
        workers: int = 16,
        timeout: float = 120.0,
        rpm: float | None = None,
        backoff: float = 0.5,
        backoff_cap: float = 30.0,
    ) -> None:
        for name, value in (("workers", workers), ("timeout", timeout), ("rpm", rpm)):
            if value is not None and value <= 0:
                raise UsageError(f"{name} is {value}; it must be above 0")
        if key_env is not None and not os.environ.get(key_env):
            raise UsageError(f"environment variable {key_env} (--key-env) is not set")
        self.name = model
        self.url, self._userinfo = _normalise(url)
        self.identity = f"openai:{model}@{self.url}"
        self.simulated = False
        self.workers = workers
        self.key_env = key_env or (None if _is_local(self.url) else DEFAULT_KEY)
        self._timeout = timeout
        self._gap = 60.0 / rpm if rpm else 0.0
        self._backoff = (backoff, backoff_cap)
        self._wire: dict[str, str | None] = {"max_tokens": "max_tokens", "temperature": "temperature", "seed": "seed"}
        self._session: tuple[Any, asyncio.AbstractEventLoop] | None = None
        self._answered = False
        self._not_before = 0.0

    def generate(self, requests: Sequence[Request], attempts: int = 1) -> Iterator[tuple[int, Outcome]]:
        """Yield (index, outcome) as answers come in, each request at most `attempts` times."""
        return stream(lambda: self._all(requests, attempts))

    async def _all(self, requests: Sequence[Request], attempts: int) -> AsyncIterator[tuple[int, Outcome]]:
        """Run a fixed pool of workers over the requests and yield outcomes as they come in."""
        todo = iter(enumerate(requests))
        done: asyncio.Queue[tuple[int, Outcome] | BaseException] = asyncio.Queue()

        async def work() -> None:
            try:
                for index, request in todo:
                    done.put_nowait((index, await self._ask(request, attempts)))
            except Exception as error:  # handed to the consumer, who cancels the others
                done.put_nowait(error)

        workers = [asyncio.ensure_future(work()) for _ in range(min(self.workers, len(requests)))]
        try:
            for _ in requests:
                got = await done.get()
                if isinstance(got, BaseException):
                    raise got
                yield got
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _ask(self, request: Request, attempts: int) -> Outcome:
        """Ask once, and again after transient failures, up to `attempts` times in all."""
        outcome: Outcome = Failure("no attempt was allowed", attempts=0)
        for attempt in range(1, attempts + 1):
            await self._turn()
            outcome = await self._attempt(request, attempt)
            if isinstance(outcome, Answer) or not outcome.transient or attempt == attempts:
                return outcome
            base, cap = self._backoff
            jitter = random.uniform(0, min(cap, base * 2**attempt))  # timing only: no result depends on it
            await asyncio.sleep(max(outcome.retry_after, jitter) if outcome.reason != ADAPTED else 0)
        return outcome

    async def _turn(self) -> None:
        """Wait until the next request may start: the rate limit, or the pause that a 429 asked for."""
        while (wait := self._not_before - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        if self._gap:
            self._not_before = time.monotonic() + self._gap

    async def _attempt(self, request: Request, attempt: int) -> Outcome:
        import aiohttp

        session = await self._open()
        headers = {"Content-Type": "application/json"}
        if key := self._key():
            headers["Authorization"] = f"Bearer {key}"
        sent = dict(self._wire)
        try:
            async with session.post(f"{self.url}/chat/completions", data=self._body(request), headers=headers) as reply:
                status, text, got = reply.status, await reply.text(errors="replace"), reply.headers
        except (aiohttp.ClientConnectorError, aiohttp.ClientConnectorDNSError) as error:
            if not self._answered:
                reason = self._scrub(str(error.os_error) if error.os_error else str(error))
                raise ModelError(
                    f"nothing answers at {self.url} ({reason}); start the server or correct the address"
                ) from None
            return Failure(self._scrub(f"cannot connect: {error}"), attempts=attempt)
        except asyncio.TimeoutError:
            return Failure(f"no answer within {self._timeout:g} s", attempts=attempt)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Failure(self._scrub(f"{type(error).__name__}: {error}"), attempts=attempt)
        self._answered = True
        if status == 200:
            return self._read(text, request, attempt)
        return self._refusal(status, text, got, sent, attempt)

    def _body(self, request: Request) -> bytes:
        body: dict[str, Any] = {
            "model": self.name,
            "messages": [{"role": role, "content": content} for role, content in request.messages],
        }
        if name := self._wire["max_tokens"]:
            body[name] = request.max_tokens
        if self._wire["temperature"]:
            body["temperature"] = request.temperature
        if request.seed is not None and self._wire["seed"]:
            body["seed"] = request.seed
        if request.stop:
            body["stop"] = list(request.stop)
        return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")

    def _read(self, text: str, request: Request, attempt: int) -> Outcome:
        """Read a reply; a body that is not a chat completion is a transient failure."""
        try:
            doc = json.loads(text)
            choice = doc["choices"][0]
            content = choice["message"].get("content")
            if isinstance(content, list):
                content = "".join(part.get("text", "") for part in content)
            content = content or ""
            if not isinstance(content, str):
                raise TypeError(f"content is a {type(content).__name__}")
            truncated = choice.get("finish_reason") == "length"
            self.simulated = str(doc.get("system_fingerprint") or "").startswith("simulated")
            usage = doc.get("usage") or {}
            counts = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            return Failure(self._scrub(f"malformed reply ({type(error).__name__}): {text[:80]}"), attempts=attempt)
        if all(isinstance(n, int) and n >= 0 for n in counts):
            return Answer(content, *counts, False, attempt, truncated)
        size = sum(len(c.encode("utf-8", "replace")) for _, c in request.messages)
        estimate = (math.ceil(size / 4), math.ceil(len(content.encode("utf-8", "replace")) / 4))
        return Answer(content, *estimate, True, attempt, truncated)

    def _refusal(self, status: int, text: str, headers: Any, sent: dict[str, str | None], attempt: int) -> Outcome:
        reason = self._scrub(f"HTTP {status}: {_message(text)}")
        if status in TRANSIENT or status >= 500:
            wait = _retry_after(headers)
            if status == 429 and wait:
                self._not_before = max(self._not_before, time.monotonic() + wait)
            return Failure(reason, True, attempt, wait)
        if status in REFUSED:
            todo = "correct the model's name or the address"
            if status in (401, 402, 403):
                held = f"the key in {self.key_env}" if self.key_env else "no key was sent: name its variable with --key-env"
                todo = f"check {held}" if self.key_env else held
            raise ModelError(f"{self.name} at {self.url} refused: {reason}; {todo}")
        if status == 400 and self._adapt(text.lower(), sent):
            return Failure(ADAPTED, True, attempt)
        return Failure(reason, False, attempt)

    def _adapt(self, text: str, sent: dict[str, str | None]) -> bool:
        """Learn from a 400 which setting this server wants named otherwise or left out; whether to ask again."""
        if sent["max_tokens"] == "max_tokens" and "max_completion_tokens" in text:
            self._wire["max_tokens"] = "max_completion_tokens"
            return True
        for name in ("temperature", "seed"):
            if sent[name] and name in text:
                self._wire[name] = None
                return True
        # Another request of the same batch may have learnt it in the meantime.
        return sent != self._wire

    async def _open(self) -> Any:
        """Return the keep-alive session of this loop."""
        import aiohttp

        loop = asyncio.get_running_loop()
        if self._session is None or self._session[1] is not loop or self._session[0].closed:
            session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._timeout),
                connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300),
                auth=aiohttp.BasicAuth(*self._userinfo) if self._userinfo else None,
                trust_env=not _is_local(self.url),
            )
            self._session = (session, loop)
        return self._session[0]

    def close(self) -> None:
        """Close the connections; they open again at the next request."""
        if self._session is not None and self._session[1] is background_loop():
            session, loop = self._session
            self._session = None
            asyncio.run_coroutine_threadsafe(session.close(), loop).result(5)

    def __del__(self) -> None:
        # aiohttp warns about a session that was never closed; by now its loop may be gone, so drop the connector.
        if self._session is not None and not self._session[0].closed:
            connector = self._session[0].connector
            self._session[0].detach()
            if connector is not None and self._session[1].is_running():
                self._session[1].call_soon_threadsafe(connector.close)

    def _key(self) -> str | None:
        return os.environ.get(self.key_env) if self.key_env else None

    def _scrub(self, text: str) -> str:
        """Return one printable line without the key."""
        for secret in (self._key(), *(self._userinfo or ())):
            if secret:
                text = text.replace(secret, "[key]")
        printable = "".join(c if c.isprintable() else " " for c in text)
        return " ".join(printable.split())[:200]

    def __repr__(self) -> str:
        return f"ChatEndpoint({self.name!r}, {self.url!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_session": None}


ADAPTED = "the server wanted other settings; they were changed"


def _normalise(url: str) -> tuple[str, tuple[str, str] | None]:
    """Return the base address and, apart from it, user and password that stood in it."""
    parts = urlsplit(url if "//" in url else f"http://{url}")
    try:
        port = parts.port
    except ValueError:
        raise UsageError(f"address {url!r} has no valid port") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"address {url!r} is not understood; write http://HOST:PORT/v1 or https://...")
    path = parts.path.rstrip("/").removesuffix("/chat/completions") or "/v1"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    netloc = f"{host}:{port}" if port else host
    secret = (parts.username, parts.password or "") if parts.username else None
    return urlunsplit((parts.scheme, netloc, path, parts.query, "")), secret


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _message(text: str) -> str:
    """Return the server's own words from an error body."""
    try:
        doc = json.loads(text)
        error = doc.get("error", doc) if isinstance(doc, dict) else doc
        return str(error.get("message") or error.get("detail") or error) if isinstance(error, dict) else str(error)
    except (ValueError, AttributeError):
        return text


def _retry_after(headers: Any) -> float:
    """Return the seconds a server asks to wait: milliseconds, seconds or a date."""
    try:
        if value := headers.get("retry-after-ms"):
            return min(max(float(value) / 1000, 0.0), LONGEST_WAIT)
        value = headers.get("Retry-After")
        if not value:
            return 0.0
        try:
            seconds = float(value)
        except ValueError:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        return min(max(seconds, 0.0), LONGEST_WAIT)
    except (ValueError, TypeError):
        return 0.0
