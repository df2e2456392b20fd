"""The public calls: evaluate, fit, fit_stages, compare, transfer, apply, load, attach, advise."""

from promptology.api.advising import advise
from promptology.api.attaching import attach
from promptology.api.common import default_budget
from promptology.api.exporting import export_features
from promptology.api.generalising import Generalisation, protocol
from promptology.api.learning import Comparison, compare, fit
from promptology.api.planning import plan
from promptology.api.staging import Stages, fit_stages
from promptology.api.transferring import Evaluations, Grid, transfer
from promptology.api.using import Evaluation, apply, evaluate
from promptology.evidence.fitting import Result
from promptology.prompts.saving import load

__all__ = [
    "Comparison",
    "Evaluation",
    "Evaluations",
    "Generalisation",
    "Grid",
    "Result",
    "Stages",
    "advise",
    "apply",
    "attach",
    "compare",
    "default_budget",
    "evaluate",
    "export_features",
    "fit",
    "fit_stages",
    "load",
    "plan",
    "protocol",
    "transfer",
]
