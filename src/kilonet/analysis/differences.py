"""One stage against another, paired by seed; and several such comparisons at once.

The paired t-test decides, at every number of seeds; in a study its spread is moderated by that of
all stages (:mod:`kilonet.analysis.pooling`). From six seeds on an exact sign-flip test
checks it: that needs no normal distribution, but its least p value is 2 / 2ⁿ, so that below six
seeds it can show nothing. Sources: Gosset, Biometrika 1908, whose example is a paired
comparison; Fisher, "The design of experiments", 1935, section 21, for the sign flips; Holm, "A
simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 1979;
Serlin, "Confidence intervals and the scientific method: a case for Holm on the range", Journal of
Experimental Education 1993, for intervals that match Holm's verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import TYPE_CHECKING

import numpy as np

from kilonet.analysis.descriptive import CONFIDENCE, ROUNDING, half_width
from kilonet.analysis.findings import Verdict
from kilonet.analysis.pooling import Pool, moderate

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_SIGN_FLIPS = 6
"""Seeds that the sign-flip test needs to show anything: 2 / 2⁶ = 0.031 is the first below 0.05."""

MAX_SIGN_FLIPS = 30
"""Seeds up to which all 2ⁿ signs are counted. For more the mean is near normal."""

LARGEST = 100.0
"""Accuracies are percent, so no difference is further from zero; intervals are cut there."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """After minus before, paired by seed, percentage points.

    :func:`compare` makes one by itself; :func:`correct` makes it one of several.

    Attributes:
        differences: one a seed that both have, in the order of the seeds.
        verdict: better, worse, no difference shown; or why nothing can be concluded: one seed, no
            seed in common, other images.
        mean: of the differences; None without a seed in common.
        sd: sample standard deviation of the differences; None with fewer than two.
        ci95: 95 % Student-t interval of the mean, by itself; None with fewer than two seeds, and
            where all differences are equal, so that their own spread is unknown.
        p: of the paired t-test, two-sided, by itself: by its own spread alone, and as if it were
            the only comparison; None where ``ci95`` is.
        p_sign_flip: of the exact sign-flip test, two-sided, by itself; None where ``p`` is, and
            with fewer than six seeds or more than thirty.
        pool: the spread of all the study's stages; None by itself.
        sd_moderated: the standard deviation that decides: ``sd`` and the pool's, weighted
            (:func:`~kilonet.analysis.pooling.moderate`); ``sd`` without a pool, None if that is
            zero.
        freedom: its degrees of freedom; n − 1 without a pool, None where ``sd_moderated`` is.
        p_moderated: of the moderated t-test, two-sided, as if it were the only comparison; ``p``
            without a pool.
        comparisons: how many it is corrected for; 1 by itself.
        p_adjusted: ``p_moderated`` after Holm's correction; it decides the verdict.
        confidence: of ``interval``: at least 0.95, the higher the more comparisons.
        interval: Student-t interval of the mean at ``confidence``, of ``sd_moderated``. It leaves
            out zero exactly where a difference is shown.
    """

    differences: tuple[float, ...]
    verdict: Verdict = Verdict.NO_DIFFERENCE
    mean: float | None = None
    sd: float | None = None
    ci95: tuple[float, float] | None = None
    p: float | None = None
    p_sign_flip: float | None = None
    pool: Pool | None = None
    sd_moderated: float | None = None
    freedom: float | None = None
    p_moderated: float | None = None
    comparisons: int = 1
    p_adjusted: float | None = None
    confidence: float = CONFIDENCE
    interval: tuple[float, float] | None = None

    @property
    def n(self) -> int:
        """How many seeds both have."""
        return len(self.differences)

    @property
    def shown(self) -> bool:
        """Whether the verdict is better or worse."""
        return self.verdict in (Verdict.BETTER, Verdict.WORSE)

    @property
    def moderated95(self) -> tuple[float, float] | None:
        """95 % interval of the mean with the moderated spread, without correction."""
        return None if self.p_moderated is None else self.moderated_interval(CONFIDENCE)

    def moderated_interval(self, confidence: float) -> tuple[float, float]:
        """Student's interval of the mean with the moderated spread.

        Raises:
            ValueError: if there is no spread.
        """
        if self.mean is None or self.sd_moderated is None:
            raise ValueError("a difference without a spread has no interval")
        half = half_width(self.sd_moderated, n=self.n, confidence=confidence, freedom=self.freedom)
        return _cut(self.mean - half, self.mean + half)


def compare(
    before: Mapping[int, float], after: Mapping[int, float], *, pool: Pool | None = None
) -> Difference:
    """The difference between two stages: seed → accuracy of each, paired by the seeds in common.

    ``pool`` is the spread of the study that both are part of; left out: their own alone decides.
    """
    differences = tuple(after[seed] - before[seed] for seed in sorted(before.keys() & after.keys()))
    n = len(differences)
    if n == 0:
        return Difference(differences=(), verdict=Verdict.NO_COMMON_SEED)
    mean = fmean(differences)
    if n == 1:
        return Difference(differences=differences, mean=mean, verdict=Verdict.ONE_SEED)
    sd = stdev(differences)
    if sd < ROUNDING:
        # A t-test of its own has no spread to compare the mean with, and would call two equal seeds
        # certainty.
        sd = 0.0
    found = Difference(differences=differences, mean=mean, sd=sd, pool=pool)
    if sd:
        half = half_width(sd, n=n, confidence=CONFIDENCE)
        flips = MIN_SIGN_FLIPS <= n <= MAX_SIGN_FLIPS
        found = replace(
            found,
            ci95=_cut(mean - half, mean + half),
            p=_two_sided_p(mean / (sd / math.sqrt(n)), df=n - 1),
            p_sign_flip=sign_flip_p(differences) if flips else None,
        )
    moderated, freedom = moderate(sd, n=n, pool=pool)
    if moderated < ROUNDING:
        return found
    p = _two_sided_p(mean / (moderated / math.sqrt(n)), df=freedom)
    alone = replace(found, sd_moderated=moderated, freedom=freedom, p_moderated=p)
    return _with_verdict(alone, p_adjusted=p, level=1 - CONFIDENCE, comparisons=1)


def correct(differences: Sequence[Difference], *, comparisons: int) -> tuple[Difference, ...]:
    """Holm's correction: adjusted p values, the verdicts they decide, and intervals to match.

    Sorted, the smallest p value is compared with 0.05 / m, the next with 0.05 / (m − 1), and so on
    to the first that fails. So the chance of any verdict "better" or "worse" where there is no
    difference at all is at most 5 %, however the comparisons depend on one another. Each interval
    has the level that its p value was compared with, and those after the first failure the level of
    that failure: so an interval leaves out zero exactly where its difference is shown.

    Args:
        differences: each as :func:`compare` returned it; those without a p value are passed
            through.
        comparisons: the size m of the family: at least as many as there are. Those still to come
            count as p = 1, so that what is shown early stays shown.

    Raises:
        ValueError: if there are more differences than that.
    """
    if len(differences) > comparisons:
        raise ValueError(f"{len(differences)} differences in a family of {comparisons}")
    ranked = sorted(
        (difference.p_moderated, i)
        for i, difference in enumerate(differences)
        if difference.p_moderated is not None
    )
    corrected = [replace(difference, comparisons=comparisons) for difference in differences]
    adjusted, level, failed = 0.0, 1 - CONFIDENCE, False
    for rank, (p, i) in enumerate(ranked):
        divisor = comparisons - rank
        adjusted = max(adjusted, min(1.0, divisor * p))
        if not failed:
            level = (1 - CONFIDENCE) / divisor
            failed = adjusted >= 1 - CONFIDENCE
        corrected[i] = _with_verdict(
            differences[i], p_adjusted=adjusted, level=level, comparisons=comparisons
        )
    return tuple(corrected)


def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided p value of the exact sign-flip test of a mean difference of zero.

    If the change does nothing, each seed's difference is as likely to have the other sign: p is the
    share of all 2ⁿ choices of signs whose mean is at least as far from zero as the one found.

    Args:
        differences: 1 to :data:`MAX_SIGN_FLIPS`.

    Raises:
        ValueError: if there are none, or too many to count.
    """
    n = len(differences)
    if not 1 <= n <= MAX_SIGN_FLIPS:
        raise ValueError(f"sign flips of {n} differences: they take 1 to {MAX_SIGN_FLIPS}")
    # Sums that differ only in the order of their terms count as equal.
    far = abs(math.fsum(differences)) - ROUNDING
    if far <= 0:
        return 1.0
    # Every sum is one of the first half's plus one of the second's: with these in order, as many
    # look-ups as a half has sums count all 2ⁿ.
    first, second = _signed_sums(differences[: n // 2]), _signed_sums(differences[n // 2 :])
    above = len(second) - np.searchsorted(second, far - first, side="left")
    below = np.searchsorted(second, -far - first, side="right")
    return float(above.sum() + below.sum()) / 2.0**n


def _signed_sums(differences: Sequence[float]) -> NDArray[np.float64]:
    """The sum under each choice of signs, in rising order: (2ⁿ)."""
    sums = np.zeros(1)
    for difference in differences:
        sums = np.concatenate([sums + difference, sums - difference])
    return np.sort(sums)


def _with_verdict(
    difference: Difference, *, p_adjusted: float, level: float, comparisons: int
) -> Difference:
    """The difference with its adjusted p value, the verdict, and the interval at 1 − ``level``."""
    verdict = Verdict.NO_DIFFERENCE
    if p_adjusted < 1 - CONFIDENCE:
        verdict = Verdict.BETTER if (difference.mean or 0.0) > 0 else Verdict.WORSE
    return replace(
        difference,
        comparisons=comparisons,
        p_adjusted=p_adjusted,
        confidence=1 - level,
        interval=difference.moderated_interval(1 - level),
        verdict=verdict,
    )


def _cut(low: float, high: float) -> tuple[float, float]:
    return max(low, -LARGEST), min(high, LARGEST)


def _two_sided_p(t: float, *, df: float) -> float:
    from scipy.special import stdtr

    return 2 * float(stdtr(df, -abs(t)))
