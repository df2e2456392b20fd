"""What goes over the wire of an OpenAI-compatible endpoint: addresses, secrets, request bodies and chat replies.

Nothing here sends anything or keeps state, so every rule can be read and tested on its own.
"""

from __future__ import annotations

import base64
import email.utils
import ipaddress
import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from promptology.errors import UsageError
from promptology.models.access import Answer, Request

_to_json = json.JSONEncoder(ensure_ascii=False).encode  # made once: json.dumps makes one per call
SHOWN = 200  # characters of a server's message that are kept
PORTS = {"http": 80, "https": 443}
FORM = "write http://HOST:PORT/v1 or https://HOST/v1"

# A server's message that only quotes a setting (a prompt about the temperature, a limit that is too high) must not
# be taken for a refusal of that setting, so one of these words has to stand in it as well.
REFUSES = re.compile(
    r"unsupported|not.{0,3}support|unrecogni[sz]ed|unknown|unexpected|not permitted|not allowed|forbidden|deprecated"
    r"|only the default"
)
RENAMES = re.compile(REFUSES.pattern + r"|instead|required|missing|\buse\b")


# llama.cpp: "Only no echo is supported"; llama-cpp-python: "logprobs is not supported for models created with ..."
NO_SCORES = re.compile(r"\b(echo|logprobs?|log-?probabilities|logits_all)\b")


class CannotScore(Exception):
    """A server answered as if no log-probabilities of the prompt had been asked for; every reply would be like it."""


class Secrets:
    """A key or a "user:password" that can be sent but is never shown; a pickled copy is empty."""

    __slots__ = ("_key", "_login")

    def __init__(self, key: str = "", login: str = "") -> None:
        self._key, self._login = key, login

    def __bool__(self) -> bool:
        return bool(self._key or self._login)

    def __repr__(self) -> str:
        return "Secrets(hidden)"

    def __reduce__(self) -> tuple[type[Secrets], tuple[()]]:
        return Secrets, ()

    def headers(self) -> dict[str, str]:
        """Return the headers of a request."""
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        elif self._login:
            headers["Authorization"] = f"Basic {_base64(self._login)}"
        return headers

    def scrub(self, text: str, limit: int | None = SHOWN) -> str:
        """Return one printable line of at most `limit` characters without any form of the secrets."""
        plain = {self._key, self._login, *self._login.split(":", 1)} - {""}
        forms = {form for word in plain for form in _forms(word)}
        if forms:
            # The longest first, so that no part of a longer form stays behind.
            pattern = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
            text = re.sub(pattern, "[hidden]", text, flags=re.IGNORECASE)
        return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:limit]


def _forms(word: str) -> tuple[str, ...]:
    """Return how a server may write a word: as it is, escaped in JSON, percent-encoded, in base64."""
    escaped = json.dumps(word)[1:-1]
    return word, escaped, escaped.replace("/", "\\/"), quote(word, safe=""), _base64(word)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class Reply(NamedTuple):
    """An HTTP reply of any status."""

    status: int
    body: bytes
    headers: Mapping[str, str]


def split_address(url: str) -> tuple[str, Secrets]:
    """Return the base address, to which the endpoint's path is appended, and user and password that stood in it.

    An address without a path gets /v1; one that already ends in (/chat)/completions or /embeddings is taken as it
    stands. A query is refused: it would hold keys or settings that belong elsewhere. Messages do not quote the address,
    which may hold a password.
    """
    url = url.strip()
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port
    except ValueError:
        raise UsageError(f"the model's address has no valid host or port; {FORM}") from None
    if parts.scheme not in PORTS or not parts.hostname:
        raise UsageError(f"the model's address is not understood; {FORM}")
    if "://" not in url and not is_local(parts.hostname):
        raise UsageError(f"the address of {parts.hostname} lacks http:// or https://; {FORM}")
    if parts.query or parts.fragment:
        raise UsageError(f"the address of {parts.hostname} has a part after ? or #; leave it out")
    path = parts.path.rstrip("/")
    end = next((e for e in ("/chat/completions", "/completions", "/embeddings") if path.endswith(e)), "")
    bare = path.removesuffix(end) if end else path or "/v1"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if port is not None and port != PORTS[parts.scheme]:
        host = f"{host}:{port}"
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""
    return urlunsplit((parts.scheme, host, bare, "", "")), Secrets(login=login)


def is_local(host: str) -> bool:
    """Whether a host name or address is this machine."""
    try:
        address = ipaddress.ip_address(host)
        return address.is_loopback or address.is_unspecified
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def env_proxy(url: str) -> str | None:
    """Return the proxy that the environment names for an address."""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    if is_local(parts.hostname or "") or proxy_bypass(parts.netloc):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


