"""What word-instruct can do: accuracies by kind, as the library renders, scores and generates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from promptology.data.items import ClassLabel, Field, Signature
from promptology.models.opening import model as open_model
from promptology.predict import bind
from promptology.prompts.learned import Learned, Readout, Text
from promptology.prompts.render import renderer, with_cue
from promptology.prompts.start import LIKELIHOOD
from promptology.run.handles import Handle, logprob, unmetered
from promptology.zoo.wordland.kind import Example, Kind
from promptology.zoo.wordland.kinds import HELD_OUT, MAPPINGS, TRAINED, rows

SEED = 1_000_000
"""Seed of the examples by which abilities are measured."""
JUDGED = 96
"""Examples of each kind."""
GENERATED = 48


def abilities(folder: Path) -> dict[str, float]:
    """Return the mean accuracy over trained kinds by instruction, the drop under held-out wordings, and each kind's."""
    handle = unmetered(open_model(f"hf:{folder}"))
    seen = {kind.name: _scored(handle, kind, kind.wordings) for kind in (*TRAINED, *HELD_OUT)}
    unseen = {kind.name: _scored(handle, kind, kind.held_out_wordings) for kind in TRAINED}
    mapped = [kind.name for kind in MAPPINGS]
    held_out = [kind for kind in HELD_OUT if kind.classes]
    found = {
        "by_instruction": _mean([seen[kind.name] for kind in TRAINED]),
        "seen_minus_held_out_wordings": _mean([seen[n] for n in mapped]) - _mean([unseen[n] for n in mapped]),
        "seen_wordings": _mean([seen[n] for n in mapped]),
        "held_out_wordings": _mean([unseen[n] for n in mapped]),
        "by_generation": _mean([_generated(handle, kind) for kind in TRAINED]),
        "held_out_kinds": _mean([seen[kind.name] for kind in held_out]),
        "held_out_kinds_by_chance": _mean([1 / len(kind.classes) for kind in held_out]),
    }
    found |= {f"kind_{name}": value for name, value in seen.items()}
    found |= {f"kind_{name}_held_out_wordings": unseen[name] for name in mapped}
    return {name: round(value, 4) for name, value in found.items()}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def signature_of(kind: Kind) -> Signature:
    """Return a kind's signature: its classes where they are fixed, else free text."""
    classes = tuple(ClassLabel(c.name, c.description, c.terms) for c in kind.classes)
    return Signature(tuple(Field(name) for name in kind.fields), "class" if classes else "text", classes)


def _scored(handle: Handle, kind: Kind, wordings: Sequence[str]) -> float:
    """Return the share of examples whose likeliest option is the answer, over the wordings in turn."""
    examples = rows(kind, SEED, {"test": JUDGED})["test"]
    right = 0
    for n, wording in enumerate(wordings):
        right += sum(scored(handle, kind, wording, examples[n :: len(wordings)]))
    return right / len(examples)


def scored(handle: Handle, kind: Kind, wording: str, examples: Sequence[Example]) -> list[bool]:
    """Return for each example whether its likeliest option under this instruction is the answer."""
    signature = signature_of(kind)
    render = renderer(Learned((Text(wording), Readout("answer")), signature, {}, "manual"), signature)
    requests: list[Any] = []
    for example in examples:
        asked = with_cue(render(example.inputs), str(LIKELIHOOD["cue"]))
        requests += [handle.scoring(asked, f" {option}") for option in example.options]
    came = iter([logprob(outcome) for outcome in handle.outcomes(requests)])
    found: list[bool] = []
    for example in examples:
        values = [(float(next(came) or 0.0), option) for option in example.options]
        found.append(max(values)[1] == example.answer)
    return found


def _generated(handle: Handle, kind: Kind) -> float:
    """Return the share of examples whose written answer is right."""
    examples = rows(kind, SEED, {"test": JUDGED})["test"][:GENERATED]
    right = 0
    for n, wording in enumerate(kind.wordings):
        asked = examples[n :: len(kind.wordings)]
        learned = Learned((Text(wording), Readout("answer", {"max_tokens": 4})), signature_of(kind), {}, "manual")
        outputs = bind(learned, handle).predict([dict(example.inputs) for example in asked]).outputs
        right += sum(output == example.answer for output, example in zip(outputs, asked, strict=True))
    return right / len(examples)
