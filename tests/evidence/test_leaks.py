"""The leak guard: which runs of words a prompt shares with items, which of them it may, and how long it takes."""

from __future__ import annotations

import random
import time

import pytest

import promptology as pt
from promptology.data.items import ClassLabel
from promptology.evidence.leaks import leak_of, words_of
from promptology.prompts import Learned, Readout, Text
from promptology.prompts.learned import Demonstrations, Example
from promptology.prompts.start import start_from

COPIED = "my parcel was left out in the rain for two whole days"


def task_of(texts, test=("a b",) * 4, instruction="Sort the message.", classes=("late", "lost")):
    def rows(some):
        return [(text, classes[n % 2]) for n, text in enumerate(some)]

    labels = [c if isinstance(c, ClassLabel) else ClassLabel(c) for c in classes]
    classes = [c.name for c in labels]
    return pt.Task(rows(texts), validation=[], test=rows(test), classes=labels, instruction=instruction)


def prompt(task, text, system=""):
    return Learned((Text(text, system), Readout("answer")), task.signature)


def leak(task, text, **options):
    return leak_of(task, prompt(task, text, **options), start_from(task.signature, ("generates",)))


def test_items_runs_and_examples_are_counted():
    task = task_of([f"Hello! {COPIED}, and nobody said sorry.", f"{COPIED}", "the lamp is broken", "where is it"])
    found = leak(task, "Sort the message. For example: My PARCEL was left, out in the rain -- for two whole days!")
    assert (found.items, found.test, found.longest) == (2, 0, 12)
    assert found.examples == ("my parcel was left out in the rain for two whole days",) * 2
    assert found.warning == (
        "the prompt shares 8 words or more in a row with 2 training items (longest 12: "
        '"my parcel was left out in the rain for two whole days"): it may know them by heart'
    )


def test_seven_words_are_chance_and_eight_are_not():
    task = task_of([COPIED, "x y"])
    words = COPIED.split()
    assert leak(task, " ".join(words[:7])).items == 0
    assert leak(task, "So: " + " ".join(words[2:10])).items == 1
    assert leak(task, " ".join([*words[:7], "and", *words[7:]])).items == 0


def test_test_inputs_are_looked_at_and_their_labels_are_not():
    task = task_of(["x y"] * 2, test=(COPIED, "x y", "y x", "x x"))
    found = leak(task, f"Note: {COPIED}.")
    assert (found.items, found.test) == (0, 1)
    assert "with 1 test item (" in found.warning


def test_what_the_start_says_is_no_leak():
    task = task_of([f"{COPIED} again", "x y"], instruction=f"Sort the message. {COPIED.capitalize()}.")
    assert leak(task, f"Sort it now. {COPIED.capitalize()}.").items == 0
    assert leak(task, f"Sort it now. {COPIED.capitalize()} again.").items == 1
    assert leak(task, task.signature.instruction) is None, "nothing was written"


def test_class_names_and_their_descriptions_are_no_leak():
    names = "one or two of the three or four things"
    task = task_of(
        [f"it says {names} here", COPIED, "late lost late lost late lost late lost late lost"],
        classes=(ClassLabel("late", names), ClassLabel("lost", COPIED)),
    )
    text = f"Pick. late lost late lost late lost late lost late lost. {names}. {COPIED}"
    assert leak(task, text).items == 0


def test_demonstrations_copy_on_purpose_and_the_system_prompt_does_not():
    task = task_of([COPIED, "x y"])
    shown = Demonstrations((Example({"text": COPIED}, "late"),))
    learned = prompt(task, "Sort.").with_parts(shown)
    assert leak_of(task, learned, start_from(task.signature, ("generates",))).items == 0
    assert leak(task, "Sort.", system=COPIED).items == 1


def test_scripts_without_spaces_go_by_characters():
    text = "我的包裹在雨中放了整整两天没有人道歉真是太糟糕了"
    task = task_of([text, "请问在哪里"], instruction="分类。")
    found = leak(task, f"请分类。例如：{text}")
    assert (found.items, found.longest, found.run) == (1, len(text), 16)
    assert found.examples == (text,)
    assert leak(task, f"请分类。例如：{text[:15]}").items == 0
    assert words_of("Die ÄRGERLICHE Straße, भाषा.").words == ["die", "ärgerliche", "strasse", "भाषा"]
    assert words_of("ที่ไหน").words == list("ที่ไหน")


def test_a_prompt_without_a_text_has_nothing_to_leak(colours):
    wordings = start_from(colours.signature, ("embeds",))
    assert leak_of(colours, wordings, None) is None
    assert leak(task_of([COPIED, "x"]), "") is None


@pytest.mark.parametrize("copies", [0, 1])
def test_time_is_linear(copies):
    rnd = random.Random(0)
    words = [f"w{n}" for n in range(50)]  # so few that every item holds long runs of known words
    text = " ".join(rnd.choices(words, k=4000))

    def seconds(items, length):
        texts = [" ".join(rnd.choices(words, k=length)) for _ in range(items - copies)] + [text] * copies
        task = task_of(texts)
        began = time.process_time()
        leak(task, f"Sort. {text}")
        return time.process_time() - began

    seconds(100, 50)
    short, long = min(seconds(500, 100) for _ in range(2)), min(seconds(500, 800) for _ in range(2))
    assert long < 8 * short * 2.5, "eight times the text takes about eight times the time"