@dataclass(frozen=True, slots=True)
class Dialect:
    """Which settings a server takes, and under which name; learnt from its refusals."""

    limit: str = "max_tokens"
    temperature: bool = True
    seed: bool = True

    def body(self, model: str, request: Request, **fields: Any) -> bytes:
        """Return the body of a request; the same request gives the same bytes. `fields` stand in place of messages."""
        if not fields:
            fields["messages"] = [{"role": role, "content": content} for role, content in request.messages]
        doc: dict[str, Any] = {"model": model, self.limit: request.max_tokens, **fields}
        if self.temperature:
            doc["temperature"] = request.temperature
        if self.seed and request.seed is not None:
            doc["seed"] = request.seed
        if request.stop:
            doc["stop"] = list(request.stop)
        return _to_json(doc).encode("utf-8", "replace")

    def corrected(self, body: bytes) -> Dialect:
        """Return the dialect that the body of a refusal asks for; the same one where it asks for nothing new."""
        message, setting = server_error(body)
        message = message.lower()
        if "max_completion_tokens" in message and RENAMES.search(message):
            return replace(self, limit="max_completion_tokens")
        if not REFUSES.search(message):
            return self
        named = setting or message
        if "temperature" in named:
            return replace(self, temperature=False)
        return replace(self, seed=False) if "seed" in named else self


def read_reply(body: bytes, request: Request, attempt: int) -> Answer:
    """Return the answer of a chat completion; ValueError where it is none."""
    try:
        doc = json.loads(body)
        choice = doc["choices"][0]
        content = choice["message"].get("content")
        if isinstance(content, list):
            content = "".join(p if isinstance(p, str) else p.get("text") or "" for p in content)
        if not isinstance(content := content or "", str):
            raise TypeError(f"content is a {type(content).__name__}")
        truncated = choice.get("finish_reason") == "length"
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"malformed reply ({type(error).__name__})") from None
    return answer_of(doc, whole(content), request, attempt, truncated)


def whole(text: str) -> str:
    """Return text that can be stored and hashed as UTF-8: a lone half of a surrogate pair is replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def answer_of(
    doc: dict[str, Any],
    text: str,
    request: Request,
    attempt: int,
    truncated: bool = False,
    logprob: float | None = None,
) -> Answer:
    """Return an answer with the usage that a reply reports, or an estimate."""
    simulated = str(doc.get("system_fingerprint") or "").startswith("simulated")
    read, wrote = usage(doc)
    if wrote is not None:
        return Answer(text, read, wrote, False, attempt, truncated, logprob, simulated)
    size = sum(len(words.encode("utf-8", "replace")) for _, words in request.messages)
    size += len((request.continuation or "").encode("utf-8", "replace"))
    estimate = math.ceil(size / 4), math.ceil(len(text.encode()) / 4)
    return Answer(text, *estimate, True, attempt, truncated, logprob, simulated)


def usage(doc: dict[str, Any]) -> tuple[int, int | None]:
    """Return the tokens in and out that a reply reports, (0, None) where it reports none that make sense."""
    said = doc.get("usage")
    read, wrote = (said.get("prompt_tokens"), said.get("completion_tokens")) if isinstance(said, dict) else (0, None)
    if isinstance(read, int) and isinstance(wrote, int) and read >= 0 and wrote >= 0:
        return read, wrote
    return 0, None


def refuses_scoring(status: int, body: bytes) -> bool:
    """Whether an error says that a server gives no log-probabilities of the prompt."""
    return status in (400, 422, 500, 501) and bool(NO_SCORES.search(server_error(body)[0].lower()))


def server_error(body: bytes) -> tuple[str, str]:
    """Return the server's own words from an error body, and the setting that it names as the culprit ("" if none)."""
    text = body.decode("utf-8", "replace")
    try:
        doc = json.loads(body)
    except (ValueError, RecursionError):
        return text, ""
    error = doc.get("error") or doc if isinstance(doc, dict) else doc
    fields = error if isinstance(error, dict) else {}
    words = fields.get("message") or fields.get("detail") or error
    return words if isinstance(words, str) else json.dumps(words), str(fields.get("param") or "")


def retry_after(headers: Mapping[str, str], longest: float) -> float:
    """Return the seconds that a server asks to wait (milliseconds, seconds or a date), at most `longest`."""
    for name, unit in (("retry-after-ms", 0.001), ("Retry-After", 1.0)):
        value = headers.get(name, "")
        try:
            seconds = float(value) * unit
        except ValueError:
            seconds = _seconds_until(value)
        if seconds > 0:  # false for nan too
            return min(seconds, longest)
    return 0.0


def _seconds_until(date: str) -> float:
    try:
        moment = email.utils.parsedate_to_datetime(date)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - time.time()
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
