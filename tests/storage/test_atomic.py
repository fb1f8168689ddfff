"""Atomic writes: the old content or the new, never a mixture, never a leftover file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from kilonet.errors import StorageError
from kilonet.storage.atomic import check_picture, is_temporary, replacing, write_atomically


def test_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    write_atomically(path, "één")
    assert path.read_bytes() == "één".encode()
    write_atomically(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert list(path.parent.iterdir()) == [path]


def test_text_that_utf8_cannot_encode(tmp_path: Path) -> None:
    """Such as the name of a folder in a report."""
    write_atomically(tmp_path / "file", f"in {os.fsdecode(bytes([0x6F, 0xFF]))}")
    assert (tmp_path / "file").read_bytes() == b"in o?"


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
        with pytest.raises(StorageError, match=r"file: cannot be written: No space left on device"):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_temporary_file_of_a_killed_writer_is_removed(tmp_path: Path) -> None:
    """Its lock was released, which decides; its age does not: a clock may jump."""
    left = [tmp_path / f".{name}.{'0a' * 8}.tmp" for name in ("file", "other", "new")]
    users_own = [tmp_path / name for name in (".file.0a.tmp", ".notes.tmp", "file.tmp")]
    for temporary in (*left, *users_own):
        temporary.write_bytes(b"half")
        assert is_temporary(temporary.name) == (temporary in left)
    os.utime(left[0], (1e9, 1e9))
    os.utime(left[1], (9e9, 9e9))
    path = tmp_path / "file"
    write_atomically(path, b"whole")
    assert sorted(tmp_path.iterdir()) == sorted([*users_own, path])
    assert not is_temporary(path.name)


def test_the_temporary_file_of_a_living_writer_stays(tmp_path: Path) -> None:
    """Whatever its age."""
    with replacing(tmp_path / "slow") as file:
        file.write(b"slow")
        [temporary] = tmp_path.iterdir()
        os.utime(temporary, (0, 0))
        write_atomically(tmp_path / "quick", b"quick")
        assert temporary.exists()
    assert (tmp_path / "slow").read_bytes() == b"slow"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_writer_whose_file_was_removed_as_abandoned_opens_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another writer may remove it between its creation and its lock."""
    fcntl = pytest.importorskip("fcntl")
    flock, tokens = fcntl.flock, []

    def removed_first(file: object, operation: int) -> None:
        if not tokens:
            [temporary] = tmp_path.iterdir()
            tokens.append(temporary.name)
            temporary.unlink()
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", removed_first)
    write_atomically(tmp_path / "file", b"whole")
    assert (tmp_path / "file").read_bytes() == b"whole"
    assert len(list(tmp_path.iterdir())) == 1
    assert tokens


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def unsupported(file: object, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    left = tmp_path / f".file.{'0a' * 8}.tmp"
    left.write_bytes(b"half")
    write_atomically(tmp_path / "file", b"whole")
    assert sorted(tmp_path.iterdir()) == sorted([left, tmp_path / "file"])


def test_the_last_of_several_writers_wins(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with replacing(path) as outer:
        outer.write(b"outer")
        write_atomically(path, b"inner")
        assert path.read_bytes() == b"inner"
    assert path.read_bytes() == b"outer"
    assert list(tmp_path.iterdir()) == [path]


def test_a_picture_replaces_a_picture_alone(tmp_path: Path) -> None:
    """Not the images that it is drawn from, as in ``data mine.npz --picture mine.npz``."""
    path = tmp_path / "x"
    check_picture(path)
    for content in (b"", b"\x89PNG\r\n\x1a\nmore"):
        path.write_bytes(content)
        check_picture(path)
    path.write_bytes(b"\x89PNG")
    with pytest.raises(StorageError, match="x: is not a PNG, and would be replaced"):
        check_picture(path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"\x89PNG"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_device_or_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    """Root could replace /dev/null."""
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        with pytest.raises(StorageError, match="cannot be written: it is a device or a pipe"):
            write_atomically(path, b"")
        with pytest.raises(StorageError, match="cannot be written: it is a device or a pipe"):
            check_picture(path)
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert sorted(tmp_path.iterdir()) == [link, pipe]


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        write_atomically(tmp_path, b"")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot be written"):
        write_atomically(tmp_path / "file" / "below", b"")
