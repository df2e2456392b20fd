"""Our side: the races and halving of the library, and the real table that they are measured on."""

import re
from functools import partial

import numpy as np

from promptology.search.bounds import climb
from promptology.search.halving import halve
from promptology.search.racing import race


def choose(spec, stopwatch):
    """Return each rule's choices and the scores it spent, by the table."""
    rules = {"ucb race": climb, "paired race": race}
    for share in spec["shares"]:
        rules[f"halving, {100 * share:g} %"] = partial(halving, share=share)
    tables = [np.array(table, float) for table in spec["tables"]]
    with stopwatch.running():
        found = {name: [once(rule, values) for values in tables] for name, rule in rules.items()}
    return {"found": found}


def halving(scorer, candidates, items, share):
    """Halve at a share of full evaluation."""
    return halve(scorer, candidates, items, round(share * candidates * items))


def once(rule, values):
    """Return the survivor of a race on a table, and the scores spent."""
    end = rule(lambda alive, columns: values[np.ix_(alive, list(columns))], *values.shape)
    return end.survivors[0], end.evaluations


def table(spec, stopwatch):
    """Return who is right where: wordings of template search by the labelled items of a bundled task, on MiniLM."""
    import promptology as pt
    from promptology.claims.measuring import run_of
    from promptology.methods.search.template_search import INPUTS, LABELS
    from promptology.prompts.start import nearest_label
    from promptology.search.scoring import score

    task = pt.load_task(spec["task"])
    run = run_of(task, {"model": pt.model("minilm")}, 0)
    wordings = [nearest_label(task.signature, label, given) for given in INPUTS for label in LABELS]
    with stopwatch.running():
        scores = score(run, [run.start.with_parts(w) for w in wordings], [*task.train, *task.validation])
    named = [f'Compare "{given}" with "{label}".' for given in INPUTS for label in LABELS]
    plain = [re.sub(r"\{(\w+)\}", lambda m: m[1].upper(), name) for name in named]
    items = [[i.inputs["text"], i.target] for i in (*task.train, *task.validation)]
    return {"scores": scores.values.tolist(), "wordings": plain, "items": items}
