"""One door to every model: a string, or a plain Python callable."""

from __future__ import annotations

import difflib
from typing import Any

from promptology import plugins
from promptology.errors import UsageError
from promptology.models.access import offers

FORMS = (
    'write "minilm", "openai:NAME@URL", "completions:NAME@URL", "embeddings:NAME@URL", "hf:FOLDER_OR_ID", '
    '"zoo:NAME", "simulated:WORLD", or give a Python callable, or a transformers model with its tokenizer'
)
VIEWS = "views"
"""The role of what makes pictures of a picture."""
REMOTE = ("openai", "completions", "embeddings")
"""Kinds of models behind a server, which take rpm, workers, timeout and key_env."""
KINDS = (*REMOTE, "hf", "zoo", "simulated")
OPENAI = "https://api.openai.com/v1"


def model(source: Any, tokenizer: Any = None, **options: Any) -> Any:
    """Open a frozen model.

    `source`: "minilm"; "openai:NAME@URL" (any OpenAI-compatible chat endpoint; without @URL the hosted one);
    "completions:NAME@URL" (the same for base models, by plain completions, with log-probabilities where offered);
    "embeddings:NAME@URL" (vectors of texts by an OpenAI-compatible embeddings endpoint);
    "hf:FOLDER_OR_ID" (any transformers model: causal, masked, encoder-decoder, encoder, CLIP, SigLIP; options `device`,
    `dtype`, `bits`, `chat`, `trust_code`, see `promptology.models.local.opened.Opened`); "zoo:NAME" (a small model that
    comes with this package, opened as those of "hf:" are; `promptology zoo list` names them); "simulated:WORLD" (a
    simulated chat model); a transformers model that is loaded already, with its `tokenizer` (a CLIP or SigLIP with its
    processor); a callable `fn(prompt) -> str` (`chat=True`: `fn(messages) -> str`; `embeds=True`: `fn(texts) ->
    array`; `varies=True`: `fn(picture) -> pictures`); or an object that already offers a protocol; "KIND:REST" where an
    installed package adds KIND (see `promptology.plugins`). Raises UsageError for anything else.
    """
    if isinstance(source, str):
        if tokenizer is not None:
            raise UsageError(f"model {source!r} brings its own tokenizer; give one with a loaded model only")
        return _from_text(source, options)
    if is_transformers(source):
        from promptology.models.local.classes import wrap

        return _called(wrap, source, tokenizer, **options)
    if offers(source):
        return source
    if callable(source):
        from promptology.models.callables import CallableEncoder, CallableModel, CallableViews

        if options.pop("embeds", False):
            return CallableEncoder(source, **options)
        if options.pop("varies", False):
            return CallableViews(source, **options)
        return CallableModel(source, **options)
    raise UsageError(f"a {type(source).__name__} is not a model; {FORMS}")


def in_role(source: Any, role: str) -> Any:
    """Open what serves in a role: a plain function in the role `views` makes pictures, elsewhere it is a model."""
    plain = callable(source) and not offers(source) and not is_transformers(source)
    return model(source, varies=True) if plain and role == VIEWS else model(source)


def is_transformers(source: Any) -> bool:
    """Whether an object is a loaded transformers model; torch is not imported for it."""
    return any(
        c.__module__ == "transformers.modeling_utils" and c.__name__ == "PreTrainedModel" for c in type(source).__mro__
    )


def _called(opener: Any, *given: Any, **options: Any) -> Any:
    """Call what opens a local model; an option that it does not take is one line."""
    known = {"device", "dtype", "bits", "chat", "trust_code", "name", "max_tokens"}
    if unknown := set(options) - known:
        raise UsageError(
            f"a local model does not take {', '.join(sorted(unknown))}; it takes {', '.join(sorted(known))}"
        )
    return opener(*given, **options)


def _from_text(text: str, options: dict[str, Any]) -> Any:
    kind, _, rest = text.partition(":")
    if text == "minilm":
        from promptology.models.sentence import minilm

        if unknown := set(options) - {"device", "dtype"}:
            raise UsageError(f'model "minilm" does not take {", ".join(sorted(unknown))}; it takes device and dtype')
        return minilm(**options)
    if kind in REMOTE and rest:
        from promptology.models.http import ChatEndpoint, CompletionsEndpoint, EmbeddingsEndpoint

        # An address with its scheme begins at "@http"; else the last "@" separates it, since names such as
        # "org/model@revision" exist, and so do addresses with a login.
        begin = rest.find("@http")
        name, at, url = (rest[:begin], "@", rest[begin + 1 :]) if begin >= 0 else rest.rpartition("@")
        if not at:
            name, url = rest, OPENAI
        if not name or not url:
            raise UsageError(f"model {text!r} lacks its {'name' if not name else 'address'}; write {kind}:NAME@URL")
        kinds = {"openai": ChatEndpoint, "completions": CompletionsEndpoint, "embeddings": EmbeddingsEndpoint}
        return kinds[kind](name, url, **options)
    if kind in ("hf", "zoo") and rest:
        from promptology.models.local.classes import open_local

        return _called(open_local, rest if kind == "hf" else text, **options)
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
