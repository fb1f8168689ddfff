"""Learning curves: accuracy, gap, loss and learning rate by epoch.

Each chart fits a phone. Series differ by color, by line style and by name; a description in words
has the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from markupsafe import Markup

from kilonet.formatting import count, percent, signed
from kilonet.report.charts.svg import (
    Scale,
    box,
    drawing,
    element,
    fits_log,
    label,
    log_ticks,
    path,
    ticks,
    wants_log,
    whole_ticks,
)
from kilonet.storage.record import EpochRow, RunRecord

WIDTH, HEIGHT = 360, 220
"""Of a chart, in units that are pixels on a phone."""

LEFT, RIGHT, TOP, BOTTOM = 46, 12, 26, 34
"""Margins around the plot, in the same units."""

SETTLING_SHARE = 0.2
"""The first share of the epochs may be below the accuracy axis: accuracy rises steeply there, and
the rest would be flat. A sentence next to the chart states what is left out."""

_BOX = box(WIDTH, HEIGHT)


class _Words(NamedTuple):
    """A chart's unique name on the page, its title, and its content as a sentence."""

    name: str
    title: str
    text: str


class _Line(NamedTuple):
    """A measurement by epoch: its name, its value in a row, and the class of its marks."""

    label: str
    of: Callable[[EpochRow], float]
    style: str


_TRAIN = _Line("train", lambda row: row.train_accuracy, "train")
_VALIDATION = _Line("validation", lambda row: row.validation_accuracy or 0.0, "validation")
_TEST = _Line("test", lambda row: row.test_accuracy or 0.0, "test")
_TRAIN_LOSS = _Line("train", lambda row: row.train_loss, "train")
_TEST_LOSS = _Line("test", lambda row: row.test_loss or 0.0, "test")
_GAP = _Line("train − test", lambda row: row.gap, "gap")
_LR = _Line("learning rate", lambda row: row.lr, "rate")


def curves(records: Sequence[RunRecord], *, target: float | None, name: str) -> list[Markup]:
    """The four charts of a stage: mean and range over the seeds.

    Args:
        records: a stage's runs, one a seed; epochs that only some runs have are left out.
        target: test accuracy to reach, percent; None without one.
        name: unique on the page.
    """
    runs = _runs(records)
    return [
        _accuracy(runs, target=target, name=f"{name}-accuracy"),
        _gap(runs, name=f"{name}-gap"),
        _loss(runs, name=f"{name}-loss"),
        _rate(runs, name=f"{name}-rate"),
    ]


def below_axis(records: Sequence[RunRecord], *, target: float | None) -> str:
    """A sentence about the values below the accuracy axis; "" without any."""
    return _accuracy_axis(_runs(records), target=target)[2]


_Runs = Sequence[Sequence[EpochRow]]


def _runs(records: Sequence[RunRecord]) -> _Runs:
    length = min(len(record.rows) for record in records)
    return [record.rows[:length] for record in records]


def _accuracies(runs: _Runs) -> list[_Line]:
    """The accuracies of an epoch: with a split, in all runs, the validation accuracy too."""
    held_out = all(row.validation_accuracy is not None for rows in runs for row in rows)
    return [_TRAIN, *([_VALIDATION] if held_out else []), _TEST]


def _accuracy_axis(runs: _Runs, *, target: float | None) -> tuple[float, float, str]:
    """Low and high end of the accuracy axis, and a sentence about what is below it, or "".

    The axis holds the target, or else the best test accuracy, and all epochs but the first fifth
    (:data:`SETTLING_SHARE`).
    """
    values: dict[int, list[float]] = {row.epoch: [] for row in runs[0]}
    lines = _accuracies(runs)
    for rows in runs:
        for row in rows:
            values[row.epoch] += [line.of(row) for line in lines]
    first = math.floor(SETTLING_SHARE * len(values))
    shown = [value for of_epoch in list(values.values())[first:] for value in of_epoch]
    shown.append(
        max(max(_TEST.of(row) for row in rows) for rows in runs) if target is None else target
    )
    low, high = min(shown), max(shown)
    margin = max(0.05 * (high - low), 0.02)
    low, high = low - margin, high + margin
    below = [epoch for epoch, of_epoch in values.items() if min(of_epoch) < low]
    if not below:
        return low, high, ""
    least = percent(min(min(values[epoch]) for epoch in below))
    if len(below) == 1:
        return low, high, f"Epoch {below[0]} is partly below the axis, down to {least}."
    which = f"Epochs {below[0]} to {below[-1]}"
    return low, high, f"{which} are partly below the axis, down to {least}."


