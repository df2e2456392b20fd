"""What travels to another process and what that process does with it: one run, with a store of its own."""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import promptology
from promptology.api.running import Job
from promptology.data.items import digest
from promptology.data.task import Task
from promptology.errors import PromptologyError, UsageError
from promptology.evidence.fitting import Result, fit_one, roles_of, run_spec
from promptology.run.merging import Rows, RunStore, absorb, rows_of
from promptology.run.store import Store, home, open_store

FILE = "run.sqlite"
"""The store of one run, in its folder on the machine where it runs, until its rows are merged."""


@dataclass(frozen=True)
class Place:
    """Where the driver is and what a worker must have of it. Secrets stand here alone: they are never shown.

    `store`: the address of a store that every machine can reach, else the path of the driver's own file or nothing.
    """

    host: str
    folder: str
    home: str
    path: tuple[str, ...]
    version: str
    store: str = field(default="", repr=False)
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def direct(self) -> bool:
        """Whether the runs write into the store that all of them end up in."""
        return "://" in self.store


class Outcome(NamedTuple):
    """How a run ended: its result, or the kind and text of its error; its rows where they must be merged.

    `simulated`: identities of models whose server said that it simulates.
    """

    result: Result | None
    rows: Rows | None
    kind: str = ""
    error: str = ""
    host: str = ""
    simulated: tuple[str, ...] = ()


class Identity(NamedTuple):
    """Which run a job is, the models of its roles, and what is said aloud about them."""

    id: str
    spec: dict[str, Any]
    models: dict[str, Any]
    notes: list[str]


def identify(job: Job, task: Task, model: Any) -> Identity:
    """Return which run a job is; raises UsageError or AccessError where it cannot start."""
    card = type(job.method).card
    models, notes = roles_of(card, model, job.helpers)
    spec = run_spec(task, card, job.method, models, job.settings)
    return Identity(digest(spec), {**spec, "origin": dict(job.settings.origin)}, models, notes)


def left(id: str) -> bool:
    """Whether a run has a file of its own on this machine."""
    return (home() / "runs" / id / FILE).is_file()


def collect(store: Store, id: str) -> None:
    """Merge what a run on this machine has put down in a file of its own."""
    if not left(id):
        return
    own = RunStore(home() / "runs" / id / FILE)
    try:
        rows = rows_of(own, id)
    finally:
        own.close()
    if rows is not None:
        absorb(store, rows)


def collect_left(store: Store, id: str) -> None:
    """Merge what a run left on this machine when its driver was killed, and take the file away.

    Raises UsageError where the run is still going on.
    """
    if left(id):
        path = home() / "runs" / id / FILE
        own = RunStore(path)
        try:
            with own.alone(id):
                collect(store, id)
        finally:
            own.close()
        remove(path)


def remove(path: Path) -> None:
    """Take away a run's own store once its rows are merged."""
    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.with_name(f"{path.name}.locks").rmdir()


def here(models: Sequence[Any], store: str) -> Place:
    """Return what workers need of this process: folders, import path, and the keys that the models name."""
    names = {name for m in models if (name := getattr(m, "key_env", None))}
    keys = {name: os.environ[name] for name in sorted(names) if os.environ.get(name)}
    path = tuple(str(Path(entry or ".").absolute()) for entry in sys.path)
    folder = os.getcwd()
    return Place(socket.gethostname(), folder, str(home().absolute()), path, promptology.__version__, store, keys)


@contextlib.contextmanager
def by_value(pickler: Any, objects: Sequence[Any]) -> Iterator[None]:
    """Let functions and classes of the user's own files travel as they are: a worker may not have these files."""
    modules = [m for m in dict.fromkeys(_modules(objects)) if _is_own(m)]
    for module in modules:
        pickler.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            pickler.unregister_pickle_by_value(module)


def _modules(objects: Sequence[Any]) -> Iterator[ModuleType]:
    for thing in objects:
        inside = [v for v in vars(thing).values() if callable(v)] if hasattr(thing, "__dict__") else []
        for one in (type(thing), *inside):
            module = sys.modules.get(getattr(one, "__module__", "") or "")
            if module is not None:
                yield module


