"""Studies or runs side by side: accuracies, differences paired by seed, settings that differ.

Everything is held against the first folder. A study's rungs meet those of the same name in it;
where no name is shared, the last rung meets the last; a run stands for one rung.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import fill
from typing import Any

from kilonet.analysis import Difference, Statistics, compare, correct, describe
from kilonet.analysis.toml import inline
from kilonet.analysis.words import count
from kilonet.errors import StoreError, UsageError
from kilonet.report.rebuild import as_study, read_run
from kilonet.report.records import difference_json, rounded
from kilonet.report.tables import difference_cell, mean_with_interval
from kilonet.store import is_file
from kilonet.study import RungResult, read_study
from kilonet.table import Table

OTHER_IMAGES = "measured on other test images: not compared"
"""What stands for a difference between accuracies that do not compare."""

ABSENT = "–"

EVERYWHERE = "all"
"""What stands for the rungs of a setting that differs in the same way in each."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A rung of a study, or a run, in its row of the comparison.

    Attributes:
        folder: its position among the folders.
        rung: the step's name; "" of a run.
        parameters: trained ones.
        seeds: in order.
        final: final test accuracy over the seeds.
        difference: against the first folder's entry in the row, corrected for all the comparisons;
            None for that entry itself, and where there is nothing to compare with.
        note: why there is no difference, or "".
        settings: dotted path → value, the seed left out.
    """

    folder: int
    rung: str
    parameters: int
    seeds: tuple[int, ...]
    final: Statistics
    difference: Difference | None
    note: str
    settings: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What :func:`compare_folders` found.

    Attributes:
        labels: the folders, the first being what the others are held against.
        rows: entries that meet, each row's in the order of the folders.
    """

    labels: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]

    @property
    def differences(self) -> tuple[Difference, ...]:
        """All of them."""
        return tuple(e.difference for row in self.rows for e in row if e.difference is not None)


def compare_folders(folders: Sequence[Path]) -> Comparison:
    """Compare the studies or runs in two or more folders.

    Raises:
        UsageError: if there are fewer than two.
        StoreError: if one holds neither, or nothing of it is done.
    """
    if len(folders) < 2:
        raise UsageError("one folder alone compares with nothing; name two or more")
    labels = tuple(map(str, folders))
    read = [_read(folder) for folder in folders]
    rows = [[(0, named)] for named in read[0]]
    for folder, rungs in enumerate(read[1:], 1):
        for named, row in _meetings(read[0], rungs):
            if row is None:
                rows.append([(folder, named)])
            else:
                rows[row].append((folder, named))
    entries = [
        tuple(_entry(folder, named, row=row, first=labels[0]) for folder, named in row)
        for row in rows
    ]
    return Comparison(labels=labels, rows=_corrected(entries))


def to_text(comparison: Comparison, *, width: int | None = None) -> str:
    """The comparison for a terminal; as lists where tables are wider than ``width`` columns."""
    rows = tuple(
        (
            entry.rung or row[0].rung or ABSENT,
            comparison.labels[entry.folder],
            f"{entry.parameters:,}",
            str(len(entry.seeds)),
            mean_with_interval(entry.final),
            entry.note if entry.difference is None else difference_cell(entry.difference),
        )
        for row in comparison.rows
        for entry in row
    )
    columns = ("Rung", "Folder", "Params", "Seeds", "Final test accuracy", "Against the first")
    table = Table(columns=columns, rows=rows, left=frozenset({0, 1, 5}))
    parts = [str(table) if _fits(table, width) else _as_list(comparison)]
    several = len(comparison.differences)
    if several:
        corrected = f"; corrected for {count(several, 'comparison')} (Holm)" if several > 1 else ""
        note = (
            "Differences are paired by seed, percentage points, final epoch, with their "
            f"intervals{corrected}."
        )
        parts.append(note if width is None else fill(note, width))
    settings = settings_table(comparison)
    parts.append("Settings that differ:" if settings.rows else "No setting differs but the seed.")
    if settings.rows:
        parts.append(str(settings) if _fits(settings, width) else _settings_as_list(settings))
    return "\n".join(parts)


def _fits(table: Table, width: int | None) -> bool:
    return width is None or max(map(len, str(table).splitlines())) <= width


def _as_list(comparison: Comparison) -> str:
    """A line or two a folder, under the rung's name."""
    lines = []
    for row in comparison.rows:
        lines.append(row[0].rung or ABSENT)
        for entry in row:
            named = f", {entry.rung}" if entry.rung and entry.rung != row[0].rung else ""
            seeds = f"{entry.parameters:,} parameters, {count(len(entry.seeds), 'seed')}"
            lines.append(f"  {comparison.labels[entry.folder]}{named} ({seeds})")
            against = entry.note if entry.difference is None else difference_cell(entry.difference)
            final = mean_with_interval(entry.final)
            lines.append(f"    {final}{'; ' if against else ''}{against}")
    return "\n".join(lines)


def _settings_as_list(settings: Table) -> str:
    lines = []
    for rung, path, *values in settings.rows:
        lines.append(f"{rung}: {path}")
        for label, value in zip(settings.columns[2:], values, strict=True):
            lines.append(f"  {label}: {value}")
    return "\n".join(lines)


