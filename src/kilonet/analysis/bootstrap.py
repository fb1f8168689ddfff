"""The smoothed bootstrap-t: an interval of a mean that is drawn from the seeds themselves.

Student's t assumes that seeds are normally distributed; the bootstrap draws from the seeds. Its
usual form, the percentile interval, never leaves the range of the values, and three values contain
their true mean in 3 of 4 cases at most (see docs/statistics.md). Two changes correct that:

- Every resample's mean is divided by that resample's own standard error, as in Student's t: Efron,
  "Nonparametric standard errors and confidence intervals", Canadian Journal of Statistics 1981;
  Hall, "Theoretical comparison of bootstrap confidence intervals", Annals of Statistics 1988.
- A little normal noise is added to every resampled value, since one resample of three values in
  nine is the same value three times, without a standard error to divide by: Silverman and Young,
  "The bootstrap: to smooth or not to smooth?", Biometrika 1987; Polansky and Schucany, "Kernel
  smoothing to improve bootstrap confidence intervals", Journal of the Royal Statistical Society B
  1997. The bandwidth is the rule of thumb of Silverman, "Density estimation", 1986, equation 3.28:
  s (4 / 3n)^(1/5). With three seeds the noise decides nearly everything, with twenty the seeds do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_SEEDS = 3
"""Two values show nothing of the form of a distribution: below this there is no bootstrap."""

RESAMPLES = 4999
"""The 2.5 % ends are the 125th from either side: (4,999 + 1) · 0.025."""

# Of the generator: any number, but always the same, so that a report can be rebuilt.
_KEY = 0x6B696C6F


def studentized_bootstrap(
    values: Sequence[float], *, confidence: float = 0.95
) -> tuple[float, float]:
    """The smoothed bootstrap-t interval of the mean; equal values in any order give equal bits.

    Args:
        values: at least :data:`MIN_SEEDS`, not all equal.
        confidence: of the interval.

    Raises:
        ValueError: if there are fewer values, or no spread.
    """
    x = np.sort(np.asarray(values, dtype=np.float64))
    n = len(x)
    if n < MIN_SEEDS:
        raise ValueError(f"a bootstrap of {n} values: it takes at least {MIN_SEEDS}")
    mean, sd = float(x.mean()), float(x.std(ddof=1))
    if sd == 0:
        raise ValueError("a bootstrap of equal values: they have no spread")
    picked, noise = _draws(n)
    bandwidth = (4 / (3 * n)) ** 0.2
    # Of standardized values, so that the interval scales with them.
    drawn = ((x - mean) / sd)[picked] + bandwidth * noise
    t = drawn.mean(axis=1) / (drawn.std(axis=1, ddof=1) / math.sqrt(n))
    t.sort()
    tail = max(1, round((RESAMPLES + 1) * (1 - confidence) / 2))
    error = sd / math.sqrt(n)
    # The ends swap: where a resample's mean is above the seeds', theirs may be above the truth.
    return mean - float(t[-tail]) * error, mean - float(t[tail - 1]) * error


@lru_cache(maxsize=32)
def _draws(n: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Which values each resample takes, and its normal noise: (RESAMPLES, n) each.

    From the generator's bits: NumPy keeps these between versions, but not its distributions.
    """
    from scipy.special import ndtri

    bits = np.random.Philox(key=[_KEY, n]).random_raw((2, RESAMPLES, n))
    # Whole steps of 2⁻⁵³, moved by half a step: never 0 or 1.
    uniform = ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    picked = np.minimum((uniform[0] * n).astype(np.int64), n - 1)
    noise: NDArray[np.float64] = ndtri(uniform[1])
    for array in (picked, noise):
        array.flags.writeable = False
    return picked, noise
