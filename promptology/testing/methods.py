"""The contract of methods: what every method promises, ours or a third party's."""

from __future__ import annotations

import dataclasses
import pickle
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from promptology.data.task import Task
from promptology.errors import AccessError, SealedSplitError
from promptology.methods.registry import create, planned, setting_help
from promptology.models.access import PROTOCOLS
from promptology.testing.bench import WORKERS, Bench, Trial, models_for, two_tower
from promptology.testing.fixtures import Watched, small_task
from promptology.testing.inside import INSIDE, WatchedInside, print_of, tiny_model
from promptology.testing.promises import Checked
from promptology.testing.running import difference, in_child, own_home, predicted, run_once
from promptology.testing.towers import WatchedTowers, image_task, tiny_clip

PLAN_WITHIN = 0.15
BUDGETS = {"calls": "300calls", "passes": "20000passes"}
KILLS = (0.35, 0.4)
"""When a run is killed, as shares of what the whole run asks its models: once in the run, once in its continuation."""


def check_method(
    method: Any,
    *,
    settings: Mapping[str, Any] | None = None,
    task: Task | None = None,
    models: Mapping[str, Any] | None = None,
    budget: str = "",
    seed: int = 0,
) -> Checked:
    """Check what every method promises; raises AssertionError that names the method and the promise it breaks.

    `method`: a name or an instance of a registered class in a module that can be imported; `settings`: fields that
    differ from its defaults; `task`, `models` (by role): what to check it with, by default a few bundled tickets and
    what suits the method's declared access (a simulated chat model, a hashing encoder, a tiny real model for methods
    that look inside, a tiny CLIP with drawn images); `budget`: of one run.
    Models that generate are served over HTTP by this process. Takes seconds, starts processes of its own and kills
    them; keeps nothing.

    The promises:

    - settings: every field has a default and help text (the string under it), and the class is frozen;
    - same result: the same seed gives the same result with 8 and with 1 request in flight, also where the budget ends;
    - budget: the models never see more than a count limit allows, tiny ones too, and the ledger says what they saw;
    - plan: where the method has one, learning costs within 15 % (or 2) of it;
    - access: only declared access of declared roles is used, no label of the test split, and a model that is looked
      into is left as it was;
    - resume: a run that is killed twice by SIGKILL and continued equals one that was not, and asks nothing twice;
    - artifact: what was learned loads in a fresh process and predicts the same.

    Returns what was checked, and what could not be with the reason.

    ```python
    from promptology.testing import check_method

    def test_my_method():
        check_method("my-method", settings={"rounds": 3})
    ```
    """
    instance = create(method, settings)
    card = type(instance).card
    checked = Checked(f"method {card.slug!r}")
    check_settings(checked, instance)
    towers = any(access == ("two-tower",) for access in card.needs.values())
    task = task or (image_task() if towers else small_task())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="promptology-check-")))
        chosen = models_for(
            card, models or {}, lambda access: (tiny_clip if access == "two-tower" else tiny_model)(folder, task)
        )
        bench = Bench(stack, checked, instance, task, chosen, seed)
        budget = budget or BUDGETS[bench.unit]
        check_access(bench, budget)
        whole = bench.fit(budget)
        check_same(bench, budget, whole)
        check_budgets(bench, whole)
        check_plan(bench, whole)
        check_resume(bench, budget, whole)
        check_artifact(bench, whole)
    return checked


def check_settings(checked: Checked, method: Any) -> None:
    """Check for a frozen class with a summary, and fields with a default and help text."""
    cls = type(method)
    checked.promise(cls.card.help != "", "its class has no docstring, so nothing says what it does")
    checked.promise(cls.__dataclass_params__.frozen, "its class is not a frozen dataclass")
    for f in dataclasses.fields(cls):
        has_default = f.default is not dataclasses.MISSING
        checked.promise(has_default, f"setting {f.name!r} has no default, so the method cannot be run by its name")
        text = setting_help(cls, f.name)
        checked.promise(text != "", f"setting {f.name!r} has no help: put a string under the field")
    checked.passed("settings")


