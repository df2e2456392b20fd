"""The prompt you have, unchanged: the arm that every other one is measured against.

    return the start

With a model that generates, the start is the user's prompt, or one plain sentence with the classes and their
descriptions; with an embedding model it is the nearest label name, and for images "a photo of a {}.".
"""

from __future__ import annotations

from dataclasses import dataclass

from promptology.data.task import Task
from promptology.methods.registry import method
from promptology.models.access import Embeds, Generates, Scores, TwoTower
from promptology.prompts.learned import Learned
from promptology.run.cost import Cost
from promptology.run.engine import Run


@method(
    "manual", family="search", learns="nothing", needs={"model": Generates | Scores | Embeds | TwoTower}, labels=False
)
@dataclass(frozen=True)
class Manual:
    """Use the current prompt as it is."""

    def plan(self, task: Task) -> Cost:
        """Return nothing: learning asks no model."""
        return Cost()

    def fit(self, run: Run) -> Learned:
        """Return the start."""
        return run.start
