"""Learning: fit, compare, and what they would cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from promptology.api.common import Progress, as_task, default_budget, open_all, settings_of, watched
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
    """Arms measured on the same sealed items at the same budget. `document` is the same as plain JSON."""

    results: tuple[Result, ...]
    document: dict[str, Any] = field(repr=False)
    folder: Path = Path()

    def rows(self) -> list[dict[str, Any]]:
        """Return one flat row per arm."""
        rows: list[dict[str, Any]] = []
        for arm in self.document["arms"]:
            score, difference = arm["score"] or {}, arm["difference"] or {}
            rows.append(
                {
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
            )
        return rows

    def to_frame(self) -> Any:
        """Return the rows as a pandas DataFrame; raises UsageError where pandas is not installed."""
        try:
            import pandas as pd
        except ImportError:
            raise UsageError(
                "to_frame needs pandas (pip install pandas); rows() gives the same as dictionaries"
            ) from None
        return pd.DataFrame(self.rows())

    def __str__(self) -> str:
        from promptology.evidence.report import format_table

        return format_table(self.document)


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
    user's own. `options`: seed, cache, price, sampling, evidence_share, missing, protocol, retry_failed. The same call
    after a crash continues. Raises PromptologyError with one clear line.
    """
    task, model, helpers = as_task(task, prompt, system), open_model(model), open_all(helpers)
    chosen = create(method, settings)
    run_settings = settings_of(budget if budget is not None else default_budget(model), **options)
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
    store: Place = None,
    observe: Observer | None = None,
    progress: Progress | None = None,
    command: str = "",
    **options: Any,
) -> Comparison:
    """Run several methods, each with the whole budget, and measure them on the same sealed items.

    `settings`: fields by method name; a helper goes to the methods that know its role. p values are corrected after
    Holm over the arms. Other arguments as in `fit`.
    """
    if not methods:
        raise UsageError("compare needs at least one method")
    task, model, helpers = as_task(task, prompt, system), open_model(model), open_all(helpers)
    chosen = [create(m, (settings or {}).get(m if isinstance(m, str) else type(m).card.slug)) for m in methods]
    run_settings = settings_of(budget if budget is not None else default_budget(model), **options)
    results: list[Result] = []
    for n, one in enumerate(chosen):
        card = type(one).card
        if observe:
            observe("arm", {"method": card.slug, "number": n + 1, "total": len(chosen)})
        known = {r: m for r, m in helpers.items() if r in (*card.needs, *card.optional, "judge")}
        with watched(progress) as shown:
            results.append(
                fit_one(task, model, card, one, known, run_settings, store=store, observe=observe, progress=shown)
            )
    doc = document(
        "compare",
        task,
        model,
        results,
        budget=str(run_settings.budget),
        seed=run_settings.seed,
        helpers=helpers,
        command=command,
        labels=labels_of(chosen),
    )
    folder = write_document(doc, home() / "runs" / f"compare-{digest([r.run for r in results])}")
    return Comparison(tuple(results), doc, folder)


def labels_of(chosen: Sequence[Any]) -> list[str]:
    """Return the slugs of methods, with the settings that were changed where a slug appears twice."""
    slugs = [type(m).card.slug for m in chosen]
    labels: list[str] = []
    for slug, m in zip(slugs, chosen, strict=True):
        changed = [f"{f.name}={getattr(m, f.name)}" for f in fields(m) if getattr(m, f.name) != f.default]
        labels.append(f"{slug} {' '.join(changed)}".strip() if slugs.count(slug) > 1 else slug)
    return labels