def _is_own(module: ModuleType) -> bool:
    file, name = getattr(module, "__file__", None), module.__name__
    if not file or name == "__main__" or name.partition(".")[0] == "promptology":
        return False
    installed = {sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    return not any(Path(file).is_relative_to(folder) for folder in installed if folder)


def pack(dumps: Callable[[Any], bytes], what: str, value: Any) -> bytes:
    """Return a pickle; raises UsageError, one clear line, where it cannot be made."""
    try:
        return dumps(value)
    except Exception as error:  # pickling runs the objects' own code, which may raise anything
        reason = " ".join(str(error).split())[:160]
        raise UsageError(
            f"{what} cannot be sent to a worker ({type(error).__name__}: {reason}); give the model as a text "
            "(openai:NAME@URL, zoo:NAME, minilm), or a function or object that can be pickled"
        ) from None


def work(common: bytes, job: bytes, place: Place, at_once: int = 1) -> Outcome:
    """Run one job in this process and return how it ended; what was answered is kept, here and in what is returned."""
    host = socket.gethostname()
    if place.version != promptology.__version__:
        text = f"the worker on {host} has promptology {promptology.__version__}, this is {place.version}"
        return Outcome(None, None, "UsageError", f"{text}; install the same on both", host)
    with _settled(place):
        try:
            task, model, helpers = pickle.loads(common)
            method, roles, settings, id, rows = pickle.loads(job)
        except Exception as error:  # whatever the user's own classes raise
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            return Outcome(None, None, "UsageError", f"the worker on {host} cannot open model or task: {reason}", host)
        for one in _distinct(model, helpers):
            if hasattr(one, "share_rate"):
                one.share_rate(at_once)
        known = {role: helpers[role] for role in roles}
        try:
            store = _store(place, id, rows, host)
        except PromptologyError as error:
            return Outcome(None, None, type(error).__name__, str(error), host)
        try:
            outcome = _ended(lambda: fit_one(task, model, type(method).card, method, known, settings, store=store))
            return outcome._replace(
                rows=None if place.direct else rows_of(store, id),
                host=host,
                simulated=tuple(
                    str(getattr(m, "identity", m.name))
                    for m in _distinct(model, helpers)
                    if getattr(m, "simulated", False)
                ),
            )
        finally:
            store.close()


def _ended(run: Callable[[], Result]) -> Outcome:
    try:
        return Outcome(replace(run(), _model=None, _helpers={}), None)
    except PromptologyError as error:
        return Outcome(None, None, type(error).__name__, str(error))
    except Exception as error:  # a defect in a method or metric: the other runs need not suffer
        text = " ".join(f"{type(error).__name__}: {error}".split())[:400]
        return Outcome(None, None, "", f"{text}; the same without Ray shows where")


def _distinct(model: Any, helpers: Mapping[str, Any]) -> list[Any]:
    return list({id(m): m for m in (model, *helpers.values())}.values())


def _store(place: Place, id: str, rows: Rows | None, host: str) -> Store:
    """Open the store that all can reach, else this run's own, filled with what the driver knows of the run."""
    if place.direct:
        return open_store(place.store)
    shared = None
    if place.store and place.host == host and Path(place.store).is_file():
        shared = open_store(place.store)
    store = RunStore(home() / "runs" / id / FILE, shared)
    if rows is not None:
        absorb(store, rows)
    return store


@contextlib.contextmanager
def _settled(place: Place) -> Iterator[None]:
    """Give this process the driver's folders, import path and keys for a while."""
    before, path = dict(os.environ), list(sys.path)
    for name, key in place.keys.items():
        os.environ[name] = key
    with contextlib.suppress(OSError):  # on another machine that folder may be out of reach: then this one's own
        Path(place.home).mkdir(parents=True, exist_ok=True)
        os.environ["PROMPTOLOGY_HOME"] = place.home
    sys.path += [entry for entry in place.path if entry not in path]
    try:
        with contextlib.chdir(place.folder) if Path(place.folder).is_dir() else contextlib.nullcontext():
            yield
    finally:
        sys.path[:] = path
        for name in {*place.keys, "PROMPTOLOGY_HOME"}:
            os.environ.pop(name, None)
            if name in before:
                os.environ[name] = before[name]
