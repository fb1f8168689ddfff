"""The report's charts: learning curves, the gap, the schedule, calibration.

Each is small enough for a phone and grows a little on a desk. Series are told apart by colour, by
line style, and by name; each chart says in words what it shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from kilonet.analysis.errors import Calibration
from kilonet.analysis.words import count, percent, signed
from kilonet.record import EpochRow, RunRecord
from kilonet.report.figures import accuracy_limits
from kilonet.report.html.svg import (
    Scale,
    drawing,
    element,
    log_ticks,
    path,
    ticks,
    whole_ticks,
)

WIDTH, HEIGHT = 360, 220
"""Of a chart, in units that are pixels on a phone."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 26, 34
_LEAST_RATIO = 5.0  # a learning rate that falls by more is drawn on a logarithmic axis


@dataclass(frozen=True, kw_only=True)
class _Line:
    """A measurement by epoch: its name in words, what to read, and the class of its marks."""

    label: str
    of: Callable[[EpochRow], float]
    style: str


_TRAIN = _Line(label="train", of=lambda row: row.train_accuracy, style="train")
_TEST = _Line(label="test", of=lambda row: row.test_accuracy, style="test")
_TRAIN_LOSS = _Line(label="train", of=lambda row: row.train_loss, style="train")
_TEST_LOSS = _Line(label="test", of=lambda row: row.test_loss, style="test")
_GAP = _Line(label="train − test", of=lambda row: row.gap, style="gap")
_LR = _Line(label="learning rate", of=lambda row: row.lr, style="rate")


def left_out(records: Sequence[RunRecord], *, target: float | None) -> str:
    """What lies below the accuracy axis, as a sentence; "" where nothing does."""
    return _accuracy_axis(_runs(records), target=target)[2]


def curves(records: Sequence[RunRecord], *, target: float | None, name: str) -> list[Markup]:
    """Accuracy, the gap, loss and learning rate by epoch: mean of the seeds and their range.

    Args:
        records: a rung's runs, one a seed; of runs of several lengths what all have is drawn.
        target: test accuracy to reach, percent; None where there is none.
        name: unlike any other on the page.
    """
    runs = _runs(records)
    return [
        _accuracy(runs, target=target, name=f"{name}-accuracy"),
        _gap(runs, name=f"{name}-gap"),
        _loss(runs, name=f"{name}-loss"),
        _rate(runs, name=f"{name}-rate"),
    ]


_Runs = Sequence[Sequence[EpochRow]]


def _runs(records: Sequence[RunRecord]) -> _Runs:
    length = min(len(record.rows) for record in records)
    return [record.rows[:length] for record in records]


def _accuracy_axis(runs: _Runs, *, target: float | None) -> tuple[float, float, str]:
    reach = max(row.test_accuracy for row in runs[0]) if target is None else target
    low, high, below = accuracy_limits(runs, target=reach)
    return low, high, f"{below}." if below else ""


def _accuracy(runs: _Runs, *, target: float | None, name: str) -> Markup:
    low, high, below = _accuracy_axis(runs, target=target)
    y = _vertical(low, high)
    series = [*_series(runs, _TRAIN, y), *_series(runs, _TEST, y)]
    marks = [*_grid(runs, y, ticks(low, high)), _within(series, name=name)]
    if target is not None:
        place = y(target)
        marks.append(_along(place, "target-line"))
        # Off the line, on the side where there is room.
        above = place - 5 if place > _TOP + 14 else place + 12
        label = f"target {percent(target)}"
        marks.append(element("text", label, x=_LEFT + 4, y=above, class_="tick target-label"))
    marks += _legend([_TRAIN, _TEST], unit="accuracy, %")
    ends = [f"{line.label} {_from_to(runs, line, percent)}" for line in (_TEST, _TRAIN)]
    text = f"{'; '.join(ends)}. {below}"
    return _chart(marks, name=name, title="Accuracy by epoch", text=text)


def _gap(runs: _Runs, *, name: str) -> Markup:
    first = math.floor(0.2 * len(runs[0])) if len(runs[0]) > 4 else 0
    shown = [row.gap for rows in runs for row in rows[first:]]
    low, high = min(*shown, 0), max(*shown, 0)
    margin = max(0.08 * (high - low), 0.02)
    y = _vertical(low - margin, high + margin)
    marks = [
        *_grid(runs, y, ticks(y.low, y.high)),
        _along(y(0), "zero"),
        _within(_series(runs, _GAP, y), name=name),
        *_legend([_GAP], unit="gap, points"),
    ]
    text = f"Train minus test accuracy {_from_to(runs, _GAP, signed)}, percentage points."
    return _chart(marks, name=name, title="The gap by epoch", text=text)


