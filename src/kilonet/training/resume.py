"""Resuming a run: whether the folder holds the same run on the same images, and which engine."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from kilonet.data import Dataset
from kilonet.engine import ENGINES
from kilonet.errors import KilonetError, StorageError
from kilonet.spec import Run
from kilonet.storage.record import RunRecord
from kilonet.storage.run_folder import RunFolder, RunState


def default_folder(run: Run) -> Path:
    """``kilonet-runs/HASH``: the folder is named by its content, so equal runs share it."""
    [folder] = run_folders(Path("kilonet-runs"), [run])
    return folder


def run_folders(parent: Path, runs: Sequence[Run]) -> list[Path]:
    """Each run's folder in ``parent``: the one named by its content hash.

    If that does not exist, a folder of another name that holds the run: up to version 0.1 the hash
    was another one, so its runs are still found.
    """
    folders = [parent / folder_name(run) for run in runs]
    if all(folder.exists() for folder in folders) or not parent.is_dir():
        return folders
    renamed: dict[str, Path] = {}
    for other in sorted(set(parent.iterdir()) - set(folders)):
        with suppress(KilonetError):  # a damaged folder is not this run's
            if (found := RunFolder(other).spec()) is not None:
                renamed[found.content_hash] = other
    return [
        folder if folder.exists() else renamed.get(run.content_hash, folder)
        for folder, run in zip(folders, runs, strict=True)
    ]


def folder_name(run: Run) -> str:
    """The first 12 digits of the run's content hash: the name of its folder."""
    return run.content_hash[:12]


def check_same_run(state: RunState | None, run: Run) -> None:
    """Raise StorageError if the folder holds another run."""
    if state is None or state.record.run == run:
        return
    found = folder_name(state.record.run)
    raise StorageError(
        f"{state.record.path}: holds another run ({found}, this is {folder_name(run)}); "
        "name another folder"
    )


def check_same_data(state: RunState | None, dataset: Dataset) -> None:
    """Raise StorageError if the run was trained on other images than those of ``dataset``."""
    if state is None or state.record.provenance.data.sha256 == dataset.fingerprint:
        return
    record = state.record
    raise StorageError(
        f"{record.path}: was trained on other images than {record.run.data.name!r} now contains; "
        "name another folder"
    )


def resuming_engine(record: RunRecord, engine: str) -> str:
    """The engine that continues a run: for ``auto`` the one that trained its last epoch.

    Raises:
        StorageError: that engine is not one of kilonet's.
    """
    if engine != "auto":
        return engine
    name = record.provenance.last_engine.name or engine
    if name not in ENGINES:
        raise StorageError(
            f"{record.path}: was trained by the engine {name!r}, which kilonet does not have; "
            f"name the engine that is to continue: {', '.join(ENGINES[1:])}"
        )
    return name


def resuming_threads(record: RunRecord, engine: str) -> int | None:
    """The threads of the last epoch if the bits depend on them and ``engine`` trained it."""
    last = record.provenance.last_engine
    return last.threads if last.name == engine else None
