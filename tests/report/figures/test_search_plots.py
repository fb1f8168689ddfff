"""Plots of a search: what is drawn is what the result holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import kilonet as kn
from kilonet.errors import UsageError
from kilonet.search.importance import importances
from kilonet.search.result import State
from search_results import LIMIT, made_search

SEARCH = made_search()
PLOTS = (kn.plot.front, kn.plot.importances, kn.plot.search)


@pytest.fixture(autouse=True)
def _no_figure_stays() -> Iterator[None]:
    plt.switch_backend("agg")
    yield
    plt.close("all")


def axes() -> Axes:
    return Figure(layout="constrained").add_subplot()


def line(drawn: Axes, label: str) -> tuple[list[float], list[float]]:
    [found] = [each for each in drawn.get_lines() if each.get_label() == label]
    x, y = (np.asarray(values).tolist() for values in found.get_data())
    return x, y


def test_the_front() -> None:
    ax = axes()
    assert kn.plot.front(SEARCH, ax=ax) is ax
    x, y = line(ax, "front")
    assert x == [each.parameters for each in SEARCH.front]
    assert y == [each.validation_accuracy for each in SEARCH.front]
    single, _ = line(ax, "trial, a single run")
    assert len(single) == SEARCH.counts["complete"] - len(SEARCH.confirmed)
    assert len(ax.containers) == len(SEARCH.confirmed)
    assert line(ax, f"at most {LIMIT:,}")[0] == [LIMIT, LIMIT]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("parameters", "validation accuracy, %")


def test_the_front_by_multiply_adds() -> None:
    ax = kn.plot.front(SEARCH, by="multiply-adds", ax=axes())
    x, _ = line(ax, "front")
    assert set(x) <= {trial.macs for trial in SEARCH.trials}
    assert x == sorted(x)
    assert ax.get_xlabel() == "multiply-adds"


def test_importances() -> None:
    found = importances(SEARCH)
    ax = kn.plot.importances(SEARCH, ax=axes())
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([100 * f.share for f in found])
    assert line(ax, "chance, 1 in 20")[0] == pytest.approx([100 * f.chance for f in found])
    assert [label.get_text() for label in ax.get_yticklabels()] == [f.name for f in found]


@pytest.mark.parametrize("by", ["trials", "seconds"])
def test_the_course(by: str) -> None:
    ax = kn.plot.search(SEARCH, by=by, ax=axes())
    x, best = line(ax, "best so far")
    assert best == sorted(best)
    complete = [t.accuracy or 0.0 for t in SEARCH.trials if t.state is State.COMPLETE]
    assert best[-1] == max(complete)
    assert len(line(ax, "at full length")[0]) == len(complete)
    trained = SEARCH.trained if by == "trials" else sum(t.seconds for t in SEARCH.trials)
    assert x[-1] == pytest.approx(trained)


def test_without_axes_pyplot_makes_a_figure() -> None:
    assert kn.plot.search(SEARCH).figure is plt.gcf()


def test_what_cannot_be_drawn_is_one_line() -> None:
    for plot in PLOTS:
        with pytest.raises(UsageError, match="an object of type dict is no search"):
            plot({})
    empty = replace(SEARCH, trials=(), confirmed=())
    for plot in PLOTS:
        with pytest.raises(UsageError, match=r"no trial|trained trials"):
            plot(empty)
    with pytest.raises(UsageError, match="by='size'"):
        kn.plot.front(SEARCH, by="size")
    with pytest.raises(UsageError, match="by='size'"):
        kn.plot.search(SEARCH, by="size")
