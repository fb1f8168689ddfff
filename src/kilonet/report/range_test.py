"""The learning-rate range test for people and programs: text with a curve, JSON, a picture."""

from __future__ import annotations

import math
from pathlib import Path
from textwrap import fill
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from kilonet.analysis.toml import inline
from kilonet.range_test import HELD_OUT, NUM_STEPS, RangePoint, RangeTest
from kilonet.report.figures import INK, TARGET, TEST, TRAIN, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BAR = 40  # characters
_BESIDE = 66  # of a line, for the figures before a bar and the marks behind it
_STYLES = {
    "suggestion": (TARGET, "-."),
    "steepest descent": (TRAIN, ":"),
    "least training loss": (TRAIN, (0, (1, 4))),
    "least validation loss": (TEST, ":"),
}


class RangeProgress:
    """A bar for the sweep, in a ``with`` block; silent where the console is no terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("[dim]range test[/dim]"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._progress.add_task("", total=NUM_STEPS)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def step(self, number: int, point: RangePoint) -> None:
        """A step of the sweep is done."""
        text = f"lr={point.lr:.1e} Loss={point.loss:.4f}"
        self._progress.update(self._task, completed=number + 1, description=text)


def change_line(found: RangeTest) -> str:
    """The suggestion as a step's ``change``; empty where there is none."""
    if found.suggestion is None:
        return ""
    return f"change = {inline({found.key: found.suggestion.lr})}"


def range_json(found: RangeTest, *, picture: Path) -> dict[str, Any]:
    """A range test for ``train … --find-lr --json``.

    Keys: ``suggestion``, ``steepest``, ``minimum`` and ``best_validation`` (learning rates; null
    where the loss never fell), ``change`` (a line of TOML), ``engine``,
    ``validation_images``, ``exploded``, ``picture``, ``points`` (each: ``lr``, ``train_loss``,
    ``smoothed_loss``, and where it was looked at ``validation_loss``), losses in nats.
    """
    points = []
    for point, smoothed in zip(found.points, found.smoothed, strict=True):
        shown = {"lr": point.lr, "train_loss": point.loss, "smoothed_loss": smoothed}
        if point.validation_loss is not None:
            shown["validation_loss"] = point.validation_loss
        points.append(shown)
    said = found.suggestion
    return {
        "suggestion": said and said.lr,
        "steepest": said and said.steepest,
        "minimum": said and said.minimum,
        "best_validation": said and said.best_validation,
        "change": change_line(found),
        "engine": found.engine,
        "validation_images": found.num_validation,
        "exploded": found.exploded,
        "picture": str(picture),
        "points": points,
    }


def range_text(found: RangeTest, *, width: int | None = None) -> str:
    """The curve as bars, a line where the validation split was looked at, and the suggestion.

    Bars are shorter where a screen of ``width`` columns asks for it, and marks follow them at once.
    """
    longest = _BAR if width is None else max(8, min(_BAR, width - _BESIDE))
    room = _BAR + 1 if width is None else 0
    looked = [
        (point, smoothed)
        for point, smoothed in zip(found.points, found.smoothed, strict=True)
        if point.validation_loss is not None
    ]
    top = max((smoothed for _, smoothed in looked), default=1.0)
    lines = [f"{'lr':>8}  {'train loss':>10}  {'validation':>10}"]
    marks = _marks(found, [point.lr for point, _ in looked])
    for point, smoothed in looked:
        bar = "█" * round(longest * smoothed / top)
        mark = marks.get(point.lr, "")
        figures = f"{point.lr:8.1e}  {smoothed:10.4f}  {point.validation_loss:10.4f}"
        lines.append(f"{figures}  {bar:{room}}{mark}".rstrip())
    validated = f"{found.num_validation:,} validation images"
    if found.held_out:
        validated = f"{found.num_validation:,} training images held out for this test"
        validated += f" ({100 * HELD_OUT:g}%)"
    last = found.points[-1].lr
    ended = f"stopped at {last:.1e}, where the loss exploded" if found.exploded else "to its end"
    prose = [f"Range test with {found.engine}: {len(found.points)} steps, {ended}."]
    prose += [f"Looked at: {validated}; never the test set."]
    pasted = []
    said = found.suggestion
    if said is None:
        prose.append("Nothing to suggest: at no rate did the validation loss fall.")
    else:
        prose.append(
            f"Steepest descent of the training loss: {said.steepest:.2g}; its minimum: "
            f"{said.minimum:.2g}; least validation loss: {said.best_validation:.2g}."
        )
        limit = ", but no more than where the validation loss is least" if said.limited else ""
        prose.append(
            f"Suggestion: {said.lr:g}, the geometric mean of the steepest and a tenth of the "
            f"minimum{limit}."
        )
        pasted = [
            f"In a study:   {change_line(found)}",
            f"For one run:  --set {found.key}={said.lr:g}",
        ]
    if width is not None:
        prose = [fill(text, width) for text in prose]
    return "\n".join([*lines, "", *prose, *pasted])


def range_figure(found: RangeTest, path: Path) -> None:
    """Draw loss against learning rate, with what the suggestion rests on.

    Args:
        found: the range test.
        path: the PNG to write.

    Raises:
        StoreError: if it cannot be written.
    """
    figure = new_figure(7.5, 4.2)
    axes: Axes = figure.add_subplot()
    rates = [point.lr for point in found.points]
    axes.plot(
        rates,
        [point.loss for point in found.points],
        color=TRAIN,
        alpha=0.25,
        linewidth=0.8,
        label="training loss, each step",
    )
    axes.plot(rates, found.smoothed, color=TRAIN, linestyle="--", label="training loss, smoothed")
    looked = [(p.lr, p.validation_loss) for p in found.points if p.validation_loss is not None]
    axes.plot(
        [lr for lr, _ in looked],
        [loss for _, loss in looked],
        "o-",
        color=TEST,
        markersize=3,
        label="validation loss",
    )
    for name, lr in _named(found):
        color, style = _STYLES[name]
        label = f"{name}: {lr:.2g}"
        axes.axvline(lr, color=color, linestyle=style, linewidth=1.2, label=label)
    axes.set_xscale("log")
    # An explosion would press the rest flat.
    axes.set_ylim(0, 1.6 * max(found.smoothed[: max(1, len(found.smoothed) // 2)]))
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss (nats)")
    figure.suptitle("Learning-rate range test", fontsize=11, color=INK, x=0.01, ha="left")
    axes.legend(fontsize=8, frameon=False, loc="lower left")
    save_figure(figure, path)


def _named(found: RangeTest) -> list[tuple[str, float]]:
    """The rates that stand out, the suggestion first."""
    said = found.suggestion
    if said is None:
        return []
    rates = (said.lr, said.steepest, said.minimum, said.best_validation)
    return list(zip(_STYLES, rates, strict=True))


def _marks(found: RangeTest, rates: list[float]) -> dict[float, str]:
    """What to write beside the looked-at rate that is nearest to each that stands out."""
    marks: dict[float, str] = {}
    for name, lr in _named(found):
        nearest = min(rates, key=lambda rate: abs(math.log(rate / lr)))
        marks[nearest] = f"{marks[nearest]}, {name}" if nearest in marks else f" < {name}"
    return marks
