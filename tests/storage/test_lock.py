"""The lock on a folder: one process at a time, and free as soon as its holder dies."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kilonet.errors import StorageError
from kilonet.storage.lock import LOCK, locked, remove_abandoned

# Holds the lock on the folder argv[1] until its input ends.
HOLD = """
import sys
from pathlib import Path
from kilonet.storage.lock import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""

# Adds one to the number in a file 40 times; two processes at once would lose some.
COUNT = """
import sys
from pathlib import Path
from kilonet.storage.lock import locked
folder, file = Path(sys.argv[1]), Path(sys.argv[2])
for _ in range(40):
    with locked(folder, timeout=60):
        file.write_text(str(int(file.read_text()) + 1))
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def test_a_second_process_gets_an_error_that_names_the_holder(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        with (
            pytest.raises(StorageError, match=f"process {process.pid} is using it; try later"),
            locked(tmp_path, hint="try later"),
        ):
            pass
        assert (tmp_path / LOCK).exists()
        process.communicate()
    with locked(tmp_path):
        assert (tmp_path / LOCK).read_text().split()[0] == str(os.getpid())
        # Not even this process may hold it twice.
        with pytest.raises(StorageError, match=f"process {os.getpid()} "), locked(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (tmp_path / LOCK).exists()
        with locked(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_only_the_file_of_a_killed_process_is_abandoned(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        remove_abandoned(tmp_path)
        assert (tmp_path / LOCK).exists()
        process.send_signal(signal.SIGKILL)
        process.wait()
    remove_abandoned(tmp_path)
    assert list(tmp_path.iterdir()) == []
    remove_abandoned(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()


def test_waiting_is_reported_once(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        lines: list[str] = []

        def waiting(line: str) -> None:
            lines.append(line)
            process.communicate()

        with locked(tmp_path, timeout=60, waiting=waiting):
            assert process.returncode == 0
    assert lines == [f"{tmp_path}: process {process.pid} is using it; waiting until it ends"]


def test_many_processes_never_two_at_once(tmp_path: Path) -> None:
    """Each of them removes the file, and the next creates it: there is no gap between the two."""
    number = tmp_path / "number"
    number.write_text("0")
    command = [sys.executable, "-c", COUNT, tmp_path / "folder", number]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert number.read_text() == "120"
    assert not (tmp_path / "folder" / LOCK).exists()


def test_a_folder_that_its_holder_removes_meanwhile_is_created_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process created it, and removes it between mkdir's two looks at it."""
    folder, mkdir, failed = tmp_path / "folder", os.mkdir, []

    def exists_once(path: Path, *args: int) -> None:
        if not failed:
            failed.append(path)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(path))
        mkdir(path, *args)

    monkeypatch.setattr(os, "mkdir", exists_once)
    with locked(folder):
        assert (folder / LOCK).exists()
    assert failed == [folder]


def test_a_created_folder_stays_only_if_something_was_written_into_it(tmp_path: Path) -> None:
    with locked(tmp_path / "a" / "b"):
        pass
    assert not (tmp_path / "a").exists()
    with locked(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "file").touch()
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["file"]


def test_a_path_that_cannot_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    with pytest.raises(StorageError, match="file: is not a folder"), locked(tmp_path / "file"):
        pass
    with (
        pytest.raises(StorageError, match="nowhere: is not a folder"),
        locked(tmp_path / "nowhere"),
    ):
        pass
    with (
        pytest.raises(StorageError, match="cannot be written: Not a directory"),
        locked(tmp_path / "file" / "below"),
    ):
        pass


def test_a_holder_whose_folder_was_moved_does_not_remove_the_next_lock(tmp_path: Path) -> None:
    """The first holder ends, and the holder of the folder in its place keeps its lock."""
    with locked(tmp_path / "folder"):
        (tmp_path / "folder").rename(tmp_path / "moved")
        process = holder(tmp_path / "folder")
    with process:
        with (
            pytest.raises(StorageError, match=f"process {process.pid} is using it"),
            locked(tmp_path / "folder"),
        ):
            pass
        process.communicate()


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="File name too long"), locked(tmp_path / ("x" * 300)):
        pass


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path), locked(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_without_its_holders_id(tmp_path: Path) -> None:
    """As on a full disk: the lock still holds."""
    with locked(tmp_path):
        os.truncate(tmp_path / LOCK, 0)
        with pytest.raises(StorageError, match="another process is using it"), locked(tmp_path):
            pass
