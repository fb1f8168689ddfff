"""The lock on a folder: one process at a time, and none left by a process that was killed."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kilonet.errors import StoreError
from kilonet.lock import LOCK, locked, sweep

# Keeps the folder argv[1] until its input ends.
KEEP = """
import sys
from pathlib import Path
from kilonet.lock import locked
with locked(Path(sys.argv[1])):
    print("has it", flush=True)
    sys.stdin.read()
"""

# Adds one to the number in a file 40 times, which loses some where two do so at once.
COUNT = """
import sys
from pathlib import Path
from kilonet.lock import locked
folder, file = Path(sys.argv[1]), Path(sys.argv[2])
for _ in range(40):
    with locked(folder, patience=60):
        file.write_text(str(int(file.read_text()) + 1))
"""


def keeper(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", KEEP, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "has it\n"
    return process


def test_a_second_one_is_told_who_has_it_and_leaves(tmp_path: Path) -> None:
    with keeper(tmp_path) as process:
        with (
            pytest.raises(StoreError, match=f"process {process.pid} is at work in it; try later"),
            locked(tmp_path, hint="try later"),
        ):
            pass
        assert (tmp_path / LOCK).exists()
        process.communicate()
    with locked(tmp_path):
        assert (tmp_path / LOCK).read_text().split()[0] == str(os.getpid())
        # Not even this process may have it twice.
        with pytest.raises(StoreError, match=f"process {os.getpid()} "), locked(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_leaves_it_free(tmp_path: Path) -> None:
    with keeper(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (tmp_path / LOCK).exists()
        with locked(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_swept_away_and_nothing_else(tmp_path: Path) -> None:
    with keeper(tmp_path) as process:
        sweep(tmp_path)
        assert (tmp_path / LOCK).exists()
        process.send_signal(signal.SIGKILL)
        process.wait()
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []
    sweep(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()


def test_one_with_patience_waits_and_says_so_once(tmp_path: Path) -> None:
    with keeper(tmp_path) as process:
        told = []

        def waiting(line: str) -> None:
            told.append(line)
            process.communicate()

        with locked(tmp_path, patience=60, waiting=waiting):
            assert process.returncode == 0
    assert told == [f"{tmp_path}: process {process.pid} is at work in it; waiting for that to end"]


def test_many_in_turn_never_two_at_once(tmp_path: Path) -> None:
    """The file goes with each of them, and comes with the next: no gap between the two."""
    number = tmp_path / "number"
    number.write_text("0")
    command = [sys.executable, "-c", COUNT, tmp_path / "folder", number]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert number.read_text() == "120"
    assert not (tmp_path / "folder" / LOCK).exists()


def test_a_folder_that_goes_as_we_come_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process made it, and removes it between mkdir's two looks at it."""
    folder, mkdir, told = tmp_path / "folder", os.mkdir, []

    def told_that_it_is_there(path: Path, *args: int) -> None:
        if not told:
            told.append(path)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(path))
        mkdir(path, *args)

    monkeypatch.setattr(os, "mkdir", told_that_it_is_there)
    with locked(folder):
        assert (folder / LOCK).exists()
    assert told == [folder]


def test_a_folder_is_made_and_stays_only_if_something_came_into_it(tmp_path: Path) -> None:
    with locked(tmp_path / "a" / "b"):
        pass
    assert not (tmp_path / "a").exists()
    with locked(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "file").touch()
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["file"]


def test_where_no_folder_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    with pytest.raises(StoreError, match="file: is not a folder"), locked(tmp_path / "file"):
        pass
    with (
        pytest.raises(StoreError, match="nowhere: is not a folder"),
        locked(tmp_path / "nowhere"),
    ):
        pass
    with (
        pytest.raises(StoreError, match="cannot be written: Not a directory"),
        locked(tmp_path / "file" / "below"),
    ):
        pass


def test_a_folder_that_was_moved_does_not_take_anothers_lock(tmp_path: Path) -> None:
    """The one that worked in it before ends, and the one in its place is still alone in it."""
    with locked(tmp_path / "folder"):
        (tmp_path / "folder").rename(tmp_path / "moved")
        process = keeper(tmp_path / "folder")
    with process:
        with (
            pytest.raises(StoreError, match=f"process {process.pid} is at work in it"),
            locked(tmp_path / "folder"),
        ):
            pass
        process.communicate()


def test_a_name_that_no_folder_can_have(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="File name too long"), locked(tmp_path / ("x" * 300)):
        pass


def test_a_file_system_without_locks_does_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path), locked(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_whose_holder_could_not_be_named(tmp_path: Path) -> None:
    """As on a full disk: the lock holds all the same."""
    with locked(tmp_path):
        os.truncate(tmp_path / LOCK, 0)
        with pytest.raises(StoreError, match="another process is at work"), locked(tmp_path):
            pass
