"""Requests and replies in dspy's form, [[ ## field ## ]] by field, as its chat adapter writes and reads them."""

import re

OBJECTIVE = "your objective is:"
OUTPUTS = re.compile(r"Your output fields are:\n(.*?)\nAll interactions", re.S)


def fields(system):
    """Return the names of the fields that a request of dspy wants filled."""
    found = OUTPUTS.search(system)
    return re.findall(r"^\d+\. `(\w+)`", found[1], re.M) if found else []


def read_back(system, turns):
    """Return prompt and input of a request that dspy made from instruction, demonstrations and input."""
    prompt = " ".join(system.partition(OBJECTIVE)[2].split())
    *shown, (_, asked) = turns
    for (_, question), (_, answer) in zip(shown[::2], shown[1::2], strict=True):
        prompt += f"\n\nInput: {read('text', question)}\nOutput: {read('label', answer)}"
    return prompt, read("text", asked)


def read(name, text):
    """Return the first value of a field in a text, empty where it has none."""
    found = re.search(rf"\[\[ ## {name} ## \]\]\n(.*?)(?=\n\n\[\[ ##|\n\nRespond with|\Z)", text, re.S)
    return found[1].strip() if found else ""


def filled(values):
    """Return fields as dspy reads them."""
    return "\n\n".join([*(f"[[ ## {n} ## ]]\n{v}" for n, v in values.items()), "[[ ## completed ## ]]"])
