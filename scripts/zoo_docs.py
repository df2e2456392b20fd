"""Write docs/zoo.md and docs/gallery.html: the embedded models as their cards say they are, and the worlds they know.

    python scripts/zoo_docs.py

Abilities are those that `promptology zoo build` or `promptology zoo check --save` wrote into the cards of the released
weights, whatever they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from promptology.zoo import folders
from promptology.zoo.recipes.cards import abilities, below, table, trained, weight_bytes
from promptology.zoo.recipes.gallery import write
from promptology.zoo.toyland import lists
from promptology.zoo.wordland.kinds import KINDS, Kind

DOCS = Path(__file__).resolve().parents[1] / "docs"

HEAD = """# Embedded models

Small real networks that come with the package, so that every method can be tried, tested and measured in CPU minutes,
with no network and no key. They are standard `transformers` classes, trained from scratch on generated data alone:
pictures of *Toyland* and texts of *Wordland*. `python scripts/zoo_docs.py` makes this page from the models' cards.

```
promptology zoo list                                   # what there is, and where it lies
promptology evaluate --task wordland:topic --model zoo:word-t5
promptology fit --task "wordland:mood?seed=3&train=64" --model zoo:word-t5 --method prompt-tuning --budget 20000passes
promptology zoo check                                  # measures every ability against its bar
promptology zoo build word-mlm --out mine              # trains one again; then --model hf:mine
promptology zoo gallery --out gallery.html             # pictures and texts of both worlds
```

In Python: `pt.model("zoo:word-t5")`, `pt.load_task("wordland:topic?seed=3")`. `zoo:NAME` opens the released weights;
where a package has none (a checkout without them), what `promptology zoo build NAME` made in `PROMPTOLOGY_HOME`. Every
file is checked against the sha256 in the model's card. A build has a fixed seed, goes on where it was interrupted, to
the same weights, and puts its folder in place when it is whole.

## What they can do

Measured on data that training never drew: other seeds, and held-out classes, mappings, wordings. Figures are shares of
right answers and differences of such shares, from 0 to 1. A *bar* is the least that was asked of a model before it was
made; a model that is short of one is shown short.
"""

WORDLAND = """## Wordland

Text tasks in real English words, from grammars and word lists written for this project. An input belongs by a checksum
of its text either to pre-training or to evaluation, so that no task ever shows a model what it was trained on. Kinds
that are *held out* stand in no model's pre-training, and neither do the held-out wordings of any kind.
`--task "wordland:KIND?seed=0&train=200&validation=200&test=500&unlabeled=0"` makes a task of a kind; all of it behind
the question mark may be left out.
"""

TOYLAND = """## Toyland

Drawn scenes of one to four objects with exact masks, boxes and attributes, captions of many wordings, and a written
description of every class. Samples of everything: [gallery.html](gallery.html).
"""


def page(cards: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page. `cards`: those of the models that are there."""
    parts = [HEAD, _models(cards), WORDLAND, _kinds(), TOYLAND, _toyland()]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _models(cards: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for name, model in folders.MODELS.items():
        card = cards.get(name)
        sizes = (f"{card['parameters']:,}", f"{weight_bytes(card) / 1e6:.1f} MB") if card else ("", "")
        rows.append((f"`{name}`", f"`{model.cls}`", *sizes, model.says, _verdict(card)))
    parts = [table(("model", "class", "parameters", "weights", "what it does", "bars"), rows)]
    for name, card in cards.items():
        parts += [f"### {name}", card["says"], card["data"], abilities(card), card["limits"], trained(card)]
    return "\n\n".join(part for part in parts if part)


def _verdict(card: Mapping[str, Any] | None) -> str:
    if card is None:
        return "not built"
    if not card["ability"]:
        return "not measured"
    short = below(card["ability"], card["bar"])
    return f"**short**: {', '.join(short)}" if short else "reached"


def _kinds() -> str:
    head = ("kind", "held out", "answers", "first wording", "wordings", "held-out wordings")
    return table(
        head,
        (
            (
                f"`{kind.name}`",
                "yes" if kind.held_out else "",
                _answers(kind),
                kind.wordings[0],
                str(len(kind.wordings)),
                str(len(kind.held_out_wordings)),
            )
            for kind in KINDS.values()
        ),
    )


def _answers(kind: Kind) -> str:
    return ", ".join(kind.class_names) if kind.classes else "a word of the text or of a closed list"


def _toyland() -> str:
    rows = [
        ("shapes", ", ".join(lists.SHAPES), f"the first {lists.KNOWN}"),
        ("colours", ", ".join(f"{c} ({', '.join(s)})" for c, s in lists.SHADES_OF.items()), f"the first {lists.KNOWN}"),
        ("textures", ", ".join(lists.TEXTURES), f"the first {lists.KNOWN_TEXTURES}"),
        ("styles", ", ".join(lists.STYLES), "all, the later ones more rarely"),
        ("shifts", ", ".join(lists.SHIFTS), "none"),
        ("triples of colour, texture, shape", f"{len(lists.SEEN) + len(lists.UNSEEN)}", f"{len(lists.SEEN)}"),
    ]
    return table(("", "there are", "in pre-training"), rows)


def released() -> dict[str, dict[str, Any]]:
    """Return the cards of the released models by name."""
    there = (name for name in folders.MODELS if (folders.RELEASED / name).is_dir())
    return {name: folders.card(folders.RELEASED / name, name) for name in there}


if __name__ == "__main__":
    (DOCS / "zoo.md").write_text(page(released()), encoding="utf-8")
    write(DOCS / "gallery.html")
