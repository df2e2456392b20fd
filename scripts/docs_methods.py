"""The pages of the methods, made from what a method's file says: header, card, fields, and the claims of its paper."""

from __future__ import annotations

import inspect
import json
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from docs_text import fence, prose, table

from promptology.methods.registry import FAMILIES, Card, catalogue, setting_help
from promptology.models.access import verb

TITLES = {
    "search": "Text by search",
    "soft": "Vectors and heads",
    "weights": "Weights",
    "vision": "Images and text",
    "people": "With people",
    "generation": "For image and video models",
    "strategies": "Prompting strategies",
}
FAMILY = {
    "search": "The prompt stays readable: an instruction, demonstrations, or the wording of labels. Most ask for no "
    "more than a model that answers.",
    "soft": "The prompt is numbers inside the model, or on top of its vectors. The model stays frozen.",
    "vision": "What classes are called, or vectors in the towers of a CLIP. The model stays frozen.",
    "people": "A person's own work is the signal: edits, choices, answers. The person may be a file of earlier texts.",
    "weights": "Weights move, in a copy or beside the model: reference arms, to show what a prompt leaves to gain.",
}
ACCESS = {
    "generates": "writes text: a chat endpoint, a Python function, a language model in this process",
    "scores": "gives the log-probability of a text it is shown: a completions endpoint that echoes them, or a language "
    "model in this process",
    "embeds": "turns text into vectors: `minilm`, an encoder, a Python function",
    "differentiable": "lets gradients reach its inputs, while its weights stay as they are: a transformers model in "
    "this process",
    "trainable": "has weights that a copy may move, while it stays as it is: a transformers model in this process",
    "two-tower": "puts images and texts into one space: a CLIPModel or SiglipModel in this process",
    "varies": "makes pictures of a picture: a Python function, around a diffusion model for example",
    "edits": "makes of a draft what is wanted, as a person does: an object with `edit(context, draft)`, in Python",
}
ROLES = {
    "model": "does the task",
    "optimizer": "writes new prompts, or texts",
    "teacher": "says of texts that were written what they are",
    "judge": "compares or grades outputs",
    "encoder": "tells which contexts are similar",
    "person": "changes drafts by hand",
    "policy": "writes a hint for each input, and learns to",
    "views": "makes pictures of the picture at hand",
}
EXAMPLES = {
    "generates": ("tickets", "simulated:tickets", "300calls"),
    "embeds": ("tickets", "minilm", "4000passes"),
    "differentiable": ("wordland:season?train=64", "zoo:word-t5", "6000passes"),
    "trainable": ("wordland:season?train=64", "zoo:word-t5", "6000passes"),
    "two-tower": ("toyland:base?shots=4&domain=backlit", "zoo:toy-clip", "20000passes"),
}
"""A task, a model that comes with the package and a budget, for each access; the first that a method takes counts."""
CLOZE = "wordland:season?train=20&validation=20&unlabeled=300", "zoo:word-mlm", "60000passes"
OWN: dict[str, tuple[str, str, str]] = {"cloze-tuning": CLOZE, "list": CLOZE, "pet": CLOZE}
"""The same for methods that take models of one kind only."""
SMALLER = {
    **{"ivlp": {"depth": 3}, "maple": {"depth": 3}},
    **{"cloze-tuning": {"steps": 100}, "list": {"rounds": 1, "steps": 150}},
    "pet": {"repetitions": 1, "student_steps": 300},
}
"""Settings of an example, where the defaults would take minutes or are for larger models than come with the package."""

HELPERS = {"policy": ("zoo:word-t5", 'pt.model("zoo:word-t5")'), "views": ("variations:vary", "vary")}
"""What an example gives as a helper that a method needs: on the command line, and in Python."""
VARY = """from PIL import ImageOps


def vary(picture, count, seed):
    \"\"\"Return pictures of what a picture shows; a diffusion model that varies images would make better ones.\"\"\"
    return [ImageOps.posterize(picture, 1 + n % 8) for n in range(count)]"""
ENOUGH = 180
"""Calls of learning that a budget of 300 holds, 40 % being kept for evidence."""
PEOPLE = """A person has to be there, or texts that a person edited:
[learn from what people edit](../cookbook/edits.md) shows both, on the command line and in Python, and a simulated
person as well."""


def cards() -> dict[str, Card]:
    """Return the cards of the methods that come with the package; what else is installed here has pages of its own."""
    return {slug: card for slug, card in catalogue().items() if card.cls.__module__.startswith("promptology.")}


def families(found: Mapping[str, Card]) -> dict[str, list[Card]]:
    """Return the cards by family, families in the order in which they are declared."""
    by_family = {family: [c for c in found.values() if c.family == family] for family in ("search", *FAMILIES)}
    return {family: there for family, there in by_family.items() if there}


def overview(found: Mapping[str, Card]) -> str:
    """Return the page that lists the methods by family."""
    parts = [OVERVIEW, table(("access", "a model that"), [(f"*{name}*", text) for name, text in ACCESS.items()])]
    for family, there in families(found).items():
        rows = [
            (f"[`{c.slug}`]({c.slug}.md)", prose(c.help), prose(c.learns), _needs(c), "yes" if c.labels else "no")
            for c in there
        ]
        parts += [f"## {TITLES[family]}", FAMILY.get(family, "")]
        parts.append(table(("method", "in short", "learns", "needs a model that", "labels"), rows))
    return "\n\n".join(part for part in parts if part) + "\n"


