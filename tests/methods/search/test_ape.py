"""APE: what is shown, what is scored, and the rounds of paraphrases."""

from __future__ import annotations

import re
from itertools import cycle, repeat

import pytest
from skilled import TASK, Skilled, block, fit, steps

import promptology as pt
from promptology.errors import AccessError, TooManyMissing, UsageError
from promptology.methods.search.ape import request
from promptology.models.simulated.skills import fill_form, induces, skill_of
from promptology.prompts.render import messages

PAIR = re.compile(r"^Input: (.+)\nOutput: (.+)$", re.M)


def ape(**settings):
    return pt.APE(**{"subsets": 2, "samples": 3, "items": 60, "finalists": 1} | settings)


@pytest.mark.parametrize(
    ("subsets", "samples", "items", "rounds", "finalists"), [(5, 4, 10, 0, 5), (1, 6, 40, 2, 3), (2, 2, 7, 1, 1)]
)
def test_calls_follow_the_formula(subsets, samples, items, rounds, finalists):
    model = Skilled()
    method = pt.APE(subsets=subsets, samples=samples, items=items, rounds=rounds, finalists=finalists)
    result = fit(model, method)
    proposals = (subsets + rounds) * samples
    fresh = min(items, 60 - items) * finalists if finalists > 1 else 0
    expected = items + proposals * (1 + items) + fresh
    assert result.learning.calls == method.plan(TASK).calls == expected
    assert len(model.asked) == proposals
    assert {temperature for _, temperature in model.asked} == {0.9}


def test_defaults_are_the_papers():
    method = pt.APE()
    assert (method.subsets, method.samples, method.demos, method.temperature, method.items) == (5, 50, 5, 0.9, 50)
    rows = [(f"v {n}", "a" if n % 2 else "b") for n in range(50)]
    # The card's 250 samples and 12,500 scores, and the start's.
    assert pt.APE(finalists=1).plan(pt.Task(rows[:10], rows, rows[:4])).calls == 250 + 12_500 + 50


def test_every_request_of_a_subset_shows_the_same_right_pairs_and_no_instruction():
    model = Skilled()
    fit(model, ape(subsets=4))
    shown = [PAIR.findall(block(text, "examples")) for text, _ in model.asked]
    right = {i.inputs["text"]: i.target for i in TASK.train}
    assert all(len(pairs) == 5 and all(right[text] == label for text, label in pairs) for pairs in shown)
    subsets = [tuple(pairs) for pairs in shown]
    assert [subsets[n : n + 3] for n in (0, 3, 6, 9)] == [[subsets[n]] * 3 for n in (0, 3, 6, 9)]
    assert len(set(subsets)) == 4
    assert not any("Skill" in text for text, _ in model.asked)


def test_the_best_wins_and_the_start_stays_where_nothing_is_better():
    model = Skilled(["Skill 50. A", "Skill 70. B", "Skill 10. C", "Skill 60. D", "Skill 20. E", "Skill 30. F"])
    result = fit(model, ape())
    assert result.learned.instruction == "Skill 70. B" and result.learned.method == "ape"
    assert [draw["best"] for draw in steps(result, "draw")] == [0.7, 0.7]
    model = Skilled([f"Skill {n}. Worse." for n in (5, 10, 15, 0, 1, 2)])
    assert fit(model, ape()).learned.instruction == "Skill 20."


def test_a_text_that_came_before_is_scored_once():
    # In the first subset a repetition inside the batch; in the second the same again, asked for once more.
    model = Skilled(
        ["Skill 50. A", "skill 50.  a", "Skill 60. B", "SKILL 60. b", "Skill 40. C", "Skill 30. D", "Skill 50. A"]
    )
    result = fit(model, ape())
    assert [draw["new"] for draw in steps(result, "draw")] == [2, 2]
    assert result.learning.calls == 3 + 3 + 1 + 5 * 60


def test_rounds_paraphrase_the_best_in_turn():
    model = Skilled(["Skill 50. A", "Skill 70. B", "Skill 60. C", *(f"Skill {n}. P" for n in (71, 30, 90, 5, 6, 7))])
    result = fit(model, ape(subsets=1, rounds=2, top=2))
    reworded = [block(text, "prompt") for text, _ in model.asked[3:]]
    assert reworded == ["Skill 70. B", "Skill 60. C", "Skill 70. B", "Skill 90. P", "Skill 71. P", "Skill 90. P"]
    assert [draw["kind"] for draw in steps(result, "draw")] == ["examples", "paraphrases", "paraphrases"]
    assert result.learned.instruction == "Skill 90. P"


def test_the_best_few_are_scored_again_on_items_the_search_never_scored():
    model = Skilled()
    fit(model, ape(items=10, finalists=3))
    search, final = model.answered[: 7 * 10], model.answered[7 * 10 : 7 * 10 + 30]
    used, fresh = ({question for _, question, _ in some} for some in (search, final))
    assert len(used) == len(fresh) == 10 and not used & fresh


def test_it_needs_labelled_examples():
    bare = pt.Task([], TASK.validation, TASK.open_test(), signature=TASK.signature)
    for use in (ape().plan, lambda task: fit(Skilled(), ape(), task)):
        with pytest.raises(UsageError, match="no labelled training items"):
            use(bare)


def test_an_optimizer_without_anything_new_is_an_error_and_one_that_repeats_itself_is_not():
    with pytest.raises(TooManyMissing, match="was unusable"):
        fit(Skilled(repeat("Skill 20.")), ape())
    result = fit(Skilled(cycle(["Skill 40. A", "Skill 30. B"])), ape(subsets=3))
    assert [draw["new"] for draw in steps(result, "draw")] == [2, 0, 0]
    assert result.learned.instruction == "Skill 40. A"