def to_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison for ``compare … --json``.

    Keys: ``folders``; ``rows``, each a list of entries (each: ``folder``, ``rung``, null of a run,
    ``parameters``, ``seeds``, ``mean``, ``sd``, ``ci95`` [low, high], ``difference``, null where
    there is none, else as in ``study --json``, and ``note``); ``settings``, a list of rows, each
    dotted path → a value an entry, null where it has none.
    """
    return rounded(
        {
            "folders": list(comparison.labels),
            "rows": [
                [_entry_json(entry, folder=comparison.labels[entry.folder]) for entry in row]
                for row in comparison.rows
            ],
            "settings": [dict(_differing(row)) for row in comparison.rows],
        }
    )


def settings_table(comparison: Comparison) -> Table:
    """What differs in the settings of entries that meet, a value a folder.

    What differs in the same way wherever folders meet stands once.
    """
    meetings = [row for row in comparison.rows if len(row) > 1]
    lines: list[tuple[str, tuple[str, ...]]] = []
    for row in meetings:
        settings = {entry.folder: entry.settings for entry in row}
        for path in _differing(row):
            values = (settings.get(i, {}).get(path) for i in range(len(comparison.labels)))
            cells = (ABSENT if value is None else inline(value) for value in values)
            lines.append((row[0].rung or ABSENT, (path, *cells)))
    times = Counter(cells for _, cells in lines)
    rows = dict.fromkeys(
        (EVERYWHERE if times[cells] == len(meetings) > 1 else rung, *cells) for rung, cells in lines
    )
    columns = ("Rung", "Setting", *comparison.labels)
    return Table(columns=columns, rows=tuple(rows), left=frozenset(range(len(columns))))


_Named = tuple[str, RungResult]
"""A rung with its name; "" for a run's."""


def _read(folder: Path) -> list[_Named]:
    if is_file(folder / "study.toml"):
        return [(ran.rung.step.name, ran) for ran in read_study(folder, unfinished=True).rungs]
    record = read_run(folder)
    if not record.finished:
        raise StoreError(
            f"{folder}: not finished, {len(record.rows)} of {record.run.train.epochs} epochs; "
            f"'kilonet train {folder} --resume' goes on with it"
        )
    return [("", ran) for ran in as_study(record).rungs]


def _meetings(first: Sequence[_Named], rungs: Sequence[_Named]) -> list[tuple[_Named, int | None]]:
    """Each rung with the position of the one it meets in the first folder, if it meets any."""
    places = {name: i for i, (name, _) in enumerate(first)}
    if any(name in places for name, _ in rungs):
        return [(named, places.get(named[0])) for named in rungs]
    last = len(rungs) - 1
    return [(named, len(first) - 1 if i == last else None) for i, named in enumerate(rungs)]


def _entry(folder: int, named: _Named, *, row: Sequence[tuple[int, _Named]], first: str) -> Entry:
    name, ran = named
    where, (_, base) = row[0]
    difference, note = None, ""
    if where != 0:
        note = f"not in {first}"
    elif folder != 0:
        if _test_images(ran) == _test_images(base):
            difference = compare(_finals(base), _finals(ran))
        else:
            note = OTHER_IMAGES
    settings = _flat(ran.rung.run.to_dict())
    settings.pop("train.seed", None)
    return Entry(
        folder=folder,
        rung=name,
        parameters=ran.parameters,
        seeds=tuple(record.run.train.seed for record in ran.records),
        final=describe(list(_finals(ran).values()), limits=(0.0, 100.0)),
        difference=difference,
        note=note,
        settings=settings,
    )


def _finals(ran: RungResult) -> dict[int, float]:
    return {record.run.train.seed: record.final_test_accuracy for record in ran.records}


def _test_images(ran: RungResult) -> Any:
    return {record.environment["data"].get("sha256") for record in ran.records}


def _corrected(rows: Sequence[tuple[Entry, ...]]) -> tuple[tuple[Entry, ...], ...]:
    """The entries with their differences as one family."""
    alone = [entry.difference for row in rows for entry in row if entry.difference is not None]
    corrected = iter(correct(alone, comparisons=len(alone)))
    return tuple(
        tuple(
            entry if entry.difference is None else replace(entry, difference=next(corrected))
            for entry in row
        )
        for row in rows
    )


def _differing(row: Sequence[Entry]) -> dict[str, list[Any]]:
    """Dotted path → the entries' values, None for none, of all that are not the same in each."""
    paths = dict.fromkeys(path for entry in row for path in entry.settings)
    values = {path: [entry.settings.get(path) for entry in row] for path in paths}
    return {path: found for path, found in values.items() if any(v != found[0] for v in found)}


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as dotted path → value; lists stay whole."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _entry_json(entry: Entry, *, folder: str) -> dict[str, Any]:
    return {
        "folder": folder,
        "rung": entry.rung or None,
        "parameters": entry.parameters,
        "seeds": list(entry.seeds),
        "mean": entry.final.mean,
        "sd": entry.final.sd,
        "ci95": list(entry.final.ci95 or (None, None)),
        "difference": None if entry.difference is None else difference_json(entry.difference),
        "note": entry.note,
    }
