"""A simulated chat model: a small deterministic program that behaves like one where prompts are searched for.

It is labelled *simulated* everywhere. It acts on the content of the messages and on nothing that is private to this
library, so that other tools can be driven too.
"""

from promptology.models.simulated.chat import WORLDS, SimulatedChat, from_spec
from promptology.models.simulated.worlds import World

__all__ = ["WORLDS", "SimulatedChat", "World", "from_spec"]
