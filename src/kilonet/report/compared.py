"""A comparison of studies or runs, and how it is shown: text and HTML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from textwrap import fill
from typing import Any

from kilonet.analysis import Difference, Split, Statistics, describe
from kilonet.formatting import count
from kilonet.report import settings
from kilonet.report.tables import difference_cell, mean_with_interval
from kilonet.study import StageResult
from kilonet.table import Table

ABSENT = "–"

ALL_STAGES = "all"
"""The stage of a setting that differs in the same way in all of them."""

MAX_NAMED = 3
"""With more folders, tables have their numbers, and a legend has their names."""

_CELL = 48
"""Characters of a setting's value; a longer one is cut where values are equal."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A stage of a study, or a run, in its row of the comparison.

    Attributes:
        folder: index of the folder.
        stage: name of the stage; "" of a run.
        result: the stage; of a run a stage of one seed.
        split: the images that entries are compared on.
        difference: from the first folder's entry in the row, corrected for all comparisons; None
            for that entry itself, and without one to compare with.
        note: why there is no difference, or "".
    """

    folder: int
    stage: str
    result: StageResult
    split: Split = Split.TEST
    difference: Difference | None = None
    note: str = ""

    @property
    def finals(self) -> dict[int, float]:
        """Seed → final accuracy on the images of ``split``."""
        return self._finals(self.split)

    @property
    def final(self) -> Statistics | None:
        """Final test accuracy over the seeds; None if a run does not use the test set."""
        if not all(record.tested for record in self.result.records):
            return None
        return describe(list(self._finals(Split.TEST).values()), limits=(0.0, 100.0))

    @property
    def final_validation(self) -> Statistics | None:
        """Final validation accuracy over the seeds; None if entries are compared on test images."""
        if self.split is Split.TEST:
            return None
        return describe(list(self.finals.values()), limits=(0.0, 100.0))

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Dotted path → value: spec, without the seed, and provenance."""
        return settings.settings_of(self.result)

    def _finals(self, split: Split) -> dict[int, float]:
        records = self.result.records
        return {record.run.train.seed: split.final(record) for record in records}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Studies or runs, compared with the first; ``print`` shows text, a notebook shows HTML.

    Attributes:
        labels: the folders; the others are compared with the first.
        rows: entries that are compared with each other, in the order of the folders.
        split: the images that they are compared on: validation, where all entries have a
            validation accuracy, else test.
    """

    labels: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    split: Split = Split.TEST

    @property
    def differences(self) -> tuple[Difference, ...]:
        """All differences."""
        return tuple(e.difference for row in self.rows for e in row if e.difference is not None)

    def __str__(self) -> str:
        return self.to_text()

    def to_text(self, *, width: int | None = None) -> str:
        """As tables; as lists where a table is wider than ``width`` columns."""
        parts = []
        accuracies = _accuracies(self, self.labels)
        names, legend = self.labels, ""
        if len(self.labels) > MAX_NAMED:
            names = tuple(str(i) for i in range(1, len(self.labels) + 1))
            legend = "\n".join(
                f"{n:>3}  {label}" for n, label in zip(names, self.labels, strict=True)
            )
            accuracies = _accuracies(self, names)
            parts.append(legend)
        parts.append(str(accuracies) if _fits(accuracies, width) else _as_list(self, names))
        note = self._note()
        if note:
            parts.append(note if width is None else fill(note, width))
        table = settings_table(self, names)
        if not table.rows:
            return "\n".join([*parts, "No setting differs, seeds aside."])
        parts.append("Settings that differ:")
        parts.append(str(table) if _fits(table, width) else _settings_as_list(table, width))
        return "\n".join(parts)

    def _repr_html_(self) -> str:
        table = settings_table(self)
        accuracies = _accuracies(self, self.labels)
        return accuracies.to_html() + (table.to_html() if table.rows else "")

    def _note(self) -> str:
        paired = [difference for difference in self.differences if difference.n]
        if not paired:
            return ""
        note = (
            f"Differences are of final {self.split} accuracies, in percentage points, paired by "
            "seed"
        )
        if any(difference.interval for difference in paired):
            note += "; with their intervals"
            several = paired[0].comparisons
            if several > 1:
                note += f", corrected for {count(several, 'comparison')} (Holm)"
        return f"{note}."


def settings_table(comparison: Comparison, names: Sequence[str] | None = None) -> Table:
    """The settings that differ between entries of a row, a value a folder.

    A setting that differs in the same way in all rows is in the table once; without stages there is
    no column for them.
    """
    names = comparison.labels if names is None else names
    compared = [row for row in comparison.rows if len(row) > 1]
    lines: list[tuple[str, tuple[str, ...]]] = []
    for row in compared:
        for path, values in settings.differing([entry.settings for entry in row]).items():
            for shown_path, texts in settings.shown(path, values):
                cells = {e.folder: text for e, text in zip(row, texts, strict=True)}
                line = _shortened([cells.get(i) for i in range(len(names))])
                lines.append((row[0].stage or ABSENT, (shown_path, *line)))
    times = Counter(cells for _, cells in lines)
    rows = dict.fromkeys(
        (ALL_STAGES if times[cells] == len(compared) > 1 else stage, *cells)
        for stage, cells in lines
    )
    columns: tuple[str, ...] = ("Stage", "Setting", *names)
    if all(stage == ABSENT for stage, *_ in rows):
        columns = columns[1:]
        rows = {row[1:]: None for row in rows}
    return Table(columns=columns, rows=tuple(rows), left=frozenset(range(len(columns))))


def _shortened(texts: Sequence[str | None]) -> list[str]:
    """The cells of a line; long texts from shortly before the place where they differ."""
    given = {text for text in texts if text is not None}
    start = 0
    if len(given) > 1 and max(map(len, given)) > _CELL:
        equal = takewhile(lambda column: len(set(column)) == 1, zip(*given, strict=False))
        start = max(0, len(list(equal)) - _CELL // 2)
    cells = []
    for text in texts:
        cell = ABSENT if text is None else f"…{text[start:]}" if start else text
        cells.append(cell if len(cell) <= _CELL else f"{cell[: _CELL - 1]}…")
    return cells


def _accuracies(comparison: Comparison, names: Sequence[str]) -> Table:
    """An entry a row. With a split its accuracy, which chooses, comes first."""
    with_stages = any(entry.stage for row in comparison.rows for entry in row)
    validated = comparison.split is Split.VALIDATION
    numbered = len(comparison.labels) > MAX_NAMED
    columns = (
        *(["Stage"] if with_stages else []),
        "" if numbered else "Folder",
        "Params",
        "Seeds",
        *(["Final validation accuracy"] if validated else []),
        "Final test accuracy",
        "Against the first",
    )
    rows = []
    for row in comparison.rows:
        for entry in row:
            validation = entry.final_validation
            rows.append(
                (
                    *([entry.stage or row[0].stage or ABSENT] if with_stages else []),
                    names[entry.folder],
                    f"{entry.result.parameters:,}",
                    str(len(entry.finals)),
                    *([] if validation is None else [mean_with_interval(validation)]),
                    ABSENT if entry.final is None else mean_with_interval(entry.final),
                    _against(entry),
                )
            )
    texts = {0, len(columns) - 1} | ({1} if with_stages and not numbered else set())
    left = frozenset(texts if with_stages or not numbered else texts - {0})
    return Table(columns=columns, rows=tuple(rows), left=left)


def _against(entry: Entry) -> str:
    return entry.note if entry.difference is None else difference_cell(entry.difference)


def _fits(table: Table, width: int | None) -> bool:
    return width is None or table.width <= width


def _as_list(comparison: Comparison, names: Sequence[str]) -> str:
    """A line or two a folder, under the stage's name."""
    lines = []
    for row in comparison.rows:
        if row[0].stage:
            lines.append(row[0].stage)
        for entry in row:
            named = f", {entry.stage}" if entry.stage and entry.stage != row[0].stage else ""
            seeds = f"{entry.result.parameters:,} parameters, {count(len(entry.finals), 'seed')}"
            lines.append(f"  {names[entry.folder]}{named} ({seeds})")
            validation = entry.final_validation
            figures = [] if validation is None else [f"validation {mean_with_interval(validation)}"]
            if entry.final is not None:
                test = mean_with_interval(entry.final)
                figures.append(f"test {test}" if figures else test)
            against = _against(entry)
            lines.append("    " + "; ".join([", ".join(figures), *([against] if against else [])]))
    return "\n".join(lines)


def _settings_as_list(table: Table, width: int | None) -> str:
    """A setting a line: each value, and the folders that have it."""
    lines = []
    about = table.columns.index("Setting") + 1
    for row in table.rows:
        folders: dict[str, list[str]] = {}
        for name, value in zip(table.columns[about:], row[about:], strict=True):
            folders.setdefault(value, []).append(name)
        found = "; ".join(f"{value} ({_in_ranges(names)})" for value, names in folders.items())
        line = f"{': '.join(row[:about])}: {found}"
        lines.append(line if width is None else fill(line, width, subsequent_indent="  "))
    return "\n".join(lines)


def _in_ranges(names: Sequence[str]) -> str:
    """Names in order; of numbers ``1-5, 7``."""
    if not all(name.isdecimal() for name in names):
        return ", ".join(names)
    ranges: list[list[int]] = []
    for number in map(int, names):
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1].append(number)
        else:
            ranges.append([number])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in ranges)
