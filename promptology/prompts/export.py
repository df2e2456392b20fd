"""Exports: what was learned as plain text or as chat messages, for use without this library."""

from __future__ import annotations

import json
from collections.abc import Callable

from promptology.errors import UsageError
from promptology.prompts.learned import Learned
from promptology.prompts.render import messages


def to_text(learned: Learned) -> str:
    """Return the prompt as one text with {field} where the input goes."""
    return "\n\n".join(content for _, content in _rendered(learned, "text"))


def to_messages(learned: Learned) -> str:
    """Return the prompt as a JSON list of chat messages with {field} where the input goes."""
    rows = [{"role": role, "content": content} for role, content in _rendered(learned, "messages")]
    return json.dumps(rows, indent=1, ensure_ascii=False)


def _rendered(learned: Learned, target: str) -> tuple[tuple[str, str], ...]:
    if learned.roles.get("model") != "generates":
        raise UsageError(
            f"export to {target} needs a prompt for a model that generates; this one needs a model that "
            f"{learned.roles.get('model')} ({learned.readout.type}), so apply it with `promptology apply`"
        )
    blanks = {f.name: "{" + f.name + "}" for f in learned.signature.fields}
    return messages(learned, blanks, learned.signature)


EXPORTS: dict[str, Callable[[Learned], str]] = {"text": to_text, "messages": to_messages}
