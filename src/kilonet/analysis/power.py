"""How many seeds would show a difference, and what difference some seeds could have shown.

The power of a two-sided paired t-test by the noncentral t distribution: Cohen, "Statistical power
analysis for the behavioral sciences", 1988, chapter 2. Both tails are counted; the one where a true
difference is taken for one of the other sign is next to nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kilonet.analysis.comparison import Difference
from kilonet.analysis.statistics import CONFIDENCE, spread_interval

POWER = 0.8
"""The chance wanted of showing a difference that is there: 4 of 5 studies. Cohen's convention."""

WANTED = 0.05
"""The difference, percentage points, that seeds are counted for: five images of 10,000."""

PAIRED_SD_IN_BINOMIAL_ERRORS = 1.2
"""What one seed cannot tell is assumed: paired differences of final accuracy with a standard
deviation of this many binomial errors. Measured on the bundled study's three steps with five seeds:
0.098 points (pooled), at a binomial error of 0.082."""

MAX_SEEDS = 10_000
"""Beyond this many, seeds are not counted."""

# The normal distribution is integrated to this many standard deviations either side, with so many
# points on each side of the kink.
_REACH, _POINTS = 9.0, 2000


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """What the seeds of a study can tell, and how many would tell more.

    Attributes:
        sd: standard deviation of the differences between two rungs paired by seed, percentage
            points.
        sd95: 95 % interval of ``sd``, by the chi-square distribution; None where it is assumed.
        assumed: whether ``sd`` is the documented default rather than measured.
        steps: how many steps' differences ``sd`` is pooled from; 0 where it is assumed.
        level: significance that one comparison of the study is held against at worst: 0.05 over
            the number of comparisons.
        comparisons: that number.
        wanted: the difference that ``seeds_for_wanted`` is for, percentage points.
        seeds_for_wanted: seeds a rung that would show it with :data:`POWER`; never more than
            :data:`MAX_SEEDS`.
        seeds_for_wanted95: the same for both ends of ``sd95``: few seeds tell a spread roughly.
        detectable: the difference that the study's seeds show with :data:`POWER`; None with one.
    """

    sd: float
    sd95: tuple[float, float] | None
    assumed: bool
    steps: int
    level: float
    comparisons: int
    wanted: float
    seeds_for_wanted: int
    seeds_for_wanted95: tuple[int, int] | None
    detectable: float | None


def sensitivity_of(
    steps: Sequence[Difference], *, seeds: int, comparisons: int, binomial: float, images: int
) -> Sensitivity:
    """From the steps' own spread, pooled, or from the documented default where there is none.

    Args:
        steps: final accuracy of each rung against the one before.
        seeds: the fewest that a rung has.
        comparisons: what the study's verdicts are corrected for.
        binomial: standard error of the last rung's accuracy, percentage points.
        images: of the test set.
    """
    measured = [difference for difference in steps if difference.sd]
    if measured:
        freedom = sum(difference.n - 1 for difference in measured)
        squares = math.fsum((d.n - 1) * (d.sd or 0.0) ** 2 for d in measured)
        sd = math.sqrt(squares / freedom)
    else:
        # Where not an image is wrong the binomial error is none; one image is the least.
        sd = PAIRED_SD_IN_BINOMIAL_ERRORS * max(binomial, 100 / images)
    level = (1 - CONFIDENCE) / comparisons
    wanted = max(WANTED, 100 / images)
    sd95 = seeds95 = None
    if measured:
        # Steps that follow one another share a rung, so the spreads of their differences hang
        # together: the correlation of two such differences is -1/2, that of their variances 1/4.
        shared = len(measured) / (len(measured) + (len(measured) - 1) / 2)
        sd95 = spread_interval(sd, freedom=freedom * shared)
        low, high = (seeds_needed(wanted, sd=end, level=level) for end in sd95)
        seeds95 = (low, high)
    return Sensitivity(
        sd=sd,
        sd95=sd95,
        assumed=not measured,
        steps=len(measured),
        level=level,
        comparisons=comparisons,
        wanted=wanted,
        seeds_for_wanted=seeds_needed(wanted, sd=sd, level=level),
        seeds_for_wanted95=seeds95,
        detectable=detectable_difference(sd=sd, n=seeds, level=level) if seeds > 1 else None,
    )


def power(difference: float, *, sd: float, n: int, level: float = 0.05) -> float:
    """The chance that a two-sided paired t-test of ``n`` seeds shows a true difference.

    Args:
        difference: the true mean difference, percentage points.
        sd: standard deviation of the paired differences, percentage points; above 0.
        n: seeds; at least 2.
        level: significance level.
    """
    from scipy.special import chdtr, stdtrit

    df, shift = n - 1, abs(difference) / sd * math.sqrt(n)
    limit = float(stdtrit(df, 1 - level / 2))
    # t is (shift + Z) / √(V / df) with Z normal and V of chi-square: for each Z the chance that V
    # is small enough, averaged over Z. SciPy's noncentral t is no number for two seeds and a far
    # shift. With one degree of freedom there is a kink at Z = -shift.
    kink = max(-shift, -_REACH)
    steps = (np.arange(_POINTS) + 0.5) / _POINTS
    chance = 0.0
    for low, high in ((-_REACH, kink), (kink, _REACH)):
        z = low + (high - low) * steps
        density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
        below = chdtr(df, df * ((shift + z) / limit) ** 2)
        chance += float((density * below).mean()) * (high - low)
    return chance


def seeds_needed(difference: float, *, sd: float, level: float = 0.05) -> int:
    """The fewest seeds whose power for ``difference`` is at least :data:`POWER`.

    Never more than :data:`MAX_SEEDS`. Arguments as of :func:`power`; ``difference`` not zero.
    """
    few, many = 1, 2
    while power(difference, sd=sd, n=many, level=level) < POWER:
        if many == MAX_SEEDS:
            return many
        few, many = many, min(2 * many, MAX_SEEDS)
    while many - few > 1:
        middle = (few + many) // 2
        if power(difference, sd=sd, n=middle, level=level) < POWER:
            few = middle
        else:
            many = middle
    return many


def detectable_difference(*, sd: float, n: int, level: float = 0.05) -> float:
    """The least difference, percentage points, that ``n`` seeds show with :data:`POWER`.

    Arguments as of :func:`power`.
    """
    # In units of the standard error; power rises with the difference, so halving finds it.
    low, high = 0.0, 1.0
    while power(high, sd=math.sqrt(n), n=n, level=level) < POWER:
        low, high = high, 2 * high
    while high - low > 1e-7 * high:
        middle = (low + high) / 2
        if power(middle, sd=math.sqrt(n), n=n, level=level) < POWER:
            low = middle
        else:
            high = middle
    return high * sd / math.sqrt(n)
