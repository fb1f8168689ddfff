"""A run that is cut off, or whose disk is full, at each instant of its writing in turn."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import numpy as np
import pytest

from kilonet.atomic import is_aside
from kilonet.errors import StoreError
from kilonet.store import RunFolder
from run_folders import ENVIRONMENT, RUN, checkpoint

EPOCHS = RUN.train.epochs


def train(path: Path) -> None:
    """What the training loop does with a folder, from where the folder stands to the end."""
    folder = RunFolder(path)
    found = folder.checkpoint() if folder.exists() and not folder.finished() else None
    if folder.exists() and folder.finished():
        return
    if found is None:
        folder.begin(RUN, ENVIRONMENT)
    for epoch in range(0 if found is None else found.epochs, EPOCHS):
        folder.save(checkpoint(epoch + 1))
    folder.finish(weights={"w": np.ones(3, np.float32)}, logits=np.eye(4, 10, dtype=np.float32))


def files(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


class Killed(BaseException):
    """The process is gone: nothing after this instant happens."""


@contextmanager
def failing_at(
    call: int, fail: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[str]]:
    """Fail at one of the calls that change the disk; tells the calls there were.

    A write may leave half of its bytes behind.
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

            # A buffered writer has no attributes of its own to replace.
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
        # What a dead process does not do: clean up.
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
    """The folder reads as some finished epoch left it, and goes on to the same bytes."""
    number = count_calls(tmp_path / "whole", monkeypatch)
    # Two files to begin, three an epoch, two to finish: each written, flushed, renamed.
    assert number >= 3 * (2 + 3 * EPOCHS + 2)
    expected = files(tmp_path / "whole")
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
    """One clear line, no half file, nothing lost that was there; then it goes on."""
    number = count_calls(tmp_path / "whole", monkeypatch)
    expected = files(tmp_path / "whole")
    refused = 0
    for call in range(number):
        path = tmp_path / str(call)
        try:
            with failing_at(call, disk_full, monkeypatch):
                train(path)
        except StoreError as error:
            refused += 1
            assert str(error).startswith(str(path))
            assert str(error).endswith("cannot be written: No space left on device")
        if path.exists():
            assert not [name for name in files(path) if is_aside(name)]
        if RunFolder(path).exists():
            epochs = len(RunFolder(path).record().rows)
            assert RunFolder(path).record().rows == checkpoint(epochs).rows
        train(path)
        assert files(path) == expected, f"after call {call}"
    # Flushing a folder is the one thing that may fail unsaid: the file itself is whole.
    assert refused >= 3 * (2 + 3 * EPOCHS + 2)
