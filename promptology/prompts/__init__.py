"""Kinds of learned parts, readouts, saving and export."""

from promptology.prompts.learned import Demonstrations, Example, Learned, Part, Readout, Text
from promptology.prompts.memory import Memory, Note
from promptology.prompts.networks import Network
from promptology.prompts.procedures import Procedure
from promptology.prompts.rewriter import Rewriter
from promptology.prompts.saving import load, save
from promptology.prompts.sites import AddedTokens, SiteModule, SiteTensors, Weights

__all__ = [
    "AddedTokens",
    "Demonstrations",
    "Example",
    "Learned",
    "Memory",
    "Network",
    "Note",
    "Part",
    "Procedure",
    "Readout",
    "Rewriter",
    "SiteModule",
    "SiteTensors",
    "Text",
    "Weights",
    "load",
    "save",
]
