"""Run folders without a training: invented rows, steps and tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kilonet.spec import load_run
from kilonet.storage.provenance import Provenance
from kilonet.storage.record import EpochRow
from kilonet.storage.run_folder import RunFolder
from kilonet.storage.run_state import Checkpoint, StepLog

RUN = load_run("interim", settings=["train.epochs=3"])
ENVIRONMENT = {"engine": {"name": "torch", "threads": 2}, "data": {"sha256": "0"}, "python": "3"}


def row(epoch: int, test_accuracy: float = 99.0) -> EpochRow:
    return EpochRow(
        epoch=epoch,
        train_accuracy=98.5 + epoch,
        train_loss=0.1 / (epoch + 3),
        test_accuracy=test_accuracy,
        test_loss=0.05,
        lr=0.01,
        seconds=1.5,
    )


def checkpoint(epochs: int) -> Checkpoint:
    return Checkpoint(
        epochs=epochs,
        state={
            "weights/a": np.arange(6, dtype=np.float32).reshape(2, 3),
            "count": np.array(7, np.int64),
        },
        rows=tuple(row(epoch) for epoch in range(epochs)),
        steps=StepLog(
            loss=np.linspace(1, 0, 4 * epochs), correct=np.arange(4 * epochs, dtype=np.int64)
        ),
    )


def begun(path: Path, epochs: int = 0) -> RunFolder:
    folder = RunFolder(path)
    folder.begin(RUN, Provenance.from_json(ENVIRONMENT))
    for epoch in range(epochs):
        folder.save(checkpoint(epoch + 1))
    return folder


def finished(path: Path) -> RunFolder:
    folder = begun(path, RUN.train.epochs)
    folder.finish(weights={"w": np.ones(3, np.float32)}, logits=np.eye(4, 10, dtype=np.float32))
    return folder


@contextmanager
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the files that are read, in order."""
    names: list[str] = []
    open_file = Path.open

    def counted_open(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if "r" in mode:
            names.append(path.name)
        return open_file(path, mode, *arguments, **options)

    def counted_read(path: Path) -> bytes:
        names.append(path.name)
        with open_file(path, "rb") as file:
            return file.read()

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", counted_open)
        patch.setattr(Path, "read_bytes", counted_read)
        yield names


def plain(value: object) -> object:
    """Arrays and records as values that ``==`` compares to the bit."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return value
