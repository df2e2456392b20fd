"""Exports for use without this library: plain text, chat messages, or a PEFT folder of vectors and weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from promptology.errors import UsageError
from promptology.models.access import verb
from promptology.prompts.injected import INSIDE
from promptology.prompts.learned import Learned, show_inside
from promptology.prompts.memory import Memory
from promptology.prompts.peft import Exported, write_peft
from promptology.prompts.render import messages
from promptology.prompts.rewriter import Rewriter


def to_text(learned: Learned) -> str:
    """Return the prompt as one text with {field} where the input goes."""
    return "\n\n".join(content for _, content in _rendered(learned, "text"))


def to_messages(learned: Learned) -> str:
    """Return the prompt as a JSON list of chat messages with {field} where the input goes."""
    rows = [{"role": role, "content": content} for role, content in _rendered(learned, "messages")]
    return json.dumps(rows, indent=1, ensure_ascii=False)


def _rendered(learned: Learned, target: str) -> tuple[tuple[str, str], ...]:
    if rewriter := learned.part(Rewriter):
        raise UsageError(
            f"export to {target} would lose what the {rewriter.role} writes: this prompt is another one for each "
            "input, so apply it with `promptology apply`"
        )
    inside = [part for part in learned.parts if isinstance(part, INSIDE)]
    if inside:
        shown = "; ".join(show_inside([part.summary() for part in inside]))
        raise UsageError(f"export to {target} would lose what stands inside the model ({shown}); use --to peft")
    if (memory := learned.part(Memory)) and (memory.notes or memory.pinned):
        raise UsageError(
            f"export to {target} would lose what is remembered: this prompt is composed anew for each input from "
            f"{len(memory.notes)} cases, so apply it with `promptology apply`"
        )
    if learned.roles.get("model") not in ("generates", "differentiable"):
        raise UsageError(
            f"export to {target} needs a prompt for a model that generates; this one needs a model that "
            f"{verb(learned.roles.get('model', ''))} ({learned.readout.type}), so apply it with `promptology apply`"
        )
    blanks = {f.name: "{" + f.name + "}" for f in learned.signature.fields}
    return messages(learned, blanks, learned.signature)


EXPORTS: dict[str, Callable[[Learned], str]] = {"text": to_text, "messages": to_messages}
FORMS = (*EXPORTS, "peft")


def export(
    learned: Learned, to: str = "text", out: str | Path | None = None, *, base: str = "", task_type: str = ""
) -> str | Exported:
    """Return the prompt as text or messages, written to a file where `out` names one; or write a PEFT folder at `out`.

    `base` and `task_type` are for PEFT (`promptology.prompts.peft.write_peft`). Raises UsageError for an unknown form,
    and for a prompt or a target that does not fit it.
    """
    if to not in FORMS:
        raise UsageError(f"unknown export {to!r}; there are {', '.join(FORMS)}")
    if to == "peft":
        if out is None:
            raise UsageError("export to peft writes a folder; name it: --out FOLDER")
        return write_peft(learned, out, base, task_type)
    if base or task_type:
        raise UsageError(f"export to {to} has no place for a base model or task type; they belong to --to peft")
    content = EXPORTS[to](learned)
    if out is not None:
        try:
            Path(out).write_text(content + "\n", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"cannot write {out}: {error.strerror}") from None
    return content
