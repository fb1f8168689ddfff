"""The course of a search: the best so far against trials, or against training time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from kilonet.formatting import count, percent
from kilonet.report.charts.curves import HEIGHT, WIDTH
from kilonet.report.charts.plane import Plane, accuracy_scale, below_sentence, horizontal_scale
from kilonet.report.charts.svg import box, drawing, element, label, path


class Step(NamedTuple):
    """A trial that has ended, in the order of the ends.

    Attributes:
        number: the trial's.
        at: trials that have ended, this one included; or the seconds of training up to its end.
        accuracy: on the validation split, percent, after the epochs that it had.
        trained: whether at full length: only those can be the best so far.
    """

    number: int
    at: float
    accuracy: float
    trained: bool


def course_chart(steps: Sequence[Step], *, unit: str, name: str) -> Markup:
    """The best accuracy at full length so far, and each trial's own.

    Args:
        steps: at least one, in order.
        unit: of ``at``: ``trials`` or ``seconds of training``.
        name: unique on the page.
    """
    plane = _plane(steps)
    best = _best(steps)
    marks = plane.grid(name=unit, unit="validation accuracy, %")
    for step in sorted(steps, key=lambda s: s.trained):
        style, radius = ("trial", 3.5) if step.trained else ("trial stopped", 3)
        text = f"trial {step.number}: {percent(step.accuracy)}"
        if not step.trained:
            text += ", stopped early"
        marks.append(plane.dot(step.at, step.accuracy, style=style, text=text, radius=radius))
    words = f"{count(len(steps), 'trial')}; none was trained at full length."
    if best:
        points = [(plane.x(best[0].at), plane.y(best[0].accuracy))]
        for step in best[1:]:
            across = plane.x(step.at)
            points += [(across, points[-1][1]), (across, plane.y(step.accuracy))]
        end = (max(points[-1][0], plane.x(steps[-1].at)), points[-1][1])
        marks.append(element("path", d=path([*points, end]), class_="front-line"))
        final, style = percent(best[-1].accuracy), "tick front-number"
        marks.append(label(final, x=end[0], y=end[1] - 6, anchor="end", style=style))
        words = (
            f"The best at full length rises from {percent(best[0].accuracy)} (trial "
            f"{best[0].number}) to {percent(best[-1].accuracy)} (trial {best[-1].number}), at "
            f"{best[-1].at:,.0f} of {steps[-1].at:,.0f} {unit}."
        )
    return drawing(
        *marks,
        name=name,
        title=f"Validation accuracy against {unit}: each trial, and the best so far",
        text=words,
        viewBox=box(WIDTH, HEIGHT),
    )


def below_course(steps: Sequence[Step]) -> str:
    """A sentence about the trials below the axis; "" without any."""
    return below_sentence([s.accuracy for s in steps], _plane(steps).y, noun="trial")


def _plane(steps: Sequence[Step]) -> Plane:
    best = [step.accuracy for step in _best(steps)[-1:]]
    # From zero: where the course begins.
    x = horizontal_scale([0.0, *(step.at for step in steps)], log=False)
    return Plane(x=x, y=accuracy_scale([step.accuracy for step in steps], keep=best))


def _best(steps: Sequence[Step]) -> list[Step]:
    """The trials that were the best at full length when they ended."""
    best: list[Step] = []
    for step in steps:
        if step.trained and (not best or step.accuracy > best[-1].accuracy):
            best.append(step)
    return best
