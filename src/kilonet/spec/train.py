"""Training: epochs, batches, optimizer, schedule, loss, weight averaging, seed."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from kilonet.randomness import MAX_SEED
from kilonet.spec.averages import SWA, Averaging
from kilonet.spec.base import InvalidSpecError, Spec
from kilonet.spec.invalid import none_if_left_out
from kilonet.spec.lineage import Starting, Teaching
from kilonet.spec.optimizers import SGD, Optimizer
from kilonet.spec.ranges import Count, Rate
from kilonet.spec.schedules import Constant, OneCycle, Schedule, Warming
from kilonet.spec.stopping import MaybeEarlyStopping

MAX_BATCH_SIZE = 1_000_000


class BatchSchedule(Spec):
    """The batch size times ``factor`` at each milestone, as ``multistep`` does with the rate.

    Source: Smith et al., "Don't decay the learning rate, increase the batch size", ICLR 2018.

    Attributes:
        milestones: epochs, from 0, that begin with another size.
        factor: the size is rounded to whole images, at least one.
    """

    milestones: tuple[Count, ...] = Field(min_length=1)
    factor: Rate = 2.0


class Train(Spec):
    """How a network is trained.

    Attributes:
        epochs: passes over the training set.
        batch_size: images in a step; the last batch of an epoch may be smaller.
        batch_schedule: how the batch size changes during the run; left out, or ``none``: not.
        drop_last: whether an epoch's last batch is left out where it is smaller, as PyTorch's
            ``DataLoader`` does; in another epoch it is other images.
        optimizer, schedule: see their classes; a name alone takes the defaults.
        label_smoothing: mixes the labels with the uniform distribution, as PyTorch's
            ``cross_entropy`` does.
        average: the averaged weights to evaluate and save in place of the last step's; left out,
            or ``none``: the last step's.
        early_stopping: when the run ends before its last epoch; left out, or ``none``: never.
        teacher: finished runs to learn from, besides the labels; left out, or ``none``: labels
            alone.
        init: a finished run whose weights are the initial ones; left out, or ``none``: random.
        seed: of every random choice of the run.
    """

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 15
    batch_size: Annotated[int, Field(ge=1, le=MAX_BATCH_SIZE)] = 128
    batch_schedule: Annotated[BatchSchedule | None, BeforeValidator(none_if_left_out)] = None
    drop_last: bool = False
    optimizer: Optimizer = SGD(lr=0.01, momentum=0.9)
    schedule: Schedule = Constant()
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    average: Averaging = None
    early_stopping: MaybeEarlyStopping = None
    teacher: Teaching = None
    init: Starting = None
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 1

    @model_validator(mode="after")
    def _schedule_suits_optimizer(self) -> Train:
        schedule, optimizer = self.schedule, self.optimizer
        cycles = isinstance(schedule, OneCycle) and schedule.cycle_momentum
        if cycles and isinstance(optimizer, SGD) and not optimizer.momentum:
            raise InvalidSpecError(
                "onecycle cycles the momentum, but sgd has none; "
                "set optimizer.momentum or schedule.cycle_momentum = false"
            )
        return self

    @model_validator(mode="after")
    def _fits_its_epochs(self) -> Train:
        average, schedule = self.average, self.schedule
        if isinstance(average, SWA) and average.first_epoch(self.epochs) >= self.epochs:
            problem = f"{average.start}: the last of {self.epochs} epochs is {self.epochs - 1}"
            raise InvalidSpecError(f"{problem}; lower it", path=("average", "start"))
        if isinstance(schedule, Warming) and schedule.warmup > self.epochs:
            raise InvalidSpecError(
                f"{schedule.warmup:g} epochs are more than the run's {self.epochs}; lower it",
                path=("schedule", "warmup"),
            )
        if self.batch_schedule is not None:
            largest = max(self.batch_sizes)
            if largest > MAX_BATCH_SIZE:
                raise InvalidSpecError(
                    f"a batch size of {largest:,}; it should be at most {MAX_BATCH_SIZE:,}",
                    path=("batch_schedule",),
                )
        return self

    def batch_size_of(self, epoch: int) -> int:
        """Images in a step of an epoch, counted from 0."""
        if self.batch_schedule is None:
            return self.batch_size
        passed = sum(milestone <= epoch for milestone in self.batch_schedule.milestones)
        size = self.batch_size * min(self.batch_schedule.factor**passed, 1e9)
        return max(1, round(size))

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """The different batch sizes of the run, in order of the epochs."""
        milestones = () if self.batch_schedule is None else self.batch_schedule.milestones
        begins = sorted({0, *(m for m in milestones if m < self.epochs)})
        return tuple(dict.fromkeys(self.batch_size_of(epoch) for epoch in begins))
