"""The learning-rate range test: a short training whose learning rate grows with every step.

Sources: Smith, "Cyclical learning rates for training neural networks", WACV 2017 (arXiv
1506.01186), section 3.3; "A disciplined approach to neural network hyper-parameters", 2018 (arXiv
1803.09820), section 4. The exponential sweep, its stop at four times the lowest loss, and the
suggestion from the steepest descent and a tenth of the minimum follow fastai's ``lr_find``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from kilonet.data import Dataset, RunData, load_dataset
from kilonet.data.batch import Batch
from kilonet.engine import choose_engine, create_engine
from kilonet.errors import DivergenceError
from kilonet.spec import Run
from kilonet.spec.graph import BatchNorm
from kilonet.spec.train import OneCycle

LOWEST, HIGHEST = 1e-6, 10.0
"""The first and the last learning rate of the sweep."""

NUM_STEPS = 350
"""50 per decade: enough to smooth, and seconds to train."""

VALIDATION_EVERY = 10
"""Steps between two evaluations of the validation split: five evaluations per decade."""

HELD_OUT = 0.1
"""The fraction of the training images that is held out for a run without a validation split."""

SMOOTHING = 0.1
"""Standard deviation of the window that smooths the training loss, decades of learning rate."""

EXPLODED = 4.0
"""The sweep stops where the running loss is this many times its minimum, as fastai's does."""

_MOMENTUM = 0.8  # of the running loss: a memory of five steps

LEAST_FALL = 0.02
"""If the validation loss falls by a smaller fraction than this, no rate is shown to be useful."""


