"""Whatever happens, in whatever order: limits hold, durable answers are never asked for again, results are the same.

A program (batches of several roles, embeddings, phases) is played on a scripted model. In the trial the process dies at
any point, softly (an exception, the store lives on) or hard (what was not committed is gone), and a new meter starts.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from promptology.errors import BudgetEnded, TooManyMissing
from promptology.models.access import Answer, Failure, Request
from promptology.run.budget import Budget
from promptology.run.cost import Price
from promptology.run.meter import Limits, Meter
from promptology.run.store import SQLiteStore

ROLES = ("model", "optimizer", "judge")
PRICES = dict.fromkeys(ROLES, Price(1e4, 2e4))


class Killed(BaseException):
    pass


class World:
    """What outlives a process: the clock of its death, and what the models remember of their durable outcomes."""

    def __init__(self, seed, faults):
        self.seed, self.faults = seed, faults
        self.order = random.Random(seed)
        self.fuse, self.hard, self.dead = None, False, False
        self.limit = float("inf")
        self.tries = Counter()  # outcomes delivered per request: what the next try will be
        self.answered = set()
        self.kept = Counter()  # calls and passes whose outcomes were delivered
        self.sent = Counter()  # those that were made, lost ones included
        self.durable = (Counter(), set(), Counter())

    def tick(self):
        """Die here, if this is the moment."""
        if self.dead:
            raise Killed
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                self.fuse, self.dead = None, self.hard
                raise Killed

    def committed(self):
        self.durable = (self.tries.copy(), set(self.answered), self.kept.copy())

    def restart(self):
        """Start a new process; after a hard death what was not durable never was."""
        if self.dead:
            self.tries, self.answered, self.kept = self.durable[0].copy(), set(self.durable[1]), self.durable[2].copy()
        self.dead, self.fuse = False, None

    def outcome(self, request, attempt):
        """Return what this try of this request brings: the same in every process."""
        text = repr((self.seed, request, attempt)).encode()
        lot = int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "big") % 100
        if lot < self.faults:
            return Failure("HTTP 503", True)
        if lot < self.faults + self.faults // 5:
            return Failure("HTTP 400", False)
        return Answer(f"{request[1]} {request[-2:]}", 10 + lot % 7, 3 + lot % 5, False)


class Scripted:
    """A model with a few requests in flight, which answers in any order."""

    def __init__(self, world, role, local, window):
        self.world, self.role, self.local, self.window = world, role, local, window
        self.name = self.identity = role
        self.unit = "passes" if local else "calls"

    def generate(self, requests, attempts=1):
        return (came for came in self.arrivals(requests, attempts) if came is not None)

    def arrivals(self, requests, attempts=1):
        world = self.world
        todo = list(enumerate(requests))
        for at in range(0, len(todo), self.window):
            world.tick()
            flying = [(n, self.identify(r)) for n, r in todo[at : at + self.window]]
            for _, request in flying:
                assert request not in world.answered, f"{request} was answered and is sent again"
                world.sent[self.unit] += 1
            out = len(flying)
            world.order.shuffle(flying)
            for n, request in flying:
                assert world.kept["calls"] + (0 if self.local else out) <= world.limit, (
                    "a call beyond the limit is sent"
                )
                world.tick()
                made = 0
                while True:
                    made += 1
                    outcome = world.outcome(request, world.tries[request] + made)
                    if isinstance(outcome, Answer) or not outcome.transient or made == attempts:
                        break
                    world.tick()
                    world.sent[self.unit] += 1
                world.tries[request] += made
                world.kept[self.unit] += made
                out -= 1
                if isinstance(outcome, Answer):
                    world.answered.add(request)
                    # A local model's tokens cost nothing.
                    tokens = (0, 0) if self.local else (outcome.tokens_in, outcome.tokens_out)
                    outcome = Answer(outcome.text, *tokens, False, made)
                else:
                    outcome = Failure(outcome.reason, outcome.transient, made)
                yield n, outcome
                if world.order.random() < 0.3:
                    yield None

    def identify(self, r):
        return (self.role, r.messages[-1][1], r.temperature, r.max_tokens, r.sample, r.seed)


class Encoder:
    name = identity = "encoder"
    local = True

    def __init__(self, world):
        self.world = world

    def embed(self, texts):
        self.world.tick()
        for text in texts:
            assert text not in self.world.answered, f"{text} was embedded and is embedded again"
        self.world.sent["passes"] += len(texts)
        self.world.tick()
        self.world.kept["passes"] += len(texts)
        self.world.answered.update(texts)
        return np.array([[len(t), ord(t[-1])] for t in texts], np.float32)


class Mortal(SQLiteStore):
    """A store that dies with its process, before or after a commit."""

    world: World
    template: Path

    def commit(self, run="", elapsed=0.0):
        self.world.tick()
        super().commit(run, elapsed)
        self.world.committed()
        self.world.tick()


def opened(path, world):
    store = Mortal(path)
    store.world = world
    store._db.execute("PRAGMA synchronous=OFF")  # these deaths are a process's, not the machine's
    return store


@pytest.fixture(scope="module", autouse=True)
def template(tmp_path_factory):
    """A new store with its run, made once."""
    path = tmp_path_factory.mktemp("template") / "store.sqlite"
    with contextlib.closing(SQLiteStore(path)) as store:
        store.create_run("r", {})
    Mortal.template = path


def play(program, meter, models, encoder):
    """Return what a method would see, step by step."""
    seen = []
    for n, (kind, texts, warm, fresh) in enumerate(program["steps"]):
        meter.phase = "learning" if n < program["turn"] else "evidence"
        meter.held_back = {"calls": program["held"]} if n < program["turn"] else {}
        try:
            if kind == "embed":
                seen.append(meter.embed("encoder", encoder, [f"text {t}" for t in texts]).tolist())
                continue
            requests = [Request.user(f"prompt {t}", temperature=float(warm), max_tokens=16) for t in texts]
            outcomes = meter.generate(kind, models[kind], requests, fresh)
            seen.append([o.text if isinstance(o, Answer) else o.reason for o in outcomes])
        except BudgetEnded:
            seen.append("the budget ended")
        except TooManyMissing:
            return [*seen, "too many missing"]
    return seen


def meter_of(store, program, retry_failed=False):
    limits = Limits(attempts=program["attempts"], missing=program["missing"])
    budget = Budget.parse(program["budget"])
    return Meter(
        store, "r", budget=budget, prices=PRICES, seed=program["seed"], limits=limits, retry_failed=retry_failed
    )


def run(program, folder, kills, retry_failed=False, world=None, path=None):
    """Play the program to its end through these deaths; return what was seen, the meter and the world."""
    world = world or World(program["seed"], program["faults"])
    # What was asked after a failure stays asked when that failure is asked again: no process knows of it beforehand.
    world.limit = float("inf") if retry_failed else Budget.parse(program["budget"]).limits.get("calls", float("inf"))
    path = path or shutil.copy(Mortal.template, Path(folder) / f"{len(list(Path(folder).iterdir()))}.sqlite")
    store = opened(path, world)
    for fuse, hard in [*kills, (None, False)]:
        world.fuse, world.hard = fuse, hard
        models = {role: Scripted(world, role, role in program["local"], program["window"]) for role in ROLES}
        meter = meter_of(store, program, retry_failed)
        try:
            seen = play(program, meter, models, Encoder(world))
            break
        except Killed:
            if world.dead:
                store._db.close()
                world.restart()
                store = opened(path, world)
            world.fuse = None
    world.restart()
    store.commit()
    store._db.close()
    return seen, meter, world, path


steps = st.tuples(
    st.sampled_from([*ROLES, "embed"]),
    st.lists(st.integers(0, 30), min_size=2, max_size=7),
    st.booleans(),
    st.booleans(),
)
calls = st.integers(1, 60).map(lambda n: f"{n}calls")
tokens = st.integers(50, 1500).map(lambda n: f"{n}tok")
# Limits of tokens and money, and tight ones of calls, are what makes retries wait for their barrier.
budgets = st.one_of(
    st.tuples(calls, tokens).map(",".join),
    tokens,
    calls,
    st.integers(1, 60).map(lambda n: f"{n}usd"),
    st.integers(1, 30).map(lambda n: f"{n}passes"),
    st.none(),
)
programs = st.fixed_dictionaries(
    {
        "steps": st.lists(steps, min_size=2, max_size=6),
        "turn": st.integers(0, 6),
        "held": st.integers(0, 10),
        "budget": budgets,
        "attempts": st.sampled_from([2, 1, 3, 4]),
        "missing": st.sampled_from([1.0, 1.0, 0.2]),
        "faults": st.sampled_from([60, 0, 15]),
        "window": st.integers(1, 5),
        "local": st.sampled_from([(), ("judge",)]),
        "seed": st.integers(0, 1000),
        "commit": st.sampled_from([0.0, 1e9]),
    }
)
deaths = st.lists(st.tuples(st.integers(0, 40), st.booleans()), min_size=1, max_size=4)
quick = settings(
    deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr("promptology.run.batch.time.sleep", lambda seconds: None)


@contextlib.contextmanager
def place(program):
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr("promptology.run.meter.COMMIT_EVERY", program["commit"])
        yield folder


def plain(cost):
    """Return a cost without the clock, and without the last bits of a sum of prices, which depend on its order."""
    return cost._replace(seconds=0.0, usd=round(cost.usd, 9))


def ledger(meter):
    return {entry: (plain(charged), plain(paid)) for entry, (charged, paid) in meter.ledger.items()}


def within(program, meter):
    for resource, limit in Budget.parse(program["budget"]).limits.items():
        assert getattr(meter.charged, resource) <= limit + 1e-9, f"{resource}: {meter.charged} of {limit}"


@settings(quick, max_examples=300)
@given(program=programs, kills=deaths)
def test_deaths_change_nothing(program, kills):
    with place(program) as folder:
        expected, whole, calm, _ = run(program, folder, [])
        within(program, whole)
        assert calm.sent["calls"] <= calm.limit
        seen, meter, world, path = run(program, folder, kills)
        within(program, meter)
        assert seen == expected
        if expected[-1] != "too many missing":  # which stops a batch as soon as it is certain, in the order of arrival
            assert calm.sent == calm.kept
            assert plain(meter.charged) == plain(whole.charged)
            assert meter.charged.calls == world.kept["calls"]
            assert meter.paid.calls >= meter.charged.calls
            # Again, without a death: all of it is replayed.
            before = world.sent.copy()
            again, replayed, world, _ = run(program, folder, [], world=world, path=path)
            assert again == expected and world.sent == before
            assert plain(replayed.charged) == plain(meter.charged)
            assert ledger(replayed) == ledger(meter)


@settings(quick, max_examples=100)
@given(program=programs, first=deaths, second=deaths)
def test_retrying_what_failed_keeps_the_answers(program, first, second):
    with place(program) as folder:
        _, _, world, path = run(program, folder, first)
        world.faults = world.faults // 2
        seen, meter, world, path = run(program, folder, second, retry_failed=True, world=world, path=path)
        if seen[-1] != "too many missing":
            before = world.sent.copy()
            again, replayed, world, _ = run(program, folder, [], world=world, path=path)
            assert again == seen and world.sent == before
            assert plain(replayed.charged) == plain(meter.charged)
