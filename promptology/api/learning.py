"""Learning: fit, compare, and what they would cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from promptology.api.common import Progress, as_task, default_budget, open_all, settings_of, watched
from promptology.api.running import Job, parse_seeds, parse_workers, recover, run_jobs
from promptology.data.items import digest
from promptology.errors import UsageError
from promptology.evidence.documents import document, write_document
from promptology.evidence.fitting import Observer, Result, fit_one
from promptology.methods.registry import create
from promptology.models.opening import model as open_model
from promptology.prompts.learned import Learned
from promptology.run.store import Place, home


@dataclass(frozen=True)
class Comparison:
    """Arms measured on the same sealed items at the same budget. `document` is the same as plain JSON.

    `results`: one per run, arm by arm, each arm once per seed.
    """

    results: tuple[Result, ...]
    document: dict[str, Any] = field(repr=False)
    folder: Path = Path()

    def rows(self, by_seed: bool = False) -> list[dict[str, Any]]:
        """Return one flat row per arm, the mean over its seeds; `by_seed`: one per arm and seed."""
        arms = self.document["arms"]
        if by_seed:
            seeds = [(arm, row) for arm in arms for row in arm.get("seeds", [{**arm, "seed": self.document["seed"]}])]
            return [{**_row({**row, "label": arm["label"]}), "seed": row["seed"]} for arm, row in seeds]
        return [{**_row(arm), **({"seeds": len(arm["seeds"])} if "seeds" in arm else {})} for arm in arms]

    def to_frame(self, by_seed: bool = False) -> Any:
        """Return the rows as a pandas DataFrame; raises UsageError where pandas is not installed."""
        try:
            import pandas as pd
        except ImportError:
            raise UsageError(
                "to_frame needs pandas (pip install pandas); rows() gives the same as dictionaries"
            ) from None
        return pd.DataFrame(self.rows(by_seed))

    def __str__(self) -> str:
        from promptology.evidence.report import format_table

        return format_table(self.document)


def _row(arm: Mapping[str, Any]) -> dict[str, Any]:
    score, difference = arm["score"] or {}, arm["difference"] or {}
    return {
        "method": arm["label"],
        "score": score.get("value"),
        "low": score.get("low"),
        "high": score.get("high"),
        "n": score.get("n"),
        "difference": difference.get("value"),
        "p_holm": arm["p_adjusted"],
        "verdict": arm["verdict"],
        **{f"learning_{k}": v for k, v in arm["learning"].items() if k != "estimated"},
    }


def fit(
    task: Any,
    model: Any,
    method: Any = "spo",
    *,
    helpers: Mapping[str, Any] | None = None,
    prompt: str | None = None,
    system: str | None = None,
    budget: Any = None,
    settings: Mapping[str, Any] | None = None,
    sources: Sequence[Learned] = (),
    out: str | Path | None = None,
    store: Place = None,
    observe: Observer | None = None,
    progress: Progress | None = None,
    command: str = "",
    **options: Any,
) -> Result:
    """Learn a prompt with one method and return it with evidence and cost.

    `task`: a Task or what `load_task` takes; `model` and `helpers` (by role): what `model` takes; `method`: a name or
    an instance; `settings`: fields of the method that differ from its defaults; `prompt`, `system`: the start;
    `budget`: "300calls,2usd,500ktok,20000passes,10m" in any mix, over learning and evidence; `out`: where to save the
    prompt folder; `store`: a path or "postgresql://USER@HOST/DATABASE", default PROMPTOLOGY_STORE, else a file of the
    user's own. `options`: seed, cache, price, sampling, evidence_share, missing, protocol, retry_failed, readout
    ("label-likelihood": the likeliest class name), noise_floor (test items that are asked twice), max_prompt_tokens
    (longer proposals are dropped), blocks, order (of a stream). The same call after a crash continues.
    """
    task, model, helpers = as_task(task, prompt, system), open_model(model), open_all(helpers)
    chosen = create(method, settings)
    run_settings = settings_of(budget if budget is not None else default_budget(model), **options)
    recover(Job(type(chosen).card.slug, chosen, helpers, run_settings), task, model, store)
    with watched(progress) as shown:
        result = fit_one(
            task,
            model,
            type(chosen).card,
            chosen,
            helpers,
            run_settings,
            store=store,
            sources=sources,
            observe=observe,
            progress=shown,
        )
    doc = document(
        "fit",
        task,
        model,
        [result],
        budget=str(run_settings.budget),
        seed=run_settings.seed,
        helpers=helpers,
        command=command,
    )
    result = replace(result, document=doc)
    write_document(doc, result.folder)
    if out is not None:
        result.save(out)
    return result


def compare(
    task: Any,
    model: Any,
    methods: Sequence[Any],
    *,
    helpers: Mapping[str, Any] | None = None,
    prompt: str | None = None,
    system: str | None = None,
    budget: Any = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    seeds: int | str | Sequence[int] | None = None,
    workers: str | None = None,
    store: Place = None,
    observe: Observer | None = None,
    progress: Progress | None = None,
    command: str = "",
    **options: Any,
) -> Comparison:
    """Run several methods, each with the whole budget, and measure them on the same sealed items.

    `settings`: fields by method name; a helper goes to the methods that know its role. `seeds`: how many (from `seed`
    on) or which; every arm runs once per seed, and its row is the mean with an interval over seeds and items. p values
    are corrected after Holm over the arms. `workers`: "ray" (or "ray:4", four at a time) runs arms x seeds as Ray
    tasks, here or on the cluster that RAY_ADDRESS or `ray.init` names: the same results, but arms that ask the same at
    the same time pay it each. Other arguments as in `fit`.
    """
    if not methods:
        raise UsageError("compare needs at least one method")
    runner, known = parse_workers(workers), parse_seeds(seeds, int(options.get("seed", 0)))
    task, model, helpers = as_task(task, prompt, system), open_model(model), open_all(helpers)
    chosen = [create(m, (settings or {}).get(m if isinstance(m, str) else type(m).card.slug)) for m in methods]
    run_settings = settings_of(budget if budget is not None else default_budget(model), **{**options, "seed": known[0]})
    labels = labels_of(chosen)
    jobs = [
        Job(
            f"{label}, seed {seed}",
            one,
            _helpers_of(one, helpers),
            replace(run_settings, seed=seed),
        )
        for label, one in zip(labels, chosen, strict=True)
        for seed in known
    ]
    results = run_jobs(jobs, task, model, runner, store=store, observe=observe, progress=progress)
    doc = document(
        "compare",
        task,
        model,
        results,
        budget=str(run_settings.budget),
        seed=known[0],
        seeds=known,
        helpers=helpers,
        command=command,
        labels=labels,
    )
    folder = write_document(doc, home() / "runs" / f"compare-{digest([r.run for r in results])}")
    return Comparison(tuple(results), doc, folder)


def _helpers_of(method: Any, helpers: Mapping[str, Any]) -> dict[str, Any]:
    card = type(method).card
    return {r: m for r, m in helpers.items() if r in (*card.needs, *card.optional, "judge")}


def labels_of(chosen: Sequence[Any]) -> list[str]:
    """Return the slugs of methods, with the settings that were changed where a slug appears twice."""
    slugs = [type(m).card.slug for m in chosen]
    labels: list[str] = []
    for slug, m in zip(slugs, chosen, strict=True):
        changed = [f"{f.name}={getattr(m, f.name)}" for f in fields(m) if getattr(m, f.name) != f.default]
        labels.append(f"{slug} {' '.join(changed)}".strip() if slugs.count(slug) > 1 else slug)
    return labels