def _accuracy(runs: _Runs, *, target: float | None, name: str) -> Markup:
    low, high, below = _accuracy_axis(runs, target=target)
    y = _vertical(low, high)
    marks = []
    if target is not None:
        place = y(target)
        # The label is below the line where there is no room above it.
        text_y = place - 5 if place > TOP + 14 else place + 12
        named, style = f"target {percent(target)}", "tick target-label"
        marks = [
            horizontal(place, "target-line"),
            label(named, x=LEFT + 4, y=text_y, anchor="start", style=style),
        ]
    lines = _accuracies(runs)
    text = f"{'; '.join(_from_to(runs, line, percent) for line in reversed(lines))}. {below}"
    words = _Words(name, "Accuracy by epoch", text)
    return _chart(runs, lines, y, "accuracy, %", ticks(low, high), marks=marks, words=words)


def _gap(runs: _Runs, *, name: str) -> Markup:
    first = math.floor(SETTLING_SHARE * len(runs[0]))
    shown = [row.gap for rows in runs for row in rows[first:]]
    low, high = min(*shown, 0), max(*shown, 0)
    margin = max(0.08 * (high - low), 0.02)
    y = _vertical(low - margin, high + margin)
    text = f"{_from_to(runs, _GAP, signed)}, percentage points."
    words = _Words(name, "The gap by epoch", text)
    zero = horizontal(y(0), "zero")
    return _chart(runs, [_GAP], y, "gap, points", ticks(y.low, y.high), marks=[zero], words=words)


def _loss(runs: _Runs, *, name: str) -> Markup:
    lines, loss = (_TRAIN_LOSS, _TEST_LOSS), "{:.4f}".format
    values = [line.of(row) for line in lines for rows in runs for row in rows]
    if fits_log(min(values), max(values)):
        y = _vertical(min(values) * 0.9, max(values) * 1.1, log=True)
        marked = log_ticks(y.low, y.high)
    else:
        y = _vertical(0, max(values) * 1.05 or 1)
        marked = ticks(y.low, y.high)
    text = f"{_from_to(runs, _TEST_LOSS, loss)}; {_from_to(runs, _TRAIN_LOSS, loss)}."
    words = _Words(name, "Loss by epoch", text)
    return _chart(runs, lines, y, "loss, nats", marked, words=words)


def _rate(runs: _Runs, *, name: str) -> Markup:
    runs = runs[:1]
    rates = [row.lr for row in runs[0]]
    if wants_log(min(rates), max(rates)):
        y = _vertical(min(rates) / 2, max(rates) * 2, log=True)
        marked = log_ticks(y.low, y.high)
    else:
        y = _vertical(0, 1.3 * max(rates) or 1)
        marked = ticks(y.low, y.high, most=4)
    text = f"{_from_to(runs, _LR, '{:g}'.format)}."
    words = _Words(name, "Learning rate by epoch", text)
    return _chart(runs, [_LR], y, "", marked, stairs=True, words=words)


