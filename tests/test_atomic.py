"""Atomic writes: the old content or the new, never a mixture, never a leftover."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from kilonet.atomic import is_aside, replacing, write_atomically
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


def test_what_a_killed_writer_left_is_removed_after_an_hour(tmp_path: Path) -> None:
    path = tmp_path / "file"
    old, young = tmp_path / ".file.0a.tmp", tmp_path / ".file.0b.tmp"
    other = tmp_path / ".other.0a.tmp"
    for aside in (old, young, other):
        aside.write_bytes(b"half")
        assert is_aside(aside.name)
    for aside in (old, other):
        os.utime(aside, (1e9, 1e9))
    write_atomically(path, b"whole")
    assert sorted(tmp_path.iterdir()) == sorted([young, other, path])
    assert not is_aside(path.name)


def test_the_last_of_several_writers_stands(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with replacing(path) as outer:
        outer.write(b"outer")
        write_atomically(path, b"inner")
        assert path.read_bytes() == b"inner"
    assert path.read_bytes() == b"outer"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        write_atomically(tmp_path, b"")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot be written"):
        write_atomically(tmp_path / "file" / "below", b"")
