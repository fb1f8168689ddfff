"""A run that is killed, or whose disk is full, at each instant of its writing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import numpy as np
import pytest

from kilonet.errors import StorageError
from kilonet.storage.atomic import is_temporary
from kilonet.storage.provenance import Provenance
from kilonet.storage.run_folder import RunFolder
from run_folders import ENVIRONMENT, RUN, checkpoint

EPOCHS = RUN.train.epochs


def train(path: Path) -> None:
    """Write a folder as the training loop does, from its checkpoint to the end."""
    folder, provenance = RunFolder(path), Provenance.from_json(ENVIRONMENT)
    state = folder.read()
    if state is not None and state.finished:
        return
    epochs = 0
    if state is None or state.checkpoint is None:
        folder.begin(RUN, provenance)
    else:
        epochs = state.checkpoint.epochs
        folder.resume(state, provenance)
    for epoch in range(epochs, EPOCHS):
        folder.save(checkpoint(epoch + 1))
    folder.finish(weights={"w": np.ones(3, np.float32)}, logits=np.eye(4, 10, dtype=np.float32))


def files(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


class Killed(BaseException):
    """The process is dead: nothing happens after this instant."""


@contextmanager
def failing_at(
    call: int, fail: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[str]]:
    """Fail at one of the calls that change the disk; yields the names of all calls.

    A write that fails leaves half of its bytes.
    """
    calls: list[str] = []

    def counted(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*arguments: object, **options: object) -> object:
            calls.append(name)
            if len(calls) - 1 == call:
                fail()
            return real(*arguments, **options)

        return wrapped

    open_file = Path.open

    def opened(path: Path, mode: str = "r", **options: object) -> object:
        file = open_file(path, mode, **options)
        if "x" in mode:
            real = file.write

            def half(content: bytes) -> int:
                calls.append("write")
                if len(calls) - 1 == call:
                    real(content[: len(content) // 2])
                    file.flush()
                    fail()
                return real(content)

            # The attributes of a buffered writer cannot be replaced.
            return _Writer(file, half)
        return file

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", counted("fsync", os.fsync))
        patch.setattr(Path, "replace", counted("replace", Path.replace))
        patch.setattr(Path, "mkdir", counted("mkdir", Path.mkdir))
        patch.setattr(Path, "open", opened)
        yield calls


class _Writer:
    def __init__(self, file: object, write: Callable[[bytes], int]) -> None:
        self._file = file
        self.write = write

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


def killed(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def fail() -> None:
        # A dead process does not clean up.
        monkeypatch.setattr(Path, "unlink", lambda path, **options: None)
        raise Killed

    return fail


def disk_full() -> None:
    raise OSError(28, "No space left on device")


def count_calls(path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    with failing_at(-1, disk_full, monkeypatch) as calls:
        train(path)
    return len(calls)


def test_a_kill_at_every_instant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder reads as a finished epoch left it, and the run resumes to the same bytes."""
    number = count_calls(tmp_path / "complete", monkeypatch)
    # Two files to begin, three per epoch, two to finish: each written, flushed, renamed.
    assert number >= 3 * (2 + 3 * EPOCHS + 2)
    expected = files(tmp_path / "complete")
    before = -1
    for call in range(number):
        path = tmp_path / str(call)
        with (
            monkeypatch.context() as patch,
            pytest.raises(Killed),
            failing_at(call, killed(patch), patch),
        ):
            train(path)
        folder = RunFolder(path)
        epochs = -1
        if folder.exists():
            record = folder.record()
            epochs = len(record.rows)
            assert record.rows == checkpoint(epochs).rows
        assert epochs >= before, "a later kill never leaves less"
        before = epochs
        train(path)
        assert files(path) == expected, f"after call {call}"
    assert before == EPOCHS


def test_a_full_disk_at_every_instant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One clear line, no half file, nothing lost; then the run resumes."""
    number = count_calls(tmp_path / "complete", monkeypatch)
    expected = files(tmp_path / "complete")
    refused = 0
    for call in range(number):
        path = tmp_path / str(call)
        try:
            with failing_at(call, disk_full, monkeypatch):
                train(path)
        except StorageError as error:
            refused += 1
            assert str(error).startswith(str(path))
            assert str(error).endswith("cannot be written: No space left on device")
        if path.exists():
            assert not [name for name in files(path) if is_temporary(name)]
        if RunFolder(path).exists():
            epochs = len(RunFolder(path).record().rows)
            assert RunFolder(path).record().rows == checkpoint(epochs).rows
        train(path)
        assert files(path) == expected, f"after call {call}"
    # Only flushing a folder may fail without an error: the file itself is complete.
    assert refused >= 3 * (2 + 3 * EPOCHS + 2)
