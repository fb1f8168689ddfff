"""A stage on less than a screen of a console: Target, Result, Effect, Findings and Next."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table as Grid
from rich.text import Text

from kilonet.analysis import Finding, StageAnalysis
from kilonet.formatting import percent
from kilonet.report.content import StageContent
from kilonet.report.tables import (
    OPTIMISTIC,
    UNCHANGED,
    effect_cell,
    majority_lines,
    mean_with_interval,
    reached_by,
)
from kilonet.report.terminal.text import line_of, num_lines

NUM_FINDINGS = 3
"""Findings that a console shows; the report has all."""

FINDING_LINES = 9
"""Lines that they may take: three of three lines each."""

_MARGIN = 16  # columns of a line that are not a finding's text

IMPORTANCE = (
    "classes",
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
"""Kinds of findings, the most important first: classes that are not told apart, failed seeds and
rates, the target, under- and over-fitting, training, single images. Effects are not among them:
they have lines of their own."""

UNREMARKABLE = frozenset(
    {
        "too short to say",
        "not known",
        "fits",
        "closed",
        "reversed",
        "alike",
        "settled",
        "level",
        "spread",
        "scattered",
        "calibrated",
        "slightly over-confident",
        "slightly under-confident",
        "too few images to say",
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
    grid.add_row("Target", Group(*map(line_of, target), line_of(stage.change or UNCHANGED, "cyan")))
    grid.add_row("Result", _result(stage))
    judged = stage.judged
    effects = [e for e in (judged.effect, judged.effect_on_first) if e is not None]
    if effects:
        of = " in validation accuracy" if judged is not analysis else ""
        cells = (f"{effect_cell(e)}{of}, against stage {e.against}" for e in effects)
        grid.add_row("Effect", Text("\n".join(cells)))
    sentences = [finding.sentence for finding in most_important(analysis)]
    # What only some stages have takes its lines from the findings: one of each effect that names
    # its split, one of the validation accuracy, two of the largest class.
    lines = FINDING_LINES - (judged is not analysis) * len(effects)
    lines -= (analysis.validation is not None) + 2 * len(majority_lines(analysis))
    findings = fitting(sentences, lines=lines, width=width - _MARGIN)
    if findings:
        grid.add_row("Findings", bullets(findings))
    # The heading of a next stage follows at once.
    if stage.suggestions and not stage.next_stage:
        grid.add_row("Next", _next(stage))
    if not terminal:
        return grid
    title = line_of(f"{analysis.number}. {analysis.name}", "bold")
    return Panel(grid, title=title, title_align="left")


def bullets(texts: Sequence[str]) -> Grid:
    """A list, each text wrapped behind its dash."""
    grid = Grid.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column()
    for text in texts:
        grid.add_row("-", line_of(text))
    return grid


def fitting(texts: Sequence[str], *, lines: int, width: int) -> list[str]:
    """The first texts that fit into ``lines`` of ``width`` columns; one at least."""
    shown: list[str] = []
    for text in texts:
        lines -= num_lines(text, width=width)
        if lines < 0 and shown:
            break
        shown.append(text)
    return shown


def _result(stage: StageContent) -> RenderableType:
    """The Result's figures; the report has their notes too."""
    analysis = stage.analysis
    reached = ""
    if analysis.target is not None:
        last = f"{percent(analysis.target)} in the last three epochs"
        reached = f"{reached_by(analysis)} seeds ({last})"
    lines = [
        ("Final test accuracy", mean_with_interval(analysis.final)),
        *((line.label, f"{line.value} ({line.note})") for line in majority_lines(analysis)),
        ("Best test accuracy", f"{percent(analysis.best.mean)} ({OPTIMISTIC})"),
        ("Reached by", reached),
    ]
    grid = Grid.grid(padding=(0, 1))
    if analysis.validation is not None:
        grid.add_row("Final validation accuracy", mean_with_interval(analysis.validation.final))
    for label, value in lines:
        if value:
            grid.add_row(label, Text(value))
    return grid


def _next(stage: StageContent) -> RenderableType:
    suggestions = stage.suggestions
    first = suggestions[0]
    more = f" ({len(suggestions) - 1} more in the report)" if len(suggestions) > 1 else ""
    return Group(
        line_of(f"{first.title}{more}" if first.line else f"{first.title}: {first.reason}{more}"),
        *([line_of(first.line, "cyan"), line_of(stage.suggestions_note)] if first.line else []),
    )