def _loss(runs: _Runs, *, name: str) -> Markup:
    values = [line.of(row) for line in (_TRAIN_LOSS, _TEST_LOSS) for rows in runs for row in rows]
    if min(values) > 0:
        y = _vertical(min(values) * 0.9, max(values) * 1.1, log=True)
        marked = log_ticks(y.low, y.high)
    else:
        y = _vertical(0, max(values) * 1.05 or 1)
        marked = ticks(y.low, y.high)
    marks = [
        *_grid(runs, y, marked),
        *_series(runs, _TRAIN_LOSS, y),
        *_series(runs, _TEST_LOSS, y),
        *_legend([_TRAIN_LOSS, _TEST_LOSS], unit="loss, nats"),
    ]
    ends = [
        f"{line.label} {_from_to(runs, line, _loss_word)}" for line in (_TEST_LOSS, _TRAIN_LOSS)
    ]
    return _chart(marks, name=name, title="Loss by epoch", text=f"{'; '.join(ends)}.")


def _rate(runs: _Runs, *, name: str) -> Markup:
    rates = [row.lr for row in runs[0]]
    if min(rates) > 0 and max(rates) > _LEAST_RATIO * min(rates):
        y = _vertical(min(rates) / 2, max(rates) * 2, log=True)
        marked = log_ticks(y.low, y.high)
    else:
        y = _vertical(0, 1.3 * max(rates) or 1)
        marked = ticks(y.low, y.high, most=4)
    x = _epochs(runs)
    corners = [(x(row.epoch + side), y(row.lr)) for row in runs[0] for side in (-0.5, 0.5)]
    marks = [
        *_grid(runs, y, marked),
        element("path", d=path(corners), class_="line rate"),
        *_legend([_LR], unit=""),
    ]
    text = f"Learning rate {_from_to(runs[:1], _LR, lambda rate: f'{rate:g}')}."
    return _chart(marks, name=name, title="Learning rate by epoch", text=text)


def calibration_curve(calibration: Calibration, *, name: str) -> Markup:
    """Accuracy against confidence, a dot a bin, the larger the more predictions it holds."""
    side = WIDTH - _LEFT - _RIGHT
    height = _TOP + side * 0.8 + _BOTTOM
    x = Scale(low=0, high=1, start=_LEFT, end=WIDTH - _RIGHT)
    y = Scale(low=0, high=1, start=height - _BOTTOM, end=_TOP)
    marks = []
    for value in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        marks.append(_along(y(value), "grid"))
        marks.append(_tick(f"{value:.0%}", x=_LEFT - 6, y=y(value) + 4, anchor="end"))
        marks.append(_tick(f"{value:.0%}", x=x(value), y=height - _BOTTOM + 15, anchor="middle"))
    diagonal = path([(x(0), y(0)), (x(1), y(1))])
    marks.append(element("path", d=diagonal, class_="line zero"))
    dots = [(x(b.confidence), y(b.accuracy)) for b in calibration.bins]
    marks.append(element("path", d=path(dots), class_="line test"))
    most = max(b.count for b in calibration.bins)
    for b, (across, down) in zip(calibration.bins, dots, strict=True):
        radius = 2.5 + 5 * math.sqrt(b.count / most)
        marks.append(element("circle", cx=across, cy=down, r=radius, class_="dot test"))
    middle = _LEFT + side / 2
    marks.append(_tick("confidence", x=middle, y=height - 4, anchor="middle"))
    marks.append(_tick("accuracy", x=_LEFT - 40, y=14, anchor="start"))
    text = (
        f"Expected calibration error {100 * calibration.ece:.2f} points. Mean confidence "
        f"{100 * calibration.confidence:.2f}%, accuracy {100 * calibration.accuracy:.2f}%."
    )
    return drawing(
        *marks,
        name=name,
        title="Accuracy against confidence",
        text=text,
        width=WIDTH,
        height=height,
    )


