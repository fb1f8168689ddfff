"""A run of another length: the values that count its epochs, scaled or kept.

A schedule, a batch schedule or an average that has a field in epochs has a line in each function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kilonet.spec.averages import SWA
from kilonet.spec.schedules import Cosine

if TYPE_CHECKING:
    from kilonet.spec.study import Run


def with_epochs(run: Run, epochs: int, *, images: float = 1.0) -> Run:
    """A run of fewer epochs and images, whose schedule keeps its shape over them.

    The epochs that it states (``step_size``, ``milestones``, ``t_max`` and ``warmup`` of a
    schedule, those of a batch schedule, an average's ``start``) shrink in proportion: a step after
    two thirds of the training stays there.

    Args:
        run: the longer run.
        epochs: of the shorter one.
        images: fraction of its training images.
    """
    share = epochs / run.train.epochs
    changes: dict[str, Any] = {"train.epochs": epochs}
    if images < 1:
        subset = run.data.subset
        rest = subset * images
        changes["data.subset"] = rest if isinstance(subset, float) else max(2, round(rest))
    schedule = run.train.schedule
    for key in ("step_size", "t_max"):
        if (stated := getattr(schedule, key, None)) is not None:
            changes[f"train.schedule.{key}"] = max(1, round(stated * share))
    if warmup := getattr(schedule, "warmup", 0.0):
        changes["train.schedule.warmup"] = warmup * share
    for key, part in (("schedule", schedule), ("batch_schedule", run.train.batch_schedule)):
        if (milestones := getattr(part, "milestones", None)) is not None:
            changes[f"train.{key}.milestones"] = [max(1, round(m * share)) for m in milestones]
    if (start := getattr(run.train.average, "start", None)) is not None:
        changes["train.average.start"] = round(start * share)
    return run.replace(changes)


def implied_epochs(run: Run) -> dict[str, int]:
    """Dotted path → value, of what a run leaves out because its number of epochs implies it."""
    train, implied = run.train, {}
    if isinstance(train.schedule, Cosine) and train.schedule.t_max is None:
        implied["train.schedule.t_max"] = train.epochs
    if isinstance(train.average, SWA) and train.average.start is None:
        implied["train.average.start"] = train.average.first_epoch(train.epochs)
    return implied
