"""optuna's WilcoxonPruner, used as its documentation shows: a trial per candidate, a step per item, in random order."""

import warnings

import numpy as np
import optuna

warnings.simplefilter("ignore")  # the pruner is experimental
optuna.logging.set_verbosity(optuna.logging.ERROR)


def choose(spec, stopwatch):
    """Return the pruner's choices, those of a study that prunes nothing, and the scores spent, by the table."""
    rules = {
        "optuna, no pruner": optuna.pruners.NopPruner(),
        "WilcoxonPruner": optuna.pruners.WilcoxonPruner(p_threshold=spec["p"], n_startup_steps=spec["startup"]),
    }
    tables = [np.array(table, float) for table in spec["tables"]]
    with stopwatch.running():
        found = {
            name: [study(values, rule, n, spec) for n, values in enumerate(tables)] for name, rule in rules.items()
        }
    return {"found": found}


def study(values, pruner, seed, spec):
    """Return the best trial and the scores that all took; a pruned trial is worth its mean so far."""
    made = optuna.create_study(direction="maximize", pruner=pruner)
    rng = np.random.default_rng(seed)
    spent = 0
    for candidate in values:
        trial = made.ask()
        seen = []
        for item in rng.permutation(len(candidate)):
            trial.report(candidate[item], int(item))
            seen.append(candidate[item])
            if len(seen) % spec["every"] == 0 and trial.should_prune():
                break
        spent += len(seen)
        made.tell(trial, float(np.mean(seen)))
    return made.best_trial.number, spent
