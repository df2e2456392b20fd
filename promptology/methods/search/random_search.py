"""Random search over prompts: reworded instructions with random demonstrations, the best on validation wins.

    p* <- start, s* <- score(start)
    for i = 1..N:  p <- (paraphrase of the start's instruction, k random demonstrations)
                   if score(p) > s*:  p*, s* <- p, score(p)
    return the best of the best few on fresh items          (start among them where it is one of the best)

The best of N noisy scores is too high, and the more so the larger N, so the best few are scored again on validation
items that the search never saw, and those scores choose; where no such items are left, p* stands. The control that
every guided search must beat (Bergstra and Bengio 2012); for prompts, DSPy's bootstrap with random search is the
nearest relative, without the rewording.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from promptology.data.task import Task
from promptology.methods.registry import method
from promptology.models.access import Generates, Scores
from promptology.prompts.learned import Learned
from promptology.run.cost import Cost
from promptology.run.engine import Run
from promptology.search.crossing import REWORD, reword
from promptology.search.demonstrations import draw_demonstrations, labelled_train, shortened
from promptology.search.planning import PROPOSAL, estimated, fresh_after, labelled_selection, plain_start, scores
from promptology.search.pool import Pool
from promptology.search.ranking import Scored, best, noted, scored
from promptology.search.rescoring import fresh_items, rescore
from promptology.search.scoring import selection_items


@method(
    "random-search",
    family="search",
    learns="text, demonstrations",
    needs={"model": Generates | Scores, "optimizer": Generates},
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
    finalists: int = 3
    """Best candidates that are scored again on as many fresh items at the end; 1 turns it off."""

    def plan(self, task: Task) -> Cost:
        """Return the cost of learning where the optimizer has something new to say to the end."""
        items = min(self.items, len(labelled_selection(task)))
        finals = min(self.finalists, 1 + self.candidates)
        again = finals * min(self.items, fresh_after(task, items)) if finals > 1 else 0
        graded = scores(task, items * (1 + self.candidates) + again, shots=self.shots)
        return graded.plus(estimated(self.candidates, [REWORD + plain_start(task).instruction], PROPOSAL))

    def fit(self, run: Run) -> Learned:
        """Return the best candidate on the selection items, confirmed on fresh ones."""
        chosen = selection_items(run)
        order = run.rng("items").permutation(len(chosen))[: self.items]
        items = [chosen[i] for i in order]
        H = scored(run, [run.start], items) or [Scored(run.start, 0.0)]
        known = Pool([run.start.instruction])
        for n in run.track(self.candidates, "candidates"):
            candidate = self.draw(run, n, known)
            if candidate is None:
                run.log("candidate", number=n + 1, outcome="no usable proposal")
                continue
            new = scored(run, [candidate], items)
            H = best([*H, *new], max(1, self.finalists))
            known.add(candidate.instruction)
            noted(known, new)
            run.log("candidate", number=n + 1, score=new[0].score if new else None, best=H[0].score)
            run.keep(H[0].prompt)
        return rescore(run, [h.prompt for h in H], fresh_items(run, items, self.items)).best

    def draw(self, run: Run, n: int, known: Pool) -> Learned | None:
        """Return a random candidate, None where no usable rewording came."""
        # With demonstrations the same wording again is another candidate.
        (candidate,) = reword(run, [run.start], known=() if self.shots else known)
        if candidate is not None and self.shots:
            rng = run.rng(f"demonstrations {n}")
            shown = draw_demonstrations(labelled_train(run.task), self.shots, rng, run.task.signature)
            candidate = shortened(run, candidate.with_parts(shown))
        return candidate and replace(candidate, method="random-search")
