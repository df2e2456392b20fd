"""Template search: the best wording of the labels for an embedding model, by sequential halving.

    C <- start + {label wording t with input wording u : t in T, u in U}
    sequential halving of C on labelled items  (Karnin et al. 2013; for prompts, TRIPLE, arXiv:2402.09723)
    return the survivor

Where several classes may apply, the margin that tells which do is searched too: t x u x m for m in M.

A wording is a template over a class's name and its description; the hand-made ensembles of CLIP's authors
(arXiv:2103.00020, section 3.1.4) are the same idea without the search.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from promptology.methods.registry import method
from promptology.models.access import Embeds
from promptology.prompts.learned import Learned
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

    def fit(self, run: Run) -> Learned:
        """Return the wording that survives the halving."""
        items = (*run.task.train, *run.task.validation)
        items = tuple(i for i in items if i.labelled) or selection_items(run)
        candidates = [run.start]
        signature = run.task.signature
        for m in MARGINS if signature.output == "classes" else (MARGIN,):
            for u in INPUTS:
                for t in LABELS:
                    wording = nearest_label(signature, t, u, m)
                    candidate = replace(run.start.with_parts(wording), method="template-search")
                    if not candidate.same_as(run.start):
                        candidates.append(candidate)
        race = sequential_halving(run, candidates, items, round(self.share * len(candidates) * len(items)))
        run.log("survivor", candidates=len(candidates), score=race.means[0])
        return race.best
