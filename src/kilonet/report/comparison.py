"""Studies or runs compared: accuracies, differences paired by seed, settings that differ.

Everything is compared with the first. A stage is compared with the first study's stage of the same
name; if no name is shared, the last stage with the last one. A run counts as one stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kilonet.analysis import compare as compare_seeds
from kilonet.analysis import correct
from kilonet.errors import StorageError, UsageError
from kilonet.paths import expand
from kilonet.report.compared import Comparison, Entry
from kilonet.report.rebuild import as_study, read_run
from kilonet.storage.files import is_file
from kilonet.storage.record import RunRecord, Split, choosing_split
from kilonet.study import StudyResult, read_study

OTHER_IMAGES = "measured on other images: not compared"
"""The note of an entry on other test images, or other held-out ones."""

Comparable = Path | str | StudyResult | RunRecord
"""What can be compared: the folder of a study or a run, or what was read from it."""


def compare(*results: Comparable) -> Comparison:
    """Compare studies or runs with the first: ``compare("ladder", result, record)``.

    Raises:
        UsageError: if there are fewer than two.
        StorageError: if a folder holds neither, or a run is unfinished.
    """
    return compare_folders(results)


def compare_folders(results: Sequence[Comparable]) -> Comparison:
    """As :func:`compare`, of a list."""
    if len(results) < 2:
        raise UsageError("nothing to compare with; name two or more")
    every = [_entries(result, folder) for folder, result in enumerate(results)]
    # What chooses are held-out images, where all have them.
    records = [record for entries in every for entry in entries for record in entry.result.records]
    split = choosing_split(records)
    if split is Split.TEST:
        untested = next((record for record in records if not record.tested), None)
        without = next((r for r in records if r.final_validation_accuracy is None), None)
        if untested is not None and without is not None:
            raise UsageError(
                f"no images in common to compare on: {untested.path} does not use the test set "
                f"(data.test = false), and {without.path} has no validation split"
            )
    first, *others = [[replace(entry, split=split) for entry in entries] for entries in every]
    labels = tuple(map(_label, results))
    rows = [[entry] for entry in first]
    for entries in others:
        for entry, match in zip(entries, _matches(first, entries), strict=True):
            if match is None:
                rows.append([replace(entry, note=f"not in {labels[0]}")])
            elif _images(entry) != _images(first[match]):
                rows[match].append(replace(entry, note=OTHER_IMAGES))
            else:
                difference = compare_seeds(first[match].finals, entry.finals)
                rows[match].append(replace(entry, difference=difference))
    return Comparison(labels=labels, rows=_corrected(rows), split=split)


def _label(result: Comparable) -> str:
    return str(result.path if isinstance(result, StudyResult | RunRecord) else result)


def _entries(result: Comparable, folder: int) -> list[Entry]:
    if isinstance(result, Path | str):
        path = expand(result)
        result = (
            read_study(path, unfinished=True) if is_file(path / "study.toml") else read_run(path)
        )
    if isinstance(result, StudyResult):
        return [Entry(folder=folder, stage=r.stage.name, result=r) for r in result.stages]
    if not result.finished:
        raise StorageError(
            f"{result.path}: not finished, {len(result.rows)} of {result.run.train.epochs} epochs; "
            f"{result.resume_command} continues it"
        )
    return [Entry(folder=folder, stage="", result=stage) for stage in as_study(result).stages]


def _matches(first: Sequence[Entry], entries: Sequence[Entry]) -> list[int | None]:
    """For each entry the index of its match in the first folder, or None."""
    places = {entry.stage: i for i, entry in enumerate(first)}
    if any(entry.stage in places for entry in entries):
        return [places.get(entry.stage) for entry in entries]
    return [*[None] * (len(entries) - 1), len(first) - 1]


def _images(entry: Entry) -> set[tuple[str, float, int]]:
    return {entry.split.fingerprint(record) for record in entry.result.records}


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
