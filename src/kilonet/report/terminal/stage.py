"""A stage on less than a screen of a console: Target, Result, Effect, Findings and Next."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table as Grid
from rich.text import Text

from kilonet.analysis import Finding, StageAnalysis
from kilonet.formatting import count, percent
from kilonet.report.content import StageContent
from kilonet.report.tables import (
    OPTIMISTIC,
    difference_cell,
    mean_with_interval,
    reached_by,
    validation_lines,
)

NUM_FINDINGS = 3
"""Findings that a console shows; the report has all."""

FINDING_LINES = 12
"""Lines that they may take: what is left of a screen of 34 with three seeds and long targets."""

_SUGGESTION_LINES = 3  # that a suggestion takes more than the name of the next stage

_MARGIN = 16  # columns of a line that are not a finding's text

IMPORTANCE = (
    "seeds",
    "learning rate",
    "target",
    "fit",
    "gap",
    "regularizer",
    "width",
    "robustness",
    "fluctuation",
    "trend",
    "class pairs",
    "hard images",
    "labels",
    "calibration",
)
"""Kinds of findings, the most important first: failed seeds and rates, the target, under- and
over-fitting, training, single images. Effects are not among them: they have lines of their own."""

UNREMARKABLE = frozenset(
    {
        "too short to say",
        "fits",
        "closed",
        "reversed",
        "alike",
        "settled",
        "level",
        "spread",
        "scattered",
        "calibrated",
    }
)
"""Verdicts without a problem or a change: they come after all others."""


def most_important(stage: StageAnalysis) -> list[Finding]:
    """The :data:`NUM_FINDINGS` most important findings.

    First those with a problem or a change, then the :data:`UNREMARKABLE`; within both by
    :data:`IMPORTANCE`.
    """
    rank = {kind: i for i, kind in enumerate(IMPORTANCE)}
    found = [finding for finding in stage.findings if finding.kind in rank]
    found.sort(key=lambda finding: (finding.verdict in UNREMARKABLE, rank[finding.kind]))
    return found[:NUM_FINDINGS]


def stage_panel(stage: StageContent, *, width: int, terminal: bool) -> RenderableType:
    """A stage for ``width`` columns; on a terminal it has a frame."""
    analysis = stage.analysis
    grid = Grid.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column()
    target = [stage.result.stage.target] if stage.result.stage.target else []
    grid.add_row("Target", Group(*map(Text, target), Text(stage.change, style="cyan")))
    grid.add_row("Result", _result(stage))
    effects = [e for e in (analysis.effect, analysis.effect_on_first) if e is not None]
    if effects:
        cells = (f"{difference_cell(e.final)}, against stage {e.against}" for e in effects)
        grid.add_row("Effect", Text("\n".join(cells)))
    sentences = [finding.sentence for finding in most_important(analysis)]
    lines = FINDING_LINES - (0 if stage.next_stage else _SUGGESTION_LINES)
    findings = fitting(sentences, lines=lines, width=width - _MARGIN)
    grid.add_row("Findings", bullets(findings))
    if stage.next_stage or stage.suggestions:
        grid.add_row("Next", _next(stage))
    if not terminal:
        return grid
    title = escape(f"{analysis.number}. {analysis.name}")
    return Panel(grid, title=f"[bold]{title}[/bold]", title_align="left")


def bullets(texts: Sequence[str]) -> Grid:
    """A list, each text wrapped behind its dash."""
    grid = Grid.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column()
    for text in texts:
        grid.add_row("-", Text(text))
    return grid


def fitting(texts: Sequence[str], *, lines: int, width: int) -> list[str]:
    """The first texts that fit into ``lines`` of ``width`` columns; one at least."""
    shown: list[str] = []
    for text in texts:
        lines -= len(wrap(text, max(width, 1)))
        if lines < 0 and shown:
            break
        shown.append(text)
    return shown


def _result(stage: StageContent) -> RenderableType:
    """The Result's figures; the report has their notes too."""
    analysis = stage.analysis
    limit = "" if stage.budget is None else f" (at most {stage.budget:,})"
    lines = [
        ("Final test accuracy", mean_with_interval(analysis.final)),
        ("Best test accuracy", f"{percent(analysis.best.mean)} ({OPTIMISTIC})"),
        ("Best train accuracy", percent(analysis.best_train.mean)),
        (
            "Reached by",
            f"{reached_by(analysis)} seeds ({percent(analysis.target)} in the last three epochs)",
        ),
        ("Parameters", f"{stage.result.parameters:,}{limit}"),
    ]
    validation = validation_lines(stage.result.records)
    grid = Grid.grid(padding=(0, 1))
    for label, value, *_ in (*validation, *lines):
        grid.add_row(label, Text(value))
    return grid


def _next(stage: StageContent) -> RenderableType:
    suggestions = stage.suggestions
    if stage.next_stage:
        more = f" ({count(len(suggestions), 'suggestion')} in the report)" if suggestions else ""
        return Text(f"{stage.next_stage}{more}")
    first = suggestions[0]
    more = f" ({len(suggestions) - 1} more in the report)" if len(suggestions) > 1 else ""
    return Group(
        Text(f"{first.title}{more}"),
        Text(first.line, style="cyan"),
        Text(stage.suggestions_note),
    )