def test_the_simulated_model_works_an_instruction_out():
    tickets = pt.load_task("tickets")
    asked = request(tickets, tickets.train[:5])
    assert induces(asked) and skill_of(asked, len(asked)) == "rewrite"
    assert "<prompt>" in fill_form(asked, prompt="Sort.")
    model = pt.model("simulated:tickets")
    start = model.world.start
    found = [model.reply([("user", asked)], seed, 0.9) for seed in range(40)]
    assert all(f"<prompt>{start} " in text and "Input:" not in text for text in found)
    assert len(set(found)) > 20


def test_settings_are_checked():
    for settings, message in (
        ({"samples": 0}, "at least 1"),
        ({"rounds": -1}, "not below 0"),
        ({"temperature": 3.0}, "0 and 2"),
    ):
        with pytest.raises(UsageError, match=message):
            pt.fit(TASK, Skilled(), "ape", settings=settings)


class Likely(Skilled):
    """Tells log-probabilities too: of the right output -100 / skill, so that they rank prompts as skills do, but of
    prompts that hold "bold" one tenth of that; of one question never."""

    def __init__(self, prompts=None, silent=None):
        super().__init__(prompts)
        self.silent = silent
        self.scored = []

    def score(self, prompts, choices):
        raise NotImplementedError

    def generate(self, requests, attempts=1):
        for n, asked in enumerate(requests):
            if asked.continuation is None:
                ((_, outcome),) = super().generate([asked])
                yield n, outcome
                continue
            text = asked.messages[-1][1]
            question = text.removesuffix("\n\nAnswer:").split("\n\n")[-1]
            self.scored.append((text, asked.continuation))
            skill = int(re.search(r"Skill (\d+)", text)[1])
            gone = question == self.silent
            value = -100 / skill / (10 if "bold" in text else 1)
            yield n, pt.Failure("gone", transient=False) if gone else pt.Answer("", logprob=value)


def test_the_likelihood_of_right_outputs_may_score_instead():
    model, method = Likely(["Skill 90. A", "Skill 50. B, bold"]), ape(subsets=1, samples=2, score="likelihood")
    result = fit(model, method)
    assert result.learned.instruction == "Skill 50. B, bold"
    assert steps(result, "draw")[-1]["best"] == pytest.approx(-100 / 50 / 10)
    right = {i.inputs["text"]: i.target for i in TASK.validation}
    asked = [(text.removesuffix("\n\nAnswer:").split("\n\n")[-1], said) for text, said in model.scored]
    assert len(asked) == 3 * 60 and all(f" {right[question]}" == said for question, said in asked)
    assert result.learning.calls == method.plan(TASK).calls == 2 + 3 * 60
    # The best few are compared by the metric.
    method = ape(subsets=1, samples=2, score="likelihood", finalists=3, items=30)
    again = fit(Likely(["Skill 90. A", "Skill 50. B, bold"]), method)
    assert again.learned.instruction == "Skill 90. A"


def test_a_likelihood_that_never_comes_is_missing_for_all():
    silent = TASK.validation[7].inputs["text"]
    model, method = Likely(["Skill 40. A"], silent), ape(subsets=1, samples=1, score="likelihood")
    result = pt.fit(TASK, model, method, budget="100000calls", cache=False, missing=0.5)
    assert steps(result, "draw")[-1]["best"] == pytest.approx(-100 / 40)


def test_likelihood_needs_a_model_that_scores_and_labels():
    with pytest.raises(AccessError, match="ape with score=likelihood needs a model that scores given text"):
        fit(Skilled(), ape(score="likelihood"))
    with pytest.raises(UsageError, match="score is accuracy or likelihood"):
        pt.fit(TASK, Skilled(), "ape", settings={"score": "guess"})


def test_likelihood_on_the_simulated_model_and_on_one_in_this_process(tmp_path):
    tickets = pt.load_task("tickets")
    method = ape(samples=4, items=30, score="likelihood", finalists=3)
    assert fit("simulated:tickets", method, tickets).evidence.verdict == "better"
    tiny = pytest.importorskip("tiny")
    local = pt.model(f"hf:{tiny.tiny_gpt2(tmp_path / 'gpt2')}")
    task = pt.Task(
        [("the movie is great", "good"), ("the bus is late", "bad")] * 2,
        [("the film is awful", "bad"), ("the dog is fine", "good"), ("the lamp is broken", "bad")],
        [("the cat is good", "good"), ("the fish is cold", "bad")],
        signature=pt.Signature(output="class", classes=(pt.ClassLabel("good"), pt.ClassLabel("bad"))),
    )
    words = ["sort this text", "good or bad", "the class of the movie"]
    said = cycle(words)
    optimizer = pt.model(lambda prompt: f"<prompt>{next(said)}</prompt>")
    result = pt.fit(task, local, ape(subsets=1, score="likelihood"), helpers={"optimizer": optimizer}, cache=False)
    start = result.start.instruction

    def mean(instruction):
        prompt = result.start.with_instruction(instruction)
        asked = [messages(prompt, i.inputs, task.signature)[-1][1] + "\n\nAnswer:" for i in task.validation]
        rows = local.score(asked, [[f" {i.target}"] for i in task.validation])
        return sum(row[0] for row in rows) / len(rows)

    assert result.learned.instruction == max([start, *words], key=mean)
    assert steps(result, "draw")[-1]["best"] == pytest.approx(max(map(mean, [start, *words])), abs=1e-4)
