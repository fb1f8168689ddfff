"""The tests that could decide whether a stage is better than another, as an estimate each.

Every one takes a ladder whose seeds are known image by image and gives, for each comparison that a
report makes, an estimate, its standard error and its degrees of freedom. stage_power.py and
stage_seeds.py count how often they are right.

What a test is about is the population that its error is over. *New seeds, this test set*: would
infinitely many seeds differ on these very images? *New seeds and new images*: would they on
infinitely many images? The second claims more, and takes more to show.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from kilonet.analysis.descriptive import ROUNDING
from kilonet.analysis.pooling import moderate, pool_spread

LAST = 5


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """Stages by seeds.

    Attributes:
        accuracies: (stages, seeds, epochs) percent; the last epochs, the last one last.
        right: (stages, seeds, some images) bool, at the last epoch. Images that are left out are
            right in every network.
        images: how many the test set has.
    """

    accuracies: np.ndarray
    right: np.ndarray
    images: int


@dataclass(frozen=True, kw_only=True)
class Estimates:
    """Of each comparison of the ladder.

    Attributes:
        mean: (comparisons) percentage points.
        error: its standard error.
        freedom: its degrees of freedom; infinite for a normal distribution.
    """

    mean: np.ndarray
    error: np.ndarray
    freedom: np.ndarray

    def p(self) -> np.ndarray:
        """(comparisons) two-sided p values, without correction; 1 where nothing has a spread."""
        known = self.error > ROUNDING
        t = np.divide(np.abs(self.mean), self.error, out=np.zeros_like(self.mean), where=known)
        return 2 * stdtr(self.freedom, -t)

    def covers(self, truth: np.ndarray) -> np.ndarray:
        """(comparisons) whether the 95 % interval, without correction, contains the truth.

        Without a spread there is no interval, which claims nothing.
        """
        half = stdtrit(self.freedom, 0.975) * self.error
        return (np.abs(self.mean - truth) <= half) | (self.error <= ROUNDING)


@dataclass(frozen=True, kw_only=True)
class Test:
    """A test by name.

    Attributes:
        name: for the tables.
        estimate: ladder → estimates.
        measure: what it compares, of each seed and comparison: (stages, seeds, epochs) →
            (comparisons, seeds).
    """

    name: str
    estimate: Callable[[Ladder], Estimates]
    measure: Callable[[np.ndarray], np.ndarray]


def comparisons(stages: int) -> list[tuple[int, int]]:
    """Each stage with the one before, then from the third on with the first, as in a report."""
    return [(i - 1, i) for i in range(1, stages)] + [(0, i) for i in range(2, stages)]


def shown(p: np.ndarray) -> np.ndarray:
    """(comparisons) which are better or worse at 0.05 after Holm's correction."""
    order = np.argsort(p)
    rejected = np.zeros(len(p), bool)
    for rank, i in enumerate(order):
        if p[i] * (len(p) - rank) >= 0.05:
            break
        rejected[i] = True
    return rejected


# What a seed is measured by: (stages, seeds, epochs) → (stages, seeds).


def final(accuracies: np.ndarray) -> np.ndarray:
    """The last epoch."""
    return accuracies[..., -1]


def last_three(accuracies: np.ndarray) -> np.ndarray:
    """The mean of the last three epochs."""
    return accuracies[..., -3:].mean(axis=-1)


def last_five(accuracies: np.ndarray) -> np.ndarray:
    """The mean of the last five epochs."""
    return accuracies[..., -LAST:].mean(axis=-1)


def line_end(accuracies: np.ndarray) -> np.ndarray:
    """The last epoch on the least-squares line through the last five: (−1, 0, 1, 2, 3) / 5."""
    return accuracies[..., -LAST:] @ (np.arange(LAST) - 1.0) / LAST


Measure = Callable[[np.ndarray], np.ndarray]


def paired(measure: Measure) -> Callable[[Ladder], Estimates]:
    """Student's t of the seeds' differences (Gosset 1908)."""

    def estimate(ladder: Ladder) -> Estimates:
        differences = _differences(measure(ladder.accuracies))
        n = differences.shape[1]
        error = differences.std(axis=1, ddof=1) / n**0.5
        return _estimates(differences.mean(axis=1), error, n - 1)

    return estimate


