"""How many seeds would show a difference, and what difference some seeds could have shown.

The power of a two-sided paired t-test, moderated or not, by the noncentral t distribution: Cohen,
"Statistical power analysis for the behavioral sciences", 1988, chapter 2. Both tails are counted;
the one opposite to the true difference adds next to nothing.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from kilonet.analysis.descriptive import CONFIDENCE, ROUNDING, spread_interval
from kilonet.analysis.differences import Difference
from kilonet.analysis.pooling import Pool, planned_freedom

POWER = 0.8
"""The chance wanted of showing a true difference: 4 of 5 studies. Cohen's convention."""

WANTED = 0.05
"""The difference, percentage points, that seeds are counted for: five images of 10,000."""

PAIRED_SD_IN_BINOMIAL_ERRORS = 1.2
"""Assumed with one seed: paired differences of final accuracy have a standard deviation of this
many binomial errors. Measured on the bundled study with five seeds: 0.098 points (pooled over its
three changes), at a binomial error of 0.082."""

MAX_SEEDS = 10_000
"""Beyond this many, seeds are not counted."""

SEEDS_NAMED = 50
"""A difference that takes more seeds than this is too small to be worth showing."""

# The normal distribution is integrated to this many standard deviations either side, with so many
# points on each side of the kink.
_REACH, _POINTS = 9.0, 2000


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """What differences the seeds of a study can show, and how many seeds would show more.

    Attributes:
        sd: standard deviation of the differences between two stages paired by seed, percentage
            points: pooled over all stages (:class:`~kilonet.analysis.pooling.Pool`).
        sd95: 95 % interval of ``sd``; None where it is assumed.
        assumed: whether ``sd`` is the documented default, not measured.
        level: significance level of one comparison at its strictest: 0.05 over ``comparisons``.
        comparisons: how many the study's verdicts are corrected for.
        wanted: the difference that ``seeds_for_wanted`` is for, percentage points.
        seeds_for_wanted: seeds a stage that would show it with :data:`POWER`; never more than
            :data:`MAX_SEEDS`.
        seeds_for_wanted95: the same for both ends of ``sd95``.
        detectable: the difference that the study's seeds show with :data:`POWER`; None with one.
    """

    sd: float
    sd95: tuple[float, float] | None
    assumed: bool
    level: float
    comparisons: int
    wanted: float
    seeds_for_wanted: int
    seeds_for_wanted95: tuple[int, int] | None
    detectable: float | None


def sensitivity_of(
    effects: Sequence[Difference], *, seeds: int, comparisons: int, binomial: float, images: int
) -> Sensitivity:
    """From the spread of the effects; assumed by a documented default where there is none.

    Args:
        effects: final accuracy of each stage against the one before.
        seeds: the fewest that a stage has.
        comparisons: what the study's verdicts are corrected for.
        binomial: standard error of the last stage's accuracy, percentage points.
        images: that accuracies are measured on.
    """
    level, wanted = (1 - CONFIDENCE) / comparisons, max(WANTED, 100 / images)
    # Without a wrong image the binomial error is zero; one image is the least.
    sd = PAIRED_SD_IN_BINOMIAL_ERRORS * max(binomial, 100 / images)
    sd95 = seeds95 = None
    pool = _pooled(effects)
    freedom = partial(planned_freedom, pool=pool)
    if pool is not None:
        sd = pool.sd
        sd95 = spread_interval(sd, freedom=pool.freedom)
        low, high = (seeds_needed(wanted, sd=end, level=level, freedom=freedom) for end in sd95)
        seeds95 = (low, high)
    return Sensitivity(
        sd=sd,
        sd95=sd95,
        assumed=pool is None,
        level=level,
        comparisons=comparisons,
        wanted=wanted,
        seeds_for_wanted=seeds_needed(wanted, sd=sd, level=level, freedom=freedom),
        seeds_for_wanted95=seeds95,
        detectable=(
            detectable_difference(sd=sd, n=seeds, level=level, freedom=freedom(seeds))
            if seeds > 1
            else None
        ),
    )


