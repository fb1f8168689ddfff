"""Which test images a stage's seeds get wrong, what they predict instead, and how sure they are.

Everything comes from the test logits of the final weights, one array a seed. Probabilities are the
softmax of the logits; the predicted class is that of the largest, the first of equals.
:func:`read_errors` is the one part of the analysis that reads files: a run folder has the logits,
but not the labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kilonet.analysis.descriptive import binomial_error
from kilonet.analysis.failed_seeds import separate_failed
from kilonet.data import Dataset
from kilonet.data.doubtful_labels import DoubtfulLabel, doubtful_labels
from kilonet.data.in_memory import load_to_report
from kilonet.errors import DataError, StorageError
from kilonet.storage.run_folder import RunFolder
from kilonet.study import StageResult, StudyResult

CALIBRATION_BINS = 15
"""Equal-width bins of confidence, as in Guo et al. 2017, section 2."""


@dataclass(frozen=True, kw_only=True)
class ClassPair:
    """Images of one class that are predicted as another.

    Attributes:
        label: the true class.
        predicted: the predicted class.
        mean_count: how many images a seed, averaged over all seeds.
        seeds: in how many seeds it happens.
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
        probability_label: mean probability of the label over the seeds, 0 to 1.
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
    """Predictions of about the same confidence: above ``low``, up to and including ``high``.

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
    """How well the probabilities agree with the accuracy.

    Attributes:
        ece: expected calibration error, 0 to 1: Σ count / n · |accuracy − confidence| over the
            bins (Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML
            2017, equation 3), the predictions of all seeds together.
        bins: those of :data:`CALIBRATION_BINS` equal-width bins that hold predictions, in order.
        confidence: mean probability of the predicted class, 0 to 1.
        accuracy: share of right predictions, 0 to 1.
        standard_error: of :attr:`excess`: the images are the draws, the seeds averaged for each.
    """

    ece: float
    bins: tuple[CalibrationBin, ...]
    confidence: float
    accuracy: float
    standard_error: float

    @property
    def excess(self) -> float:
        """Confidence minus accuracy: above 0 over-confident, below 0 under-confident."""
        return self.confidence - self.accuracy


@dataclass(frozen=True, kw_only=True, eq=False)
class Errors:
    """What a stage's seeds get wrong on the test set.

    Attributes:
        confusion: (classes, classes) float64, rows the true class, columns the predicted one: how
            many images a seed, averaged over the seeds.
        pairs: its entries off the diagonal, the most frequent first.
        hard: images that more than half of the seeds get wrong: most seeds first, then by the mean
            probability of the label, the least first.
        calibration: confidence against accuracy.
        images: how many test images.
        seeds: how many seeds.
        classes: the classes' names.
        doubtful: test images whose label people have doubted, wrong or right in the seeds.
        predictions: (runs, classes) int64: how many images each run predicts as each class; of the
            seeds, then of those that fell far behind, which all else leaves out.
    """

    confusion: NDArray[np.float64]
    pairs: tuple[ClassPair, ...]
    hard: tuple[HardImage, ...]
    calibration: Calibration
    images: int
    seeds: int
    classes: tuple[str, ...]
    predictions: NDArray[np.int64]
    doubtful: tuple[DoubtfulLabel, ...] = ()

    @property
    def accuracy(self) -> float:
        """Percent, the mean of the seeds."""
        return 100 * self.calibration.accuracy

    @property
    def class_sizes(self) -> NDArray[np.float64]:
        """(classes) How many test images each class has."""
        return np.asarray(self.confusion.sum(axis=1))

    @property
    def num_tested(self) -> int:
        """How many classes the test images have."""
        return int((self.class_sizes > 0).sum())

    @property
    def majority(self) -> int:
        """The class with the most test images; the first of equal ones."""
        return int(self.class_sizes.argmax())

    @property
    def majority_share(self) -> float:
        """Its share of the test images, percent: the accuracy of always predicting it."""
        return 100 * float(self.class_sizes.max()) / self.images

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
    failed: Sequence[NDArray[np.floating]] = (),
) -> Errors:
    """The errors of a stage's seeds.

    Args:
        logits: one (n, classes) array a seed, of the same test images.
        labels: (n,) their classes, 0 to classes − 1.
        classes: the classes' names; left out: their numbers.
        doubtful: test images whose label people have doubted.
        failed: logits of seeds that fell far behind; their predicted classes alone are counted.

    Raises:
        ValueError: if there is no seed or no image, shapes or names do not fit one another, a label
            is not a class, or a logit is not finite.
    """
    labels = np.asarray(labels)
    _check(logits, labels)
    if failed:
        _check(failed, labels, num_classes=logits[0].shape[1])
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
    of_failed = [seed.argmax(axis=1) for seed in failed]
    predictions = np.stack(
        [np.bincount(of_seed, minlength=num_classes) for of_seed in (*predicted, *of_failed)]
    )
    predictions.setflags(write=False)
    return Errors(
        confusion=confusion,
        pairs=_pairs(counts),
        hard=_hard(probabilities, predicted, labels),
        calibration=_calibrate(probabilities.max(axis=2), predicted == labels),
        images=len(labels),
        seeds=len(logits),
        classes=names,
        predictions=predictions,
        doubtful=tuple(doubtful),
    )


def read_errors(
    result: StudyResult, *, load: Callable[[str], Dataset] = load_to_report
) -> tuple[Errors, ...]:
    """The errors of each stage, in order.

    Args:
        result: the study, or the part of it that has run.
        load: name or path → data set; each is loaded once.

    Raises:
        DataError: if a data set cannot be read, or is not the one that a run was tested on.
        StorageError: if a run's logits are missing or damaged.
    """
    names = {stage.stage.run.data.name for stage in result.stages}
    datasets = {name: load(name) for name in names}
    return tuple(
        stage_errors(stage, datasets[stage.stage.run.data.name]) for stage in result.stages
    )


def stage_errors(stage: StageResult, dataset: Dataset) -> Errors:
    """The errors of one stage's seeds, without those that fell far behind.

    Of these the predicted classes are counted: a training that failed often predicts one class.

    Raises:
        DataError: if the data set is not the one that a run was tested on.
        StorageError: if a run's logits are missing or damaged.
    """
    trained, failed = separate_failed(stage.records, images=len(dataset.test_labels))
    logits = []
    for record in (*trained, *failed):
        if record.provenance.data.sha256 != dataset.fingerprint:
            raise DataError(
                f"{record.path}: was tested on other images than {stage.stage.run.data.name!r} "
                "holds now; bring back the data it was trained on, or train it again"
            )
        logits.append(RunFolder(record.path).test_logits())
    try:
        return measure_errors(
            logits[: len(trained)],
            dataset.test_labels,
            failed=logits[len(trained) :],
            classes=dataset.classes,
            doubtful=doubtful_labels(dataset.fingerprint),
        )
    except ValueError as error:
        folder = stage.records[0].path.parent
        raise StorageError(
            f"{folder}: test logits of stage {stage.stage.number} are damaged: {error}; remove its "
            "runs to train them again"
        ) from None


def _check(
    logits: Sequence[NDArray[np.floating]],
    labels: NDArray[np.integer],
    *,
    num_classes: int | None = None,
) -> None:
    if not logits or labels.ndim != 1 or not len(labels):
        raise ValueError("no errors to measure: logits of a seed and a label are needed")
    classes = logits[0].shape[1:] if num_classes is None else (num_classes,)
    shape = (len(labels), *classes)
    if len(shape) != 2 or any(seed.shape != shape for seed in logits):
        shapes = ", ".join(str(seed.shape) for seed in logits)
        raise ValueError(f"logits of shape {shapes} do not fit {len(labels):,} labels")
    if labels.min() < 0 or labels.max() >= shape[1]:
        raise ValueError(f"labels from {labels.min()} to {labels.max()}, but {shape[1]} classes")
    if not all(np.isfinite(seed).all() for seed in logits):
        raise ValueError("a logit is not finite")


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
    # Bins are open below and closed above, so that a confidence of 1 is in the last.
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
    accuracy = float(right.mean())
    if accuracy in (0.0, 1.0):
        # Where all are right, or wrong, the images do not show how far others would move that.
        error = max(error, binomial_error(100 * accuracy, images=n) / 100)
    return Calibration(
        ece=ece,
        bins=tuple(found),
        confidence=float(confidence.mean()),
        accuracy=accuracy,
        standard_error=error,
    )
