"""OPRO: the card's exact invariants."""

from __future__ import annotations

import re
from itertools import count, cycle

import pytest
from skilled import TASK

import promptology as pt
from promptology.errors import TooManyMissing, UsageError
from promptology.methods.search.opro import Scored, meta_prompt
from promptology.models.simulated.skills import current_prompt, fill_form, skill_of
from promptology.prompts.start import start_from

PAIR = re.compile(r"^text: (.+)\nscore: (-?[\d.]+)$", re.M)


class Scripted:
    """Right on the share of items that the prompt states ("Skill 70."); proposes what it is given."""

    local = False
    name = identity = "scripted"

    def __init__(self, prompts=None):
        self.prompts = iter(prompts or (f"Skill {(37 * n) % 101}. Version {n}." for n in count(1)))
        self.asked = []
        self.answered = []

    def generate(self, requests, attempts=1):
        for n, request in enumerate(requests):
            text = request.messages[-1][1]
            if "Write it, complete" in text:
                self.asked.append((text, request.temperature))
                yield n, pt.Answer(f"<prompt>{next(self.prompts)}</prompt>")
            else:
                question = text.split("\n\n")[-1]
                self.answered.append((text.splitlines()[0], question, request.temperature))
                number = int(question.split()[-1])
                right = (number * 37 + 11) % 60 < 0.6 * int(re.search(r"Skill (\d+)", text)[1])
                yield n, pt.Answer("yes" if right == bool(number % 2) else "no")


def fit(model, task=TASK, seed=0, **settings):
    settings = {"steps": 3, "samples": 4, "items": 10, "finalists": 3} | settings
    return pt.fit(task, model, pt.OPRO(**settings), budget="1000000calls", cache=False, seed=seed)


def histories(model):
    return [[(text, float(score)) for text, score in PAIR.findall(meta)] for meta, _ in model.asked]


@pytest.mark.parametrize(("steps", "samples", "items", "finalists"), [(3, 4, 10, 3), (1, 8, 50, 5), (5, 2, 7, 1)])
def test_calls_follow_the_formula(steps, samples, items, finalists):
    model = Scripted()
    result = fit(model, steps=steps, samples=samples, items=items, finalists=finalists)
    fresh = min(items, 60 - items) if finalists > 1 else 0
    expected = items + steps * samples * (1 + items) + finalists * fresh
    # The start is scored again on fresh items only if it is a finalist, and then as any other.
    assert result.learning.calls == expected
    assert pt.OPRO(steps=steps, samples=samples, items=items, finalists=finalists).plan(TASK).calls == expected
    assert len(model.asked) == steps * samples


def test_defaults_are_the_papers():
    method = pt.OPRO()
    assert (method.steps, method.samples, method.history, method.exemplars) == (200, 8, 20, 3)
    assert (method.temperature, method.longest) == (1.0, 500)
    large = pt.Task(
        [(f"t {n}", "a" if n % 2 else "b") for n in range(20)],
        [(f"v {n}", "a" if n % 2 else "b") for n in range(50)],
        [("x", "a"), ("y", "b")],
    )
    # The card's 1,600 optimizer calls and 80,000 scores of a BBH task, and the start's.
    assert method.plan(large).calls == 1600 + 80_000 + 50


def test_the_history_is_ascending_integers_and_holds_the_start():
    model = Scripted()
    fit(model, steps=8, samples=4)
    shown = histories(model)
    assert shown[0] == [("Skill 20.", shown[0][0][1])]
    for pairs in shown:
        scores = [score for _, score in pairs]
        assert scores == sorted(scores)
        assert all(0 <= s <= 100 and s == int(s) for s in scores)
        assert len(pairs) <= 20
    assert [len(p) for p in shown[::4]] == [1, 5, 9, 13, 17, 20, 20, 20]
    assert "Skill 20." in [text for text, _ in shown[4]]
    assert all("." not in score for meta, _ in model.asked for score in re.findall(r"^score: (.*)$", meta, re.M))