def _pooled(effects: Sequence[Difference]) -> Pool | None:
    """The study's spread: the widest of its pools, where it has several measures or test sets.

    Without any, as where every comparison has a seed that fell far behind, the effects' own.
    """
    pools = [effect.pool for effect in effects if effect.pool is not None]
    if not pools:
        own = [effect for effect in effects if effect.sd]
        pools = [Pool(sd=effect.sd or 0.0, freedom=effect.n - 1, stages=2) for effect in own]
    return max(pools, key=lambda pool: pool.sd, default=None)


def power(
    difference: float, *, sd: float, n: int, level: float = 0.05, freedom: float | None = None
) -> float:
    """The chance that a two-sided paired t-test of ``n`` seeds shows a true difference.

    Args:
        difference: the true mean difference, percentage points.
        sd: standard deviation of the paired differences, percentage points; above 0.
        n: seeds; at least 2.
        level: significance level.
        freedom: degrees of freedom of the estimate of ``sd``; left out: n − 1.
    """
    from scipy.special import chdtr, stdtrit

    df = n - 1 if freedom is None else freedom
    shift = abs(difference) / sd * math.sqrt(n)
    limit = float(stdtrit(df, 1 - level / 2))
    # t is (shift + Z) / √(V / df) with Z normal and V of chi-square: for each Z the chance that V
    # is small enough, averaged over Z. SciPy's noncentral t is not a number for two seeds and a
    # large shift. With one degree of freedom there is a kink at Z = -shift.
    kink = max(-shift, -_REACH)
    steps = (np.arange(_POINTS) + 0.5) / _POINTS
    chance = 0.0
    for low, high in ((-_REACH, kink), (kink, _REACH)):
        z = low + (high - low) * steps
        density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
        below = chdtr(df, df * ((shift + z) / limit) ** 2)
        chance += float((density * below).mean()) * (high - low)
    return chance


def seeds_needed(
    difference: float,
    *,
    sd: float,
    level: float = 0.05,
    freedom: Callable[[int], float] | None = None,
) -> int:
    """The fewest seeds whose power for ``difference`` is at least :data:`POWER`.

    Never more than :data:`MAX_SEEDS`. Arguments as of :func:`power`; ``difference`` not zero;
    ``freedom`` of a number of seeds.
    """

    def reached(n: int) -> float:
        df = None if freedom is None else freedom(n)
        return power(difference, sd=sd, n=n, level=level, freedom=df)

    return 2 + bisect_left(range(2, MAX_SEEDS), POWER, key=reached)


def seeds_to_show(difference: Difference) -> int | None:
    """The seeds a stage that would show a difference as large as the one measured, with its spread.

    At the level that the difference was compared with, so corrected as it is. None where it is
    shown, and where nothing can be told: fewer than two seeds, no difference, or no spread.
    """
    mean, sd = difference.mean or 0.0, difference.sd_moderated
    if difference.shown or not sd or abs(mean) < ROUNDING:
        return None
    freedom = partial(planned_freedom, pool=difference.pool)
    needed = seeds_needed(mean, sd=sd, level=1 - difference.confidence, freedom=freedom)
    return max(difference.n + 1, needed)


def detectable(difference: Difference) -> float:
    """The least difference that a comparison with this spread and level shows with :data:`POWER`.

    Raises:
        ValueError: if it has no spread.
    """
    if not difference.sd_moderated:
        raise ValueError("a difference without a spread does not tell what it would have shown")
    return detectable_difference(
        sd=difference.sd_moderated,
        n=difference.n,
        level=1 - difference.confidence,
        freedom=difference.freedom,
    )


def detectable_difference(
    *, sd: float, n: int, level: float = 0.05, freedom: float | None = None
) -> float:
    """The least difference, percentage points, that ``n`` seeds show with :data:`POWER`.

    Arguments as of :func:`power`.
    """
    df = float(n - 1 if freedom is None else freedom)
    return _detectable(df, level) * sd / math.sqrt(n)


@cache
def _detectable(freedom: float, level: float) -> float:
    """The same in standard errors; power rises with the difference, so halving finds it."""

    def reached(shift: float) -> float:
        return power(shift, sd=1.0, n=1, level=level, freedom=freedom)

    low, high = 0.0, 1.0
    while reached(high) < POWER:
        low, high = high, 2 * high
    while high - low > 1e-7 * high:
        middle = (low + high) / 2
        if reached(middle) < POWER:
            low = middle
        else:
            high = middle
    return high
