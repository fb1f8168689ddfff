"""Resuming a run: whether the folder holds the same run on the same images, and which engine."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from kilonet.data import Dataset
from kilonet.data.run_data import unrecorded_normalization
from kilonet.engine import ENGINES
from kilonet.errors import KilonetError, StorageError
from kilonet.formatting import count
from kilonet.spec import Run
from kilonet.spec.changes import flattened
from kilonet.spec.inline_toml import inline
from kilonet.storage.provenance import Normalization
from kilonet.storage.record import RunRecord
from kilonet.storage.run_folder import RunFolder
from kilonet.storage.run_state import RunState


def default_folder(run: Run) -> Path:
    """``kilonet-runs/HASH``: the folder is named by its content, so equal runs share it."""
    [folder] = run_folders(Path("kilonet-runs"), [run])
    return folder


def run_folders(parent: Path, runs: Sequence[Run]) -> list[Path]:
    """Each run's folder in ``parent``: the one named by its content hash.

    If that does not exist, a folder of another name that holds the run: the hash covers the path of
    the images, which changes if the project is moved, and was another one up to version 0.1.
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
    """Raise StorageError if the folder holds epochs of another run."""
    if state is None or state.empty:
        return
    if state.record.run == run:
        own = state.record.provenance.last_engine.description.partition(", module ")[2]
        if own and run.module is None:
            raise StorageError(
                f"{state.record.path}: an earlier version trained the module {own} here, under the "
                "name of this run; remove the folder, or name another"
            )
        return
    record = state.record
    epochs = f"{len(record.rows)} of {count(record.run.train.epochs, 'epoch')}"
    state_of_it = "finished" if state.finished else f"stopped after {epochs}"
    raise StorageError(
        f"{record.path}: holds another run ({state_of_it}, with {difference(record.run, run)}); "
        "name another folder"
    )


def difference(found: Run, run: Run) -> str:
    """The first settings that differ: ``train.optimizer.lr = 0.01, not 0.1``."""
    before, now = flattened(found.to_dict()), flattened(run.to_dict())
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    # Another kind, as of the optimizer, has other settings.
    kinds = tuple(key.removesuffix("name") for key in keys if key.endswith(".name"))
    keys = [key for key in keys if key.endswith(".name") or not key.startswith(kinds)]
    shown = [f"{key} = {_shown(before.get(key))}, not {_shown(now.get(key))}" for key in keys[:2]]
    if len(keys) > len(shown):
        shown.append(count(len(keys) - len(shown), "other difference"))
    return " and ".join(shown)


def _shown(value: Any) -> str:
    text = "the default" if value is None else inline(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_same_data(state: RunState | None, dataset: Dataset) -> None:
    """Raise StorageError if the run was trained on other images than those of ``dataset``."""
    if state is None or state.empty or state.record.provenance.data.sha256 == dataset.fingerprint:
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


def resuming_normalization(record: RunRecord, dataset: Dataset) -> Normalization:
    """What a run is normalized with from its beginning: recorded, or as version 0.1 computed it."""
    recorded = record.provenance.normalization
    return recorded if recorded.mean else unrecorded_normalization(record.run, dataset)