OVERVIEW = """# Methods

Every method takes the same three things, a task, a model and a budget, and gives back the same two: a prompt and the
evidence for it. They differ in what they learn and in what they ask of the model.

## Where to begin

If you do not know where to begin, run the plain ones first: [`manual`](manual.md), [`few-shot`](few-shot.md) or
[`knn-demos`](knn-demos.md), and [`linear-probe`](linear-probe.md) where the model gives vectors. They cost little, and
they are the bar for everything else. [Compare fairly](../cookbook/compare.md) shows how.

## Access

What a method may ask of a model. A model often offers several; one in this process offers most of them."""


def page(card: Card, claims: Sequence[str]) -> str:
    """Return the page of a method. `claims`: what it says of its paper's announced effects."""
    title, *rest = blocks(inspect.getdoc(sys.modules[card.cls.__module__]) or "")
    parts = [f"# {card.slug}", prose(card.help), facts(card), "## How it works", title, *rest]
    parts += ["## Settings", settings(card), "## Try it", *example(card), "## What the paper announces", *claims]
    return "\n\n".join(part for part in parts if part) + "\n"


def blocks(header: str) -> list[str]:
    """Return a header as Markdown: paragraphs as prose, indented lines as the pseudo-code they are."""
    parts: list[str] = []
    for paragraph in re.split(r"\n\s*\n", header.strip("\n")):
        if paragraph.startswith((" ", "\t")):
            parts.append(fence("text", textwrap.dedent(paragraph)))
        else:
            parts += [LEAD.sub(r"**\1\2:**", prose(part)) for part in NEXT.split(" ".join(paragraph.split()))]
    return parts


NEXT = re.compile(r"(?<=[.)]) (?=(?:Calls|Metric calls|Choices of ours)\b[^.]*?:)")
LEAD = re.compile(r"^(Calls|Metric calls|Choices of ours)([^.:]*):")
"""Where a header says what is paid and where it leaves the paper: paragraphs that are found at a glance."""


def facts(card: Card) -> str:
    """Return what the card says as a table."""
    rows = [("family", TITLES[card.family]), ("learns", prose(card.learns))]
    for role, access in {**card.needs, **card.optional}.items():
        optional = "" if role in card.needs else ", optional"
        about = f"{ROLES[role]}; a model that " if role in ROLES else "a model that "
        rows.append((f"role `{role}`{optional}", about + _ways(access)))
    rows.append(("labels", "needed" if card.labels else "not needed"))
    if card.paper:
        rows.append(("paper", prose(card.paper)))
    rows.append(("file", f"`{card.cls.__module__.replace('.', '/')}.py`"))
    return table(("", ""), rows)


def settings(card: Card) -> str:
    """Return the fields of a method as a table."""
    if not card.settings:
        return "It has none."
    rows = []
    for field in card.settings:
        default = json.dumps(field.default) if isinstance(field.default, str | bool) else str(field.default)
        rows.append((f"`{field.name}`", f"`{default}`", prose(setting_help(card.cls, field.name))))
    return table(("setting", "default", "meaning"), rows) + (
        f"\n\nOn the command line `--set {card.settings[0].name}={_plain(card.settings[0].default)}`, "
        "in Python `settings={...}`."
    )


def example(card: Card) -> list[str]:
    """Return how to run a method on a model that comes with the package, both ways."""
    if card.family == "people":
        return [PEOPLE]
    access = next((a for a in card.needs.get("model", ()) if a in EXAMPLES), "generates")
    task, model, budget = OWN.get(card.slug) or EXAMPLES[access]
    if access == "generates" and _calls(card, task) > ENOUGH:
        budget = "5000calls"
    lines = [f"promptology fit --task {_quoted(task)} --model {model} --method {card.slug}"]
    given = ""
    helper = next((role for role in HELPERS if role in card.needs), "")
    if helper:
        lines[0] += " \\"
        lines.append(f"    --{helper} {HELPERS[helper][0]}")
    shown = SMALLER.get(card.slug) or {f.name: f.default for f in card.settings[:1] if f.default != ""}
    if shown:
        lines[-1] += " \\"
        said = " ".join(f"--set {name}={_plain(value)}" for name, value in shown.items())
        lines.append(f"    {said} --budget {budget}")
        given = f"    settings={shown},\n".replace("'", '"')
    else:
        lines[-1] += f" --budget {budget}"
    given += f'    helpers={{"{helper}": {HELPERS[helper][1]}}},\n' if helper else ""
    imported = "from variations import vary\n\n" if helper == "views" else ""
    code = f"""{imported}import promptology as pt

task = pt.load_task("{task}")
result = pt.fit(
    task,
    pt.model("{model}"),
    "{card.slug}",
{given}    budget="{budget}",
)
print(result.evidence)"""
    chat = "With the simulated chat model, which runs here, costs nothing and needs no network"
    about = {
        "generates": f"{chat}:",
        "embeds": "With MiniLM, which comes with the extra `demo`:",
    }.get(access, "With an [embedded model](../zoo.md), which needs the extra `local`:")
    file = [f'```python title="variations.py"\n{VARY}\n```'] if helper == "views" else []
    return [about, *file, fence("console", "$ " + "\n".join(lines)), fence("python", code)]


def _calls(card: Card, task: str) -> int:
    """Return how many calls a method plans for learning."""
    from promptology.data.loaders import load_task

    plan = getattr(card.cls(), "plan", None)
    return plan(load_task(task)).calls if plan else 0


def _needs(card: Card) -> str:
    return "; ".join(
        " or ".join(access) + ("" if role == "model" else f" ({role})") for role, access in card.needs.items()
    )


def _ways(access: Sequence[str]) -> str:
    return " or ".join(f"[{verb(name)}](index.md#access)" for name in access)


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _quoted(task: str) -> str:
    return f'"{task}"' if "?" in task else task
