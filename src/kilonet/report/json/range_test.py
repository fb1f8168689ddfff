"""A learning-rate range test as plain data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kilonet.spec.inline_toml import inline
from kilonet.training.range_test import RangeTest


def change_line(found: RangeTest) -> str:
    """The suggestion as a stage's ``change``; "" without one."""
    if found.suggestion is None:
        return ""
    return f"change = {inline({found.key: found.suggestion.lr})}"


def range_json(found: RangeTest, *, picture: Path | None) -> dict[str, Any]:
    """A range test for ``train … --find-lr --json``.

    Keys: ``suggestion``, ``steepest``, ``minimum`` and ``best_validation`` (learning rates; null
    without a suggestion), ``change`` (a line of TOML), ``engine``, ``validation_images``,
    ``exploded``, ``picture`` (null without one), ``points`` (each: ``lr``, ``train_loss``,
    ``smoothed_loss``, and where it was measured ``validation_loss``), losses in nats.
    """
    points = []
    for point, smoothed in zip(found.points, found.smoothed, strict=True):
        shown = {"lr": point.lr, "train_loss": point.loss, "smoothed_loss": smoothed}
        if point.validation_loss is not None:
            shown["validation_loss"] = point.validation_loss
        points.append(shown)
    suggestion = found.suggestion
    return {
        "suggestion": suggestion and suggestion.lr,
        "steepest": suggestion and suggestion.steepest,
        "minimum": suggestion and suggestion.minimum,
        "best_validation": suggestion and suggestion.best_validation,
        "change": change_line(found),
        "engine": found.engine,
        "validation_images": found.num_validation,
        "exploded": found.exploded,
        "picture": None if picture is None else str(picture),
        "points": points,
    }