def check_access(bench: Bench, budget: str) -> None:
    """Check with models that offer everything that only what was declared is used."""
    checked, card = bench.checked, bench.card
    inside = {role: model for role, model in bench.models.items() if bench.looked_into(role)}
    watched: dict[str, Watched] = {}
    for role, model in bench.models.items():
        kind = Watched if role not in inside else WatchedTowers if two_tower(model) else WatchedInside
        watched[role] = kind(model)
    before = {role: print_of(_loaded(model)) for role, model in inside.items()}
    try:
        with own_home():
            result = run_once(bench.method, bench.task, watched, budget, bench.seed)
    except AccessError as error:
        raise AssertionError(f"{checked.about}: it uses access that it does not declare: {error}") from error
    except SealedSplitError as error:
        raise AssertionError(f"{checked.about}: it reads labels of the test split: {error}") from error
    except Exception as error:  # told with its type, as a broken promise
        raise AssertionError(f"{checked.about}: fit failed: {type(error).__name__}: {error}") from error
    for role, model in inside.items():
        same = print_of(_loaded(model)) == before[role]
        checked.promise(
            same, f"it leaves {role!r} changed: other weights, hooks, gradients or another mode than before"
        )
    for role, model in watched.items():
        declared = set({**card.optional, **card.needs}.get(role, ("generates",)))
        extra = model.touched - _contained(declared)
        checked.promise(
            not extra,
            f"it declares that {role!r} {' or '.join(sorted(declared))}, and it {' and '.join(sorted(extra))}",
        )
    for role, access in result.learned.roles.items():
        declared = set({**card.optional, **card.needs}.get(role, ()))
        checked.promise(
            access in _contained(declared), f"what it learned needs a {role!r} that {access}, which it does not declare"
        )
    checked.passed("access")


def _loaded(model: Any) -> Any:
    return model.towers() if two_tower(model) else model.frozen()


def _contained(declared: set[str]) -> set[str]:
    """Return what a role may be asked for: who may look inside may ask in every other way, but not move weights."""
    return declared | ({*PROTOCOLS} - {"trainable"} if INSIDE & declared else set())


def check_same(bench: Bench, budget: str, whole: Trial) -> None:
    """Check against a run with the same seed and one request in flight, with and without a limit that ends it."""
    halfway = f"{max(1, _charged(whole.result.learning, bench.unit) // 2)}{bench.unit}"
    for limit, first in ((budget, whole), (halfway, None)):
        first = first or bench.fit(limit)
        again = bench.fit(limit, workers=1)
        what = difference(first.summary, again.summary)
        how = f"{WORKERS} requests in flight, then 1" if bench.servers else "run twice"
        bench.checked.promise(what == "", f"the same seed gives two results ({how}, budget {limit}): {what}")
    bench.checked.passed("same result")


