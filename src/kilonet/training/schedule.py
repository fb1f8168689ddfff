"""Learning-rate schedules as pure functions of the position in the run.

Values follow the recurrences of ``torch.optim.lr_scheduler``, not their closed forms, so they equal
PyTorch's in every bit. A resumed run needs no scheduler state: everything can be computed again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from kilonet.spec.schedules import Cosine, MultiStep, OneCycle, Plateau, Step, Warming

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kilonet.spec import Train
    from kilonet.storage.record import EpochRow


@dataclass(frozen=True, kw_only=True)
class ValidationResult:
    """A finished epoch's measurements on the validation split, which a schedule may use.

    Attributes:
        loss: mean over the split, nats.
        accuracy: percent.
    """

    loss: float
    accuracy: float


def validation_results(rows: Sequence[EpochRow]) -> list[ValidationResult]:
    """The validation results of a run's epochs, in order; none of a run without the split."""
    return [
        ValidationResult(loss=row.validation_loss, accuracy=row.validation_accuracy)
        for row in rows
        if row.validation_loss is not None and row.validation_accuracy is not None
    ]


class Schedule:
    """The learning rate, and for ``onecycle`` the momentum, of every step of a run.

    Args:
        train: the spec.
        steps_per_epoch: batches per epoch, or of each epoch where they differ.
    """

    def __init__(self, train: Train, *, steps_per_epoch: int | Sequence[int]) -> None:
        self._train = train
        self._schedule = train.schedule
        if isinstance(steps_per_epoch, int):
            steps_per_epoch = [steps_per_epoch] * train.epochs
        # The first step of each epoch, and the number of all steps.
        self._first_steps = [0, *accumulate(steps_per_epoch)]
        self._warmup_steps = 0
        if isinstance(train.schedule, Warming) and train.schedule.warmup:
            self._warmup_steps = max(1, round(self._steps_of(train.schedule.warmup)))
        # The rates of epochs 0, 1, …, as far as they are computed.
        self._epoch_lrs = [train.optimizer.lr]

    def at(
        self, *, epoch: int, step: int, history: Sequence[ValidationResult] = ()
    ) -> tuple[float, float | None]:
        """The learning rate and momentum of one step.

        Args:
            epoch: from 0.
            step: of the epoch, from 0.
            history: the finished epochs in order; ``plateau`` needs ``epoch`` of them, the other
                schedules none.

        Returns:
            The learning rate, and the momentum (SGD's, or Adam's first beta) if the schedule sets
            it, else None.

        Raises:
            ValueError: ``plateau`` lacks the result of an earlier epoch.
        """
        schedule = self._schedule
        number = self._first_steps[epoch] + step
        if isinstance(schedule, OneCycle):
            return self._one_cycle(schedule, number)
        if isinstance(schedule, Plateau):
            return self._plateau(schedule, epoch, history), None
        if isinstance(schedule, Cosine) and schedule.every == "step":
            lr = self._cosine_of_step(schedule, number)
        else:
            lrs = self._epoch_lrs
            while len(lrs) <= epoch:
                lrs.append(self._next_lr(lrs[-1], len(lrs)))
            lr = lrs[epoch]
        if number >= self._warmup_steps:
            return lr, None
        # LinearLR's order of operations.
        start = schedule.warmup_start
        return lr * (start + (1.0 - start) * number / self._warmup_steps), None

    def _steps_of(self, epochs: float) -> float:
        """The steps of the first epochs, which may be a fraction and more than those of the run."""
        whole = min(int(epochs), self._train.epochs - 1)
        first, next_first = self._first_steps[whole : whole + 2]
        return first + (epochs - whole) * (next_first - first)

    def _cosine_of_step(self, cosine: Cosine, number: int) -> float:
        """``CosineAnnealingLR`` in its closed form, with T_max in steps."""
        epochs = self._train.epochs if cosine.t_max is None else cosine.t_max
        wave = 1 + math.cos(math.pi * number / round(self._steps_of(epochs)))
        return cosine.eta_min + (self._train.optimizer.lr - cosine.eta_min) * wave / 2

    def _next_lr(self, lr: float, epoch: int) -> float:
        """The rate of ``epoch``, from that of the previous epoch."""
        schedule = self._schedule
        if isinstance(schedule, Step):
            return lr if epoch % schedule.step_size else lr * schedule.gamma
        if isinstance(schedule, MultiStep):
            return lr * schedule.gamma ** schedule.milestones.count(epoch)
        if isinstance(schedule, Cosine):
            t_max = self._train.epochs if schedule.t_max is None else schedule.t_max
            eta_min = schedule.eta_min
            if (epoch - 1 - t_max) % (2 * t_max) == 0:
                # The previous epoch was the minimum of the wave: the quotient below would be 0 / 0.
                rise = self._train.optimizer.lr - eta_min
                return lr + rise * (1 - math.cos(math.pi / t_max)) / 2
            wave = 1 + math.cos(math.pi * epoch / t_max)
            wave_before = 1 + math.cos(math.pi * (epoch - 1) / t_max)
            return wave / wave_before * (lr - eta_min) + eta_min
        return lr

    def _one_cycle(self, cycle: OneCycle, step: int) -> tuple[float, float | None]:
        """``OneCycleLR`` at a step of the run: linear or cosine pieces between corner values."""
        total = self._first_steps[-1]
        top = self._train.optimizer.lr if cycle.max_lr is None else cycle.max_lr
        start = top / cycle.div_factor
        end = start / cycle.final_div_factor
        low, high = cycle.base_momentum, cycle.max_momentum
        # (last step of the piece, lr at its start and end, momentum at its start and end)
        up = (cycle.pct_start * total - 1, start, top, high, low)
        if cycle.three_phase:
            down = (2 * cycle.pct_start * total - 2, top, start, low, high)
            pieces = [up, down, (total - 1, start, end, high, high)]
        else:
            pieces = [up, (total - 1, top, end, low, high)]
        first = 0.0
        while len(pieces) > 1 and step > pieces[0][0]:
            first = pieces.pop(0)[0]
        last, lr_from, lr_to, momentum_from, momentum_to = pieces[0]
        # A piece of length zero is skipped; PyTorch divides by zero there.
        share = (step - first) / (last - first) if last != first else 1.0
        anneal = _cosine if cycle.anneal == "cos" else _linear
        momentum = anneal(momentum_from, momentum_to, share) if cycle.cycle_momentum else None
        return anneal(lr_from, lr_to, share), momentum

    def _plateau(self, plateau: Plateau, epoch: int, history: Sequence[ValidationResult]) -> float:
        """``ReduceLROnPlateau`` after the epochs before ``epoch``."""
        if len(history) < epoch:
            raise ValueError(f"plateau lacks the validation result of epoch {len(history)}")
        lr = self._train.optimizer.lr
        sign = 1.0 if plateau.metric == "loss" else -1.0
        best = math.inf * sign
        bad_epochs = cooldown = 0
        for result in history[:epoch]:
            value = result.loss if plateau.metric == "loss" else result.accuracy
            if plateau.threshold_mode == "rel":
                bar = best * (1.0 - sign * plateau.threshold)
            else:
                bar = best - sign * plateau.threshold
            if sign * value < sign * bar:
                best = value
                bad_epochs = 0
            else:
                bad_epochs += 1
            if cooldown > 0:
                cooldown -= 1
                bad_epochs = 0
            if bad_epochs > plateau.patience:
                reduced = max(lr * plateau.factor, plateau.min_lr)
                if lr - reduced > plateau.eps:
                    lr = reduced
                cooldown = plateau.cooldown
                bad_epochs = 0
        return lr


def _linear(start: float, end: float, share: float) -> float:
    return (end - start) * share + start


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)
