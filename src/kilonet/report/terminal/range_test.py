"""The learning-rate range test on a terminal: a progress bar, then the curve as bars."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from textwrap import fill

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from kilonet.formatting import count
from kilonet.report.figures.range_test import named_rates
from kilonet.report.json.range_test import change_line
from kilonet.training.range_test import NUM_STEPS, RangePoint, RangeTest

_BAR = 40
"""Characters of the longest bar."""

_NUMBERS = 66
"""Characters of a line without its bar: the numbers before it and the longest mark after it."""


@contextmanager
def range_progress(
    console: Console, *, quiet: bool = False
) -> Iterator[Callable[[int, RangePoint], None]]:
    """A function that moves a progress bar by a step; no bar if ``quiet``, or on no terminal."""
    progress = Progress(
        TextColumn("[dim]range test[/dim]"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        console=console,
        disable=quiet or not console.is_terminal,
        transient=True,
    )
    bar = progress.add_task("", total=NUM_STEPS)

    def move(number: int, point: RangePoint) -> None:
        text = f"lr={point.lr:.1e} Loss={point.loss:.4f}"
        progress.update(bar, completed=number + 1, description=text)

    with progress:
        yield move


def range_text(found: RangeTest, *, width: int | None = None) -> str:
    """The curve as bars, a line for each validation, and the suggestion, for ``width`` columns."""
    prose = _prose(found)
    if width is not None:
        prose = [fill(text, width) for text in prose]
    if found.suggestion is not None:
        prose.append(f"In a study:   {change_line(found)}")
        prose.append(f"For one run:  --set {found.key}={found.suggestion.lr:g}")
    return "\n".join([*_bars(found, width=width), "", *prose])


def _bars(found: RangeTest, *, width: int | None) -> list[str]:
    longest = _BAR if width is None else max(8, min(_BAR, width - _NUMBERS))
    padding = _BAR + 1 if width is None else 0
    validated = [
        (point, smoothed)
        for point, smoothed in zip(found.points, found.smoothed, strict=True)
        if point.validation_loss is not None
    ]
    top = max((smoothed for _, smoothed in validated), default=0.0) or 1.0
    lines = [f"{'lr':>8}  {'train loss':>10}  {'validation':>10}"]
    marks = _marks(found, [point.lr for point, _ in validated])
    for point, smoothed in validated:
        bar = "█" * round(longest * smoothed / top)
        numbers = f"{point.lr:8.1e}  {smoothed:10.4f}  {point.validation_loss:10.4f}"
        lines.append(f"{numbers}  {bar:{padding}}{marks.get(point.lr, '')}".rstrip())
    return lines


def _marks(found: RangeTest, rates: list[float]) -> dict[float, str]:
    """Names of the important rates, each at the nearest of ``rates``."""
    marks: dict[float, str] = {}
    for name, lr in named_rates(found):
        nearest = min(rates, key=lambda rate: abs(math.log(rate / lr)))
        marks[nearest] = f"{marks[nearest]}, {name}" if nearest in marks else f" < {name}"
    return marks


def _prose(found: RangeTest) -> list[str]:
    images = count(found.num_validation, "validation image")
    if found.held_out:
        held_out = count(found.num_validation, "training image")
        images = f"{held_out} held out for this test"
    elif found.on_training_images:
        images = f"all {found.num_validation:,} training images, too few to hold any out"
    last = f"{found.points[-1].lr:.1e}"
    end = f"the loss exploded at {last}" if found.exploded else f"up to {last}"
    lines = [
        f"Range test with {found.engine}: {len(found.points)} steps, {end}.",
        f"Validated on {images}; the test set is not used.",
    ]
    if found.skipped_single:
        lines.append("Batches of one image are left out: batch norm has no variance there.")
    suggestion = found.suggestion
    if suggestion is None:
        return [*lines, "No suggestion: the validation loss fell at no rate."]
    limit = ", limited by the rate of the lowest validation loss" if suggestion.limited else ""
    lines.append(
        f"Steepest descent of the training loss: {suggestion.steepest:.2g}; its minimum: "
        f"{suggestion.minimum:.2g}; lowest validation loss: {suggestion.best_validation:.2g}."
    )
    lines.append(
        f"Suggestion: {suggestion.lr:g}, the geometric mean of the steepest and a tenth of the "
        f"minimum{limit}."
    )
    return lines