def test_the_best_stay_in_the_history():
    model = Scripted(f"Skill {n}. Step." for n in range(100, 20, -5))
    fit(model, steps=6, samples=2, history=3, items=60)
    assert histories(model)[-1] == [("Skill 90. Step.", 90), ("Skill 95. Step.", 95), ("Skill 100. Step.", 100)]


def test_scores_shown_are_the_scores_measured():
    model = Scripted(["Skill 50. One.", "Skill 90. Two."])
    result = fit(model, steps=1, samples=2, items=60, finalists=1)
    assert result.learned.instruction == "Skill 90. Two."
    model = Scripted(["Skill 50. One.", "Skill 90. Two.", "Skill 1. Three.", "Skill 2. Four."])
    fit(model, steps=2, samples=2, items=60, finalists=1)
    assert histories(model)[-1] == [("Skill 20.", 20), ("Skill 50. One.", 50), ("Skill 90. Two.", 90)]


def test_sampling_settings_and_exemplars():
    model = Scripted()
    fit(model)
    assert {temperature for _, temperature in model.asked} == {1.0}
    assert {temperature for _, _, temperature in model.answered} == {0.0}
    shown = [re.findall(r"^Input: (.+)\nOutput: (.+)$", meta, re.M) for meta, _ in model.asked]
    right = {i.inputs["text"]: i.target for i in TASK.train}
    assert all(len(pairs) == 3 and all(right[text] == label for text, label in pairs) for pairs in shown)
    assert len({tuple(pairs) for pairs in shown}) == 3


def test_repeats_are_dropped_by_normalised_text_and_made_up_for():
    model = Scripted(
        ["Skill 60. A", "skill 60.  a", "Skill 20.", "Skill 61. B", "SKILL 61. b", "Skill 62. C", "Skill 63. D"]
    )
    result = fit(model, steps=1, samples=4, items=10, finalists=1)
    scored = {line for line, question, _ in model.answered if question.startswith("validation")}
    assert {"Skill 60. A", "Skill 61. B", "Skill 62. C", "Skill 63. D"} <= scored
    assert not {"skill 60.  a", "SKILL 61. b"} & scored
    # 4 proposals, 2 of them new; then 2, 1 of them new; then 1: nothing was repaired.
    assert len(model.asked) == 7
    assert result.learning.calls == 10 + 7 + 4 * 10


def test_filters():
    bad = ["Skill 99. " + "x" * 500, "Skill 98. <prompt> nested", "Skill 97.\nscore: 100"]
    model = Scripted([*bad, "Skill 50. Fine.", "Skill 51. Fine."])
    result = fit(model, steps=1, samples=2, items=10, finalists=1)
    assert result.learned.instruction == "Skill 51. Fine."
    assert not any("99" in line or "98" in line or "97" in line for line, _, _ in model.answered)


def test_digits_are_refused_only_where_answers_are_numbers():
    sums = pt.Task(
        [(f"{n} plus 1", str(n + 1)) for n in range(10)],
        [(f"{n} plus 2", str(n + 2)) for n in range(10)],
        [(f"{n} plus 3", str(n + 3)) for n in range(4)],
        signature=pt.Signature(instruction="Add."),
    )
    method = pt.OPRO()
    assert not method.allowed("The sum is 12.", sums)
    assert method.allowed("Give the sum.", sums)
    assert method.allowed("Answer in 1 word.", TASK)


def test_pairs_under_the_threshold_are_not_shown_but_the_best_always_is():
    model = Scripted(["Skill 30. A", "Skill 80. B", "Skill 10. C", "Skill 15. D", "Skill 16. E", "Skill 17. F"])
    fit(model, steps=3, samples=2, items=60, threshold=0.5)
    assert histories(model)[0] == [("Skill 20.", 20)]
    assert histories(model)[2] == [("Skill 80. B", 80)]


def test_the_best_few_are_scored_again_on_items_the_search_never_scored():
    model = Scripted()
    result = fit(model, steps=4, samples=4, items=10, finalists=3)
    cut = 10 + 16 * 10
    search, final = model.answered[:cut], model.answered[cut : cut + 30]
    used = {question for _, question, _ in search}
    fresh = {question for _, question, _ in final}
    assert len(used) == len(fresh) == 10 and not used & fresh
    assert all(q.startswith("validation") for q in used | fresh)
    best = {}
    for line, question, _ in final:
        best.setdefault(line, []).append(question)
    assert len(best) == 3
    (entry,) = [h["values"] for h in result.history if h["step"] == "rescored"]
    assert entry["candidates"] == 3 and entry["items"] == 10


