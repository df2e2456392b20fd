"""What a card says to people: the README of a model folder, and the page of all models in the docs. Without torch."""

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
    training = card["training"]
    parts = [
        f"# {name}",
        f"{card['says'] or MODELS[name].says}",
        f"`{card['class']}`, {card['parameters']:,} parameters, {weight_bytes(card):,} bytes of half-precision "
        f"safetensors. Opened by `promptology.model({PREFIX + name!r})`, or by transformers from this folder.",
        "## Data",
        f"{card['data'] or 'Generated.'}\n\nNothing but generated data was used.",
        "## Ability",
        "On data that training never drew; shares, and differences of shares.",
        abilities(card),
        "## Limits",
        card.get("limits") or "It knows nothing beyond the data above: it is a fixture for experiments, not a product.",
        "## Recipe",
        _table(("setting", "value"), ((key, f"`{value}`") for key, value in card["recipe"].items())),
        f"Trained on {training['device']} (torch {training['torch']}) in {training['seconds'] / 60:.1f} minutes, "
        f"{training['process_seconds'] / 60:.1f} of processor time. `promptology zoo build {name} --out FOLDER` trains "
        "it again; other machines and versions of torch round differently, and come to other weights of like ability.",
    ]
    return "\n\n".join(parts) + "\n"


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
    return _table(("ability", "measured", "bar", "reached"), rows)


def models_page(cards: Mapping[str, Card | None]) -> str:
    """Return the part of docs/zoo.md that the cards tell; None stands for a model that is not there."""
    rows = [
        (
            f"`{name}`",
            f"`{model.cls}`",
            f"{card['parameters']:,}" if (card := cards.get(name)) else "",
            f"{weight_bytes(card) / 1e6:.1f} MB" if card else "",
            model.says,
            _verdict(card),
        )
        for name, model in MODELS.items()
    ]
    parts = [_table(("model", "class", "parameters", "weights", "what it does", "bars"), rows)]
    for name in MODELS:
        if card := cards.get(name):
            parts += [f"### {name}", card["says"], card["data"], abilities(card)]
            parts += [card["limits"]] if card.get("limits") else []
            parts.append(
                f"Trained on {card['training']['device']} in {card['training']['seconds'] / 60:.1f} minutes, "
                f"{card['recipe']['steps']:,} steps."
            )
    return "\n\n".join(part for part in parts if part) + "\n"


def _verdict(card: Card | None) -> str:
    if card is None:
        return "not built"
    if not card["ability"]:
        return "not measured"
    short = below(card["ability"], card["bar"])
    return f"**short**: {', '.join(short)}" if short else "reached"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