@dataclass(frozen=True, kw_only=True)
class RangePoint:
    """One step of the sweep.

    Attributes:
        lr: its learning rate.
        loss: mean of the batch, nats, before the update.
        validation_loss: mean over the validation split after the update, nats; None if it was not
            evaluated.
    """

    lr: float
    loss: float
    validation_loss: float | None = None


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A suggested learning rate, and what it is based on.

    Attributes:
        steepest: where the smoothed training loss falls fastest, before its minimum.
        minimum: where the smoothed training loss is lowest.
        best_validation: where the validation loss is lowest.
        lr: the geometric mean of ``steepest`` and a tenth of ``minimum``; if ``limited``, at most
            ``best_validation``; two significant digits.
        limited: whether the validation loss limits the rate: in networks without batch norm.
    """

    steepest: float
    minimum: float
    best_validation: float
    lr: float
    limited: bool = True


@dataclass(frozen=True, kw_only=True)
class RangeTest:
    """A range test and its suggestion.

    Attributes:
        points: one per step, by increasing rate.
        smoothed: the training loss of each point, smoothed over log lr, nats.
        engine: description of the engine, one line.
        key: dotted path of the learning rate that is suggested.
        num_validation: number of validation images.
        held_out: whether they were held out of the training images for this test.
        exploded: whether the sweep ended early because the loss exploded.
        suggestion: None if the validation loss fell at no rate.
    """

    points: tuple[RangePoint, ...]
    smoothed: tuple[float, ...]
    engine: str
    key: str
    num_validation: int
    held_out: bool
    exploded: bool
    suggestion: Suggestion | None


def find_lr(
    run: Run,
    *,
    engine: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    dataset: Dataset | None = None,
    num_steps: int = NUM_STEPS,
    progress: Callable[[int, RangePoint], None] | None = None,
) -> RangeTest:
    """Sweep the learning rate of a run from :data:`LOWEST` to :data:`HIGHEST`; writes nothing.

    Trains with the run's network, optimizer, batches, augmentation and seed, so the same run gives
    the same curve; without its schedule and weight averaging. The test images are not used:
    validation uses the run's validation split or, without one, :data:`HELD_OUT` of the training
    images, stratified.

    Args:
        run: the run.
        engine: as in :func:`kilonet.training.loop.train`.
        device: likewise.
        threads: likewise.
        dataset: the images, if they are already loaded.
        num_steps: of the sweep, 2 or more.
        progress: called after each step with its number, from 0, and its point.

    Raises:
        DataError: the images cannot be read or do not fit the network.
        EngineError: no engine can train the network here, or the first step diverges.
    """
    dataset = load_dataset(run.data.name) if dataset is None else dataset
    key = "train.optimizer.lr"
    if isinstance(run.train.schedule, OneCycle) and run.train.schedule.max_lr is not None:
        key = "train.schedule.max_lr"
    held_out = not run.data.validation
    swept = run.replace({"train.schedule": "constant", "train.average": "none"})
    if held_out:
        swept = swept.replace({"data.validation": HELD_OUT})
    data = RunData.of(swept, dataset)
    choice = choose_engine(swept.net, engine=engine, device=device)
    trained = create_engine(
        swept,
        engine=choice.engine,
        device=device,
        threads=threads,
        mean=data.mean,
        std=data.std,
    )
    index = data.validation_index
    validation = data.train_images[index], data.train_labels[index]
    points: list[RangePoint] = []
    running, least, exploded = 0.0, math.inf, False
    rates = np.geomspace(LOWEST, HIGHEST, num_steps).tolist()
    for number, (lr, batch) in enumerate(zip(rates, _batches(swept, data), strict=False)):
        evaluated = number % VALIDATION_EVERY == 0 or number == num_steps - 1
        try:
            loss = trained.step(batch, lr).loss
            validation_loss = trained.evaluate(*validation).loss if evaluated else None
        except DivergenceError:
            if not points:
                raise
            exploded = True
            break
        if validation_loss is not None and not math.isfinite(validation_loss):
            validation_loss = None  # the next step diverges
        points.append(RangePoint(lr=lr, loss=loss, validation_loss=validation_loss))
        if progress is not None:
            progress(number, points[-1])
        running = _MOMENTUM * running + (1 - _MOMENTUM) * loss
        unbiased = running / (1 - _MOMENTUM ** (number + 1))
        least = min(least, unbiased)
        if number >= VALIDATION_EVERY and unbiased > EXPLODED * least:
            exploded = True
            break
    smoothed = smooth(np.array([point.loss for point in points]), rates[: len(points)])
    return RangeTest(
        points=tuple(points),
        smoothed=tuple(smoothed.tolist()),
        engine=choice.describe(trained.description),
        key=key,
        num_validation=len(index),
        held_out=held_out,
        exploded=exploded,
        suggestion=suggest(points, smoothed, limited=not swept.net.uses(BatchNorm)),
    )


def smooth(losses: NDArray[np.float64], rates: list[float]) -> NDArray[np.float64]:
    """Smooth the losses with a Gaussian window over log10 of the rates.

    The window is symmetric, so unlike a running mean it does not shift the curve to higher rates.

    Args:
        losses: (n,) float64, nats; clipped at twice the mean of the first tenth, so that an
            explosion does not raise the minimum before it.
        rates: n learning rates.

    Returns:
        (n,) float64, nats.
    """
    ceiling = 2 * losses[: max(1, len(losses) // 10)].mean()
    decades = np.log10(rates)
    distance = (decades[:, None] - decades[None, :]) / SMOOTHING
    weight = np.exp(-0.5 * distance**2)
    mean: NDArray[np.float64] = weight @ np.minimum(losses, ceiling) / weight.sum(axis=1)
    return mean


def suggest(
    points: Sequence[RangePoint], smoothed: NDArray[np.float64], *, limited: bool = True
) -> Suggestion | None:
    """The suggestion, or None if the validation loss fell at no rate.

    The steepest descent is the rate at which the first steps work best, which may be more than the
    training tolerates for long, or less than it could use. A tenth of the minimum is fastai's rule
    of thumb. Both err by factors, hence the geometric mean. The validation loss is the first to
    show that the weights begin to oscillate, so it limits the rate. With batch norm it shows
    something else: running statistics that lag behind weights that change fast, in a sweep sooner
    than in a training. Then it only decides whether anything was learned.

    Args:
        points: one per step, by increasing rate.
        smoothed: (n,) float64, nats, their smoothed training losses.
        limited: whether the suggestion is at most the rate with the lowest validation loss.
    """
    evaluated = [(p.validation_loss, p.lr) for p in points if p.validation_loss is not None]
    lowest = int(np.argmin(smoothed))
    if not evaluated or lowest < 2:
        return None
    least, best_validation = min(evaluated)
    if least > (1 - LEAST_FALL) * evaluated[0][0]:
        return None
    decades = np.log10([point.lr for point in points[: lowest + 1]])
    steepest = points[int(np.argmin(np.gradient(smoothed[: lowest + 1], decades)))].lr
    minimum = points[lowest].lr
    lr = _two_digits(math.sqrt(steepest * minimum / 10))
    return Suggestion(
        steepest=steepest,
        minimum=minimum,
        best_validation=best_validation,
        lr=min(lr, _two_digits_below(best_validation)) if limited else lr,
        limited=limited,
    )


def _two_digits(lr: float) -> float:
    return float(f"{lr:.1e}")


def _two_digits_below(lr: float) -> float:
    """Rounded down, so that the result is at most ``lr``."""
    nearest = _two_digits(lr)
    if nearest <= lr * (1 + 1e-9):
        return nearest
    return _two_digits(nearest - 10.0 ** (math.floor(math.log10(lr)) - 1))


def _batches(run: Run, data: RunData) -> Iterator[Batch]:
    """The run's batches, epoch after epoch, without end."""
    for epoch in count():
        yield from data.batches(run, epoch)
