"""The start: the user's current prompt, or a plain one, in the form that the model's access can use."""

from __future__ import annotations

from collections.abc import Sequence

from promptology.data.items import Signature
from promptology.errors import AccessError, UsageError
from promptology.prompts.learned import Learned, Readout, Text
from promptology.prompts.render import placeholders

LABEL_FIELDS = ("label", "description")


def start_from(signature: Signature, access: Sequence[str]) -> Learned:
    """Return the start for a model with this access.

    A model that generates takes the instruction; one that only embeds takes nearest label names, or the instruction
    as a label wording where it holds {label} or {description}. Raises AccessError or UsageError where neither fits.
    """
    if "generates" in access:
        text = Text(signature.instruction or default_instruction(signature), signature.system)
        return Learned((text, Readout("answer")), signature, {"model": "generates"}, "manual")
    if "embeds" not in access:
        offered = ", ".join(access) or "nothing"
        raise AccessError(f"a prompt needs a model that generates or embeds; this one offers {offered}")
    if signature.output != "class":
        raise AccessError("an embedding model can only tell classes apart; this task's output is free text")
    wording = signature.instruction or "{label}"
    if signature.system:
        raise UsageError("an embedding model takes no system prompt")
    if not placeholders(wording, LABEL_FIELDS):
        raise UsageError(
            "with an embedding model a prompt is a wording of the labels that holds {label} or {description}, "
            f"such as 'a message about {{label}}'; got {wording[:60]!r}"
        )
    options = {"label_template": wording, "input_template": "{input}"}
    return Learned((Readout("nearest-label", options),), signature, {"model": "embeds"}, "manual")


def default_instruction(signature: Signature) -> str:
    """Return a plain instruction for a task that came without one."""
    names = " and ".join(f.name for f in signature.fields)
    if signature.output == "class":
        return f"Classify the {names}."
    return f"Give the right answer for the {names}."
