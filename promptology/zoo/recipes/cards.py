"""What a card says to people: abilities against bars, and the README of a model folder. Without torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from promptology.zoo.folders import MODELS, PREFIX

Card = Mapping[str, Any]


def weight_bytes(card: Card) -> int:
    """Return the size of a model's weights."""
    return sum(about["bytes"] for file, about in card["files"].items() if file.endswith(".safetensors"))


def below(ability: Mapping[str, float], bar: Mapping[str, float]) -> list[str]:
    """Return the names of the bars that are not reached; an ability that was not measured reaches none."""
    return [name for name, least in bar.items() if not ability.get(name, float("nan")) >= least]


def readme(card: Card) -> str:
    """Return README.md of a model folder."""
    name = card["name"]
    parts = [
        f"# {name}",
        f"{card['says'] or MODELS[name].says}",
        f"`{card['class']}`, {card['parameters']:,} parameters, {weight_bytes(card):,} bytes of half-precision "
        f'safetensors. Opened by `promptology.model("{PREFIX}{name}")`, or by transformers from this folder.',
        "## Data",
        f"{card['data'] or 'Generated.'}\n\nNothing but generated data was used.",
        "## Ability",
        "On data that training never drew; shares, and differences of shares.",
        abilities(card),
        "## Limits",
        card.get("limits") or "It knows nothing beyond the data above: it is a fixture for experiments, not a product.",
        "## Recipe",
        table(("setting", "value"), ((k, f"`{value}`") for k, value in card["recipe"].items() if k != "name")),
        f"{trained(card)} `promptology zoo build {name} --out FOLDER` trains it again; other machines and versions of "
        "torch round differently, and so come to other weights.",
    ]
    return "\n\n".join(parts) + "\n"


def trained(card: Card) -> str:
    """Return how long the training took; beside a GPU other processes make the batches, and their time is not known."""
    at = card["training"]
    spent = f", {at['process_seconds'] / 60:.1f} of processor time," if at["device"] == "cpu" else ""
    steps = f"{card['recipe']['steps']:,} steps"
    return f"Trained in {at['seconds'] / 60:.1f} minutes{spent} on {at['device']} (torch {at['torch']}), {steps}."


def abilities(card: Card) -> str:
    """Return the table of a card's abilities against their bars."""
    ability, bar = card["ability"], card["bar"]
    if not ability:
        return "Not measured yet; `promptology zoo check --save` does it."
    short = below(ability, bar)
    rows = [
        (
            name,
            f"{ability[name]:.3f}" if name in ability else "not measured",
            f"{bar[name]:.3f}" if name in bar else "",
            "" if name not in bar else "**no**" if name in short else "yes",
        )
        for name in [*bar, *(name for name in ability if name not in bar)]
    ]
    return table(("ability", "measured", "bar", "reached"), rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
