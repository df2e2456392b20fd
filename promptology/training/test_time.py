"""What methods share that learn only when a prompt is used: a context to begin from, a procedure for each image."""

from __future__ import annotations

from typing import Any

from promptology.errors import UsageError
from promptology.predict.adapting import procedure_of
from promptology.prompts.learned import Learned, Readout
from promptology.prompts.procedures import Procedure
from promptology.prompts.sites import SiteModule, SiteTensors
from promptology.run.engine import Run

CONTEXT = "text.context[0]"


def adapting_classes(run: Run, length: int, phrase: str, part: Procedure, method: str) -> Learned:
    """Return a prompt whose context is adapted to every image by a procedure, before its class is read.

    The context begins at `length` tokens of the phrase, or as a prompt of the run's sources has it that was learned for
    texts of classes; where several have one, the last. Raises UsageError for tasks of another output than one class.
    """
    from promptology.training.image_classes import start_context
    from promptology.training.initial import array

    signature = run.task.signature
    if signature.output != "class":
        raise UsageError(f"images are told apart by one class each; the output here is {signature.output}")
    adapts = procedure_of(part)
    roles = {"model": "two-tower", **dict.fromkeys(adapts.roles, "varies")}
    given = [source for source in run.sources if _begins(source)]
    if given:
        start: list[Any] = [p for p in given[-1].parts if not isinstance(p, Procedure)]
        return Learned((part, *start), signature, roles, method)
    v, behind = start_context(run, run.model().towers(), length, phrase)
    wording = f"{{context}} {behind} {{label}}.".replace("  ", " ")
    context = SiteTensors(CONTEXT, array(v))
    return Learned((context, part, Readout("class-features", {"templates": [wording]})), signature, roles, method)


def _begins(source: Learned) -> bool:
    """Whether a prompt has a context in the text tower, in one wording of each class."""
    there = any(isinstance(p, SiteTensors | SiteModule) and p.site == CONTEXT for p in source.parts)
    readout = source.part(Readout)
    return there and readout is not None and len(readout.options.get("templates", ())) == 1
