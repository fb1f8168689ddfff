"""The learning-rate range test: a short training whose rate grows with every step.

Sources: Smith, "Cyclical learning rates for training neural networks", WACV 2017 (arXiv
1506.01186), section 3.3; "A disciplined approach to neural network hyper-parameters", 2018 (arXiv
1803.09820), section 4. The exponential sweep, its stop at four times the least loss, and a
suggestion from the steepest descent and a tenth of the minimum follow fastai's ``lr_find``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from kilonet.data import Dataset, load_dataset
from kilonet.engine import Batch, choose_engine, create_engine
from kilonet.errors import DivergenceError
from kilonet.run import Images
from kilonet.spec import Run
from kilonet.spec.graph import BatchNorm
from kilonet.spec.train import OneCycle

LOWEST, HIGHEST = 1e-6, 10.0
"""The first and the last learning rate of the sweep."""

NUM_STEPS = 350
"""50 a decade: enough to smooth over, and seconds to train."""

VALIDATION_EVERY = 10
"""Steps from one look at the validation split to the next: five looks a decade."""

HELD_OUT = 0.1
"""The share of the training images that validates in a run that names none, in this test alone."""

SMOOTHING = 0.1
"""Standard deviation of the window that smooths the training loss, in decades of learning rate."""

EXPLODED = 4.0
"""The sweep stops where the running loss is this many times its least, as fastai's does."""

_RUNNING = 0.8  # of the running loss is kept at each step: a memory of five steps

LEAST_FALL = 0.02
"""A validation loss that falls by a smaller share than this has not shown any rate to be useful."""


@dataclass(frozen=True, kw_only=True)
class RangePoint:
    """One step of the sweep.

    Attributes:
        lr: its learning rate.
        loss: mean of the batch, nats, before the update.
        validation_loss: mean over the validation split after the update, nats; None where it was
            not looked at.
    """

    lr: float
    loss: float
    validation_loss: float | None = None


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """What a sweep says about the learning rate.

    Attributes:
        steepest: the rate at which the smoothed training loss falls fastest, before its minimum.
        minimum: the rate at which the smoothed training loss is least.
        best_validation: the rate at which the validation loss is least.
        lr: the geometric mean of ``steepest`` and a tenth of ``minimum``, but, where ``limited``,
            at most ``best_validation``; two significant digits.
        limited: whether the validation loss has the last word: without batch norm, that is.
    """

    steepest: float
    minimum: float
    best_validation: float
    lr: float
    limited: bool = True


@dataclass(frozen=True, kw_only=True)
class RangeTest:
    """A range test and what it suggests.

    Attributes:
        points: a step each, by rising rate.
        smoothed: nats, the training loss of each point in a Gaussian window over log lr.
        engine: what computed, in one line.
        key: dotted path of the learning rate that the suggestion is for.
        num_validation: images it was validated on.
        held_out: whether they were held out for this test alone.
        exploded: whether the sweep ended early because the loss did not come back.
        suggestion: None where no rate made the validation loss fall.
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

    The run's network, optimiser, batches and augmentation are trained, in order of its seed, so
    the same run gives the same curve. Its schedule and its averaging are left out. The test
    images are never looked at: what validates is the run's validation split, or, where it has
    none, :data:`HELD_OUT` of the training images, stratified.

    Args:
        run: what would be trained.
        engine: as in :func:`kilonet.run.train`.
        device: likewise.
        threads: likewise.
        dataset: the images, if they are already loaded.
        num_steps: of the sweep, 2 or more.
        progress: told of each step, its number from 0 and its point.

    Raises:
        DataError: if the images cannot be read or do not fit the network.
        EngineError: if no engine can train it here, or the first step already diverges.
    """
    dataset = load_dataset(run.data.name) if dataset is None else dataset
    key = "train.optimizer.lr"
    if isinstance(run.train.schedule, OneCycle) and run.train.schedule.max_lr is not None:
        key = "train.schedule.max_lr"
    held_out = not run.data.validation
    swept = run.replace({"train.schedule": "constant", "train.average": "none"})
    if held_out:
        swept = swept.replace({"data.validation": HELD_OUT})
    images = Images.of(swept, dataset)
    choice = choose_engine(swept.net, engine=engine, device=device)
    trained = create_engine(
        swept,
        engine=choice.engine,
        device=device,
        threads=threads,
        mean=images.mean,
        std=images.std,
    )
    index = images.validation_index
    validation = images.train_images[index], images.train_labels[index]
    points: list[RangePoint] = []
    running, least, exploded = 0.0, math.inf, False
    rates = np.geomspace(LOWEST, HIGHEST, num_steps).tolist()
    for number, (lr, batch) in enumerate(zip(rates, _batches(swept, images), strict=False)):
        looked = number % VALIDATION_EVERY == 0 or number == num_steps - 1
        try:
            loss = trained.step(batch, lr).loss
            validation_loss = trained.evaluate(*validation).loss if looked else None
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
        running = _RUNNING * running + (1 - _RUNNING) * loss
        unbiased = running / (1 - _RUNNING ** (number + 1))
        least = min(least, unbiased)
        if number >= VALIDATION_EVERY and unbiased > EXPLODED * least:
            exploded = True
            break
    smoothed = smooth(np.array([point.loss for point in points]), rates[: len(points)])
    return RangeTest(
        points=tuple(points),
        smoothed=tuple(smoothed.tolist()),
        engine=choice.told(trained.description),
        key=key,
        num_validation=len(index),
        held_out=held_out,
        exploded=exploded,
        suggestion=suggest(points, smoothed, limited=not swept.net.uses(BatchNorm)),
    )


def smooth(losses: NDArray[np.float64], rates: list[float]) -> NDArray[np.float64]:
    """The mean of the losses around each, weighted by a Gaussian window over log10 of the rates.

    It looks both ways, so that unlike a running mean it does not move the curve to higher rates.

    Args:
        losses: (n,) float64, nats; beyond twice the first ones they count as that, so that an
            explosion does not reach back into the minimum.
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
    """The suggestion, or None where no rate made the validation loss fall.

    The steepest descent is where training works best for its first steps, which is more than it
    bears for long or less than it could; a tenth of the minimum is the rule of thumb for the same.
    Both err, and by factors, hence the geometric mean. The validation split has the last word,
    where it shows first that the weights begin to jump about. With batch norm it shows something
    else: running statistics that fall behind weights that move fast, in a sweep sooner than in a
    training. Then it only tells whether anything was learned.

    Args:
        points: a step each, by rising rate.
        smoothed: (n,) float64, nats, their training losses smoothed.
        limited: whether the suggestion is at most the rate of the least validation loss.
    """
    looks = [(p.validation_loss, p.lr) for p in points if p.validation_loss is not None]
    lowest = int(np.argmin(smoothed))
    if not looks or lowest < 2:
        return None
    least, best_validation = min(looks)
    if least > (1 - LEAST_FALL) * looks[0][0]:
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
    """Rounded down, so that "no more than" holds."""
    nearest = _two_digits(lr)
    if nearest <= lr * (1 + 1e-9):
        return nearest
    return _two_digits(nearest - 10.0 ** (math.floor(math.log10(lr)) - 1))


def _batches(run: Run, images: Images) -> Iterator[Batch]:
    """The run's batches, epoch after epoch, for as long as they are asked for."""
    for epoch in count():
        yield from images.batches(run, epoch)
