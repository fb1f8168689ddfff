"""Atomic writes: the old content or the new, never a mixture, never a leftover."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from kilonet.atomic import write_atomically
from kilonet.errors import StoreError


def test_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    write_atomically(path, "één")
    assert path.read_bytes() == "één".encode()
    write_atomically(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert list(path.parent.iterdir()) == [path]


def test_permissions_are_those_of_an_ordinary_file(tmp_path: Path) -> None:
    path, ordinary = tmp_path / "atomic", tmp_path / "ordinary"
    write_atomically(path, b"")
    ordinary.write_bytes(b"")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(ordinary.stat().st_mode)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def no_space(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    target = (os, "fsync") if failing == "fsync" else (Path, "replace")
    with monkeypatch.context() as patch:
        patch.setattr(*target, no_space)
        with pytest.raises(StoreError, match=r"file: cannot be written: No space left on device"):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        write_atomically(tmp_path, b"")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot be written"):
        write_atomically(tmp_path / "file" / "below", b"")