def _chart(marks: Sequence[Markup], *, name: str, title: str, text: str) -> Markup:
    marks = [*marks, _tick("epoch", x=WIDTH - _RIGHT, y=HEIGHT - 3, anchor="end")]
    return drawing(*marks, name=name, title=title, text=text, width=WIDTH, height=HEIGHT)


def _epochs(runs: _Runs) -> Scale:
    return Scale(
        low=runs[0][0].epoch - 0.5, high=runs[0][-1].epoch + 0.5, start=_LEFT, end=WIDTH - _RIGHT
    )


def _vertical(low: float, high: float, *, log: bool = False) -> Scale:
    return Scale(low=low, high=high, start=HEIGHT - _BOTTOM, end=_TOP, log=log)


def _grid(runs: _Runs, y: Scale, marked: Sequence[float]) -> list[Markup]:
    x, marks = _epochs(runs), []
    for value in marked:
        marks.append(_along(y(value), "grid"))
        marks.append(_tick(f"{value:g}", x=_LEFT - 6, y=y(value) + 4, anchor="end"))
    marks += [
        _tick(str(epoch), x=x(epoch), y=HEIGHT - _BOTTOM + 15, anchor="middle")
        for epoch in whole_ticks(runs[0][0].epoch, runs[0][-1].epoch)
    ]
    return marks


def _series(runs: _Runs, line: _Line, y: Scale) -> list[Markup]:
    """The band of the seeds' range, where there are several, and the line of their mean."""
    x = _epochs(runs)
    columns = [[line.of(row) for row in rows] for rows in zip(*runs, strict=True)]
    places = [x(row.epoch) for row in runs[0]]
    means = [(place, y(math.fsum(c) / len(c))) for place, c in zip(places, columns, strict=True)]
    marks = []
    if len(runs) > 1:
        top = [(place, y(max(c))) for place, c in zip(places, columns, strict=True)]
        bottom = [(place, y(min(c))) for place, c in zip(places, columns, strict=True)]
        band = path([*top, *reversed(bottom)], close=True)
        marks.append(element("path", d=band, class_=f"band {line.style}"))
    if len(means) == 1:
        across, down = means[0]
        return [*marks, element("circle", cx=across, cy=down, r=4, class_=f"dot {line.style}")]
    return [*marks, element("path", d=path(means), class_=f"line {line.style}")]


def _within(marks: Sequence[Markup], *, name: str) -> Markup:
    """Marks cut off at the edges of the chart: its axis need not hold the first epochs."""
    edges = element(
        "rect",
        x=_LEFT,
        y=_TOP - 4,
        width=WIDTH - _LEFT - _RIGHT,
        height=HEIGHT - _TOP - _BOTTOM + 8,
    )
    clip = element("clipPath", edges, id=f"{name}-edges")
    return element("g", clip, *marks, clip_path=f"url(#{name}-edges)")


def _legend(lines: Sequence[_Line], *, unit: str) -> list[Markup]:
    """What is measured, at the left; each line's sample and name, at the right."""
    marks = [_tick(unit, x=0, y=12, anchor="start")] if unit else []
    right = float(WIDTH - _RIGHT)
    for line in reversed(lines):
        left = right - 6.2 * len(line.label)
        marks.append(element("text", line.label, x=left, y=12, class_=f"tick name {line.style}"))
        sample = path([(left - 28, 8), (left - 6, 8)])
        marks.append(element("path", d=sample, class_=f"line {line.style}"))
        right = left - 40
    return marks


def _from_to(runs: _Runs, line: _Line, word: Callable[[float], str]) -> str:
    """``from 97.53% at epoch 0 to 99.17% at epoch 14``, means of the seeds."""
    first, last = (math.fsum(line.of(rows[i]) for rows in runs) / len(runs) for i in (0, -1))
    of = "" if len(runs) == 1 else f", means of {count(len(runs), 'seed')}"
    if len(runs[0]) == 1:
        return f"{word(first)} in the one epoch{of}"
    start, end = runs[0][0].epoch, runs[0][-1].epoch
    return f"from {word(first)} at epoch {start} to {word(last)} at epoch {end}{of}"


def _loss_word(loss: float) -> str:
    return f"{loss:.4f}"


def _tick(text: str, *, x: float, y: float, anchor: str) -> Markup:
    return element("text", text, x=x, y=y, text_anchor=anchor, class_="tick")


def _along(y: float, style: str) -> Markup:
    return element("path", d=path([(_LEFT, y), (WIDTH - _RIGHT, y)]), class_=style)
