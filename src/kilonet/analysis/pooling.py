"""The spread that a study's stages share, and a comparison's part of it: the moderated t-test.

Three seeds hardly show how much the differences between two stages spread, so the t-test of these
alone has to allow for nearly any spread. The other stages were trained with the same seeds on the
same images, and their spread is about the same: pooled over the study it is known far better. A
comparison is tested against its own spread and the pooled one together. The pooled one counts like
:data:`PRIOR_FREEDOM` further degrees of freedom and no more, because stages do not spread exactly
alike; so with many seeds a comparison's own spread decides. Sources: Smyth, "Linear models and
empirical Bayes methods for assessing differential expression in microarray experiments",
Statistical Applications in Genetics and Molecular Biology 2004, equations for s̃² and d₀ + d in
section 3, and the limit of the degrees of freedom as in his program limma; Fisher, "The arrangement
of field experiments", 1926, for stages × seeds (randomized blocks). docs/statistics.md has the
coverage and the power.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kilonet.analysis.descriptive import ROUNDING

PRIOR_FREEDOM = 4.0
"""Degrees of freedom that the pooled spread counts for. A prior of 4 expects the standard
deviations of a study's comparisons to differ by a factor of about 1.5 (e to the power of half the
standard deviation of the logarithm of chi-square with 4 degrees of freedom, 0.40)."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """The spread of paired differences, pooled over stages.

    Attributes:
        sd: standard deviation of the difference between two stages, paired by seed.
        freedom: its degrees of freedom; with the same seeds in all stages (stages − 1)(seeds − 1).
        stages: how many are pooled.
    """

    sd: float
    freedom: int
    stages: int


def pool_spread(stages: Sequence[Mapping[int, float]]) -> Pool | None:
    """The pooled spread of stages, each seed → accuracy; None where nothing tells a spread.

    An accuracy is the stage's plus the seed's plus a rest (two-way analysis of variance); a
    difference between two stages has two rests. Stages need not have the same seeds.
    """
    cells = [(i, seed, value) for i, stage in enumerate(stages) for seed, value in stage.items()]
    seeds = sorted({seed for _, seed, _ in cells})
    design = np.zeros((len(cells), len(stages) + len(seeds)))
    for row, (i, seed, _) in enumerate(cells):
        design[row, i] = design[row, len(stages) + seeds.index(seed)] = 1.0
    values = np.array([value for *_, value in cells])
    if not len(values):
        return None
    values = values - values.mean()  # small numbers round less
    solution, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    freedom = len(values) - int(rank)
    if freedom < 1:
        return None
    rest = values - design @ solution
    sd = math.sqrt(2 * float(rest @ rest) / freedom)
    return Pool(sd=sd, freedom=freedom, stages=len(stages)) if sd >= ROUNDING else None


def moderate(sd: float, *, n: int, pool: Pool | None) -> tuple[float, float]:
    """The spread that a comparison is tested against, and its degrees of freedom.

    The variances of ``n`` differences and of the pool are averaged, weighted by n − 1 and
    :data:`PRIOR_FREEDOM`. The degrees of freedom are the sum of the weights, but never more than
    the pool has: with few stages it is itself known only roughly.
    """
    if pool is None:
        return sd, n - 1
    total = n - 1 + PRIOR_FREEDOM
    variance = ((n - 1) * sd**2 + PRIOR_FREEDOM * pool.sd**2) / total
    return math.sqrt(variance), max(n - 1.0, min(total, pool.freedom))


def planned_freedom(n: int, *, pool: Pool | None) -> float:
    """The degrees of freedom of a comparison if all stages of the pool had ``n`` seeds."""
    if pool is None:
        return n - 1
    return max(n - 1.0, min(n - 1 + PRIOR_FREEDOM, (pool.stages - 1) * (n - 1)))
