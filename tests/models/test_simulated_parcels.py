"""The worlds trap and chain: what prompts are worth, and a rewriter that mends what it is shown, and nothing else."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import promptology as pt
from promptology.data.parcels import GATES, MARKS, gate
from promptology.models.simulated import WORLDS, SimulatedChat
from promptology.models.simulated.parcels import HARMFUL, TRAP
from promptology.prompts import Learned, Readout, Text
from promptology.prompts.parsing import tagged
from promptology.prompts.render import frame, messages
from promptology.search.errors import FEEDBACK, REVISE

WORLD = WORLDS["trap"]
RULES = [f.sentences[0] for f in WORLD.features]
QUESTIONS = [f"Parcel {1000 + n} is marked {MARKS[n % 5]}." for n in range(8000)]
"""Every mark as often as any other."""


def prompt(*sentences):
    return " ".join([WORLD.start, *sentences])


def share(text, world="trap", seed=0):
    model = SimulatedChat(world, seed=seed)
    return float(np.mean([model.right(text, q) for q in QUESTIONS]))


@pytest.mark.parametrize(
    ("sentences", "expected"),
    [
        ([], 0.0),
        (RULES[:1], 0.2),
        (RULES, 1.0),
        ([TRAP], 0.12),
        ([TRAP, RULES[0]], 0.2 + 0.12 * 0.8),
        ([TRAP, *RULES[:2]], 0.45 * 0.4),
        ([TRAP, *RULES], 0.45),
        ([*RULES, *HARMFUL[:2]], 0.92**2),
        ([*RULES, HARMFUL[0], HARMFUL[0]], 0.92),
    ],
)
def test_accuracy_is_that_of_the_card_and_of_the_items(sentences, expected):
    text = prompt(*sentences)
    assert WORLD.accuracy(text) == pytest.approx(expected)
    assert share(text) == pytest.approx(expected, abs=0.02)


def test_two_wordings_of_a_rule_state_it_once_and_a_harmful_sentence_states_none():
    for world in ("trap", "chain"):
        for rule in WORLDS[world].features:
            assert [WORLDS[world].shown(s) for s in rule.sentences] == [[rule], [rule]]
    assert WORLD.shown(" ".join([TRAP, *HARMFUL])) == [] and len(set(HARMFUL)) == 864
    assert WORLDS["chain"].accuracy(TRAP) == 0.0  # no shortcut there
    assert len(WORLDS["chain"].features) == 12


def test_the_model_answers_an_item_as_the_prompt_lets_it():
    task = pt.load_task("simulated:trap")
    model = SimulatedChat("trap")
    for text in (prompt(), prompt(*RULES[:3], HARMFUL[5]), prompt(TRAP, *RULES)):
        learned = Learned((Text(text), Readout("answer")), task.signature)
        for item in task.train[:30]:
            said = model.reply(messages(learned, item.inputs, task.signature))
            assert said in GATES and (said == item.target) is model.right(text, item.inputs["text"])


def case(number, mark, said, n=1):
    right = gate(number, mark)
    answer = right if said == "right" else next(g for g in GATES if g != right)
    return f"Input {n}: Parcel {number} is marked {mark}.\nAnswer {n}: {answer}\nRight answer {n}: {right}"


def rewrites(text, cases, count=400, world="trap", **settings):
    """Return how often each sentence was added to a prompt."""
    model = SimulatedChat(world, **settings)
    request = frame(
        REVISE.replace("{earlier}", "").replace("{evolve}", "").replace("{how}", "wrongly"),
        {"instruction": text, "cases": "\n\n".join(cases), "reasons": "(none)"},
    )
    new = [tagged(model.reply([("user", request)], n, 1.0), "prompt") for n in range(count)]
    return Counter(t.removeprefix(text).strip() for t in new)


def test_a_shown_error_is_mended_by_its_rule_or_the_trap_and_nothing_else_is():
    added = rewrites(prompt(), [case(1234, "heavy", "wrong"), case(2345, "frozen", "right", 2)])
    harm = sum(added[h] for h in HARMFUL)
    assert set(added) <= {RULES[MARKS.index("heavy")], TRAP, *HARMFUL}
    assert added[RULES[2]] / 400 == pytest.approx(0.6 * 0.65, abs=0.08)
    assert added[TRAP] / 400 == pytest.approx(0.6 * 0.35, abs=0.07)
    assert harm / 400 == pytest.approx(0.4, abs=0.08)


def test_every_shown_error_has_the_same_chance_and_the_chain_has_no_trap():
    cases = [case(1234, "woven", "wrong"), case(2345, "tinted", "wrong", 2)]
    added = rewrites(WORLDS["chain"].start, cases, world="chain")
    rules = [next(f for f in WORLDS["chain"].features if f.name == m).sentences[0] for m in ("woven", "tinted")]
    assert [added[r] / 400 for r in rules] == pytest.approx([0.3, 0.3], abs=0.07)
    assert added[TRAP] == 0


def test_without_a_shown_error_a_repair_is_luck():
    added = rewrites(prompt(), [case(1234, "heavy", "right")])
    assert 0 < sum(added[s] for s in (*RULES, TRAP)) / 400 < 0.12
    # The same error is mended in words that the prompt lacks; where there are none left, it is only reworded.
    held = prompt(RULES[2])
    added = rewrites(held, [case(1234, "heavy", "wrong")])
    assert added[WORLD.features[2].sentences[1]] > 100 and RULES[2] not in added


def test_a_critic_names_the_marks_of_the_errors_it_is_shown():
    model = SimulatedChat("trap")

    def said(*cases):
        template = FEEDBACK.replace("{how}", "wrongly").replace("{why}", "Why?")
        return model.reply([("user", frame(template, {"instruction": prompt(), "cases": "\n\n".join(cases)}))], 1, 1.0)

    assert said(case(1234, "heavy", "wrong"), case(1235, "frozen", "right", 2)).endswith("these marks: heavy.")
    assert said(case(1234, "heavy", "right")) == "Nothing stands out."
    assert not set(RULES) & {said(case(1234, "heavy", "wrong"))}


def test_seeds_are_worlds_of_their_own():
    text = prompt(*RULES, *HARMFUL[:3])
    one, other = (SimulatedChat("trap", seed=s) for s in (0, 1))
    some = [[m.right(text, q) for q in QUESTIONS[:200]] for m in (one, other)]
    assert some[0] != some[1] and share(text, seed=1) == pytest.approx(0.92**3, abs=0.02)
    assert share(prompt(*RULES)) == 1.0 and SimulatedChat("trap", solve=0.5).accuracy(prompt(*RULES)) == 0.5


EXAMPLES = "Input: Parcel 1000 is marked frozen.\nOutput: {}\n\nInput: Parcel 1004 is marked urgent.\nOutput: {}"
META = "<tried>\ntext: {}\nscore: 20\n</tried>\n\n{}\n\nWrite a better instruction between <prompt> and </prompt>."


def test_right_answers_alone_teach_a_rule_half_as_often_as_errors():
    answers = gate(1000, "frozen"), gate(1004, "urgent")
    shown = META.format(prompt(RULES[1]), EXAMPLES.format(*answers))
    added = Counter(
        tagged(SimulatedChat("chain").reply([("user", shown)], seed, 1.0), "prompt").removeprefix(
            prompt(RULES[1]) + " "
        )
        for seed in range(400)
    )
    urgent = WORLDS["chain"].features[3].sentences[0]  # the rule of the other example stands in the prompt
    assert added[urgent] == pytest.approx(400 * 0.6 * 0.5, abs=40)
    assert sum(added[h] for h in HARMFUL) == 400 - added[urgent]


def test_an_answer_beside_the_right_one_is_an_error_and_no_example():
    world = WORLDS["chain"]
    north = next(n for n in range(1000, 1004) if gate(n, "frozen") == "north")
    shown = f"Parcel {north} is marked frozen."
    assert world.examples(f"{shown} north") == ["frozen"] and world.errors(f"{shown} north") == []
    assert world.examples(f"{shown} north, right: north") == world.examples(f"{shown} east") == []
