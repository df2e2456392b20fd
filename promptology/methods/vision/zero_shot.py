"""Zero-shot CLIP: a class is the mean of its wordings' text features; nothing is learned.

Alec Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021,
arXiv:2103.00020, sections 3.1.2 and 3.1.4.

    T <- templates, each with a place for the class's name
    w_c <- normalise( mean over t in T of g(t with c) ),  g: unit vectors of the text tower
    logits of an image x: scale <f(x), w_c>,  f: unit vectors of the image tower

The names are put in when the prompt is bound to a task, so that it serves any classes.
"""

from __future__ import annotations

from dataclasses import dataclass

from promptology.data.task import Task
from promptology.methods.registry import method
from promptology.models.access import TwoTower
from promptology.prompts.learned import Learned
from promptology.prompts.start import class_features
from promptology.run.cost import Cost
from promptology.run.engine import Run

SEVEN = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)
"""The templates that CLIP's authors found to do most of what all 80 do on ImageNet (their notebook of prompts)."""


@method(
    "zero-shot", family="vision", learns="nothing", paper="arXiv:2103.00020", needs={"model": TwoTower}, labels=False
)
@dataclass(frozen=True)
class ZeroShot:
    """Word every class by templates, and average what the text tower makes of them."""

    templates: str | tuple[str, ...] = ""
    """Wordings with {}, {label} or {description}, parted by |; "seven" adds CLIP's seven to the prompt you have; empty:
    that prompt alone, which is "a photo of a {}." where you give none (section 3.1.4)."""

    def plan(self, task: Task) -> Cost:
        """Return nothing: learning asks no model."""
        return Cost()

    def fit(self, run: Run) -> Learned:
        """Return the readout of these templates."""
        signature, own = run.task.signature, list(run.start.readout.options["templates"])
        if self.templates == "seven":
            T = [*SEVEN, *own]
        elif isinstance(self.templates, str):
            T = [t.strip() for t in self.templates.split("|") if t.strip()] or own
        else:
            T = list(self.templates)
        run.log("templates", count=len(T))
        return Learned((class_features(signature, T),), signature, {"model": "two-tower"}, "zero-shot")
