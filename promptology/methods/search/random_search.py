"""Random search over prompts: reworded instructions with random demonstrations, the best on validation wins.

    p* <- start, s* <- score(start)
    for i = 1..N:  p <- (paraphrase of the start's instruction, k random demonstrations)
                   if score(p) > s*:  p*, s* <- p, score(p)
    return p*

The control that every guided search must beat (Bergstra and Bengio 2012); for prompts, DSPy's bootstrap with random
search is the nearest relative, without the rewording.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from promptology.data.task import Task
from promptology.methods.registry import method
from promptology.models.access import Generates
from promptology.prompts.learned import Learned
from promptology.prompts.render import frame
from promptology.run.cost import Cost
from promptology.run.engine import Run
from promptology.search.demonstrations import draw_demonstrations, labelled_train
from promptology.search.proposing import propose
from promptology.search.scoring import score, selection_items

REWORD = """Below is an instruction that is given to an assistant together with an input. Say the same thing in another way: keep its meaning, everything it asks for and every {placeholder}, change the wording and the order of thoughts. Write the complete reworded instruction between <prompt> and </prompt>.

<prompt>
{instruction}
</prompt>"""


@method(
    "random-search",
    family="search",
    learns="text, demonstrations",
    needs={"model": Generates, "optimizer": Generates},
)
@dataclass(frozen=True)
class RandomSearch:
    """Try random rewordings with random demonstrations; keep the best."""

    candidates: int = 16
    """N: candidates beside the start."""
    shots: int = 4
    """k: demonstrations per candidate; 0 rewords only."""
    items: int = 100
    """Selection items at most; the same for every candidate."""

    def plan(self, task: Task) -> Cost:
        """Return the calls of learning: one rewording and one score per item for each candidate, and the start's."""
        labelled = [i for i in task.validation if i.labelled] or [i for i in task.train if i.labelled]
        items = min(self.items, len(labelled))
        return Cost(calls=items + self.candidates * (1 + items))

    def fit(self, run: Run) -> Learned:
        """Return the best candidate on the selection items."""
        chosen = selection_items(run)
        order = run.rng("items").permutation(len(chosen))[: self.items]
        items = [chosen[i] for i in order]
        best = run.start
        best_score = score(run, [best], items).means[0]
        for n in run.track(self.candidates, "candidates"):
            candidate = self.draw(run, n)
            if candidate is None:
                continue
            value = score(run, [candidate], items).means[0]
            run.log("candidate", number=n + 1, score=float(value), best=float(max(value, best_score)))
            if value > best_score:
                best, best_score = candidate, value
                run.keep(best)
        return best

    def draw(self, run: Run, n: int) -> Learned | None:
        """Return a random candidate, None where no usable rewording came."""
        (candidate,) = propose(run, [frame(REWORD, {"instruction": run.start.instruction})], run.start)
        if candidate is not None and self.shots:
            shown = draw_demonstrations(labelled_train(run), self.shots, run.rng(f"demonstrations {n}"))
            candidate = candidate.with_parts(shown)
        return candidate and replace(candidate, method="random-search")
