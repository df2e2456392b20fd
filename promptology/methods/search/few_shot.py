"""Few-shot prompting: labelled examples in front of the question (Brown et al. 2020, arXiv:2005.14165).

D <- k training items, drawn in turn from each class
return start + D in random order
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from promptology.data.task import Task
from promptology.methods.registry import method
from promptology.models.access import Generates, Scores
from promptology.prompts.learned import Learned
from promptology.run.cost import Cost
from promptology.run.engine import Run
from promptology.search.demonstrations import draw_demonstrations, labelled_train, shortened


@method(
    "few-shot", family="search", learns="demonstrations", paper="arXiv:2005.14165", needs={"model": Generates | Scores}
)
@dataclass(frozen=True)
class FewShot:
    """Show random labelled examples, balanced over the classes."""

    shots: int = 8
    """Demonstrations in the prompt."""

    def plan(self, task: Task) -> Cost:
        """Return nothing: learning asks no model."""
        return Cost()

    def fit(self, run: Run) -> Learned:
        """Return the start with demonstrations."""
        shown = draw_demonstrations(labelled_train(run.task), self.shots, run.rng("demonstrations"), run.task.signature)
        return replace(shortened(run, run.start.with_parts(shown)), method="few-shot")
