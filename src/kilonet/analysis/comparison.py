"""One rung against another, paired by seed; and several such comparisons at once.

The paired t-test decides, at every number of seeds. An exact sign-flip test stands beside it as a
witness from six seeds on: it needs no normal distribution, but its least p value is 2 / 2ⁿ, so that
below six seeds it can show nothing. Sources: Gosset, Biometrika 1908, whose example is a paired
comparison; Fisher, "The design of experiments", 1935, section 21, for the sign flips; Holm, "A
simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 1979;
Serlin, "Confidence intervals and the scientific method: a case for Holm on the range", Journal of
Experimental Education 1993, for intervals that match Holm's verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from kilonet.analysis.statistics import CONFIDENCE, ROUNDING, half_width, standard_deviation

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_SIGN_FLIPS = 6
"""Seeds from which the sign-flip test can speak: 2 / 2⁶ = 0.031 is the first below 0.05."""

MAX_SIGN_FLIPS = 30
"""Seeds up to which all 2ⁿ signs are counted. For more the mean is near normal."""

Verdict = Literal[
    "better",
    "worse",
    "no difference shown",
    "one seed: nothing can be concluded",
    "no seed in common: nothing can be concluded",
    "other test images: nothing can be concluded",
]

OTHER_IMAGES: Verdict = "other test images: nothing can be concluded"
"""Of two rungs whose accuracies are measured on different images: a pair of seeds is no pair."""

LARGEST = 100.0
"""Accuracies are percent, so no difference is further from zero; intervals are cut there."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """After minus before, paired by seed, percentage points.

    As :func:`compare` returns it, it stands alone; :func:`correct` makes it one of several.

    Attributes:
        differences: one a seed that both have, in the order of the seeds.
        mean: of the differences; None without a seed in common.
        sd: sample standard deviation of the differences; None with fewer than two.
        ci95: 95 % Student-t interval of the mean, standing alone; None with fewer than two seeds,
            and where all differences are equal but not zero, so that nothing is known of their
            spread.
        p: of the paired t-test, two-sided, standing alone; None where ``ci95`` is.
        p_sign_flip: of the exact sign-flip test, two-sided, standing alone; None where ``p`` is,
            and with fewer than six seeds or more than thirty.
        comparisons: how many it is corrected for; 1 where it stands alone.
        p_adjusted: ``p`` after Holm's correction: what decides the verdict.
        confidence: of ``interval``: at least 0.95, the higher the more comparisons.
        interval: Student-t interval of the mean at ``confidence``. It leaves out zero where, and
            only where, a difference is shown.
        verdict: the plain word for it.
    """

    differences: tuple[float, ...]
    mean: float | None = None
    sd: float | None = None
    ci95: tuple[float, float] | None = None
    p: float | None = None
    p_sign_flip: float | None = None
    comparisons: int = 1
    p_adjusted: float | None = None
    confidence: float = CONFIDENCE
    interval: tuple[float, float] | None = None
    verdict: Verdict = "no difference shown"

    @property
    def n(self) -> int:
        """How many seeds both have."""
        return len(self.differences)

    @property
    def shown(self) -> bool:
        """Whether it is better or worse."""
        return self.verdict in ("better", "worse")

    @property
    def shown_alone(self) -> bool:
        """Whether the t-test alone, without a correction, would call it better or worse."""
        return self.p is not None and self.p < 1 - CONFIDENCE

    @property
    def tests_disagree(self) -> bool:
        """Whether t-test and sign-flip test, each alone, fall on different sides of 0.05."""
        if self.p_sign_flip is None:
            return False
        return self.shown_alone != (self.p_sign_flip < 1 - CONFIDENCE)


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A rung against another below it: the one before, or the first.

    Attributes:
        against: number of that other rung.
        final: difference of the final test accuracies.
        last_five: difference of the means of the last five epochs' test accuracies: steadier.
        unpaired: seeds that only one of the two rungs has, left out of the differences.
        epochs: how many ``last_five`` is the mean of, in both rungs: fewer than five where runs of
            either are shorter.
    """

    against: int
    final: Difference
    last_five: Difference
    unpaired: int
    epochs: int


