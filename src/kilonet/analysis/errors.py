"""Which test images a rung's seeds get wrong, what they take them for, and how sure they are.

Everything comes from the test logits of the final weights, one array a seed. Probabilities are the
softmax of the logits; what is predicted is the class of the largest, the first of equals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kilonet.analysis.doubtful import DoubtfulLabel

CALIBRATION_BINS = 15
"""Equal-width bins of confidence, as in Guo et al. 2017, section 2."""


@dataclass(frozen=True, kw_only=True)
class ClassPair:
    """Images of one class that are taken for another.

    Attributes:
        label: the true class.
        predicted: the class they are taken for.
        mean_count: how many images a seed, averaged over all seeds.
        seeds: in how many seeds it happens at all.
    """

    label: int
    predicted: int
    mean_count: float
    seeds: int


@dataclass(frozen=True, kw_only=True)
class HardImage:
    """A test image that more than half of the seeds get wrong.

    Attributes:
        index: in the test set, from 0.
        label: its class, as the data set has it.
        wrong: how many seeds get it wrong.
        seeds: of how many.
        predicted: the most frequent wrong class; of equals the one with the higher probability.
        probability_label: what the seeds give the label, their mean, 0 to 1.
        probability_predicted: likewise for ``predicted``.
    """

    index: int
    label: int
    wrong: int
    seeds: int
    predicted: int
    probability_label: float
    probability_predicted: float


@dataclass(frozen=True, kw_only=True)
class CalibrationBin:
    """Predictions of about the same confidence: above ``low``, up to and with ``high``.

    Attributes:
        low, high: the bin's ends, 0 to 1.
        confidence: mean probability of the predicted class.
        accuracy: share of the predictions that are right, 0 to 1.
        count: how many predictions, all seeds together; never 0.
    """

    low: float
    high: float
    confidence: float
    accuracy: float
    count: int


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How far the probabilities can be taken at their word.

    Attributes:
        ece: expected calibration error, 0 to 1: Σ count / n · |accuracy − confidence| over the
            bins (Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML
            2017, equation 3), the predictions of all seeds together.
        bins: those of :data:`CALIBRATION_BINS` equal-width bins that hold predictions, in order.
        standard_error: of :attr:`excess`: the images are the draws, the seeds averaged for each.
    """

    ece: float
    bins: tuple[CalibrationBin, ...]
    standard_error: float

    @property
    def confidence(self) -> float:
        """Mean probability of the predicted class, 0 to 1."""
        count = sum(b.count for b in self.bins)
        return math.fsum(b.count * b.confidence for b in self.bins) / count

    @property
    def accuracy(self) -> float:
        """Share of right predictions, 0 to 1."""
        count = sum(b.count for b in self.bins)
        return math.fsum(b.count * b.accuracy for b in self.bins) / count

    @property
    def excess(self) -> float:
        """Confidence minus accuracy: above 0 over-confident, below 0 under-confident."""
        return self.confidence - self.accuracy

    def chance_ece(self, *, seeds: int) -> float:
        """The calibration error that chance alone gives calibrated probabilities, about.

        A bin's accuracy lies √(2 / π) standard errors from its confidence on average. The seeds'
        predictions of one image hang together, so a bin counts as one seed's share of it: at most
        too much is allowed for.
        """
        total = sum(b.count for b in self.bins)
        off = (
            b.count * math.sqrt(b.confidence * (1 - b.confidence) * seeds / b.count)
            for b in self.bins
        )
        return math.sqrt(2 / math.pi) * math.fsum(off) / total


@dataclass(frozen=True, kw_only=True, eq=False)
class Errors:
    """What a rung's seeds get wrong on the test set.

    Attributes:
        confusion: (classes, classes) float64, rows the true class, columns the predicted one: how
            many images a seed, averaged over the seeds.
        pairs: what lies off the diagonal of it, the most frequent first.
        hard: images that more than half of the seeds get wrong: most seeds first, then by the mean
            probability of the label, the least first.
        calibration: confidence against accuracy.
        images: how many test images.
        seeds: how many seeds.
        classes: the classes' names.
        doubtful: test images whose label people have doubted, whether the seeds get them or not.
    """

    confusion: NDArray[np.float64]
    pairs: tuple[ClassPair, ...]
    hard: tuple[HardImage, ...]
    calibration: Calibration
    images: int
    seeds: int
    classes: tuple[str, ...]
    doubtful: tuple[DoubtfulLabel, ...] = ()

    @property
    def mean_wrong(self) -> float:
        """Wrong images a seed, averaged over the seeds."""
        return math.fsum(pair.mean_count for pair in self.pairs)


