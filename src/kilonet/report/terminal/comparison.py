"""A comparison of studies or runs as text."""

from __future__ import annotations

from collections import Counter
from textwrap import fill

from kilonet.formatting import count
from kilonet.report.comparison import Comparison, differing_settings
from kilonet.report.tables import difference_cell, mean_with_interval
from kilonet.spec.inline_toml import inline
from kilonet.table import Table

ABSENT = "–"

ALL_STAGES = "all"
"""The stage of a setting that differs in the same way in all of them."""


def comparison_text(comparison: Comparison, *, width: int | None = None) -> str:
    """The comparison as tables; as lists where a table is wider than ``width`` columns."""
    rows = tuple(
        (
            entry.stage or row[0].stage or ABSENT,
            comparison.labels[entry.folder],
            f"{entry.result.parameters:,}",
            str(len(entry.finals)),
            mean_with_interval(entry.final),
            entry.note if entry.difference is None else difference_cell(entry.difference),
        )
        for row in comparison.rows
        for entry in row
    )
    columns = ("Stage", "Folder", "Params", "Seeds", "Final test accuracy", "Against the first")
    table = Table(columns=columns, rows=rows, left=frozenset({0, 1, 5}))
    parts = [str(table) if _fits(table, width) else _as_list(comparison)]
    several = len(comparison.differences)
    if several:
        corrected = f", corrected for {count(several, 'comparison')} (Holm)" if several > 1 else ""
        note = (
            "Differences are of final test accuracies, in percentage points, paired by seed; with "
            f"their intervals{corrected}."
        )
        parts.append(note if width is None else fill(note, width))
    settings = settings_table(comparison)
    parts.append(
        "Settings that differ:" if settings.rows else "No setting differs, except the seed."
    )
    if settings.rows:
        parts.append(str(settings) if _fits(settings, width) else _settings_as_list(settings))
    return "\n".join(parts)


def _fits(table: Table, width: int | None) -> bool:
    return width is None or max(map(len, str(table).splitlines())) <= width


def _as_list(comparison: Comparison) -> str:
    """A line or two a folder, under the stage's name."""
    lines = []
    for row in comparison.rows:
        lines.append(row[0].stage or ABSENT)
        for entry in row:
            named = f", {entry.stage}" if entry.stage and entry.stage != row[0].stage else ""
            seeds = f"{entry.result.parameters:,} parameters, {count(len(entry.finals), 'seed')}"
            lines.append(f"  {comparison.labels[entry.folder]}{named} ({seeds})")
            against = entry.note if entry.difference is None else difference_cell(entry.difference)
            final = mean_with_interval(entry.final)
            lines.append(f"    {final}{'; ' if against else ''}{against}")
    return "\n".join(lines)


def _settings_as_list(settings: Table) -> str:
    lines = []
    for stage, path, *values in settings.rows:
        lines.append(f"{stage}: {path}")
        for label, value in zip(settings.columns[2:], values, strict=True):
            lines.append(f"  {label}: {value}")
    return "\n".join(lines)


def settings_table(comparison: Comparison) -> Table:
    """The settings that differ between entries of a row, a value a folder.

    A setting that differs in the same way in all rows is in the table once.
    """
    compared = [row for row in comparison.rows if len(row) > 1]
    lines: list[tuple[str, tuple[str, ...]]] = []
    for row in compared:
        settings = {entry.folder: entry.settings for entry in row}
        for path in differing_settings(row):
            values = (settings.get(i, {}).get(path) for i in range(len(comparison.labels)))
            cells = (ABSENT if value is None else inline(value) for value in values)
            lines.append((row[0].stage or ABSENT, (path, *cells)))
    times = Counter(cells for _, cells in lines)
    rows = dict.fromkeys(
        (ALL_STAGES if times[cells] == len(compared) > 1 else stage, *cells)
        for stage, cells in lines
    )
    columns = ("Stage", "Setting", *comparison.labels)
    return Table(columns=columns, rows=tuple(rows), left=frozenset(range(len(columns))))
