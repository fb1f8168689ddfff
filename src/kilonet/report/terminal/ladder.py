"""The ladder at a glance and the study's conclusions, on a screen of a console."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from kilonet.report import tables
from kilonet.report.content import Content
from kilonet.report.terminal.stage import bullets, fitting
from kilonet.table import Table

CONCLUSION_LINES = 17
"""Lines for conclusions: a screen of 34 without the table of four stages and its effects."""


def ladder_table(content: Content, *, width: int, terminal: bool) -> RenderableType:
    """The ladder's table, its note and the conclusions; without a terminal it is ASCII.

    Effects without room in ``width`` columns are listed below the table.
    """
    analysis = content.analysis
    whole = tables.ladder(content.result, analysis)
    shown = len(whole.columns)
    while shown > tables.NUM_STAGE_COLUMNS and _width(whole, shown) > width:
        shown -= 1
    grid = RichTable(
        title=Text(f"{content.result.study.name}: target {content.target}", style="bold"),
        title_justify="left",
        header_style="bold",
        box=box.HEAVY_HEAD if terminal else box.ASCII2,
        show_edge=False,
    )
    for i, name in enumerate(whole.columns[:shown]):
        # On a narrow console names and effects are wrapped, numbers are not.
        wraps = i in whole.left
        justify = "left" if wraps else "right"
        grid.add_column(name, justify=justify, no_wrap=not wraps, overflow="fold")  # type: ignore[arg-type]
    for row, stage in zip(whole.rows, analysis.stages, strict=True):
        style = "green" if stage.reached == stage.seeds else ""
        grid.add_row(*map(Text, row[:shown]), style=style)
    parts: list[RenderableType] = [grid]
    for i in range(shown, len(whole.columns)):
        effects = [f"{row[0]}. {row[1]}: {row[i]}" for row in whole.rows if row[i]]
        parts += [Text(f"{whole.columns[i]}:"), Padding(bullets(effects), (0, 0, 0, 2))]
    conclusions = fitting(analysis.conclusions, lines=CONCLUSION_LINES, width=width)
    if len(conclusions) < len(analysis.conclusions):
        conclusions.append("The report has more conclusions.")
    return Group(*parts, *map(Text, (tables.BEST_NOTE, *conclusions)))


def _width(table: Table, columns: int) -> int:
    """Columns of a console that the table's first ones take."""
    cells = zip(table.columns, *table.rows, strict=True)
    return sum(max(map(len, column)) + 3 for column in list(cells)[:columns])