def check_budgets(bench: Bench, whole: Trial) -> None:
    """Check several limits, from one call on, counted where the model stands."""
    spent = _charged(whole.result.charged, bench.unit)
    _check_ledger(bench, whole, "its own budget")
    for limit in sorted({1, 2, 5, spent // 4, spent // 2, max(1, spent - 1)} - {0}):
        trial = bench.fit(f"{limit}{bench.unit}")
        saw = f"budget {limit}{bench.unit}: the models saw {trial.asked}"
        bench.checked.promise(trial.asked <= limit, f"{saw}, more than the limit")
        _check_ledger(bench, trial, f"budget {limit}{bench.unit}")
    bench.checked.passed("budget")


def _check_ledger(bench: Bench, trial: Trial, budget: str) -> None:
    charged = _charged(trial.result.charged, bench.unit)
    text = f"{budget}: the models saw {trial.asked} {bench.unit}, the ledger says {charged}"
    bench.checked.promise(charged == trial.asked, f"{text}; a model is asked past the run's handles")


def check_plan(bench: Bench, whole: Trial) -> None:
    """Check what the plan says against what learning cost, where the budget did not end the search."""
    checked, method = bench.checked, bench.method
    if not hasattr(method, "plan"):
        return checked.skip("plan", "the method has no plan(task)")
    said = _charged(planned(method, bench.task, bench.models["model"]), bench.unit)
    real = _charged(whole.result.learning, bench.unit)
    text = f"plan() says {said} {bench.unit} of learning and it took {real}"
    if any("the budget ended the search" in w for w in whole.result.warnings):
        checked.promise(said > (1 - PLAN_WITHIN) * real, f"{text} when the budget ended it")
        return checked.skip("plan", f"it says {said} {bench.unit}, more than the budget here; give smaller settings")
    checked.promise(abs(said - real) <= max(2, PLAN_WITHIN * max(said, real)), text)
    checked.passed("plan")


def check_resume(bench: Bench, budget: str, whole: Trial) -> None:
    """Check a run that is killed at a third, continued and killed again, continued to the end; in real processes."""
    checked = bench.checked
    if whole.asked < 4:
        return checked.skip(
            "resume", f"the whole run asks its models {whole.asked} times: too short to be killed in it"
        )
    try:
        pickle.dumps((bench.method, bench.task, bench.models))
    except Exception as error:  # pickle raises many types; all say the same
        return checked.skip("resume", f"method, task or models cannot go to another process: {error}")
    where = type(bench.method).__module__
    checked.promise(where != "__main__", "it is defined in __main__; put it into a module that can be imported")
    before = bench.asked({})
    with tempfile.TemporaryDirectory(prefix="promptology-check-") as name:
        folder = Path(name)
        kills = 0
        for share in KILLS:
            code, said = bench.fit_in_child(folder, budget, max(1, int(share * whole.asked)))
            what = "a run that was killed cannot be continued" if kills else "its run fails in a process of its own"
            checked.promise(code in (0, -9), f"{what}: {said}")
            kills += code == -9
        code, found = bench.fit_in_child(folder, budget, None)
    checked.promise(code == 0, f"a run that was killed cannot be continued: {found}")
    what = difference(whole.summary, found if code == 0 else {})
    checked.promise(what == "", f"killed and continued differs from uninterrupted: {what}")
    if bench.servers:
        # Lost with a kill: what was in flight, and what was answered too lately to be durable (a request or two each).
        asked, most = bench.asked({}) - before, whole.asked + kills * 3 * WORKERS
        text = f"killed {kills} times, its models were asked {asked} times instead of {whole.asked}"
        checked.promise(asked <= most, f"{text}: answers were paid for twice")
    checked.passed("resume")


def check_artifact(bench: Bench, whole: Trial) -> None:
    """Check that it loads in a process that never imported the method, and predicts the same there."""
    checked, learned = bench.checked, whole.result.learned
    inputs = [dict(i.inputs) for i in bench.task.test][:8] or [dict(i.inputs) for i in bench.task.unlabeled][:8]
    opened = bench.open(WORKERS)
    with tempfile.TemporaryDirectory(prefix="promptology-check-") as name:
        prompt = str(learned.save(Path(name) / "prompt"))
        try:
            spec = {"prompt": prompt, "models": opened, "inputs": inputs}
            code, found = in_child("predict", Path(name), spec, nest=bench.nest)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            return checked.skip("artifact", f"the models cannot go to another process: {error}")
    checked.promise(code == 0, f"what it learned cannot be used in a fresh process: {found}")
    here = predicted(learned, opened, inputs)
    checked.promise(
        found == here, f"what it learned predicts {found} in a fresh process and {here} where it was learned"
    )
    checked.passed("artifact")


def _charged(cost: Any, unit: str) -> int:
    return int(getattr(cost, unit))
