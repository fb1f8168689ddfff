"""Plots of a search: the Pareto front, the importance of choices, the course."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from kilonet.errors import UsageError
from kilonet.report.figures.axes import COLORS, axes_of, plain_legend, set_axes_title
from kilonet.report.figures.text import plain
from kilonet.report.searched import SearchContent
from kilonet.search.importance import importances as importances_of
from kilonet.search.result import SearchResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_CHOICE_LETTERS = 32
"""Characters of a choice's name beside the axes."""

_GRAY = "#777777"
_TRIAL: dict[str, Any] = {"color": COLORS[5], "markersize": 4}
_STOPPED: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": _GRAY, "markersize": 4}
_FRONT: dict[str, Any] = {"color": COLORS[1], "linewidth": 1.5}


def front(
    result: SearchResult,
    *,
    by: Literal["parameters", "multiply-adds"] = "parameters",
    ax: Axes | None = None,
) -> Axes:
    """Validation accuracy against size: the trials, the front, and confirmed networks.

    Trials that were stopped early, after fewer epochs, are left out; confirmed networks stand by
    the mean of their fresh seeds, with its 95 % interval.

    Args:
        result: the search.
        by: the size: ``parameters`` or ``multiply-adds``.
        ax: the axes to draw on.

    Raises:
        UsageError: if no trial was trained at full length, or it is no search's result.
    """
    content = _content(result)
    if by not in ("parameters", "multiply-adds"):
        raise UsageError(f"by={by!r}: a size is 'parameters' or 'multiply-adds'")
    marks = [mark for mark in content.marks(by) if mark.trained]
    if not marks:
        raise UsageError("no trial was trained at full length, so there is no front")
    axes = axes_of(ax)
    single = [mark for mark in marks if not mark.confirmed]
    if single:
        sizes, accuracies = [m.size for m in single], [m.accuracy for m in single]
        axes.plot(sizes, accuracies, "o", label="trial, a single run", **_TRIAL)
    points = sorted((m.size, m.accuracy) for m in marks if m.on_front)
    x, y = [size for size, _ in points], [accuracy for _, accuracy in points]
    axes.plot(x, y, marker=".", drawstyle="steps-post", label="front", **_FRONT)
    for i, mark in enumerate(m for m in marks if m.confirmed):
        label = "confirmed, 95% interval" if i == 0 else None
        low, high = mark.ci95 or (mark.accuracy, mark.accuracy)
        ends = [[mark.accuracy - low], [high - mark.accuracy]]
        style: dict[str, Any] = {"color": COLORS[0], "capsize": 3, "markersize": 6}
        axes.errorbar([mark.size], [mark.accuracy], yerr=ends, fmt="D", label=label, **style)
    limit = content.result.space.budget.parameters if by == "parameters" else None
    if limit is not None:
        style = {"color": COLORS[2], "linewidth": 1.2, "linestyle": "--"}
        axes.axvline(limit, label=f"at most {limit:,}", **style)
    axes.set_xlabel(by)
    axes.set_ylabel("validation accuracy, %")
    set_axes_title(axes, content.name)
    plain_legend(axes.legend(frameon=False))
    return axes


def importances(result: SearchResult, *, ax: Axes | None = None) -> Axes:
    """A bar for each choice's importance, and what chance alone gives in one of 20 searches.

    By PED-ANOVA: Watanabe, Bansal and Hutter, IJCAI 2023.

    Raises:
        UsageError: if too few trials trained, no choice varied, Optuna is not installed, or it is
            no search's result.
    """
    content = _content(result)
    found = importances_of(result)
    if not found:
        raise UsageError("no choice has two values among the trained trials")
    axes = axes_of(ax)
    places = list(range(len(found)))
    shares = [100 * each.share for each in found]
    colors = [COLORS[0] if each.shown else COLORS[5] for each in found]
    axes.barh(places, shares, color=colors, height=0.6)
    chance = [100 * each.chance for each in found]
    axes.plot(chance, places, "|", color="black", markersize=14, label="chance, 1 in 20")
    shown, style = plain(*(each.name for each in found), most=MAX_CHOICE_LETTERS)
    axes.set_yticks(places, shown, **style)
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xlabel("importance, %")
    set_axes_title(axes, content.name)
    plain_legend(axes.legend(frameon=False))
    return axes


def search(
    result: SearchResult,
    *,
    by: Literal["trials", "seconds"] = "trials",
    ax: Axes | None = None,
) -> Axes:
    """The course of a search: each trial's validation accuracy, and the best at full length so far.

    Args:
        result: the search.
        by: what runs along the bottom: trials that have ended, or the seconds of training of all of
            them up to then.
        ax: the axes to draw on.

    Raises:
        UsageError: if no trial has ended, or it is no search's result.
    """
    content = _content(result)
    if by not in ("trials", "seconds"):
        raise UsageError(f"by={by!r}: a course is by 'trials' or by 'seconds'")
    steps = content.steps if by == "trials" else content.seconds
    if not steps:
        raise UsageError("no trial has ended, so there is no course")
    axes = axes_of(ax)
    trained = [step for step in steps if step.trained]
    stopped = [step for step in steps if not step.trained]
    looks = ((stopped, "stopped early", _STOPPED), (trained, "at full length", _TRIAL))
    for group, label, style in looks:
        if group:
            x, y = [s.at for s in group], [s.accuracy for s in group]
            axes.plot(x, y, "o", label=label, **style)
    if trained:
        best = [max(s.accuracy for s in trained[: i + 1]) for i in range(len(trained))]
        x, y = [*(s.at for s in trained), steps[-1].at], [*best, best[-1]]
        axes.plot(x, y, drawstyle="steps-post", label="best so far", **_FRONT)
    axes.set_xlabel("trials" if by == "trials" else "seconds of training")
    axes.set_ylabel("validation accuracy, %")
    set_axes_title(axes, content.name)
    plain_legend(axes.legend(frameon=False))
    return axes


def _content(result: SearchResult) -> SearchContent:
    if not isinstance(result, SearchResult):  # from an untyped notebook
        raise UsageError(
            f"an object of type {type(result).__name__} is no search; give a search's result"
        )
    return SearchContent(result=result)
