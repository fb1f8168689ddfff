"""Is the rate that the range test suggests good on networks that it was not chosen on?

The rule of ``kilonet train --find-lr`` was chosen on the bundled network. Here its suggestion and
those of other rules are trained with, on the networks, images and grids of learning_rates.py, which
defines the terms:

    python benchmarks/range_test.py --set first --out held-out-first

The suggestion is the geometric mean of "steepest" and "minimum / 10". "Limited" is that mean, but
at most the rate of the least validation loss: the rule before the first set was run. "Unlimited" is
the mean alone. The present rule is limited only for networks without batch norm.

A sweep has seed 1 and holds out a tenth of the training images, as for a user. The rates that rules
choose are trained with seed 2, and so is the grid's best rate, which seed 1 chose.
"""

from __future__ import annotations

import math
import statistics

import joblib
from learning_rates import (
    GOOD,
    Place,
    read_options,
    train_all,
    train_grids,
    trial,
    truths,
)

from kilonet.storage.environment import cpu_name
from kilonet.table import Table
from kilonet.training.range_test import Suggestion, find_lr

DEFAULT = {"sgd": 0.01, "adam": 0.001}
SEED = 2


def rules(found: Suggestion, *, optimizer: str, best: float) -> dict[str, float]:
    """Rule → rate: the suggestion, its parts, the optimizer's default, the grid's best."""
    mean = math.sqrt(found.steepest * found.minimum / 10)
    parts = {
        "limited": min(mean, found.best_validation),
        "unlimited": mean,
        "steepest": found.steepest,
        "minimum / 10": found.minimum / 10,
    }
    return {
        "default": DEFAULT[optimizer],
        "suggestion": found.lr,
        **{name: float(f"{lr:.1e}") for name, lr in parts.items()},
        "grid's best": best,
    }


def rule_tables(
    chosen: dict[Place, dict[str, float]],
    accuracies: dict[tuple[Place, float], float],
    good: dict[Place, tuple[float, float]],
) -> tuple[Table, Table]:
    """Each case's rates with their accuracies; and each rule over all cases."""
    names = list(next(iter(chosen.values())))
    rows = []
    for place, rates in chosen.items():
        low, high = good[place]
        cells = [f"{accuracies[place, rate]:.2f} ({rate:g})" for rate in rates.values()]
        rows.append((str(place), f"{low:g} to {high:g}", *cells))
    columns = ("Network, optimizer", "Good rates", *names)
    each = Table(columns=columns, rows=tuple(rows), left=frozenset({0}))
    rows = []
    for name in names:
        ratios, factors = [], []
        for place, rates in chosen.items():
            best = rates["grid's best"]
            ratios.append((100 - accuracies[place, rates[name]]) / (100 - accuracies[place, best]))
            factors.append(rates[name] / best)
        rows.append(
            (
                name,
                f"{sum(ratio <= GOOD for ratio in ratios)} of {len(ratios)}",
                f"{statistics.geometric_mean(ratios):.2f}",
                f"{max(ratios):.2f}",
                f"{statistics.geometric_mean(factors):.2f}",
                f"{min(factors):.2f} to {max(factors):.2f}",
            )
        )
    columns = (
        "Rule",
        f"Error at most {GOOD} times the best's",
        "Error / best's, mean",
        "worst",
        "Rate / best, mean",
        "range",
    )
    return each, Table(columns=columns, rows=tuple(rows), left=frozenset({0}))


def main() -> None:
    setting = read_options(__doc__.splitlines()[0])
    grids = train_grids(setting)
    good, best = {}, {}
    for place, grid in grids.items():
        known = truths(grid, images=setting.others)
        rates = [t.lr for t, truth in zip(grid, known, strict=True) if truth.word == "good"]
        good[place] = rates[0], rates[-1]
        best[place] = min(grid, key=lambda trial: trial.error).lr
    chosen = {}
    for place in setting.places:
        found = find_lr(setting.run_at(place, DEFAULT[place.optimizer])).suggestion
        if found is not None:
            chosen[place] = rules(found, optimizer=place.optimizer, best=best[place])
    silent = [str(place) for place in setting.places if place not in chosen]
    keys = list(dict.fromkeys((p, lr) for p, rates in chosen.items() for lr in rates.values()))
    runs = [setting.run_at(place, lr, seed=SEED) for place, lr in keys]
    ends = zip(keys, runs, train_all(runs, setting.folder), strict=True)
    accuracies = {key: trial(run, record).accuracy for key, run, record in ends}
    each, over_all = rule_tables(chosen, accuracies, good)
    print(
        f"{cpu_name()}, {joblib.cpu_count()} cores; the {setting.name} set, {setting.epochs} "
        f"epochs on {setting.train_images:,} images. Accuracy in percent on {setting.others:,} "
        f"others with seed {SEED}, and in brackets the rate:\n"
    )
    print(each.to_markdown(), end="\n\n")
    print(over_all.to_markdown())
    print(f"\nNothing is suggested for: {', '.join(silent) or 'none'}.")


if __name__ == "__main__":
    main()