def test_few_labelled_items_are_enough():
    few = pt.Task(
        [("train 1", "yes"), ("train 2", "no")],
        [("validation 1", "yes"), ("validation 2", "no")],
        [("test 1", "yes"), ("test 2", "no")],
        signature=TASK.signature,
    )
    result = fit(Scripted(), few, steps=2, samples=2)
    assert not [h for h in result.history if h["step"] == "rescored"]
    assert result.learning.calls == 2 + 4 * 3 == pt.OPRO(steps=2, samples=2).plan(few).calls
    alone = pt.Task([("train 1", "yes"), ("train 2", "no")], [], [("test 1", "yes")], signature=TASK.signature)
    assert fit(Scripted(), alone, steps=2, samples=2).learning.calls == 2 + 4 * 3
    bare = pt.Task(test=[("test 1", "yes")], unlabeled=["u"], signature=TASK.signature)
    with pytest.raises(UsageError, match="no labelled"):
        fit(Scripted(), bare)


def test_an_optimizer_that_repeats_itself_ends_the_search():
    model = Scripted(cycle(["Skill 30. A", "Skill 40. B"]))
    result = fit(model, steps=5, samples=2, items=10, finalists=1, patience=6)
    assert "only repeated itself" in next(h["values"]["text"] for h in result.history if h["step"] == "advice")
    assert len(model.asked) == 2 + 6
    assert result.learned.instruction == "Skill 40. B"
    # From the second request without anything new on, fewer and fewer pairs are shown.
    assert [len(h) for h in histories(model)[2:]] == [3, 3, 1, 1, 1, 1]
    nothing = Scripted(cycle(["Skill 20."]))
    with pytest.raises(TooManyMissing, match="was unusable"):
        fit(nothing, steps=2)


def test_same_seed_same_result_and_seeds_differ():
    tickets = pt.load_task("tickets")
    splits = (tickets.train[:20], tickets.validation[:20], tickets.open_test()[:8])
    small = pt.Task(*splits, signature=tickets.signature)
    results = [fit("simulated:tickets", small, seed=s, steps=2) for s in (1, 1, 2, 3)]
    assert results[0].learned.same_as(results[1].learned)
    assert len({r.learned.instruction for r in results}) > 1


@pytest.mark.parametrize("scores", [(0.1, 0.9, 0.4), (-0.2, -0.1, -0.3)])
def test_the_simulated_rewriter_reads_the_history_by_its_content(scores):
    prompts = [f"Sort it, wording {n}." for n in range(3)]
    start = start_from(TASK.signature, ("generates",))
    pairs = [Scored(start.with_instruction(p), s) for p, s in zip(prompts, scores, strict=True)]
    request = meta_prompt(TASK, sorted(pairs, key=lambda h: h.score), TASK.train[:3])
    assert skill_of(request, len(request)) == "rewrite"
    assert current_prompt(request, []) == "Sort it, wording 1."
    assert "<prompt>" in fill_form(request, prompt="Better.")


def test_settings_are_checked():
    with pytest.raises(UsageError, match="at least 1"):
        pt.fit(TASK, Scripted(), "opro", settings={"steps": 0})
    with pytest.raises(UsageError, match="temperature lies between"):
        pt.fit(TASK, Scripted(), "opro", settings={"temperature": 3.0})


def test_the_lineage_says_what_the_optimizer_was_shown():
    result = fit(Scripted(["Skill 50. One.", "Skill 90. Two."]), steps=2, samples=1, items=60, finalists=1)
    told = {node["text"].splitlines()[0]: node.get("why", "") for node in result.lineage["nodes"]}
    assert told["Skill 20."] == ""
    assert told["Skill 90. Two."] == (
        "Shown were, the best first:\n\ntext: Skill 50. One.\nscore: 50\n\ntext: Skill 20.\nscore: 20"
    )
