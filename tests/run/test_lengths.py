"""Lengths of prompts in tokens, and the longest prompt that a run allows."""

from __future__ import annotations

import promptology as pt
from promptology.prompts import Learned, Readout, Text
from promptology.prompts.learned import Demonstrations, Example
from promptology.prompts.start import start_from
from promptology.run.engine import Run
from promptology.run.handles import Handle
from promptology.run.lengths import Length, length_of, prompt_text, tokens
from promptology.run.meter import Meter
from promptology.run.store import memory_store
from promptology.search.demonstrations import shortened
from promptology.search.proposing import propose


class Words:
    """A model in this process whose tokens are words."""

    local, simulated, name = True, False, "words"

    def generate(self, requests, attempts=1):
        yield from ()

    def count_tokens(self, text):
        return len(text.split())


def run_of(task, most, optimizer=None, model=None):
    meter = Meter(memory_store())
    models = {"model": model or Words(), "optimizer": pt.model(optimizer or (lambda p: ""))}
    handles = {role: Handle(meter, role, m) for role, m in models.items()}
    return Run(task, handles, meter, max_prompt_tokens=most)


def test_what_is_sent_beside_the_input_is_counted(colours):
    text = Text("Name the colour: {text} {other}", "Be brief.")
    learned = Learned((text, Readout("answer")), colours.signature)
    assert prompt_text(learned) == (
        "Be brief.\n\nClasses:\n- blue\n- green\n- red\n\nAnswer with the name of one class only.\n\n"
        "Name the colour:  {other}"
    )
    shown = learned.with_parts(Demonstrations((Example({"text": "a rose"}, "red"),)))
    assert "Input: a rose\nOutput: red" in prompt_text(shown)
    assert length_of(shown, Words()).tokens == length_of(learned, Words()).tokens + 5
    assert length_of(learned, Words()) == Length(len(prompt_text(learned).split()), True)
    assert length_of(learned, object()) == Length(-(-len(prompt_text(learned).encode()) // 4), False)
    assert tokens("é" * 4) == 2
    assert length_of(start_from(colours.signature, ("embeds",)), Words()).tokens == 0
    assert prompt_text(learned.with_parts(Readout("head"))) == ""  # which reads the input alone


def test_a_longer_proposal_is_repaired_once_and_then_dropped(colours):
    asked = []

    def optimizer(prompt):
        asked.append(prompt)
        long = "<prompt>" + "very " * 40 + "long</prompt>"
        return long if "first" not in prompt or "could not be used" not in prompt else "<prompt>Short now.</prompt>"

    fixed = length_of(start_from(colours.signature, ("generates",)), Words()).tokens
    run = run_of(colours, fixed + 5, optimizer)
    kept = propose(run, ["first", "second"], run.start)
    assert [c and c.instruction for c in kept] == ["Short now.", None]
    assert f"it is too long ({fixed + 41 - 3} tokens, {fixed + 5} are allowed)" in asked[2]
    assert (run.tally["too long"], run.tally["usable"], run.tally["proposals"]) == (1, 1, 2)
    (free,) = propose(run_of(colours, 0, optimizer), ["second"], run.start)
    assert free.instruction.endswith("very long")


def test_as_many_demonstrations_are_shown_as_fit(colours):
    examples = tuple(Example({"text": f"rose {n}"}, "red") for n in range(5))  # five tokens each
    start = start_from(colours.signature, ("generates",))
    whole = start.with_parts(Demonstrations(examples))
    fixed = length_of(start, Words()).tokens
    run = run_of(colours, fixed + 12)
    assert shortened(run, whole).part(Demonstrations).examples == examples[:2]
    assert run.warnings == [f"demonstrations were left out: max_prompt_tokens is {fixed + 12}"]
    assert shortened(run_of(colours, fixed), whole).same_as(start), "none fits"
    assert shortened(run_of(colours, 0), whole) is whole
