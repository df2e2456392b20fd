"""Prompt learning for frozen models: a model, a task and a budget in; a better prompt and evidence out.

import promptology as pt

task = pt.load_task("tickets")
model = pt.model("minilm")
result = pt.fit(task, model, "template-search")
print(result.evidence)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from promptology.api import (
        Comparison,
        Evaluation,
        Evaluations,
        Generalisation,
        Grid,
        Result,
        Stages,
        advise,
        apply,
        attach,
        compare,
        evaluate,
        export_features,
        fit,
        fit_stages,
        load,
        protocol,
        transfer,
    )
    from promptology.data.items import ClassLabel, Field, Item, Signature
    from promptology.data.judging import JudgeMetric
    from promptology.data.loaders import load_task
    from promptology.data.task import Task
    from promptology.errors import PromptologyError
    from promptology.methods.registry import method
    from promptology.methods.search.ape import APE
    from promptology.methods.search.dsp import DSP
    from promptology.methods.search.evoprompt import EvoPrompt
    from promptology.methods.search.few_shot import FewShot
    from promptology.methods.search.gepa import GEPA
    from promptology.methods.search.knn_demos import KNNDemos
    from promptology.methods.search.manual import Manual
    from promptology.methods.search.mipro import MIPRO
    from promptology.methods.search.opro import OPRO
    from promptology.methods.search.promptagent import PromptAgent
    from promptology.methods.search.protegi import ProTeGi
    from promptology.methods.search.random_search import RandomSearch
    from promptology.methods.search.spo import SPO
    from promptology.methods.search.template_search import TemplateSearch
    from promptology.methods.soft.crosstune import CrossTune
    from promptology.methods.soft.dept import DePT
    from promptology.methods.soft.linear_probe import LinearProbe
    from promptology.methods.soft.p_tuning import PTuning
    from promptology.methods.soft.prefix_tuning import PrefixTuning
    from promptology.methods.soft.prompt_tuning import PromptTuning
    from promptology.methods.soft.ptec import PTEC
    from promptology.methods.vision.cocoop import CoCoOp
    from promptology.methods.vision.coop import CoOp
    from promptology.methods.vision.difftpt import DiffTPT
    from promptology.methods.vision.ivlp import IVLP
    from promptology.methods.vision.maple import MaPLe
    from promptology.methods.vision.tpt import TPT
    from promptology.methods.vision.zero_shot import ZeroShot
    from promptology.methods.weights.cloze_tuning import ClozeTuning
    from promptology.methods.weights.full_tuning import FullTuning
    from promptology.methods.weights.list import LiST
    from promptology.methods.weights.lora import LoRA
    from promptology.methods.weights.pet import PET
    from promptology.models.access import Answer, Embeds, Failure, Generates, Request, Scores
    from promptology.models.opening import model
    from promptology.prompts.learned import Learned
    from promptology.web import page

_HOME = {
    "promptology.api": (
        *("Comparison", "Evaluation", "Evaluations", "Generalisation", "Grid", "Result", "Stages"),
        *("advise", "apply", "attach", "compare", "evaluate", "export_features", "fit", "fit_stages", "load"),
        *("protocol", "transfer"),
    ),
    "promptology.data.judging": ("JudgeMetric",),
    "promptology.data.items": ("ClassLabel", "Field", "Item", "Signature"),
    "promptology.data.loaders": ("load_task",),
    "promptology.data.task": ("Task",),
    "promptology.errors": ("PromptologyError",),
    "promptology.methods.registry": ("method",),
    "promptology.methods.search.ape": ("APE",),
    "promptology.methods.search.dsp": ("DSP",),
    "promptology.methods.search.evoprompt": ("EvoPrompt",),
    "promptology.methods.search.few_shot": ("FewShot",),
    "promptology.methods.search.gepa": ("GEPA",),
    "promptology.methods.search.knn_demos": ("KNNDemos",),
    "promptology.methods.search.manual": ("Manual",),
    "promptology.methods.search.mipro": ("MIPRO",),
    "promptology.methods.search.opro": ("OPRO",),
    "promptology.methods.search.protegi": ("ProTeGi",),
    "promptology.methods.search.promptagent": ("PromptAgent",),
    "promptology.methods.search.random_search": ("RandomSearch",),
    "promptology.methods.search.spo": ("SPO",),
    "promptology.methods.search.template_search": ("TemplateSearch",),
    "promptology.methods.soft.crosstune": ("CrossTune",),
    "promptology.methods.soft.dept": ("DePT",),
    "promptology.methods.soft.linear_probe": ("LinearProbe",),
    "promptology.methods.soft.p_tuning": ("PTuning",),
    "promptology.methods.soft.prefix_tuning": ("PrefixTuning",),
    "promptology.methods.soft.prompt_tuning": ("PromptTuning",),
    "promptology.methods.soft.ptec": ("PTEC",),
    "promptology.methods.vision.cocoop": ("CoCoOp",),
    "promptology.methods.vision.coop": ("CoOp",),
    "promptology.methods.vision.difftpt": ("DiffTPT",),
    "promptology.methods.vision.ivlp": ("IVLP",),
    "promptology.methods.vision.maple": ("MaPLe",),
    "promptology.methods.vision.tpt": ("TPT",),
    "promptology.methods.vision.zero_shot": ("ZeroShot",),
    "promptology.methods.weights.cloze_tuning": ("ClozeTuning",),
    "promptology.methods.weights.full_tuning": ("FullTuning",),
    "promptology.methods.weights.list": ("LiST",),
    "promptology.methods.weights.lora": ("LoRA",),
    "promptology.methods.weights.pet": ("PET",),
    "promptology.models.access": ("Answer", "Embeds", "Failure", "Generates", "Request", "Scores"),
    "promptology.models.opening": ("model",),
    "promptology.prompts.learned": ("Learned",),
    "promptology.web": ("page",),
}
_WHERE = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "APE",
    "DSP",
    "GEPA",
    "IVLP",
    "MIPRO",
    "OPRO",
    "PET",
    "PTEC",
    "SPO",
    "TPT",
    "Answer",
    "ClassLabel",
    "ClozeTuning",
    "CoCoOp",
    "CoOp",
    "Comparison",
    "CrossTune",
    "DePT",
    "DiffTPT",
    "Embeds",
    "Evaluation",
    "Evaluations",
    "EvoPrompt",
    "Failure",
    "FewShot",
    "Field",
    "FullTuning",
    "Generalisation",
    "Generates",
    "Grid",
    "Item",
    "JudgeMetric",
    "KNNDemos",
    "Learned",
    "LiST",
    "LinearProbe",
    "LoRA",
    "MaPLe",
    "Manual",
    "PTuning",
    "PrefixTuning",
    "ProTeGi",
    "PromptAgent",
    "PromptTuning",
    "PromptologyError",
    "RandomSearch",
    "Request",
    "Result",
    "Scores",
    "Signature",
    "Stages",
    "Task",
    "TemplateSearch",
    "ZeroShot",
    "__version__",
    "advise",
    "apply",
    "attach",
    "compare",
    "evaluate",
    "export_features",
    "fit",
    "fit_stages",
    "load",
    "load_task",
    "method",
    "model",
    "page",
    "protocol",
    "transfer",
]


def __getattr__(name: str) -> Any:
    # Names are imported at their first use, so that `import promptology` costs nothing.
    if name not in _WHERE:
        raise AttributeError(f"module 'promptology' has no attribute {name!r}")
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