def _chart(
    runs: _Runs,
    lines: Sequence[_Line],
    y: Scale,
    unit: str,
    marked: Sequence[float],
    *,
    marks: Sequence[Markup] = (),
    stairs: bool = False,
    words: _Words,
) -> Markup:
    """A chart of lines by epoch, with a grid at ``marked`` and other marks."""
    x, grid = _epochs(runs), []
    for value in marked:
        grid.append(horizontal(y(value), "grid"))
        grid.append(label(f"{value:g}", x=LEFT - 6, y=y(value) + 4, anchor="end"))
    grid += [
        label(str(epoch), x=x(epoch), y=HEIGHT - BOTTOM + 15, anchor="middle")
        for epoch in whole_ticks(runs[0][0].epoch, runs[0][-1].epoch)
    ]
    grid.append(label("epoch", x=WIDTH - RIGHT, y=HEIGHT - 3, anchor="end"))
    # The first epochs may be below the axis, so lines are clipped.
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM + 8
    plot = element("rect", x=LEFT, y=TOP - 4, width=width, height=height)
    clip = element("clipPath", plot, id=f"{words.name}-plot")
    shown = [mark for line in lines for mark in _series(runs, line, y, stairs=stairs)]
    clipped = element("g", clip, *shown, clip_path=f"url(#{words.name}-plot)")
    return drawing(*grid, clipped, *marks, *_legend(lines, unit), **words._asdict(), viewBox=_BOX)


def _epochs(runs: _Runs) -> Scale:
    return Scale(
        low=runs[0][0].epoch - 0.5, high=runs[0][-1].epoch + 0.5, start=LEFT, end=WIDTH - RIGHT
    )


def _vertical(low: float, high: float, *, log: bool = False) -> Scale:
    return Scale(low=low, high=high, start=HEIGHT - BOTTOM, end=TOP, log=log)


def _series(runs: _Runs, line: _Line, y: Scale, *, stairs: bool) -> list[Markup]:
    """The line of the mean and, with several seeds, the band of their range."""
    x = _epochs(runs)
    columns = [(rows[0].epoch, [line.of(row) for row in rows]) for rows in zip(*runs, strict=True)]
    marks = []
    if len(runs) > 1:
        top = [(x(epoch), y(max(values))) for epoch, values in columns]
        bottom = [(x(epoch), y(min(values))) for epoch, values in reversed(columns)]
        band = path([*top, *bottom], close=True)
        marks.append(element("path", d=band, class_=f"band {line.style}"))
    sides = (-0.5, 0.5) if stairs else (0.0,)
    points = [
        (x(epoch + side), y(math.fsum(values) / len(values)))
        for epoch, values in columns
        for side in sides
    ]
    if len(points) == 1:
        (across, down), style = points[0], f"dot {line.style}"
        return [*marks, element("circle", cx=across, cy=down, r=4, class_=style)]
    return [*marks, element("path", d=path(points), class_=f"line {line.style}")]


def _legend(lines: Sequence[_Line], unit: str) -> list[Markup]:
    """The unit at the left; each line's sample and name at the right."""
    marks = [label(unit, x=0, y=12, anchor="start")] if unit else []
    right = float(WIDTH - RIGHT)
    for line in reversed(lines):
        left = right - 6.2 * len(line.label)
        style = f"tick name {line.style}"
        marks.append(label(line.label, x=left, y=12, anchor="start", style=style))
        sample = path([(left - 28, 8), (left - 6, 8)])
        marks.append(element("path", d=sample, class_=f"line {line.style}"))
        right = left - 40
    return marks


def _from_to(runs: _Runs, line: _Line, text: Callable[[float], str]) -> str:
    """``test from 97.53% at epoch 0 to 99.17% at epoch 14``, means of the seeds."""
    first, last = (math.fsum(line.of(rows[i]) for rows in runs) / len(runs) for i in (0, -1))
    of = "" if len(runs) == 1 else f", means of {count(len(runs), 'seed')}"
    if len(runs[0]) == 1:
        return f"{line.label} {text(first)} in the one epoch{of}"
    start, end = runs[0][0].epoch, runs[0][-1].epoch
    return f"{line.label} from {text(first)} at epoch {start} to {text(last)} at epoch {end}{of}"


def horizontal(y: float, style: str) -> Markup:
    """A line over the whole width of the plot."""
    return element("path", d=path([(LEFT, y), (WIDTH - RIGHT, y)]), class_=style)
