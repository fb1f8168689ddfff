"""A rung's Target, Result and Analysis, and the ladder at the end of a study, for a console.

On a terminal with frames and colour; piped into a file or a program the same words, plain.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import wrap
from typing import Literal

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table as RichTable
from rich.text import Text

from kilonet.analysis import RungAnalysis, StudyAnalysis
from kilonet.analysis.words import count
from kilonet.report import tables
from kilonet.study import RungResult, StudyResult
from kilonet.table import Table


def rung_panel(
    ran: RungResult,
    rung: RungAnalysis,
    *,
    budget: int | None = None,
    next_rung: str | None = None,
    suggest: bool = True,
) -> RenderableType:
    """A rung's Target, Result, Analysis and Next; its log table is printed apart.

    Args:
        ran: the rung.
        rung: its analysis.
        budget: the most parameters that the study allows; None without a limit.
        next_rung: name of the study's next step, if there is one.
        suggest: whether to say what could be tried next, or only that the report does.
    """
    step = ran.rung.step
    sections: list[RenderableType] = [
        _heading("Target"),
        *([_indented(Text(step.target))] if step.target else []),
        _indented(Text(tables.change_line(ran), style="cyan")),
        _heading("Result"),
        _indented(_pairs(_result(ran, rung, budget=budget))),
    ]
    if rung.seeds > 1:
        sections += [_indented(_seed_lines(ran, rung))]
    sections += [_heading("Analysis"), _indented(_bullets(rung.sentences))]
    next_steps = rung.next_steps[: tables.NUM_SUGGESTIONS]
    lines = [] if next_rung is None else [f"The study goes on with: {next_rung}."]
    if suggest:
        lines += [f"{step.title}: {step.reason}.\n{step.line}" for step in next_steps]
    elif next_steps:
        lines.append(f"{count(len(next_steps), 'suggestion')} in the report.")
    if lines:
        sections += [_heading("Next"), _indented(_bullets(lines))]
    if suggest and next_steps:
        sections += [_indented(Text(tables.NEXT_NOTES[rung.judged_on]))]
    return _Framed(title=f"{rung.number}. {rung.name}", body=Group(*sections))


def ladder_table(result: StudyResult, analysis: StudyAnalysis) -> RenderableType:
    """The ladder at a glance and its conclusions: the end of ``kilonet study``."""
    return _Ladder(
        table=tables.ladder(result, analysis),
        reached=tuple(rung.reached == rung.seeds for rung in analysis.rungs),
        title=f"{result.study.name}: target {analysis.target:.2f}%",
        notes=(tables.LADDER_NOTE, *analysis.conclusions),
    )


_Pair = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class _Framed:
    title: str
    body: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if options.is_terminal:
            yield Panel(self.body, title=f"[bold]{_escape(self.title)}[/bold]", title_align="left")
        else:
            yield Rule(Text(self.title), characters="=", align="left")
            yield self.body


@dataclass(frozen=True, kw_only=True)
class _Ladder:
    table: Table
    reached: tuple[bool, ...]
    title: str
    notes: tuple[str, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # Where there is no room for effects beside their rungs, they stand below.
        table = self.table
        while _width(table) > options.max_width and len(table.columns) > tables.NUM_RUNG_COLUMNS:
            table = _without_last_column(table)
        if options.is_terminal:
            yield self._drawn(table)
        else:
            yield Text(
                f"{self.title}\n{_fitted(table, width=options.max_width)}", overflow="ignore"
            )
        for i in range(len(table.columns), len(self.table.columns)):
            yield Text(f"{self.table.columns[i]}:")
            yield _indented(
                _bullets([f"{row[0]}. {row[1]}: {row[i]}" for row in self.table.rows if row[i]])
            )
        yield from map(Text, self.notes)

    def _drawn(self, table: Table) -> RichTable:
        drawn = RichTable(
            title=Text(self.title, style="bold"), title_justify="left", header_style="bold"
        )
        for i, name in enumerate(table.columns):
            # Names and effects give way on a narrow terminal, numbers don't.
            gives_way = i in table.left
            justify: Literal["left", "right"] = "left" if gives_way else "right"
            drawn.add_column(name, justify=justify, no_wrap=not gives_way, overflow="fold")
        for row, reached in zip(table.rows, self.reached, strict=True):
            drawn.add_row(*map(Text, row), style="green" if reached else "")
        return drawn


def _without_last_column(table: Table) -> Table:
    return Table(
        columns=table.columns[:-1], rows=tuple(row[:-1] for row in table.rows), left=table.left
    )


def _width(table: Table) -> int:
    return len(str(table).partition("\n")[0])


def _fitted(table: Table, *, width: int) -> Table:
    """The table with its second column, the names, broken over lines so that all fits ``width``."""
    longest = max(len(row[1]) for row in table.rows)
    room = max(8, longest - max(0, _width(table) - width))
    rows: list[tuple[str, ...]] = []
    for row in table.rows:
        first, *more = wrap(row[1], room) or [""]
        rows.append((row[0], first, *row[2:]))
        rows += [("", part, *[""] * (len(row) - 2)) for part in more]
    return Table(columns=table.columns, rows=tuple(rows), left=table.left)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _heading(text: str) -> Text:
    return Text(text, style="bold")


def _indented(body: RenderableType) -> Padding:
    return Padding(body, (0, 0, 0, 2), expand=False)


def _result(ran: RungResult, rung: RungAnalysis, *, budget: int | None) -> tuple[_Pair, ...]:
    return tuple(
        (line.label, f"{line.value} ({line.note})" if line.note else line.value)
        for line in tables.result_lines(ran, rung, budget=budget)
    )


def _pairs(lines: tuple[_Pair, ...]) -> RichTable:
    grid = RichTable.grid(padding=(0, 2))
    grid.add_column()
    grid.add_column()
    for label, value in lines:
        grid.add_row(Text(label), Text(value))
    return grid


def _bullets(texts: list[str] | tuple[str, ...]) -> RichTable:
    grid = RichTable.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column()
    for text in texts:
        grid.add_row("-", Text(text))
    return grid


def _seed_lines(ran: RungResult, rung: RungAnalysis) -> RichTable:
    return _pairs(
        tuple(
            (f"seed {record.run.train.seed}", tables.last_epochs(record, target=rung.target))
            for record in ran.records
        )
    )
