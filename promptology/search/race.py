"""What a race over candidates returns, whichever rule it follows."""

from __future__ import annotations

from typing import NamedTuple

from promptology.prompts.learned import Learned


class Race(NamedTuple):
    """Survivors from best to worst, their mean scores (NaN: no answer came), and the candidate-item scores spent.

    Means are taken over the items that every survivor answered, where there are any; a candidate without any answer
    comes last; ties keep the order of submission.
    """

    survivors: list[Learned]
    means: list[float]
    evaluations: int

    @property
    def best(self) -> Learned:
        """The first of the survivors."""
        return self.survivors[0]
