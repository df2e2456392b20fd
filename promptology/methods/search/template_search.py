"""Template search: the best wording of the labels for an embedding model, by sequential halving.

    C <- start + {label wording t with input wording u : t in T, u in U}
    for ceil(log2 |C|) rounds, each with an equal share of the scores:
        score C on further labelled items               (Karnin et al. 2013; for prompts, TRIPLE, arXiv:2402.09723)
        C <- the better half of C by all items so far
    return the survivor

Where several classes may apply, the margin that tells which do is searched too: t x u x m for m in M. Every labelled
item outside the test split takes part: the survivor is chosen among few on most of them, and evidence measures it.
What costs is embedding an item in an input wording, which all candidates of that wording share; a score costs nothing
beside it. On random halves of the bundled tasks MiniLM makes 2.9 to 3.3 of the 4 embeddings an item at a share of 0.25,
and the survivor is 0.2 to 0.7 points worse than the best by all scores; at 0.5 it makes 3.6 to 3.8 and loses 0.3 at
most. Racing by upper bounds (`bounds.ucb_race`) makes 3.3 to 3.8 and loses next to nothing, with more scores than 0.5.

A wording is a template over a class's name and its description; the hand-made ensembles of CLIP's authors
(arXiv:2103.00020, section 3.1.4) are the same idea without the search.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from promptology.data.items import Item, Signature
from promptology.data.task import Task
from promptology.methods.registry import method
from promptology.models.access import Embeds
from promptology.prompts.learned import Learned, Readout
from promptology.prompts.start import MARGIN, nearest_label
from promptology.run.engine import Run
from promptology.search.halving import sequential_halving
from promptology.search.scoring import selection_items

LABELS = (
    "{label}",
    "{description}",
    "{label}: {description}",
    "{label}. {description}",
    "a text about {label}",
    "this is about {label}",
    "the topic is {label}",
    "what it is about: {label}",
    "an example of {label}",
    "a message whose subject is {label}",
    "somebody writes because of {label}",
    "I am writing about {label}",
    "I have a request about {label}: {description}",
    "a message about {label}: {description}",
    "the writer's concern is {label}. {description}",
    "{description} In short: {label}",
)
MARGINS = (0.02, 0.05, 0.1, 0.15)
"""M: cosine by which a class may lie below the best one and still apply."""
INPUTS = ("{input}", "a text: {input}", "what is this about? {input}", "{input} The topic of this text:")


@method("template-search", family="search", learns="readout", paper="arXiv:2402.09723", needs={"model": Embeds})
@dataclass(frozen=True)
class TemplateSearch:
    """Search wordings of template and label descriptions."""

    share: float = 0.25
    """Candidate-item scores spent, as a share of scoring every candidate on every item."""

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError("share lies above 0 and is 1 at most")

    def fit(self, run: Run) -> Learned:
        """Return the wording that survives the halving."""
        items = labelled(run.task) or selection_items(run)
        candidates = [run.start]
        for wording in wordings(run.task.signature):
            candidate = replace(run.start.with_parts(wording), method="template-search")
            if not candidate.same_as(run.start):
                candidates.append(candidate)
        race = sequential_halving(run, candidates, items, round(self.share * len(candidates) * len(items)))
        run.log("survivor", candidates=len(candidates), score=race.means[0])
        return race.best


def wordings(signature: Signature) -> list[Readout]:
    """Return T x U, or T x U x M where several classes may apply."""
    margins = MARGINS if signature.output == "classes" else (MARGIN,)
    return [nearest_label(signature, t, u, m) for m in margins for u in INPUTS for t in LABELS]


def labelled(task: Task) -> tuple[Item, ...]:
    """Return the labelled items outside the test split."""
    return tuple(i for i in (*task.train, *task.validation) if i.labelled)
