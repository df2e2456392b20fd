"""The catalogue names every method once, below its family."""

from __future__ import annotations

import json

from promptology.cli.catalogue import FAMILY, SAYS
from promptology.methods.registry import FAMILIES, catalogue


def test_every_family_has_a_place():
    assert sorted(FAMILY) == sorted(FAMILIES)


def test_methods_stand_below_their_families(cli):
    lines = cli("methods").stdout.splitlines()
    heads = {text: family for family, text in SAYS.items()}
    found, family = [], ""
    for line in lines:
        family = heads.get(line, family)
        if line and line not in heads and not line.startswith(" "):
            found.append((line.split()[0], family))
    ours = {slug: card.family for slug, card in catalogue().items() if card.cls.__module__.startswith("promptology.")}
    assert sorted(found) == sorted(ours.items())
    assert [family for _, family in found] == sorted((f for _, f in found), key=FAMILY.index)


def test_one_method_and_all_as_json(cli):
    shown = cli("methods", "gepa").stdout
    assert shown.startswith("gepa: ") and "--set metric_calls=780" in shown
    shown = cli("methods", "crosstune").stdout
    assert "role optimizer, if you like: generates (--optimizer)" in shown
    assert "for tasks whose output is class; arXiv:2403.12468" in shown
    assert "role policy: trainable (--policy)" in cli("methods", "dsp").stdout
    assert "for masked, causal, seq2seq language models" in cli("methods", "list").stdout
    listed = json.loads(cli("methods", "--json").stdout)["methods"]
    assert {m["method"] for m in listed} >= {"promptagent", "ape", "protegi", "evoprompt", "gepa", "mipro", "cipher"}
