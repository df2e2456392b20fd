"""Methods that each break one promise of the contract, in a module that other processes can import."""

from __future__ import annotations

import os
import pathlib
import random
from dataclasses import dataclass, replace

import promptology as pt
from promptology.models.access import Embeds, Generates, Request, Scores
from promptology.run.cost import Cost
from promptology.search.scoring import score, selection_items


def candidates(run, names):
    return [run.start.with_instruction(f"{run.start.instruction} Hint {name}.") for name in names]


def best(run, found):
    scores = score(run, found, selection_items(run))
    return found[scores.order[0]]


def method(slug, **options):
    return pt.method(slug, family="search", learns="text", needs={"model": Generates}, **options)


@method("works")
@dataclass(frozen=True)
class Works:
    """Score a few hints and return the best."""

    hints: int = 6
    """Hints tried."""

    def plan(self, task):
        return Cost(calls=self.hints * len(task.validation))

    def fit(self, run):
        for n in run.rng("order").permutation(self.hints):
            best(run, candidates(run, [n]))
        return replace(best(run, candidates(run, range(self.hints))), method="works")


@method("no-help")
@dataclass(frozen=True)
class NoHelp(Works):
    """Leaves a setting without its text."""

    hints: int = 6


@method("no-default")
@dataclass(frozen=True)
class NoDefault:
    """Cannot be run by its name."""

    hints: int
    """Hints tried."""

    def fit(self, run):
        return run.start


@method("melts")
@dataclass
class Melts:
    """Can be changed after it was made."""

    hints: int = 6
    """Hints tried."""

    def fit(self, run):
        return run.start


@method("unseeded")
@dataclass(frozen=True)
class Unseeded(Works):
    """Draws from a generator that is not the run's."""

    def fit(self, run):
        return best(run, candidates(run, [random.random() for _ in range(6)]))


@method("hasty")
@dataclass(frozen=True)
class Hasty(Works):
    """Takes the answer that comes in first, so that the order of arrival decides."""

    def fit(self, run):
        found = candidates(run, range(6))
        model = run.model()._model
        asked = [Request.user(c.instruction) for c in found]
        first, _ = next(iter(model.generate(asked)))
        return found[first]


@method("past-the-handle")
@dataclass(frozen=True)
class PastTheHandle(Works):
    """Asks the model behind the handle, where nothing is counted."""

    def fit(self, run):
        list(run.model()._model.generate([Request.user(f"free {n}") for n in range(6)]))
        return run.start


@method("spendthrift")
@dataclass(frozen=True)
class Spendthrift(Works):
    """Goes on when the budget has ended."""

    def fit(self, run):
        while True:
            try:
                best(run, candidates(run, range(6)))
                break
            except BaseException:
                list(run.model()._model.generate([Request.user("just one more")]))
                break
        return run.start


@method("optimist")
@dataclass(frozen=True)
class Optimist(Works):
    """Says that it costs half of what it does."""

    def plan(self, task):
        return Cost(calls=self.hints * len(task.validation) // 2)


@method("curious")
@dataclass(frozen=True)
class Curious(Works):
    """Declares that it generates, and embeds behind the back of its handle."""

    def fit(self, run):
        model = run.model()._model
        if hasattr(model, "embed"):
            model.embed(["what is this?"])
        return run.start


@method("presumptuous")
@dataclass(frozen=True)
class Presumptuous(Works):
    """Uses what it did not declare."""

    def fit(self, run):
        run.model().embed(["what is this?"])
        return run.start


@method("peeks")
@dataclass(frozen=True)
class Peeks(Works):
    """Looks at labels of the test split."""

    def fit(self, run):
        score(run, [run.start], run.task.test)
        return run.start


@method("absent-minded")
@dataclass(frozen=True)
class AbsentMinded(Works):
    """Behaves differently in its second process, so that a continued run is not the run that was killed."""

    def fit(self, run):
        mark = pathlib.Path(os.environ["PROMPTOLOGY_HOME"]) / "was-here"
        seen = mark.exists()
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
        return best(run, candidates(run, range(8, 14) if seen else range(6)))


@method("crashes")
@dataclass(frozen=True)
class Crashes(Works):
    """Fails outright."""

    def fit(self, run):
        raise ValueError("the method has a fault")


@method("forgetful")
@dataclass(frozen=True)
class Forgetful(Works):
    """Learns what only its own process can read."""

    def plan(self, task):
        return Cost()

    def fit(self, run):
        from promptology.predict.predictor import READOUTS
        from promptology.prompts import Readout

        READOUTS.setdefault("mine", READOUTS["answer"])
        return run.start.with_parts(Readout("mine"))


@pt.method("works-embedding", family="search", learns="readout", needs={"model": Embeds})
@dataclass(frozen=True)
class WorksEmbedding:
    """Scores nothing, but embeds."""

    def fit(self, run):
        run.model().embed([i.inputs["text"] for i in run.task.train])
        return run.start


@pt.method("works-scoring", family="search", learns="text", needs={"model": Scores})
@dataclass(frozen=True)
class WorksScoring(Works):
    """Chooses a hint by log-probabilities."""

    def plan(self, task):
        return Cost(calls=self.hints * len(task.validation) * len(task.signature.classes))

    def fit(self, run):
        return best(run, candidates(run, range(self.hints)))


@pt.method("demanding", family="search", learns="text", needs={"model": Generates | Embeds})
@dataclass(frozen=True)
class Demanding(Works):
    """Learned something that needs what was not declared."""

    def fit(self, run):
        return replace(run.start, roles={"model": "generates", "judge": "generates"})