def measure_errors(
    logits: Sequence[NDArray[np.floating]],
    labels: NDArray[np.integer],
    *,
    classes: Sequence[str] = (),
    doubtful: Sequence[DoubtfulLabel] = (),
) -> Errors:
    """Where the errors of a rung's seeds lie.

    Args:
        logits: one (n, classes) array a seed, of the same test images.
        labels: (n,) their classes, 0 to classes − 1.
        classes: the classes' names; left out: their numbers.
        doubtful: test images whose label people have doubted.

    Raises:
        ValueError: if there is no seed or no image, the shapes or names do not fit one another, a
            label is no class, or a logit is no finite number.
    """
    labels = np.asarray(labels)
    _check(logits, labels)
    num_classes = logits[0].shape[1]
    names = tuple(classes) or tuple(map(str, range(num_classes)))
    if len(names) != num_classes:
        raise ValueError(f"{len(names)} names for the {num_classes} classes of the logits")
    probabilities = np.stack([_softmax(seed) for seed in logits])
    predicted = np.stack([seed.argmax(axis=1) for seed in logits])
    counts = np.zeros((len(logits), num_classes, num_classes), dtype=np.int64)
    for seed, of_seed in enumerate(predicted):
        np.add.at(counts[seed], (labels, of_seed), 1)
    confusion = counts.mean(axis=0)
    confusion.setflags(write=False)
    return Errors(
        confusion=confusion,
        pairs=_pairs(counts),
        hard=_hard(probabilities, predicted, labels),
        calibration=_calibrate(probabilities.max(axis=2), predicted == labels),
        images=len(labels),
        seeds=len(logits),
        classes=names,
        doubtful=tuple(doubtful),
    )


def _check(logits: Sequence[NDArray[np.floating]], labels: NDArray[np.integer]) -> None:
    if not logits or labels.ndim != 1 or not len(labels):
        raise ValueError("no errors to measure: logits of a seed and a label are needed")
    shape = (len(labels), *logits[0].shape[1:])
    if len(shape) != 2 or any(seed.shape != shape for seed in logits):
        shapes = ", ".join(str(seed.shape) for seed in logits)
        raise ValueError(f"logits of shape {shapes} do not fit {len(labels):,} labels")
    if labels.min() < 0 or labels.max() >= shape[1]:
        raise ValueError(f"labels from {labels.min()} to {labels.max()}, but {shape[1]} classes")
    if not all(np.isfinite(seed).all() for seed in logits):
        raise ValueError("a logit is no finite number")


def _softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def _pairs(counts: NDArray[np.int64]) -> tuple[ClassPair, ...]:
    """``counts``: (seeds, classes, classes)."""
    total, seeds = counts.sum(axis=0), (counts > 0).sum(axis=0)
    np.fill_diagonal(total, 0)
    pairs = [
        ClassPair(
            label=int(label),
            predicted=int(predicted),
            mean_count=float(total[label, predicted] / len(counts)),
            seeds=int(seeds[label, predicted]),
        )
        for label, predicted in np.argwhere(total)
    ]
    return tuple(sorted(pairs, key=lambda pair: -pair.mean_count))


def _hard(
    probabilities: NDArray[np.float64], predicted: NDArray[np.int64], labels: NDArray[np.integer]
) -> tuple[HardImage, ...]:
    """``probabilities``: (seeds, n, classes); ``predicted``: (seeds, n)."""
    seeds, _, classes = probabilities.shape
    wrong = (predicted != labels).sum(axis=0)
    mean = probabilities.mean(axis=0)
    images = []
    for index in np.flatnonzero(2 * wrong > seeds):
        label = int(labels[index])
        votes = np.bincount(predicted[:, index], minlength=classes).astype(np.float64)
        votes[label] = -1
        # Of equal counts the higher probability: a probability is never more than one vote.
        taken_for = int(np.lexsort((mean[index], votes))[-1])
        images.append(
            HardImage(
                index=int(index),
                label=label,
                wrong=int(wrong[index]),
                seeds=seeds,
                predicted=taken_for,
                probability_label=float(mean[index, label]),
                probability_predicted=float(mean[index, taken_for]),
            )
        )
    return tuple(sorted(images, key=lambda image: (-image.wrong, image.probability_label)))


def _calibrate(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> Calibration:
    """``confidence``, ``right``: (seeds, n)."""
    # Bins are open below and closed above, so that a confidence of 1 lies in the last.
    bins = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(np.int64) - 1, 0, None)
    found = []
    for number in range(CALIBRATION_BINS):
        inside = bins == number
        if count := int(inside.sum()):
            found.append(
                CalibrationBin(
                    low=number / CALIBRATION_BINS,
                    high=(number + 1) / CALIBRATION_BINS,
                    confidence=float(confidence[inside].mean()),
                    accuracy=float(right[inside].mean()),
                    count=count,
                )
            )
    ece = math.fsum(b.count * abs(b.accuracy - b.confidence) for b in found) / right.size
    excess = (confidence - right).mean(axis=0)
    n = len(excess)
    error = float(excess.std(ddof=1) / math.sqrt(n)) if n > 1 else math.inf
    return Calibration(ece=ece, bins=tuple(found), standard_error=error)