def compare(before: Mapping[int, float], after: Mapping[int, float]) -> Difference:
    """The difference between two rungs: seed → accuracy of each, paired by the seeds in common."""
    differences = tuple(after[seed] - before[seed] for seed in sorted(before.keys() & after.keys()))
    n = len(differences)
    if n == 0:
        return Difference(differences=(), verdict="no seed in common: nothing can be concluded")
    mean = math.fsum(differences) / n
    if n == 1:
        verdict: Verdict = "one seed: nothing can be concluded"
        return Difference(differences=differences, mean=mean, verdict=verdict)
    sd = standard_deviation(differences)
    if sd < ROUNDING:
        # Equal differences: all zero, the step changed nothing; else a t-test has no spread to
        # hold the mean against, and would call two equal seeds certainty.
        if abs(mean) >= ROUNDING:
            return Difference(differences=differences, mean=mean, sd=0.0)
        nothing = (0.0, 0.0)
        return Difference(
            differences=differences,
            mean=0.0,
            sd=0.0,
            ci95=nothing,
            p=1.0,
            p_adjusted=1.0,
            interval=nothing,
        )
    p = _two_sided_p(mean / (sd / math.sqrt(n)), df=n - 1)
    half = half_width(sd, n=n, confidence=CONFIDENCE)
    alone = Difference(
        differences=differences,
        mean=mean,
        sd=sd,
        ci95=_cut(mean - half, mean + half),
        p=p,
        p_sign_flip=(sign_flip_p(differences) if MIN_SIGN_FLIPS <= n <= MAX_SIGN_FLIPS else None),
    )
    return _judged(alone, p_adjusted=p, level=1 - CONFIDENCE, comparisons=1)


def correct(differences: Sequence[Difference], *, comparisons: int) -> tuple[Difference, ...]:
    """Holm's correction: adjusted p values, the verdicts they decide, and intervals to match.

    Sorted, the smallest p value is held against 0.05 / m, the next against 0.05 / (m − 1), and so
    on to the first that fails, which ends it. So the chance of any word "better" or "worse" where
    there is no difference at all is at most 5 %, however the comparisons hang together. Each
    interval has the level that its p value was held against, and those after the first failure the
    level of that failure: so every interval leaves out zero where its difference is shown and
    holds it where it is not.

    Args:
        differences: each as :func:`compare` returned it; those without a p value are passed
            through.
        comparisons: the size m of the family: at least as many as there are. Those still to come
            count as p = 1, so that what is shown early stays shown when they have come.

    Raises:
        ValueError: if there are more differences than that.
    """
    if len(differences) > comparisons:
        raise ValueError(f"{len(differences)} differences in a family of {comparisons}")
    ranked = sorted(
        (difference.p, i) for i, difference in enumerate(differences) if difference.p is not None
    )
    corrected = [replace(difference, comparisons=comparisons) for difference in differences]
    adjusted, level, failed = 0.0, 1 - CONFIDENCE, False
    for rank, (p, i) in enumerate(ranked):
        divisor = comparisons - rank
        adjusted = max(adjusted, min(1.0, divisor * p))
        if not failed:
            level = (1 - CONFIDENCE) / divisor
            failed = adjusted >= 1 - CONFIDENCE
        corrected[i] = _judged(
            differences[i], p_adjusted=adjusted, level=level, comparisons=comparisons
        )
    return tuple(corrected)


def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided p value of the exact sign-flip test of a mean difference of zero.

    If the step did nothing, each seed's difference was as likely to come out with the other sign:
    the share of all 2ⁿ choices of signs whose mean is at least as far from zero as the one found.

    Args:
        differences: 1 to :data:`MAX_SIGN_FLIPS`.

    Raises:
        ValueError: if there are none, or too many to count.
    """
    n = len(differences)
    if not 1 <= n <= MAX_SIGN_FLIPS:
        raise ValueError(
            f"sign flips of {n} differences: 1 to {MAX_SIGN_FLIPS} can be gone through"
        )
    # Sums that are equal but for the order of their terms must not be told apart by rounding.
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


def _judged(
    difference: Difference, *, p_adjusted: float, level: float, comparisons: int
) -> Difference:
    """The difference with its adjusted p value, the verdict, and the interval at 1 − ``level``."""
    mean, sd = difference.mean, difference.sd
    if mean is None or sd is None:
        raise ValueError("a difference without a spread cannot be judged")
    half = half_width(sd, n=difference.n, confidence=1 - level) if sd else 0.0
    verdict: Verdict = "no difference shown"
    if p_adjusted < 1 - CONFIDENCE:
        verdict = "better" if mean > 0 else "worse"
    return replace(
        difference,
        comparisons=comparisons,
        p_adjusted=p_adjusted,
        confidence=1 - level,
        interval=_cut(mean - half, mean + half),
        verdict=verdict,
    )


def _cut(low: float, high: float) -> tuple[float, float]:
    return max(low, -LARGEST), min(high, LARGEST)


def _two_sided_p(t: float, *, df: int) -> float:
    from scipy.special import stdtr

    return 2 * float(stdtr(df, -abs(t)))
