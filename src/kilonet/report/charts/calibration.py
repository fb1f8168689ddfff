"""The calibration curve: accuracy against confidence."""

from __future__ import annotations

import math

from markupsafe import Markup

from kilonet.analysis.misclassified import Calibration
from kilonet.report.charts.curves import BOTTOM, LEFT, RIGHT, TOP, WIDTH, horizontal
from kilonet.report.charts.svg import Scale, box, drawing, element, label, path


def calibration_curve(calibration: Calibration, *, name: str) -> Markup:
    """Accuracy against confidence, a dot for each bin; a dot's area grows with its predictions."""
    side = WIDTH - LEFT - RIGHT
    height = TOP + side * 0.8 + BOTTOM
    x = Scale(low=0, high=1, start=LEFT, end=WIDTH - RIGHT)
    y = Scale(low=0, high=1, start=height - BOTTOM, end=TOP)
    marks = []
    for value in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        marks.append(horizontal(y(value), "grid"))
        marks.append(label(f"{value:.0%}", x=LEFT - 6, y=y(value) + 4, anchor="end"))
        marks.append(label(f"{value:.0%}", x=x(value), y=height - BOTTOM + 15, anchor="middle"))
    diagonal = path([(x(0), y(0)), (x(1), y(1))])
    marks.append(element("path", d=diagonal, class_="line zero"))
    dots = [(x(b.confidence), y(b.accuracy)) for b in calibration.bins]
    marks.append(element("path", d=path(dots), class_="line test"))
    largest = max(b.count for b in calibration.bins)
    for b, (across, down) in zip(calibration.bins, dots, strict=True):
        radius = 2.5 + 5 * math.sqrt(b.count / largest)
        marks.append(element("circle", cx=across, cy=down, r=radius, class_="dot test"))
    marks.append(label("confidence", x=LEFT + side / 2, y=height - 4, anchor="middle"))
    marks.append(label("accuracy", x=LEFT - 40, y=14, anchor="start"))
    text = (
        f"Expected calibration error {100 * calibration.ece:.2f} points. Mean confidence "
        f"{100 * calibration.confidence:.2f}%, accuracy {100 * calibration.accuracy:.2f}%."
    )
    return drawing(
        *marks,
        name=name,
        title="Accuracy against confidence",
        text=text,
        viewBox=box(WIDTH, height),
    )