def unpaired(measure: Measure) -> Callable[[Ladder], Estimates]:
    """Welch's t: as if the stages had no seed in common (Welch 1947)."""

    def estimate(ladder: Ladder) -> Estimates:
        values = measure(ladder.accuracies)
        n = values.shape[1]
        errors = values.var(axis=1, ddof=1) / n
        before, after = (errors[[pair[end] for pair in comparisons(len(values))]] for end in (0, 1))
        with np.errstate(divide="ignore", invalid="ignore"):
            freedom = (before + after) ** 2 * (n - 1) / (before**2 + after**2)
        mean = _differences(values).mean(axis=1)
        return _estimates(mean, np.sqrt(before + after), np.nan_to_num(freedom, nan=1.0))

    return estimate


def pooled(measure: Measure) -> Callable[[Ladder], Estimates]:
    """The residual of stages × seeds for all comparisons alike (Fisher's randomized blocks)."""

    def estimate(ladder: Ladder) -> Estimates:
        values = measure(ladder.accuracies)
        pool = pool_spread([dict(enumerate(stage.tolist())) for stage in values])
        mean = _differences(values).mean(axis=1)
        if pool is None:
            return _estimates(mean, 0.0, 1)
        return _estimates(mean, pool.sd / values.shape[1] ** 0.5, pool.freedom)

    return estimate


def moderated(measure: Measure) -> Callable[[Ladder], Estimates]:
    """kilonet's own spread: of the comparison and of all stages together (Smyth 2004)."""

    def estimate(ladder: Ladder) -> Estimates:
        values = measure(ladder.accuracies)
        differences = _differences(values)
        n = differences.shape[1]
        pool = pool_spread([dict(enumerate(stage.tolist())) for stage in values])
        spreads = differences.std(axis=1, ddof=1)
        found = np.array([moderate(float(sd), n=n, pool=pool) for sd in spreads])
        return _estimates(differences.mean(axis=1), found[:, 0] / n**0.5, found[:, 1])

    return estimate


def images_only(ladder: Ladder) -> Estimates:
    """Pairs of images, each averaged over the seeds: what McNemar's test is for one seed.

    The spread over the images takes the seeds as they are (McNemar 1947).
    """
    means, errors = [], []
    for difference in _by_image(ladder):
        per_image = difference.mean(axis=0)
        mean = per_image.sum() / ladder.images
        variance = (per_image**2).sum() / ladder.images - mean**2
        means.append(100 * mean)
        errors.append(100 * (variance / ladder.images) ** 0.5)
    return _estimates(np.array(means), np.array(errors), np.inf)


def crossed(ladder: Ladder) -> Estimates:
    """Seeds and images both drawn: a mixed model's variance components, by mean squares.

    Degrees of freedom by Satterthwaite, "An approximate distribution of estimates of variance
    components", Biometrics Bulletin 1946.
    """
    means, errors, freedoms = [], [], []
    for difference in _by_image(ladder):
        n, images = len(difference), ladder.images
        mean, seeds, per_image, rest = _squares(difference, images)
        parts = np.array([seeds / (n - 1), per_image / (images - 1)])
        residual = rest / ((n - 1) * (images - 1))
        variance = max(parts.sum() - residual, parts.max()) / (n * images)
        # The residual has so many degrees of freedom that its own error does not count.
        scale = (parts**2 / [n - 1, images - 1]).sum() / (n * images) ** 2
        means.append(100 * mean)
        errors.append(100 * variance**0.5)
        freedoms.append(variance**2 / scale if scale else 1.0)
    return _estimates(np.array(means), np.array(errors), np.array(freedoms))


