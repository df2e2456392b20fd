"""The simulated chat model in process: solve, judge, rewrite, paraphrase, criticise."""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from promptology.data.parcels import GATES
from promptology.errors import UsageError
from promptology.models.access import Answer, Message, Outcome, Request
from promptology.models.cutting import TOKEN, cut
from promptology.models.simulated.crossing import mixed, mutates, parents, wanted
from promptology.models.simulated.parcels import PARCELS, ParcelWorld
from promptology.models.simulated.skills import Regions, current_prompt, fill_form, induces, regions, skill_of
from promptology.models.simulated.worlds import WORLDS as FEATURE_WORLDS
from promptology.models.simulated.worlds import World, tickets_known

WORLDS: dict[str, World] = {**FEATURE_WORLDS, **PARCELS}
PREFIX = 24
"""Characters of a known text by which it is found in a message."""


class SimulatedChat:
    """Offers `Generates` and `Scores`. Deterministic in seed, content and sample; keeps nothing between requests.

    `solve`: best accuracy that a prompt can reach; `rewrite`: probability that a proposal adds a missing required
    sentence, else a harmful one; `judge`: probability that the judge names the better output; `bias`: probability that
    it names the first whatever it is; `known`: texts with their labels that the model knows. Raises UsageError for an
    unknown world or a value outside 0 to 1.
    """

    local = False
    simulated = True

    def __init__(
        self,
        world: str = "tickets",
        *,
        seed: int = 0,
        solve: float | None = None,
        rewrite: float | None = None,
        judge: float = 0.75,
        bias: float = 0.0,
        latency: float = 0.0,
        known: Mapping[str, str] | None = None,
    ) -> None:
        if world not in WORLDS:
            raise UsageError(f"unknown simulated world {world!r}; there are {', '.join(WORLDS)}")
        self.world: World = WORLDS[world]
        self.top = self.world.top if solve is None else solve
        rewrite = self.world.rewrite if rewrite is None else rewrite
        skills = {"solve": self.top, "rewrite": rewrite, "judge": judge, "bias": bias}
        for name, value in skills.items():
            if not 0.0 <= value <= 1.0:
                raise UsageError(f"simulated model: {name} is {value}; it must lie between 0 and 1")
        self.seed, self.rewrite, self.judge, self.bias, self.latency = seed, rewrite, judge, bias, latency
        self.name = f"simulated-{world}"
        self.identity = f"simulated:{world}:seed={seed}:" + ":".join(f"{k}={v}" for k, v in skills.items())
        self._given = known
        self._index: dict[str, list[tuple[str, str]]] | None = None

    def generate(self, requests: Sequence[Request], attempts: int = 1) -> Iterator[tuple[int, Outcome]]:
        """Yield an answer per request."""
        for n, r in enumerate(requests):
            if self.latency:
                time.sleep(self.latency)
            if r.continuation is not None:
                prompt = "\n\n".join(content for _, content in r.messages)
                value = self.score([prompt], [[r.continuation]])[0][0]
                yield n, Answer("", tokens(r.messages) + count(r.continuation), 0, False, 1, False, value)
                continue
            seed = r.seed if r.seed is not None else r.sample
            text, truncated = cut(self.reply(r.messages, seed, r.temperature), r.stop, r.max_tokens)
            yield n, Answer(text, tokens(r.messages), count(text), False, 1, truncated)

    def score(self, prompts: Sequence[str], choices: Sequence[Sequence[str]]) -> list[list[float]]:
        """Return log p(choice | prompt); the class that the model would answer is the likeliest."""
        from promptology.models.simulated.scoring import score

        return [[score(self, p, c) for c in some] for p, some in zip(prompts, choices, strict=True)]

    def reply(self, messages: Sequence[Message], seed: int | None = None, temperature: float = 0.0) -> str:
        """Return the answer to these messages; `seed` matters only where the temperature is above 0."""
        text = "\n\n".join(content for _, content in messages)
        found = self._find(text)
        question, at = (found[-1][1], found[-1][0]) if found else (None, _last_paragraph(text))
        masked, at_masked = _masked(text, found, at)
        skill = skill_of(masked, at_masked)
        rng = self._rng(skill, text, (seed or 0) if temperature > 0 else 0)
        if skill == "judge":
            sides = regions(text)
            assert sides is not None
            return self._judge(text, sides, rng)
        if count := wanted(masked):
            return json.dumps([self._induce("", rng) for _ in range(count)])
        if skill in ("rewrite", "paraphrase") and (several := parents(masked)):
            return fill_form(text, prompt=self._cross(text, several, rng), thought="Both have their points.")
        if skill == "rewrite" and induces(text):
            return fill_form(text, prompt=self._induce(text, rng), thought="The outputs have something in common.")
        if skill in ("rewrite", "paraphrase"):
            prompt = current_prompt(text, self._sentences())
            changed = self._paraphrase(prompt, rng) if skill == "paraphrase" else self._rewrite(prompt, rng, text)
            return fill_form(text, prompt=changed, thought="One point is not asked for clearly enough.")
        if skill == "criticise":
            if isinstance(self.world, ParcelWorld):
                return self.world.criticism(self.world.errors(text))
            prompt = current_prompt(text, self._sentences())
            shown = self.world.shown(prompt)
            missing = [f.sentences[0] for f in self.world.features if f not in shown][:2]
            return "The prompt does not ask for this: " + " ".join(missing) if missing else "Nothing stands out."
        return self._solve(text, question, at, rng)

    def _rng(self, *parts: Any) -> np.random.Generator:
        key = hashlib.blake2b("\0".join(map(str, (self.seed, *parts))).encode("utf-8", "replace"), digest_size=16)
        return np.random.default_rng(int.from_bytes(key.digest(), "big"))

    def _sentences(self) -> list[str]:
        return [s for f in self.world.features for s in (*f.sentences, f.harm) if s]

    def _texts(self) -> Mapping[str, str]:
        if self._given is not None:
            return self._given
        return tickets_known() if self.world.name == "tickets" else dict.fromkeys(self.world.inputs, "")

    def _find(self, text: str) -> list[tuple[int, str, str]]:
        """Return (position, text, label) of every known text in a message, in order of position."""
        if isinstance(self.world, ParcelWorld):
            return self.world.find(text)
        if self._index is None:
            self._index = {}
            for known, label in self._texts().items():
                self._index.setdefault(known[:PREFIX], []).append((known, label))
        found: list[tuple[int, str, str]] = []
        # Known texts begin at the beginning of a line or after a label such as "Input: ".
        for match in re.finditer(r"(?:^|\n|: |> ?|\")(?=\S)", text):
            at = match.end()
            for known, label in self._index.get(text[at : at + PREFIX], ()):
                if text.startswith(known, at):
                    found.append((at, known, label))
        return found

    def _solve(self, text: str, question: str | None, at: int, rng: np.random.Generator) -> str:
        if self.world.name == "features":
            shown = self.world.shown(text[:at])
            words = (question or text[at:]).split()[:6]
            return " ".join([*(f.mark for f in shown), f"This is about: {' '.join(words)}."])
        prompt = text.replace(question, " ") if question else text[:at]
        if question is None:
            return self._guess(prompt, text[at:])
        label, _ = self._decide(prompt, question)
        if isinstance(self.world, ParcelWorld):
            return label
        asked = any(f.name == "name" for f in self.world.shown(prompt))
        return label if asked else f"I would file this under {label}."

    def _decide(self, prompt: str, question: str) -> tuple[str, float]:
        """Return the class that is answered to a known question, and by how much the prompt helps or falls short."""
        if isinstance(self.world, ParcelWorld):
            ((_, _, label),) = self.world.find(question)
            if self.right(prompt, question):
                return label, 1.0
            others = [g for g in GATES if g != label]
            return others[int(self.draw("mistake", question) * len(others))], 0.5
        label = self._texts()[question]
        others = sorted(set(self._texts().values()) - {label})
        margin = self.accuracy(prompt) - float(self._rng("difficulty", question).random())
        if margin <= 0 and others:
            label = others[int(self._rng("mistake", question).integers(len(others)))]
        return label, abs(margin)

    def beliefs(self, text: str) -> dict[str, float]:
        """Return the probability of each class as the answer to a text; empty where the model knows no classes.

        The class that it would answer leads the others by e to e^5, more the clearer the decision is.
        """
        found = self._find(text)
        if found and self.world.name != "features":
            top, margin = self._decide(text.replace(found[-1][1], " "), found[-1][1])
            names = list(GATES) if isinstance(self.world, ParcelWorld) else sorted(set(self._texts().values()))
            weights = {name: math.exp(1 + 4 * margin) if name == top else 1.0 for name in names}
        else:
            names, question = [name for name, _ in _listed(text)], text[_last_paragraph(text.rpartition("\n\n")[0]) :]
            top = self._guess(text, question) if names else ""
            weights = {name: math.e if name == top else 1.0 for name in names}
        total = sum(weights.values())
        return {name: weight / total for name, weight in weights.items()}

    def accuracy(self, prompt: str) -> float:
        """Return how often this prompt is answered right: base to top with the share of features it shows."""
        w = self.world
        if isinstance(w, ParcelWorld):
            return self.top * w.accuracy(prompt)
        return w.base + (self.top - w.base) * w.hidden_quality(prompt)

    def draw(self, *parts: Any) -> float:
        """Return a number from 0 to below 1 that depends on the model's seed and these parts alone."""
        key = "\0".join(map(str, (self.seed, *parts))).encode("utf-8", "replace")
        return int.from_bytes(hashlib.blake2b(key, digest_size=6).digest(), "big") / 2**48

    def right(self, prompt: str, question: str) -> bool:
        """Whether an item of a world of rules is answered rightly under a prompt; see `parcels`."""
        assert isinstance(self.world, ParcelWorld)
        able = self.top == 1 or self.draw("able", question) < self.top
        return able and self.world.right(prompt, question, self.draw)

    def _guess(self, prompt: str, question: str) -> str:
        """Answer a question the model does not know: the listed class that shares most words with it."""
        listed = _listed(prompt)
        if not listed:
            return " ".join(question.split()[:8]) or "yes"
        words = set(re.findall(r"\w+", question.casefold()))
        overlap = [len(words & set(re.findall(r"\w+", " ".join(pair).casefold()))) for pair in listed]
        best: list[str] = [name for (name, _), n in zip(listed, overlap, strict=True) if n == max(overlap)]
        return best[int(self._rng("guess", question).integers(len(best)))]

    def _judge(self, text: str, sides: Regions, rng: np.random.Generator) -> str:
        one, two = self.answer_quality(sides.first), self.answer_quality(sides.second)
        first_better = one > two if one != two else rng.random() < 0.5
        right = rng.random() < self.judge
        first = first_better == right if one != two else first_better
        if rng.random() < self.bias:
            first = True
        choice = sides.names[0] if first else sides.names[1]
        return fill_form(text, choice=choice, thought=f"The outputs of {choice} serve the request better.")

    def answer_quality(self, region: str) -> float:
        """Return what a set of answers is worth, blind to anything but the answers themselves."""
        if self.world.name == "features":
            return float(sum(region.count(f.mark) for f in self.world.features))
        found = self._find(region)
        right = 0
        for n, (at, known, label) in enumerate(found):
            end = found[n + 1][0] if n + 1 < len(found) else len(region)
            right += label.casefold() in region[at + len(known) : end].casefold()
        return float(right)

    def _rewrite(self, prompt: str, rng: np.random.Generator, text: str = "") -> str:
        """Return the prompt with one more sentence: a missing required one, else one that hides a shown feature.

        In a world of rules, errors that `text` shows are what can be mended, else what its examples teach.
        """
        if isinstance(self.world, ParcelWorld):
            errors, examples = self.world.errors(text), self.world.examples(text)
            changed = self.world.rewritten(prompt, errors, examples, rng, self.rewrite)
            return self._paraphrase(prompt, rng) if changed == prompt else changed
        bare = self.world.without_harm(prompt)
        missing = [f for f in self.world.features if not f.asked(bare)]
        shown = self.world.shown(prompt)
        good = rng.random() < self.rewrite
        if good and missing:
            return f"{prompt} {missing[int(rng.integers(len(missing)))].sentences[0]}"
        pool = shown or [f for f in self.world.features if not f.hidden(prompt)]
        if not pool:
            return prompt
        return f"{prompt} {pool[int(rng.integers(len(pool)))].harm}"

    def _cross(self, text: str, prompts: Sequence[str], rng: np.random.Generator) -> str:
        """Return a prompt of sentences of several, with one more where the request wants a mutation."""
        child = mixed(text, prompts, rng)
        return self._rewrite(child, rng) if mutates(text) else child

    def _induce(self, text: str, rng: np.random.Generator) -> str:
        """Return the plain prompt with one to three sentences more, each as good as a rewriter's."""
        prompt = self.world.start
        for _ in range(1 + int(rng.integers(3))):
            prompt = self._rewrite(prompt, rng, text)
        return prompt

    def _paraphrase(self, prompt: str, rng: np.random.Generator) -> str:
        """Return the prompt with sentences in another wording; features stay shown."""
        for f in self.world.features:
            for i, sentence in enumerate(f.sentences):
                if sentence in prompt:
                    return prompt.replace(sentence, f.sentences[(i + 1) % len(f.sentences)])
        openings = (
            "Please do this: ",
            "Your task: ",
            "Here is what to do. ",
            "Do the following. ",
            "The task is this. ",
        )
        bare = prompt
        for opening in openings:
            bare = bare.removeprefix(opening)
        return openings[int(rng.integers(len(openings)))] + bare

    def __repr__(self) -> str:
        return f"SimulatedChat({self.name!r})"


