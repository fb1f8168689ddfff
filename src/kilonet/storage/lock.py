"""An exclusive lock on a folder, which the system releases when its process dies."""

from __future__ import annotations

import os
import platform
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kilonet.errors import StorageError

LOCK = ".kilonet.lock"
"""The lock's file in a folder; contains the holder's process id and host.

A killed process leaves the file, unlocked; the next holder locks it and removes it at the end."""

_POLL_SECONDS = 0.1
_TRIES = 20


@contextmanager
def locked(
    folder: Path,
    *,
    timeout: float = 0.0,
    waiting: Callable[[str], None] | None = None,
    hint: str = "wait until it ends, or stop it",
) -> Iterator[None]:
    """Hold the lock on ``folder`` while the block runs; creates the folder if necessary.

    On a file system without locks the block runs without one.

    Args:
        folder: the folder to lock.
        timeout: seconds to wait for another process that holds the lock; may be infinity.
        waiting: called once, with a line that names the holder, if there is one to wait for.
        hint: what to do, for the error message.

    Raises:
        StorageError: another process holds the lock after the timeout, or the folder cannot be
            written.
    """
    path = folder / LOCK
    try:
        created = [parent for parent in (folder, *folder.parents) if not parent.exists()]
        handle = _try_lock_in(folder)
        deadline = time.monotonic() + timeout
        while handle is None:
            holder = _holder(path)
            if time.monotonic() >= deadline:
                raise StorageError(f"{folder}: {holder} is using it; {hint}")
            if waiting is not None:
                waiting(f"{folder}: {holder} is using it; waiting until it ends")
                waiting = None
            time.sleep(_POLL_SECONDS)
            handle = _try_lock_in(folder)
    except FileExistsError:
        raise StorageError(f"{folder}: is not a folder; name another") from None
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written: {error.strerror or error}") from None
    try:
        yield
    finally:
        _release(path, handle)
        # Remove the folders that were created, unless something was written into them.
        with suppress(OSError):
            for parent in created:
                parent.rmdir()


def remove_abandoned(folder: Path) -> None:
    """Remove the lock's file in ``folder`` if a killed process left it."""
    with suppress(OSError, StorageError):
        if (folder / LOCK).exists():
            with locked(folder):
                pass


_WITHOUT_LOCK = -1
"""In place of a file descriptor on a file system without locks."""


def _try_lock_in(folder: Path) -> int | None:
    """:func:`_try_lock` in a folder that its previous holder may be removing."""
    for _ in range(_TRIES):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return _try_lock(folder / LOCK)
        except FileNotFoundError:
            pass
        except FileExistsError as error:
            # mkdir asks whether what exists is a folder only after it failed: by then the folder
            # may be gone.
            if _is_other_file(Path(error.filename)):
                raise
    folder.mkdir(parents=True, exist_ok=True)
    return _try_lock(folder / LOCK)


def _is_other_file(path: Path) -> bool:
    """Whether the path exists and is not a folder, by a single look."""
    try:
        return not stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        return path.is_symlink()


def _try_lock(path: Path) -> int | None:
    """A file descriptor that holds the lock, or None while another process holds it."""
    from filelock import lock_descriptor  # here, because most commands lock nothing

    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            free = lock_descriptor(handle, blocking=False)
        except OSError:
            os.close(handle)
            return _WITHOUT_LOCK
        if not free:
            os.close(handle)
            return None
        if _is_same_file(path, handle):
            # For people to read. The lock holds without it, so a full disk does no harm.
            with suppress(OSError):
                os.truncate(handle, 0)
                os.write(handle, f" {os.getpid()} {platform.node()}\n".encode())
            return handle
        # The previous holder removed the file after we opened it: this lock protects nothing.
        os.close(handle)


def _release(path: Path, handle: int) -> None:
    # Removed before the lock is released, and only if it is still our file: otherwise the file
    # could be the next holder's, or belong to a folder that took this one's place.
    with suppress(OSError):
        if handle == _WITHOUT_LOCK or _is_same_file(path, handle):
            path.unlink(missing_ok=True)
    if handle == _WITHOUT_LOCK:
        return
    os.close(handle)
    if sys.platform == "win32":
        # Windows does not remove an open file, neither ours before nor another holder's now.
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _is_same_file(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(1)  # Windows locks the first byte, which nobody else can read then
            text = file.read().decode(errors="replace")
    except OSError:
        text = ""
    process, _, host = text.strip().partition(" ")
    if not process.isdecimal():
        return "another process"
    return f"process {process}" + (f" on {host}" if host != platform.node() else "")
