"""The coverage of the report's intervals, and how often its verdicts are wrong: a simulation.

Accuracies of n seeds are drawn from distributions whose mean is known, 2,000 times each. A 95 %
interval should contain that mean in 95 % of the repetitions, and a ladder whose changes do nothing
should get a wrong verdict, "better" or "worse", in at most 5 %.

    python benchmarks/coverage.py

The percentile bootstrap is there to show why the report does not use it. "Disagree" is how often
the report would say that Student's t and the bootstrap disagree; samples of equal values have no
interval and are not counted.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kilonet.analysis.descriptive import describe
from kilonet.analysis.differences import MIN_SIGN_FLIPS, compare, correct
from kilonet.table import Table

SEEDS = (3, 5, 10, 20)
REPETITIONS = 2000
IMAGES = 10_000
STAGES = 4


@dataclass(frozen=True, kw_only=True)
class Population:
    """What seeds are drawn from.

    Attributes:
        name: for the table.
        mean: the truth, percent.
        draw: (generator, shape) → accuracies, percent.
        mild: whether the intervals are expected to contain the mean in 93 to 97 %.
    """

    name: str
    mean: float
    draw: Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
    mild: bool = True


def _counts(generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Each seed's network has its own true accuracy; the test set counts it on 10,000 images."""
    truth = np.clip(generator.normal(0.993, 0.0006, shape), 0, 1)
    return generator.binomial(IMAGES, truth) / IMAGES * 100


def _near_100(generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Ten errors of 10,000 on average, the true error varying by a third between seeds."""
    errors = generator.poisson(generator.gamma(9.0, 10 / 9, shape))
    return 100 - errors / IMAGES * 100


def _tailed(generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Errors that spread by half their size, with a long tail of bad seeds."""
    return 100 - 0.3 * np.exp(generator.normal(0, 0.5, shape))


POPULATIONS = (
    Population(name="normal", mean=99.3, draw=lambda g, shape: g.normal(99.3, 0.1, shape)),
    Population(name="counts of 10,000", mean=99.3, draw=_counts),
    Population(name="skewed, near 100 %", mean=99.9, draw=_near_100),
    Population(
        name="long tail of bad seeds",
        mean=100 - 0.3 * math.exp(0.5**2 / 2),
        draw=_tailed,
        mild=False,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Of one population and number of seeds: shares of the repetitions that have an interval.

    Attributes:
        student, bootstrap, percentile: whose interval contains the true mean.
        width: the median bootstrap interval's width, Student's being 1.
        disagree: where the report would say that the two disagree.
        without: repetitions without an interval, their values being equal, as a share of all.
    """

    student: float
    bootstrap: float
    percentile: float
    width: float
    disagree: float
    without: float


def coverage(population: Population, *, seeds: int, repetitions: int = REPETITIONS) -> Coverage:
    """Draw and count."""
    generator = np.random.Generator(np.random.Philox([seeds, POPULATIONS.index(population)]))
    drawn = population.draw(generator, (repetitions, seeds))
    picked = generator.integers(0, seeds, (2000, seeds))
    hits, widths, disagree = [], [], 0
    for values in drawn:
        found = describe(values.tolist())
        if found.ci95 is None or found.bootstrap95 is None:
            continue
        resampled = values[picked].mean(axis=1)
        percentile = tuple(np.quantile(resampled, (0.025, 0.975)))
        hits.append(
            [
                low <= population.mean <= high
                for low, high in (found.ci95, found.bootstrap95, percentile)
            ]
        )
        widths.append(np.diff(found.bootstrap95)[0] / np.diff(found.ci95)[0])
        disagree += found.intervals_disagree
    student, bootstrap, percentile_share = np.mean(hits, axis=0)
    return Coverage(
        student=float(student),
        bootstrap=float(bootstrap),
        percentile=float(percentile_share),
        width=float(np.median(widths)),
        disagree=disagree / len(hits),
        without=1 - len(hits) / repetitions,
    )


@dataclass(frozen=True, kw_only=True)
class Ladders:
    """Of ladders of four stages: shares of the repetitions.

    Attributes:
        corrected: a wrong verdict on a ladder whose changes do nothing, corrected as in the report.
        uncorrected: the same without correction.
        t_test, sign_flip: one comparison, by itself, of an effect of one standard deviation, shown
            by each test; None where the sign-flip test cannot show anything.
    """

    corrected: float
    uncorrected: float
    t_test: float
    sign_flip: float | None


def ladders(seeds: int, *, repetitions: int = REPETITIONS) -> Ladders:
    """Normal accuracies, differences paired by seed as in the report."""
    generator = np.random.Generator(np.random.Philox([seeds, 99]))
    pairs = [(i - 1, i) for i in range(1, STAGES)] + [(0, i) for i in range(2, STAGES)]
    corrected = uncorrected = t_test = sign_flip = 0
    for _ in range(repetitions):
        stages = generator.normal(99.3, 0.1, (STAGES, seeds))
        by_seed = [dict(enumerate(stage.tolist())) for stage in stages]
        found = [compare(by_seed[i], by_seed[j]) for i, j in pairs]
        uncorrected += any(difference.shown for difference in found)
        corrected += any(d.shown for d in correct(found, comparisons=len(found)))
        effect = compare(
            by_seed[0], {seed: value + 0.1 * math.sqrt(2) for seed, value in by_seed[1].items()}
        )
        t_test += effect.shown
        sign_flip += effect.p_sign_flip is not None and effect.p_sign_flip < 0.05
    return Ladders(
        corrected=corrected / repetitions,
        uncorrected=uncorrected / repetitions,
        t_test=t_test / repetitions,
        sign_flip=sign_flip / repetitions if seeds >= MIN_SIGN_FLIPS else None,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    repetitions = parser.parse_args().repetitions
    rows = []
    for population in POPULATIONS:
        for seeds in SEEDS:
            found = coverage(population, seeds=seeds, repetitions=repetitions)
            shares = (found.student, found.bootstrap, found.percentile)
            rows.append(
                (
                    population.name,
                    str(seeds),
                    *(f"{100 * share:.1f}%" for share in shares),
                    f"{found.width:.2f}",
                    f"{100 * found.disagree:.1f}%",
                    f"{100 * found.without:.1f}%",
                )
            )
    print(f"95% intervals that contain the true mean, of {repetitions:,} repetitions\n")
    columns = (
        "Accuracies",
        "Seeds",
        "Student's t",
        "Bootstrap",
        "Percentile",
        "Width",
        "Disagree",
        "Equal",
    )
    print(Table(columns=columns, rows=tuple(rows), left=frozenset({0})).to_markdown())
    rows = []
    for seeds in SEEDS:
        of_ladders = ladders(seeds, repetitions=repetitions)
        flips = of_ladders.sign_flip
        rows.append(
            (
                str(seeds),
                f"{100 * of_ladders.uncorrected:.1f}%",
                f"{100 * of_ladders.corrected:.1f}%",
                f"{100 * of_ladders.t_test:.1f}%",
                "" if flips is None else f"{100 * flips:.1f}%",
            )
        )
    print(f"\nLadders of {STAGES} stages, of {repetitions:,} repetitions\n")
    columns = (
        "Seeds",
        "Wrong, without correction",
        "Wrong, corrected",
        "Effect of 1 sd shown: t-test",
        "sign-flip test",
    )
    print(Table(columns=columns, rows=tuple(rows)).to_markdown())


if __name__ == "__main__":
    main()