def _last_paragraph(text: str) -> int:
    """Return where the last paragraph begins, where a question that the model does not know stands."""
    return text.rstrip().rfind("\n\n") + 2 if "\n\n" in text.strip() else len(text)


def _listed(prompt: str) -> list[tuple[str, str]]:
    """Return the classes that a prompt lists, each with its description."""
    listed: list[tuple[str, str]] = re.findall(r"^\s*[-*]\s*([^:\n]+?)\s*(?:$|:\s*(.*)$)", prompt, re.M)
    if not listed:
        match = re.search(r"one of:?\s*([^.\n]+)", prompt, re.I)
        listed = [(part.strip(), "") for part in match[1].split(",")] if match else []
    return listed


def _masked(text: str, found: Sequence[tuple[int, str, str]], at: int) -> tuple[str, int]:
    """Return the text without the known texts in it, and where the question stood: inputs never choose the skill."""
    for start, known, _ in reversed(found):
        text = f"{text[:start]}...{text[start + len(known) :]}"
    before = sum(len(known) - 3 for start, known, _ in found if start < at)
    return text, at - before


def from_spec(text: str, known: Mapping[str, str] | None = None) -> Any:
    """Return the model that "WORLD?judge=0.75&bias=0.1&seed=3" names; raises UsageError with what exists.

    "styles?error=0.1&seed=3" is the writer of the module `styles`, "articles" the reporter of the module `articles`.
    """
    world, _, options = text.partition("?")
    kinds = {"seed": int, "solve": float, "rewrite": float, "judge": float, "bias": float, "latency": float}
    if world == "styles":
        kinds = {"seed": int, "error": float, "imitate": float}
    if world == "articles":
        kinds = {}
    values: dict[str, Any] = {}
    for key, value in parse_qsl(options.replace(",", "&"), keep_blank_values=True):
        if key not in kinds:
            raise UsageError(f"simulated model has no option {key!r}; there are {', '.join(kinds)}")
        try:
            values[key] = kinds[key](value)
        except ValueError:
            raise UsageError(f"simulated model: {key} takes a number, got {value!r}") from None
    if world == "styles":
        from promptology.models.simulated.styles import SimulatedWriter

        return SimulatedWriter(**values)
    if world == "articles":
        from promptology.models.simulated.articles import SimulatedReporter

        return SimulatedReporter()
    return SimulatedChat(world or "tickets", known=known, **values)


def count(text: str) -> int:
    """Return simulated tokens: four characters each."""
    return math.ceil(len(text) / TOKEN)


def tokens(messages: Sequence[Message]) -> int:
    """Return simulated tokens of messages."""
    return sum(count(content) for _, content in messages)
