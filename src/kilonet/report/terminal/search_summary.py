"""The best networks of a search and how to train them, on a screen of a console."""

from __future__ import annotations

import shlex

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as RichTable

from kilonet.formatting import count
from kilonet.report.searched import HONESTY, SearchContent, duration
from kilonet.report.terminal.search_display import front_cells
from kilonet.report.terminal.stage import bullets, fitting
from kilonet.report.terminal.text import line_of
from kilonet.search.result import SearchResult, State

MAX_ROWS = 10
"""Networks of the table; the report has all."""

_LINES = 10
"""Lines for sentences; the report has all."""

_WIDE = 78
"""Columns with room for multiply-adds and the file."""


def search_summary(
    result: SearchResult, *, width: int, terminal: bool, brief: bool = False
) -> RenderableType:
    """The table of the networks to take, and what their numbers rest on.

    ``brief`` leaves out the sentences; without a terminal the table is ASCII.
    """
    content = SearchContent(result=result)
    head = line_of(_head(content), "bold")
    if not content.shown:
        sentences = [] if brief else fitting(content.sentences, lines=_LINES, width=width)
        return Group(head, *map(line_of, sentences))
    wide = width >= _WIDE
    table = RichTable(
        title=head,
        title_justify="left",
        header_style="bold",
        box=box.HEAVY_HEAD if terminal else box.ASCII2,
        show_edge=False,
    )
    names = ("Trial", "Parameters", *(["Multiply-adds"] if wide else []), "Validation accuracy")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Of", no_wrap=True)
    for each in content.shown[:MAX_ROWS]:
        table.add_row(*front_cells(each, wide=wide))
    parts: list[RenderableType] = [table]
    if len(content.shown) > MAX_ROWS:
        parts.append(line_of(f"The report has {len(content.shown) - MAX_ROWS} more."))
    if not brief:
        sentences = fitting((HONESTY, *content.sentences), lines=_LINES, width=width)
        parts.append(bullets(sentences))
    return Group(*parts)


def training_commands(result: SearchResult) -> list[str]:
    """How to train the best network, and all of them; none before there are files."""
    lines = []
    if result.best is not None and result.best.toml is not None:
        file = shlex.quote(str(result.best.toml))
        lines.append(f"Train the best: kilonet train {file} --seeds 5")
    if result.study_toml is not None:
        lines.append(f"Compare all: kilonet study {shlex.quote(str(result.study_toml))}")
    return lines


def _head(content: SearchContent) -> str:
    result = content.result
    trained = result.trained - result.counts[State.RUNNING]
    limits = f", {content.limits}" if content.limits else ""
    seconds = sum(trial.seconds for trial in result.trials)
    trials = f"{trained:,} of {count(result.num_trials, 'trial')}"
    return f"{content.name}{limits}: {trials}, {duration(seconds)} of training"
