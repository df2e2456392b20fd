"""One door to every model: a string, or a plain Python callable."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from promptology import plugins
from promptology.errors import UsageError
from promptology.models.access import offers

FORMS = (
    'write "minilm", "openai:NAME@URL", "completions:NAME@URL", "hf:FOLDER", "simulated:WORLD", '
    "or give a Python callable"
)
REMOTE = ("openai", "completions")
"""Kinds of models behind a server, which take rpm, workers, timeout and key_env."""
KINDS = (*REMOTE, "hf", "simulated")
OPENAI = "https://api.openai.com/v1"


def model(source: Any, **options: Any) -> Any:
    """Open a frozen model.

    `source`: "minilm"; "openai:NAME@URL" (any OpenAI-compatible chat endpoint; without @URL the hosted one);
    "completions:NAME@URL" (the same for base models, by plain completions, with log-probabilities where offered);
    "hf:FOLDER_OR_ID" (a sentence encoder); "simulated:WORLD" (a simulated chat model); a callable
    `fn(prompt) -> str` (`chat=True`: `fn(messages) -> str`; `embeds=True`: `fn(texts) -> array`); or an object that
    already offers a protocol; "KIND:REST" where an installed package adds KIND (see `promptology.plugins`). Raises
    UsageError for anything else.
    """
    if isinstance(source, str):
        return _from_text(source, options)
    if offers(source):
        return source
    if callable(source):
        from promptology.models.callables import CallableEncoder, CallableModel

        if options.pop("embeds", False):
            return CallableEncoder(source, **options)
        return CallableModel(source, **options)
    raise UsageError(f"a {type(source).__name__} is not a model; {FORMS}")


def _from_text(text: str, options: dict[str, Any]) -> Any:
    kind, _, rest = text.partition(":")
    if text == "minilm":
        from promptology.models.sentence import minilm

        return minilm()
    if kind in REMOTE and rest:
        from promptology.models.http import ChatEndpoint, CompletionsEndpoint

        # An address with its scheme begins at "@http"; else the last "@" separates it, since names such as
        # "org/model@revision" exist, and so do addresses with a login.
        begin = rest.find("@http")
        name, at, url = (rest[:begin], "@", rest[begin + 1 :]) if begin >= 0 else rest.rpartition("@")
        if not at:
            name, url = rest, OPENAI
        if not name or not url:
            raise UsageError(f"model {text!r} lacks its {'name' if not name else 'address'}; write {kind}:NAME@URL")
        return (ChatEndpoint if kind == "openai" else CompletionsEndpoint)(name, url, **options)
    if kind == "hf" and rest:
        from promptology.models.sentence import SentenceEncoder

        if ("/" not in rest or rest.startswith((".", "/", "~"))) and not Path(rest).expanduser().is_dir():
            raise UsageError(f"model folder {rest} does not exist")
        path = Path(rest).expanduser()
        return SentenceEncoder(path if path.is_dir() else rest)
    if kind == "simulated":
        from promptology.models.simulated import from_spec

        return from_spec(rest)
    added = plugins.points(plugins.MODELS)
    if kind in added:
        made = plugins.open_model(kind, rest, options)
        if not offers(made):
            package = plugins.package_of(added[kind])
            raise UsageError(f"model kind {kind!r} of package {package} made a {type(made).__name__}: no model")
        return made
    near = difflib.get_close_matches(text, ["minilm", *(f"{k}:" for k in (*KINDS, *added))], 1, 0.5)
    hint = f'did you mean "{near[0]}"? ' if near else ""
    more = "; installed kinds: " + ", ".join(added) if added else ""
    raise UsageError(f"unknown model {text!r}: {hint}{FORMS}{more}")


def is_kind(source: str) -> bool:
    """Whether the text before a colon names a kind of model, built in or added by an installed package."""
    kind = source.partition(":")[0]
    return kind in KINDS or kind in plugins.points(plugins.MODELS)
