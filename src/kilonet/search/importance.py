"""Which choices of a search mattered: PED-ANOVA, and what chance alone would give.

Watanabe, Bansal and Hutter, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in
Arbitrary Subspaces", IJCAI 2023, as Optuna computes it; unlike its fANOVA it needs no scikit-learn.
A choice is important if the best trials have other values of it than all trials have.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

from kilonet.errors import UsageError
from kilonet.search.result import SearchResult, SearchTrial, State
from kilonet.search.sample import import_optuna
from kilonet.spec.inline_toml import inline

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

MIN_TRIALS = 20
"""Trained trials without which nothing is said."""

BEST_SHARE = 0.2
"""The best trials. In 12 made searches of 80 trials (tests/search_results.py), in each of which two
choices matter much, a fifth shows 24 of these 24 to be above chance, Optuna's tenth 16, three
tenths 23; of 36 others that matter little or not, 1, 1 and 1."""

MIN_BEST = 8
"""The best trials are at least these."""

NUM_SHUFFLES = 100
"""Shuffles of the ranking; 1 in 20 gives an unimportant choice more than ``chance``."""

_CHANCE = 0.95
_LOG_RATIO = 10.0


@dataclass(frozen=True, kw_only=True)
class Importance:
    """How much one choice mattered.

    Attributes:
        name: the choice's.
        share: of the importance of all choices together; they add up to 1.
        chance: the share that it exceeds in one of twenty shuffles of the ranking.
        trials: trained trials that use it.
    """

    name: str
    share: float
    chance: float
    trials: int

    @property
    def shown(self) -> bool:
        """Whether it is more than chance gives."""
        return self.share > self.chance


def ranked_trials(result: SearchResult) -> list[SearchTrial]:
    """The trained trials, best first: by the length of the longest training, then its accuracy.

    Accuracies after trainings of different lengths are not compared: that a trial was given a
    longer one is the better result. Optuna's TPE sampler ranks pruned trials so too.
    """
    trained = [
        trial
        for trial in result.trials
        if trial.state in (State.COMPLETE, State.PRUNED) and trial.rungs
    ]
    return sorted(trained, key=_rank, reverse=True)


def importances(result: SearchResult) -> tuple[Importance, ...]:
    """The importance of each choice, the largest first.

    The same result gives the same numbers. Choices that never varied are left out.

    Raises:
        UsageError: fewer than :data:`MIN_TRIALS` trained trials, or Optuna is not installed.
    """
    trials = ranked_trials(result)
    if len(trials) < MIN_TRIALS:
        raise UsageError(
            f"{len(trials)} trained trials do not tell which choices mattered; {MIN_TRIALS} do"
        )
    import_optuna()
    distributions = _distributions(trials)
    if not distributions:
        return ()
    # Warnings are about an experimental class, and about conditions that are met here.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, shuffled = _evaluate(trials, distributions)
    total = math.fsum(found.values()) or 1.0
    place = math.ceil(_CHANCE * NUM_SHUFFLES) - 1
    rows = [
        Importance(
            name=name,
            share=value / total,
            chance=sorted(each.get(name, 0.0) for each in shuffled)[place] / total,
            trials=sum(name in trial.values for trial in trials),
        )
        for name, value in found.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.share, row.name)))


def _rank(trial: SearchTrial) -> tuple[int, float, int]:
    last = trial.rungs[-1]
    return last.epochs * last.images, last.accuracy, -trial.number


def _evaluate(
    trials: Sequence[SearchTrial], distributions: Mapping[str, BaseDistribution]
) -> tuple[dict[str, float], list[dict[str, float]]]:
    """The importances by the trials' ranking, and by each shuffle of it."""
    import numpy as np
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study()
        for trial in trials:
            used = {name: d for name, d in distributions.items() if name in trial.values}
            params = {name: parameter(trial.values[name]) for name in used}
            study.add_trial(optuna.create_trial(params=params, distributions=used, value=0.0))
        quantile = max(BEST_SHARE, MIN_BEST / len(trials))
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile)

        def by(ranks: Sequence[int]) -> dict[str, float]:
            return optuna.importance.get_param_importances(
                study,
                evaluator=evaluator,
                target=lambda trial: float(ranks[trial.number]),
                normalize=False,
            )

        generator = np.random.Generator(np.random.Philox(0))
        shuffles = [generator.permutation(len(trials)).tolist() for _ in range(NUM_SHUFFLES)]
        return by(range(len(trials))), [by(ranks) for ranks in shuffles]
    finally:
        optuna.logging.set_verbosity(verbosity)


def parameter(value: Any) -> str | int | float:
    """A chosen value as Optuna and a chart take it: a number, or a text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return inline(value)
    return value


def is_numeric(values: Sequence[Any]) -> bool:
    """Whether the values of a choice are numbers."""
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _distributions(trials: Sequence[SearchTrial]) -> dict[str, BaseDistribution]:
    """A distribution for each choice that varied, from the values that trials have."""
    names = dict.fromkeys(name for trial in trials for name in trial.values)
    found = {}
    for name in names:
        values = [parameter(t.values[name]) for t in trials if name in t.values]
        if len(set(values)) > 1:
            found[name] = _distribution(values)
    return found


def _distribution(values: Sequence[str | int | float]) -> BaseDistribution:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if not is_numeric(values):
        return CategoricalDistribution(sorted({str(value) for value in values}))
    numbers = [value for value in values if not isinstance(value, str)]
    low, high = min(numbers), max(numbers)
    if all(isinstance(value, int) for value in numbers):
        step = reduce(math.gcd, (int(value) - int(low) for value in numbers))
        return IntDistribution(int(low), int(high), step=step)
    return FloatDistribution(low, high, log=low > 0 and high >= _LOG_RATIO * low)