def pigeonhole(ladder: Ladder) -> Estimates:
    """Seeds and images both resampled (Owen, "The pigeonhole bootstrap", 2007), in closed form.

    Rows and columns are drawn with replacement; a product of two draws' counts has the mean
    (1 − 1/n + [same row]) (1 − 1/N + [same column]), so the variance of the resampled mean is known
    without resampling. Its interval is normal.
    """
    means, errors = [], []
    for difference in _by_image(ladder):
        n, images = len(difference), ladder.images
        total = difference.sum()
        square = (
            (1 - 1 / n) * (1 - 1 / images) * total**2
            + (1 - 1 / n) * (difference.sum(axis=0) ** 2).sum()
            + (1 - 1 / images) * (difference.sum(axis=1) ** 2).sum()
            + (difference**2).sum()
        )
        mean = total / (n * images)
        means.append(100 * mean)
        errors.append(100 * max(square / (n * images) ** 2 - mean**2, 0.0) ** 0.5)
    return _estimates(np.array(means), np.array(errors), np.inf)


def adopted(ladder: Ladder) -> Estimates:
    """As in a report: the moderated t-test, of the last five epochs where rates are the same."""
    means, ends = moderated(last_five)(ladder), moderated(final)(ladder)
    same = _same_rate(len(ladder.accuracies))
    return Estimates(
        mean=np.where(same, means.mean, ends.mean),
        error=np.where(same, means.error, ends.error),
        freedom=np.where(same, means.freedom, ends.freedom),
    )


def _same_rate(stages: int) -> np.ndarray:
    """(comparisons) The bundled study's last stage ends at a tenth of the others' rate."""
    return np.array([stages - 1 not in pair for pair in comparisons(stages)])


def _differences(values: np.ndarray) -> np.ndarray:
    """(stages, seeds) → (comparisons, seeds)."""
    return np.stack([values[j] - values[i] for i, j in comparisons(len(values))])


def _adopted_measure(accuracies: np.ndarray) -> np.ndarray:
    same = _same_rate(len(accuracies))[:, None]
    return np.where(same, _differences(last_five(accuracies)), _differences(final(accuracies)))


def _tests() -> tuple[Test, ...]:
    def of(measure: Measure) -> Callable[[np.ndarray], np.ndarray]:
        return lambda accuracies: _differences(measure(accuracies))

    final_epoch, three, five, line = map(of, (final, last_three, last_five, line_end))
    rows = (
        ("paired t, final epoch (before)", paired(final), final_epoch),
        ("paired t, last 3 epochs", paired(last_three), three),
        ("paired t, last 5 epochs", paired(last_five), five),
        ("paired t, end of a line", paired(line_end), line),
        ("unpaired t, final epoch", unpaired(final), final_epoch),
        ("pooled t, final epoch", pooled(final), final_epoch),
        ("pooled t, last 5 epochs", pooled(last_five), five),
        ("moderated t, final epoch", moderated(final), final_epoch),
        ("moderated t, last 5 epochs", moderated(last_five), five),
        ("moderated t, by the rates (now)", adopted, _adopted_measure),
        ("images only", images_only, final_epoch),
        ("seeds and images, mixed model", crossed, final_epoch),
        ("seeds and images, bootstrap", pigeonhole, final_epoch),
    )
    return tuple(Test(name=name, estimate=est, measure=measure) for name, est, measure in rows)


TESTS = _tests()


def _by_image(ladder: Ladder) -> list[np.ndarray]:
    """For each comparison (seeds, images): 1 newly right, −1 newly wrong, at the final epoch."""
    last = ladder.right.astype(np.float64)
    return [last[j] - last[i] for i, j in comparisons(len(last))]


def _squares(difference: np.ndarray, images: int) -> tuple[float, float, float, float]:
    """Mean, and sums of squares of seeds, images and the rest, of seeds × images.

    The images that are left out have a difference of zero for every seed.
    """
    n = len(difference)
    mean = float(difference.sum()) / (n * images)
    seeds = images * float(((difference.sum(axis=1) / images - mean) ** 2).sum())
    of_images = difference.mean(axis=0)
    per_image = n * (float((of_images**2).sum()) - images * mean**2)
    whole = float((difference**2).sum()) - n * images * mean**2
    return mean, seeds, per_image, whole - seeds - per_image


def _estimates(
    mean: np.ndarray, error: np.ndarray | float, freedom: np.ndarray | float
) -> Estimates:
    return Estimates(
        mean=mean,
        error=np.broadcast_to(error, mean.shape),
        freedom=np.broadcast_to(freedom, mean.shape).astype(np.float64),
    )
