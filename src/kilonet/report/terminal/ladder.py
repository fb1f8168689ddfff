"""The ladder at a glance and the study's conclusions, on a screen of a console."""

from __future__ import annotations

from rich import box
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable

from kilonet.report import tables
from kilonet.report.content import Content
from kilonet.report.terminal.stage import bullets, fitting
from kilonet.report.terminal.text import line_of
from kilonet.table import Table

CONCLUSION_LINES = 12
"""Lines for conclusions; the report has all."""


def ladder_table(
    content: Content, *, width: int, terminal: bool, brief: bool = False
) -> RenderableType:
    """The ladder's table, its note and the conclusions; without a terminal it is ASCII.

    ``brief`` leaves out the conclusions. Effects without room in ``width`` columns are listed below
    the table; the best epoch, which is in each stage's Result too, is left out where the validation
    accuracy takes its room.
    """
    analysis = content.analysis
    whole, notes = tables.ladder(content.result, analysis), tables.ladder_notes(analysis)
    validated = "Final validation" in whole.columns
    if validated and _width(whole, len(whole.columns)) > width:
        whole, notes = _without(whole, "Best*"), [n for n in notes if n != tables.BEST_NOTE]
    shown, about_stage = len(whole.columns), len(whole.columns) - tables.num_effects(analysis)
    while shown > about_stage and _width(whole, shown) > width:
        shown -= 1
    grid = RichTable(
        title=line_of(f"{content.result.study.name}: target {content.target}", "bold"),
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
        grid.add_row(*map(line_of, row[:shown]), style=style)
    parts: list[RenderableType] = [grid]
    for i in range(shown, len(whole.columns)):
        effects = [f"{row[0]}. {row[1]}: {row[i]}" for row in whole.rows if row[i]]
        parts += [line_of(f"{whole.columns[i]}:"), Padding(bullets(effects), (0, 0, 0, 2))]
    conclusions = fitting(analysis.conclusions, lines=CONCLUSION_LINES, width=width)
    if len(conclusions) < len(analysis.conclusions):
        conclusions.append("The report has more conclusions.")
    return Group(*parts, *map(line_of, (*notes, *(() if brief else conclusions))))


def _without(table: Table, name: str) -> Table:
    """The table without a column."""
    i = table.columns.index(name)
    return Table(
        columns=(*table.columns[:i], *table.columns[i + 1 :]),
        rows=tuple((*row[:i], *row[i + 1 :]) for row in table.rows),
        left=frozenset(place - (place > i) for place in table.left),
    )


def _width(table: Table, columns: int) -> int:
    """Columns of a console that the table's first ones take."""
    cells = zip(table.columns, *table.rows, strict=True)
    return sum(max(map(cell_len, column)) + 3 for column in list(cells)[:columns])
