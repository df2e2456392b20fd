"""A task as the text that the library shows a model: instruction, classes, input and cue, without the library.

Recipes write training texts by these functions, so that a model meets at work what it learnt from. They equal
`prompts.render.messages` and the start's cue for prompts that hold no placeholder; a test compares them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

CUE = "\n\nAnswer:"
"""What stands between a task and its answer where a model is asked by likelihood."""
FORM = "Answer with the name of one class only."
"""The form of the answer, which closes a list of classes."""
Classes = Sequence[str] | Mapping[str, str]
"""Names of classes, or names with their descriptions; none where the answer is free text."""


def rendered(instruction: str, inputs: str | Mapping[str, str], classes: Classes = ()) -> str:
    """Return what a user's message says: the instruction, the classes unless it names every one of them, the input.

    `inputs`: a text, or texts by the names of their fields; of several each has a line with its name.
    """
    return "\n\n".join(part for part in (instruction, classes_block(classes, instruction), input_text(inputs)) if part)


def input_text(inputs: str | Mapping[str, str]) -> str:
    """Return an input as text: the one there is, or a line "name: text" for each."""
    if isinstance(inputs, str):
        return inputs
    if len(inputs) == 1:
        return next(iter(inputs.values()))
    return "\n".join(f"{name}: {value}" for name, value in inputs.items())


def classes_block(classes: Classes, prompt: str) -> str:
    """Return the list of classes and the form of the answer, or nothing where the prompt names every class."""
    lowered = prompt.casefold()
    if all(name.casefold() in lowered for name in classes):
        return ""
    said = classes if isinstance(classes, Mapping) else {}
    lines = (f"- {name}: {said[name]}" if said.get(name) else f"- {name}" for name in classes)
    return "Classes:\n" + "\n".join(lines) + f"\n\n{FORM}"
