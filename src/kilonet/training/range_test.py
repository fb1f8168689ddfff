"""The learning-rate range test: a short training whose learning rate grows with every step.

Sources: Smith, "Cyclical learning rates for training neural networks", WACV 2017 (arXiv
1506.01186), section 3.3; "A disciplined approach to neural network hyper-parameters", 2018 (arXiv
1803.09820), section 4. The exponential sweep, its stop at four times the lowest loss, and the
suggestion from the steepest descent and a tenth of the minimum follow fastai's ``lr_find``.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kilonet.data import RunData, validation_split, warn_of_oddities
from kilonet.data.batch import Batch
from kilonet.data.in_memory import GivenData, with_data
from kilonet.engine import Engine, choose_for_run, create_engine, with_module
from kilonet.errors import DivergenceError
from kilonet.spec import Run
from kilonet.spec.graph import BatchNorm, single_value_norm
from kilonet.spec.schedules import OneCycle
from kilonet.storage.trained import with_digests
from kilonet.training.observer import Guard

LOWEST, HIGHEST = 1e-6, 10.0
"""The first and the last learning rate of the sweep."""

NUM_STEPS = 350
"""50 per decade: enough to smooth, and seconds to train."""

VALIDATION_EVERY = 10
"""Steps between two evaluations of the validation split: five evaluations per decade."""

HELD_OUT = 0.1
"""The fraction of the training images that is held out for a run without a validation split; at
least one image, and of each class at least one is left to train on."""

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
        on_training_images: whether they are the training images, too few to hold any out.
        skipped_single: whether batches of one image were left out, as batch norm has no variance
            there.
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
    on_training_images: bool = False
    skipped_single: bool = False


def find_lr(
    run: Run,
    *,
    engine: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    data: GivenData | None = None,
    module: Any = None,
    num_steps: int = NUM_STEPS,
    progress: Callable[[int, RangePoint], None] | None = None,
) -> RangeTest:
    """Sweep the learning rate of a run from :data:`LOWEST` to :data:`HIGHEST`; writes nothing.

    Trains with the run's network, optimizer, batches, augmentation and seed, so the same run gives
    the same curve; without its schedule and weight averaging. It works with whatever the run can
    train on. The test images are not used: validation uses the run's validation split or, without
    one, :data:`HELD_OUT` of the training images, stratified, or all of them where none can be
    spared.

    Args:
        run: the run.
        engine: as in :func:`kilonet.training.loop.train`.
        device: likewise.
        threads: likewise.
        data: likewise.
        module: likewise; a module is copied, not changed.
        num_steps: of the sweep, 2 or more.
        progress: called after each step with its number, from 0, and its point. Its error is
            reported once and ends the calls, not the sweep.

    Raises:
        DataError: the images cannot be read or do not fit the network.
        EngineError: no engine can train the network here, or the first step diverges.
    """
    run, load = with_data(run, data)
    run = with_digests(run)
    if module is not None:
        run, module = with_module(run, module)
        module = copy.deepcopy(module)
    key = "train.optimizer.lr"
    if isinstance(run.train.schedule, OneCycle) and run.train.schedule.max_lr is not None:
        key = "train.schedule.max_lr"
    swept = run.replace(
        {
            "train.schedule": "constant",
            "train.average": "none",
            "train.batch_schedule": "none",
            "train.early_stopping": "none",
            # What is held out below may leave fewer images than a batch.
            "train.drop_last": False,
        }
    )
    dataset = load(run.data.name)
    # As a training has them, so that a run that can be trained can be swept.
    images = RunData.of(swept, dataset)
    warn_of_oddities(dataset)
    held_out = on_training_images = False
    if not run.data.validation:
        images, held_out = _hold_out(run, images)
        on_training_images = not held_out
    batches = _Batches(swept, images)
    choice = choose_for_run(swept, engine=engine, device=device)
    trained = create_engine(
        swept,
        engine=choice.engine,
        device=device,
        threads=threads,
        mean=images.mean,
        std=images.std,
        module=module,
    )
    index = images.validation_index
    validation = images.train_images[index], images.train_labels[index]
    rates = np.geomspace(LOWEST, HIGHEST, num_steps).tolist()
    points, exploded = _sweep(trained, batches, rates, validation=validation, progress=progress)
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
        on_training_images=on_training_images,
        skipped_single=batches.skipped_single,
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


def _sweep(
    engine: Engine,
    batches: _Batches,
    rates: Sequence[float],
    *,
    validation: tuple[NDArray[np.uint8], NDArray[np.int64]],
    progress: Callable[[int, RangePoint], None] | None,
) -> tuple[list[RangePoint], bool]:
    """Train a step at each rate; the points, and whether the loss exploded, which ends the sweep.

    Raises:
        DivergenceError: the first step diverges.
    """
    guard = None if progress is None else Guard(progress, methods=["__call__"])
    points: list[RangePoint] = []
    running, least = 0.0, math.inf
    for number, (lr, batch) in enumerate(zip(rates, batches, strict=False)):
        evaluated = number % VALIDATION_EVERY == 0 or number == len(rates) - 1
        try:
            loss = engine.step(batch, lr).loss
            validation_loss = engine.evaluate(*validation).loss if evaluated else None
        except DivergenceError:
            if not points:
                raise
            return points, True
        if validation_loss is not None and not math.isfinite(validation_loss):
            validation_loss = None  # the next step diverges
        points.append(RangePoint(lr=lr, loss=loss, validation_loss=validation_loss))
        if guard is not None:
            guard.call("__call__", number, points[-1])
        running = _MOMENTUM * running + (1 - _MOMENTUM) * loss
        unbiased = running / (1 - _MOMENTUM ** (number + 1))
        least = min(least, unbiased)
        if number >= VALIDATION_EVERY and unbiased > EXPLODED * least:
            return points, True
    return points, False


def _two_digits(lr: float) -> float:
    return float(f"{lr:.1e}")


def _two_digits_below(lr: float) -> float:
    """Rounded down, so that the result is at most ``lr``."""
    nearest = _two_digits(lr)
    if nearest <= lr * (1 + 1e-9):
        return nearest
    return _two_digits(nearest - 10.0 ** (math.floor(math.log10(lr)) - 1))


def _hold_out(run: Run, data: RunData) -> tuple[RunData, bool]:
    """The data with :data:`HELD_OUT` held out, and True; or validated on what it trains on.

    At least one image of each class is left to train on, and two in all.
    """
    labels = data.train_labels[data.train_index]
    most = min(len(labels) - len(np.unique(labels)), len(labels) - 2)
    amount = min(max(1, round(HELD_OUT * len(labels))), most)
    if amount < 1:
        return replace(data, validation_index=data.train_index), False
    train, validation = validation_split(labels, amount=amount, seed=run.data.validation_seed)
    index = data.train_index
    return replace(data, train_index=index[train], validation_index=index[validation]), True


class _Batches:
    """The run's batches, epoch after epoch, without end.

    What was held out may leave a batch of one image, which some networks cannot train on. It is
    left out; in another epoch it is another image.

    Attributes:
        skipped_single: whether one was left out so far.
    """

    def __init__(self, run: Run, data: RunData) -> None:
        self.run, self.data = run, data
        self.skipped_single = False

    def __iter__(self) -> Iterator[Batch]:
        needs_two = single_value_norm(self.run.net.nodes) is not None
        for epoch in count():
            for batch in self.data.batches(self.run, epoch):
                if needs_two and len(batch.labels) == 1:
                    self.skipped_single = True
                else:
                    yield batch
