"""Every answer is found again from the text alone, by other means than those that made it."""

import re
from collections import Counter

import pytest

from promptology.zoo.wordland import words
from promptology.zoo.wordland.kinds import KINDS, rows

NUMBER = {word: n for n, word in enumerate(words.NUMBERS)}


def of(name, n=300):
    return rows(KINDS[name], 11, {"test": n})["test"]


def spelled(text):
    return re.findall(r"[a-z]+", text)


def named(text):
    return [w for w in spelled(text) if w in words.NAMES]


def only(values):
    (value,) = set(values)
    return value


def by_sign(table):
    return lambda text: only(name for w in spelled(text) for name, signs in table.items() if w in signs)


def sentiment(text):
    said = [w in words.POSITIVE + words.PRAISED for w in spelled(text) if w in POLAR]
    denied = bool({"not", "never", "nobody"} & set(spelled(text)))
    return "positive" if said[-1] != denied else "negative"


POLAR = words.POSITIVE + words.PRAISED + words.NEGATIVE + words.BLAMED


def topic(text):
    return Counter(words.THEME_OF[w] for w in spelled(text) if words.THEME_OF.get(w) in words.TOPICS).most_common(1)[0][
        0
    ]


def lookup(text, name):
    return dict(re.findall(r"(\w+) has an? (\w+)", text))[name]


def comparison(text):
    (one, a), (two, b) = re.findall(r"(\w+) has (\w+)", text)
    return one if NUMBER[a] > NUMBER[b] else two


def arithmetic(text):
    had, found, *lost = (NUMBER[w] for w in spelled(text) if w in NUMBER)
    return words.NUMBERS[had + found - sum(lost)]


def receiver(text):
    one, two = named(text)
    return one if {"got", "borrowed"} & set(spelled(text)) else two


def relation(text):
    one, two = re.findall(r"\[(\w+)\]", text)
    if words.OPPOSITE.get(one) == two:
        return "opposite"
    if words.SYNONYM.get(one) == two:
        return "synonym"
    if words.THEME_OF.get(one) == two:
        return "kind"
    return "plural" if one in words.NOUNS and words.plural(one) == two else "unrelated"


def question(text):
    patterns = {
        "person": r"^(who|which man|whose)\b|the name of whoever",
        "place": r"^(where|in which city|from where)\b|the street",
        "time": r"^(when|on which day|since when)\b|the month",
        "number": r"^(how many|how often|by how much)\b|the amount",
        "reason": r"^(why|what made|for what purpose)\b|the cause",
        "manner": r"^(how did|in what way|by what means)\b|the method",
    }
    return only(name for name, pattern in patterns.items() if re.search(pattern, text))


def odd(text):
    themes = Counter(words.THEME_OF[w] for w in spelled(text))
    return only(w for w in spelled(text) if themes[words.THEME_OF[w]] == 1)


def tense(text):
    if {"will", "going"} & set(spelled(text)):
        return "future"
    present = {v[1] for v in words.VERBS} | {"is", "does"}
    return "present" if present & set(spelled(text)) else "past"


SIGNS = {
    "habitat": {place: words.THEMES[theme] for place, theme in words.HABITATS.items()},
    "profession": {name: words.THEMES[theme] for name, theme in words.PROFESSIONS.items()},
    "mood": words.MOODS,
    "room": words.ROOMS,
    "season": words.SEASONS,
}

CHECKS = {
    "arithmetic": arithmetic,
    "comparison": comparison,
    "counting": lambda text: words.NUMBERS[sum(w in words.THEMES["animal"] for w in spelled(text))],
    "extraction": receiver,
    "giver": lambda text: only(set(named(text)) - {receiver(text)}),
    "lookup": lookup,
    "map-animal": lambda text: only(set(spelled(text)) & set(words.THEMES["animal"])),
    "map-city": lambda text: only(set(spelled(text)) & set(words.CITIES)),
    "map-colour": lambda text: only(set(spelled(text)) & set(words.COLOURS)),
    "map-day": lambda text: only(w for w in spelled(text) if w.endswith("day")),
    "map-first": lambda text: spelled(text)[0],
    "map-last": lambda text: spelled(text)[-1],
    "map-next": lambda text: only(words.NUMBERS[NUMBER[w] + 1] for w in spelled(text) if w in NUMBER),
    "map-number": lambda text: only(set(spelled(text)) & set(NUMBER)),
    "map-opposite": lambda text: only(words.OPPOSITE[w] for w in spelled(text) if w in words.OPPOSITE),
    "map-person": lambda text: only(named(text)),
    "map-tool": lambda text: only(w for w in spelled(text) if w in map(words.plural, words.THEMES["tool"])),
    "odd-word": odd,
    "question": question,
    "relation": relation,
    "second": lambda text: spelled(text)[1],
    "sentiment": sentiment,
    "tense": tense,
    "theme": lambda text: only(words.THEME_OF[w] for w in spelled(text) if w in words.THING_NOUNS),
    "topic": topic,
    **{name: by_sign(table) for name, table in SIGNS.items()},
}


@pytest.mark.parametrize("name", CHECKS)
def test_answers(name):
    for example in of(name):
        assert CHECKS[name](*example.inputs.values()) == example.answer, example


def test_an_answer_that_is_read_out_stands_in_the_text():
    read_out = {n for n in KINDS if n.startswith("map-")} - {"map-next", "map-opposite"}
    for name in {"extraction", "giver", "lookup", "odd-word", "second", *read_out}:
        assert all(e.answer in spelled(" ".join(e.inputs.values())) for e in of(name, 100))


def told(premise):
    name, verb, colour, noun, city = re.fullmatch(r"(\w+) (\w+) an? (\w+) (\w+) in (\w+)\.", premise).groups()
    return {"name": name, "verb": verb, "colour": colour, "noun": noun, "city": city}


def test_inference():
    for example in of("inference"):
        facts, said = told(example.inputs["premise"]), example.inputs["hypothesis"]
        theme = words.THEME_OF[facts["noun"]]
        proved = {facts["name"], facts["verb"], facts["colour"], facts["city"], theme}
        claims = set(spelled(said)) & {*words.NAMES, *words.COLOURS, *words.CITIES, *words.THINGS}
        if example.answer == "yes":
            assert claims <= proved and not {"nobody", "nothing"} & set(spelled(said))
        elif example.answer == "no":
            contradicted = {"nobody", "nothing"} & set(spelled(said)) or claims - proved
            assert contradicted and not (set(named(said)) - {facts["name"]})
        else:
            new = set(spelled(said)) - set(spelled(example.inputs["premise"]))
            assert new & {*words.NAMES, *words.ADJECTIVES, *words.POSITIVE, *words.NEGATIVE, *words.DAYS}


def test_paraphrases_say_the_same_but_for_verb_and_order():
    def content(text):
        return {words.SYNONYM.get(w, w) if w < words.SYNONYM.get(w, w) else w for w in spelled(text)} - {
            *("in", "the", "it", "was", "who", "by")
        }

    for example in of("paraphrase"):
        same = content(example.inputs["first"]) == content(example.inputs["second"])
        assert same == (example.answer == "same")


def test_the_words_of_a_style_or_purpose_are_its_own():
    for name in ("style", "purpose"):
        by_class = {}
        for example in of(name, 600):
            by_class.setdefault(example.answer, []).append(set(spelled(example.inputs["text"])))
        for target, texts in by_class.items():
            others = [t for other, group in by_class.items() if other != target for t in group]
            marks = {w for t in texts for w in t} - {w for t in others for w in t}
            assert all(t & marks for t in texts), target
