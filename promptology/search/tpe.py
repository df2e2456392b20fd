"""Tree-structured Parzen estimator over discrete choices (Bergstra et al. 2011), by Optuna (extra `optuna`)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from promptology.data.extras import require


class TPE:
    """Proposes combinations of choices, such as (2, 0) where there are 3 and 4 of them, by what earlier ones scored.

    Multivariate: the choices are modelled together. The first `random_trials` are drawn at random. Deterministic in
    `seed` and in what it is told. Raises UsageError where Optuna is not installed.
    """

    def __init__(self, sizes: Sequence[int], seed: int, random_trials: int = 10) -> None:
        self._optuna = require("optuna", "optuna", "the tree-structured Parzen estimator")
        sampler = self._optuna.samplers.TPESampler(multivariate=True, seed=seed, n_startup_trials=random_trials)
        # Its message that a study was made would stand among the run's own.
        level = self._optuna.logging.get_verbosity()
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        self._study = self._optuna.create_study(direction="maximize", sampler=sampler)
        self._optuna.logging.set_verbosity(level)
        choices = self._optuna.distributions.CategoricalDistribution
        self._space = {str(n): choices(tuple(range(size))) for n, size in enumerate(sizes)}

    def ask(self) -> tuple[int, ...]:
        """Return the combination to try next, which may have been tried before."""
        trial = self._study.ask(self._space)
        # What it scores is told as a trial of its own, so that a combination may also be told without being asked for.
        self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
        return tuple(int(trial.params[name]) for name in self._space)

    def tell(self, combination: Sequence[int], score: float) -> None:
        """Note what a combination scored, the higher the better; NaN tells nothing."""
        if math.isnan(score):
            return
        params = {str(n): choice for n, choice in enumerate(combination)}
        self._study.add_trial(
            self._optuna.trial.create_trial(params=params, distributions=self._space, value=float(score))
        )
