"""What a few seeds say about a mean, and about the difference that a step made.

Intervals and tests are Student's t: Gosset, "The probable error of a mean", Biometrika 1908. They
speak of seeds, on one fixed test set; :func:`binomial_error` is what that test set adds by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

CONFIDENCE = 0.95
"""Of every interval. A difference is shown where its interval leaves out zero."""

Verdict = Literal[
    "better",
    "worse",
    "no difference shown",
    "one seed: nothing can be concluded",
    "no seed in common: nothing can be concluded",
]

# Accuracies are counts over a test set of far fewer than 10^9 images, in floating point: spreads
# below this are rounding, not seeds.
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """One number a seed, and what they say about their mean.

    Attributes:
        values: in the order of the seeds.
        mean: of the values.
        sd: sample standard deviation (n − 1); None with one value.
        ci95: 95 % Student-t interval of the mean; None with one value, and where all values are
            equal, so that nothing is known of their spread.
        minimum, maximum: of the values.
    """

    values: tuple[float, ...]
    mean: float
    sd: float | None
    ci95: tuple[float, float] | None
    minimum: float
    maximum: float

    @property
    def n(self) -> int:
        """How many seeds."""
        return len(self.values)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """After minus before, paired by seed, percentage points.

    Attributes:
        differences: one a seed that both have, in the order of the seeds.
        mean: of the differences; None without a seed in common.
        ci95: 95 % Student-t interval of the mean; None with fewer than two seeds, and where all
            differences are equal but not zero, so that nothing is known of their spread.
        p: of the paired t-test, two-sided; None where ``ci95`` is.
        verdict: the plain word for it.
    """

    differences: tuple[float, ...]
    mean: float | None
    ci95: tuple[float, float] | None
    p: float | None
    verdict: Verdict

    @property
    def n(self) -> int:
        """How many seeds both have."""
        return len(self.differences)


def describe(
    values: Sequence[float], *, limits: tuple[float, float] = (-math.inf, math.inf)
) -> Statistics:
    """Mean, standard deviation and interval of one number a seed.

    Args:
        values: at least one.
        limits: what the mean can be at all; the interval is cut there, which costs no coverage.

    Raises:
        ValueError: if there is none.
    """
    if not values:
        raise ValueError("no values to describe")
    mean = math.fsum(values) / len(values)
    sd = ci95 = None
    if len(values) > 1:
        sd = _standard_deviation(values)
        # Equal values have no width to take an interval from; none at all would be certainty.
        if sd >= _ROUNDING:
            half = _half_width(sd, n=len(values))
            ci95 = (max(mean - half, limits[0]), min(mean + half, limits[1]))
    return Statistics(
        values=tuple(values),
        mean=mean,
        sd=sd,
        ci95=ci95,
        minimum=min(values),
        maximum=max(values),
    )


def compare(before: Mapping[int, float], after: Mapping[int, float]) -> Difference:
    """The difference between two rungs: seed → accuracy of each, paired by the seeds in common."""
    differences = tuple(after[seed] - before[seed] for seed in sorted(before.keys() & after.keys()))
    n = len(differences)
    if n == 0:
        return Difference(
            differences=(),
            mean=None,
            ci95=None,
            p=None,
            verdict="no seed in common: nothing can be concluded",
        )
    mean = math.fsum(differences) / n
    if n == 1:
        return Difference(
            differences=differences,
            mean=mean,
            ci95=None,
            p=None,
            verdict="one seed: nothing can be concluded",
        )
    sd = _standard_deviation(differences)
    if sd < _ROUNDING:
        # Equal differences: all zero, the step changed nothing; else a t-test has no spread to
        # hold the mean against, and would call two equal seeds certainty.
        same = abs(mean) < _ROUNDING
        return Difference(
            differences=differences,
            mean=0.0 if same else mean,
            ci95=(0.0, 0.0) if same else None,
            p=1.0 if same else None,
            verdict="no difference shown",
        )
    half = _half_width(sd, n=n)
    p = _two_sided_p(mean / (sd / math.sqrt(n)), df=n - 1)
    verdict: Verdict = "no difference shown"
    if p < 1 - CONFIDENCE:
        verdict = "better" if mean > 0 else "worse"
    return Difference(
        differences=differences, mean=mean, ci95=(mean - half, mean + half), p=p, verdict=verdict
    )


def binomial_error(accuracy: float, *, images: int) -> float:
    """Standard error of an accuracy measured on ``images`` images, percentage points.

    √(p (1 − p) / n): how far another test set of the same size would move the number, the network
    left as it is.
    """
    p = accuracy / 100
    return 100 * math.sqrt(max(0.0, p * (1 - p)) / images)


def _standard_deviation(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _half_width(sd: float, *, n: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * sd / math.sqrt(n)


def _two_sided_p(t: float, *, df: int) -> float:
    from scipy.special import stdtr

    return 2 * float(stdtr(df, -abs(t)))
