"""From a prompt and an item to the messages that a chat model gets. Items are data: never expanded, never formatted."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from promptology.data.items import ClassLabel, Signature
from promptology.errors import AccessError
from promptology.models.access import Message
from promptology.prompts.learned import Demonstrations, Example, Learned, Readout, Text
from promptology.prompts.outputs import answer_form


def placeholders(template: str, names: Iterable[str]) -> list[str]:
    """Return those names that stand as {name} in the template, in order of appearance."""
    known = set(names)
    return [m for m in re.findall(r"\{(\w+)\}", template) if m in known]


def fill(template: str, values: Mapping[str, Any]) -> str:
    """Put values in place of their {name}; every other brace stays. What a value contains is never expanded."""
    return re.sub(r"\{(\w+)\}", lambda m: str(values[m[1]]) if m[1] in values else m[0], template)


WRITTEN = ("answer", "label-likelihood")
"""Readouts that read what a model writes, or would write, behind a prompt."""
_BLOCK = re.compile(r"<(\w+)>\n\{(\w+)\}\n</\1>")
_TAKEN = re.compile(r"shown(\d{1,9})_")


def frame(template: str, values: Mapping[str, Any]) -> str:
    """Fill a request whose blocks stand in tags, so that nothing shown in a block can end it or open another.

    What items and models wrote stays as it is. Where it holds the tag of a block, in whatever spelling, the tags get a
    prefix that occurs nowhere in it: <outputs> becomes <shown1_outputs>. The same values give the same request.
    """
    blocks = [tag for tag, name in _BLOCK.findall(template) if name in values]
    shown = _plain("\n".join(str(value) for value in values.values()))
    if any(re.search(rf"<[\s/\\]*{tag}\b", shown) for tag in blocks):
        taken = {int(n) for n in _TAKEN.findall(shown)}
        prefix = next(f"shown{n}_" for n in range(1, len(taken) + 2) if n not in taken)
        template = _BLOCK.sub(rf"<{prefix}\1>\n{{\2}}\n</{prefix}\1>", template)
    return fill(template, values)


def _plain(text: str) -> str:
    """Return a text as a lenient reader sees it: full-width letters as plain ones, nothing invisible, lower case."""
    return "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf").casefold()


def input_text(inputs: Mapping[str, Any], signature: Signature) -> str:
    """Return the input as text: the value of a single field, or one "name: value" line per field; lists numbered."""
    values = field_texts(inputs, signature)
    if len(values) == 1:
        return next(iter(values.values()))
    lists = {f.name for f in signature.fields if f.kind == "list"}
    return "\n".join(f"{name}:\n{value}" if name in lists else f"{name}: {value}" for name, value in values.items())


def field_texts(inputs: Mapping[str, Any], signature: Signature) -> dict[str, str]:
    """Return the fields of an input as texts; a list is one numbered line per entry, whatever an entry contains.

    Raises AccessError for a field that holds an image, which no text can stand for.
    """
    if signature.images:
        raise AccessError(f"field {signature.images[0]!r} holds an image, and here only texts are read")
    return {f.name: numbered(inputs[f.name]) if f.kind == "list" else str(inputs[f.name]) for f in signature.fields}


def numbered(values: Any) -> str:
    """Return a list as numbered lines; a text, such as a blank to be filled, stays."""
    if isinstance(values, str):
        return values
    return "\n".join(f"{n}. {' '.join(str(value).split())}" for n, value in enumerate(values, 1))


def messages(learned: Learned, inputs: Mapping[str, Any], signature: Signature) -> tuple[Message, ...]:
    """Return the messages for one item: instruction, classes, demonstrations, blank line, input."""
    return renderer(learned, signature)(inputs)


def renderer(learned: Learned, signature: Signature) -> Callable[[Mapping[str, Any]], tuple[Message, ...]]:
    """Return the function from an item's inputs to its messages; what all items share is rendered once.

    A readout of written answers with an `input_template` has the model read that alone, without any other words.
    """
    readout = learned.part(Readout)
    if readout and readout.type in WRITTEN and "input_template" in readout.options:
        template = str(readout.options["input_template"])
        return lambda inputs: (("user", fill(template, {"input": input_text(inputs, signature)})),)
    text = learned.part(Text) or Text("")
    shown = learned.part(Demonstrations)
    blocks = [classes_block(signature, text.instruction + text.system)]
    blocks += [examples_block(shown.examples, signature)] if shown else []
    system = (("system", text.system),) if text.system else ()
    inside = bool(placeholders(text.instruction, [f.name for f in signature.fields]))
    before = "".join(f"{block}\n\n" for block in (blocks if inside else [text.instruction, *blocks]) if block)

    def render(inputs: Mapping[str, Any]) -> tuple[Message, ...]:
        last = fill(text.instruction, field_texts(inputs, signature)) if inside else input_text(inputs, signature)
        return (*system, ("user", before + last if last else before.removesuffix("\n\n")))

    return render


def with_cue(asked: Sequence[Message], cue: str) -> tuple[Message, ...]:
    """Return messages whose last one ends with a cue."""
    *before, (role, content) = asked
    return (*before, (role, content + cue))


def classes_block(signature: Signature, prompt: str) -> str:
    """Return the list of classes, where the prompt does not name every class itself, and the form of the answer.

    A prompt that names every class of which one is right needs neither.
    """
    lowered = prompt.casefold()
    named = all(name.casefold() in lowered for name in signature.class_names)
    if signature.output == "class" and named:
        return ""
    form = answer_form(signature)
    if not signature.classes or signature.output not in ("class", "classes") or named:
        return form
    return "Classes:\n" + "\n".join(_class_line(c) for c in signature.classes) + f"\n\n{form}"


def _class_line(label: ClassLabel) -> str:
    return f"- {label.name}: {label.description}" if label.description else f"- {label.name}"


def examples_block(examples: Sequence[Example], signature: Signature) -> str:
    """Return demonstrations as text."""
    return "\n\n".join(f"Input: {input_text(e.inputs, signature)}\nOutput: {e.output}" for e in examples)
