"""Statistics of a few seeds, measured on the same images.

The interval is Student's t: Gosset, "The probable error of a mean", Biometrika 1908. A bootstrap
checks it: see :mod:`kilonet.analysis.bootstrap`. :func:`binomial_interval` and
:func:`binomial_error` are what the number of test images adds. docs/statistics.md explains every
number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from kilonet.analysis.bootstrap import MIN_SEEDS, studentized_bootstrap

CONFIDENCE = 0.95
"""Of every interval. A difference is shown where its interval leaves out zero."""

AGREE_WITHIN = 0.3
"""Bootstrap and Student's t agree where no end is further from the other's than this share of
Student's half width. Of normal samples at most 9 in 100 are further apart: docs/statistics.md has
the table."""

ROUNDING = 1e-9
"""Accuracies are counts over far fewer than 10⁹ images: spreads below this are rounding."""


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """One number a seed, and the statistics of their mean.

    Attributes:
        values: in the order of the seeds.
        mean: of the values.
        sd: sample standard deviation (n − 1); None with one value.
        ci95: 95 % Student-t interval of the mean: the headline. None with one value, and where all
            values are equal, so that their spread is unknown.
        bootstrap95: 95 % smoothed bootstrap-t interval of the mean; None where ``ci95`` is, and
            with two values.
        disagreement: how far the two are apart: the larger distance of their lower or upper ends,
            before either is cut, as a share of Student's half width; None without a bootstrap.
        minimum, maximum: of the values.
    """

    values: tuple[float, ...]
    mean: float
    sd: float | None
    ci95: tuple[float, float] | None
    bootstrap95: tuple[float, float] | None
    disagreement: float | None
    minimum: float
    maximum: float

    @property
    def n(self) -> int:
        """How many seeds."""
        return len(self.values)

    @property
    def intervals_disagree(self) -> bool:
        """Whether bootstrap and Student's t are further apart than :data:`AGREE_WITHIN`."""
        return self.disagreement is not None and self.disagreement > AGREE_WITHIN


def describe(
    values: Sequence[float], *, limits: tuple[float, float] = (-math.inf, math.inf)
) -> Statistics:
    """Mean, standard deviation and intervals of one number a seed.

    Args:
        values: at least one.
        limits: the lowest and highest possible mean; intervals are cut there.

    Raises:
        ValueError: if there is none.
    """
    if not values:
        raise ValueError("no values to describe")
    mean = fmean(values)
    sd = ci95 = bootstrap95 = disagreement = None
    if len(values) > 1:
        sd = stdev(values)
        # An interval of equal values would have no width, and claim certainty.
        if sd >= ROUNDING:
            half = half_width(sd, n=len(values), confidence=CONFIDENCE)
            student = (mean - half, mean + half)
            ci95 = _cut(student, limits)
            if len(values) >= MIN_SEEDS:
                drawn = studentized_bootstrap(values, confidence=CONFIDENCE)
                bootstrap95 = _cut(drawn, limits)
                disagreement = max(abs(drawn[end] - student[end]) for end in (0, 1)) / half
    return Statistics(
        values=tuple(values),
        mean=mean,
        sd=sd,
        ci95=ci95,
        bootstrap95=bootstrap95,
        disagreement=disagreement,
        minimum=min(values),
        maximum=max(values),
    )


def binomial_interval(accuracy: float, *, images: int) -> tuple[float, float]:
    """95 % interval of an accuracy measured on ``images`` images, percent: other images, as many.

    Wilson's: it has a width at 0 and at 100 % too, and stays within them. Wilson, "Probable
    inference, the law of succession, and statistical inference", Journal of the American
    Statistical Association 1927; as ``scipy.stats.binomtest(…).proportion_ci(method="wilson")``.
    """
    from scipy.special import ndtri

    middle, half = _wilson(accuracy, images=images, z=float(ndtri((1 + CONFIDENCE) / 2)))
    return _cut((middle - half, middle + half), (0.0, 100.0))


def binomial_error(accuracy: float, *, images: int) -> float:
    """Standard error of an accuracy measured on ``images`` images, percentage points.

    How far other images, as many, would move the accuracy of the same network: half the width of
    Wilson's interval at one standard error. On many images that is √(p (1 − p) / n), which would
    be zero at 0 and at 100 %.
    """
    return _wilson(accuracy, images=images, z=1.0)[1]


def _wilson(accuracy: float, *, images: int, z: float) -> tuple[float, float]:
    """Middle and half width of Wilson's interval of ``z`` standard errors, percent."""
    p, n = accuracy / 100, images
    width = 1 + z**2 / n
    variance = max(0.0, p * (1 - p)) / n + (z / (2 * n)) ** 2
    return 100 * (p + z**2 / (2 * n)) / width, 100 * z * math.sqrt(variance) / width


def spread_interval(sd: float, *, freedom: float) -> tuple[float, float]:
    """95 % interval of a standard deviation of normal values, by the chi-square distribution.

    ``freedom`` is its degrees of freedom, which need not be a whole number.
    """
    from scipy.special import gammaincinv

    tails = ((1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2)
    low, high = (sd * math.sqrt(freedom / (2 * gammaincinv(freedom / 2, p))) for p in tails)
    return low, high


def half_width(sd: float, *, n: int, confidence: float, freedom: float | None = None) -> float:
    """Half of Student's t interval of the mean of ``n`` values with this standard deviation.

    ``freedom`` is the standard deviation's degrees of freedom; left out: n − 1.
    """
    from scipy.special import stdtrit

    df = n - 1 if freedom is None else freedom
    return float(stdtrit(df, (1 + confidence) / 2)) * sd / math.sqrt(n)


def _cut(ends: tuple[float, float], limits: tuple[float, float]) -> tuple[float, float]:
    return max(ends[0], limits[0]), min(ends[1], limits[1])
