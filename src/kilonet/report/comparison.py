"""Studies or runs compared: accuracies, differences paired by seed, settings that differ.

Everything is compared with the first folder. A stage is compared with the first folder's stage of
the same name; if no name is shared, the last stage with the last one. A run counts as one stage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kilonet.analysis import Difference, Statistics, compare, correct, describe
from kilonet.errors import StorageError, UsageError
from kilonet.report.rebuild import as_study, read_run
from kilonet.storage.run_folder import is_file
from kilonet.study import StageResult, read_study

OTHER_IMAGES = "measured on other test images: not compared"
"""The note of an entry on other test images."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A stage of a study, or a run, in its row of the comparison.

    Attributes:
        folder: index of the folder.
        stage: name of the stage; "" of a run.
        result: the stage; of a run a stage of one seed.
        difference: from the first folder's entry in the row, corrected for all comparisons; None
            for that entry itself, and without one to compare with.
        note: why there is no difference, or "".
    """

    folder: int
    stage: str
    result: StageResult
    difference: Difference | None = None
    note: str = ""

    @property
    def finals(self) -> dict[int, float]:
        """Seed → final test accuracy."""
        records = self.result.records
        return {record.run.train.seed: record.final_test_accuracy for record in records}

    @property
    def final(self) -> Statistics:
        """Final test accuracy over the seeds."""
        return describe(list(self.finals.values()), limits=(0.0, 100.0))

    @property
    def settings(self) -> dict[str, Any]:
        """Dotted path → value, without the seed."""
        settings = _flat(self.result.stage.run.to_dict())
        settings.pop("train.seed", None)
        return settings


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The result of :func:`compare_folders`.

    Attributes:
        labels: the folders; the others are compared with the first.
        rows: entries that are compared with each other, in the order of the folders.
    """

    labels: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]

    @property
    def differences(self) -> tuple[Difference, ...]:
        """All differences."""
        return tuple(e.difference for row in self.rows for e in row if e.difference is not None)


def compare_folders(folders: Sequence[Path]) -> Comparison:
    """Compare the studies or runs in two or more folders.

    Raises:
        UsageError: if there are fewer than two.
        StorageError: if one holds neither, or is unfinished.
    """
    if len(folders) < 2:
        raise UsageError("one folder cannot be compared; name two or more")
    first, *others = [_entries(path, folder) for folder, path in enumerate(folders)]
    rows = [[entry] for entry in first]
    for entries in others:
        for entry, match in zip(entries, _matches(first, entries), strict=True):
            if match is None:
                rows.append([replace(entry, note=f"not in {folders[0]}")])
            elif _test_images(entry) != _test_images(first[match]):
                rows[match].append(replace(entry, note=OTHER_IMAGES))
            else:
                difference = compare(first[match].finals, entry.finals)
                rows[match].append(replace(entry, difference=difference))
    return Comparison(labels=tuple(map(str, folders)), rows=_corrected(rows))


def _entries(path: Path, folder: int) -> list[Entry]:
    if is_file(path / "study.toml"):
        results = read_study(path, unfinished=True).stages
        return [Entry(folder=folder, stage=r.stage.name, result=r) for r in results]
    record = read_run(path)
    if not record.finished:
        raise StorageError(
            f"{path}: not finished, {len(record.rows)} of {record.run.train.epochs} epochs; "
            f"'kilonet train {path} --resume' continues it"
        )
    return [Entry(folder=folder, stage="", result=result) for result in as_study(record).stages]


def _matches(first: Sequence[Entry], entries: Sequence[Entry]) -> list[int | None]:
    """For each entry the index of its match in the first folder, or None."""
    places = {entry.stage: i for i, entry in enumerate(first)}
    if any(entry.stage in places for entry in entries):
        return [places.get(entry.stage) for entry in entries]
    return [*[None] * (len(entries) - 1), len(first) - 1]


def _test_images(entry: Entry) -> set[str]:
    return {record.provenance.data.sha256 for record in entry.result.records}


def _corrected(rows: Sequence[Sequence[Entry]]) -> tuple[tuple[Entry, ...], ...]:
    """The entries with their differences corrected together."""
    alone = [entry.difference for row in rows for entry in row if entry.difference is not None]
    corrected = iter(correct(alone, comparisons=len(alone)))
    return tuple(
        tuple(
            entry if entry.difference is None else replace(entry, difference=next(corrected))
            for entry in row
        )
        for row in rows
    )


def differing_settings(row: Sequence[Entry]) -> dict[str, list[Any]]:
    """Dotted path → a value an entry, None without one, of settings that differ in the row."""
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
