"""Kinds of learned parts, readouts, saving and export."""

from promptology.prompts.learned import Demonstrations, Example, Learned, Part, Readout, Text
from promptology.prompts.saving import load, save

__all__ = ["Demonstrations", "Example", "Learned", "Part", "Readout", "Text", "load", "save"]
