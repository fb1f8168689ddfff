"""One process at a time in a folder: a lock that the system takes back from whoever is killed."""

from __future__ import annotations

import os
import platform
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kilonet.errors import StoreError

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there
    fcntl = None  # type: ignore[assignment]

LOCK = ".kilonet.lock"
"""The file that stands in a folder while a process works in it, and names that process.

A process that is killed leaves it, without the lock: the next one takes it over, and away."""

_LOOK_SECONDS = 0.1
_TRIES = 20


@contextmanager
def locked(
    folder: Path,
    *,
    patience: float = 0.0,
    waiting: Callable[[str], None] | None = None,
    hint: str = "wait for that to end, or stop it",
) -> Iterator[None]:
    """Keep ``folder`` for this process while the block runs; it is made where there is none.

    Where the system has no such locks (Windows, some network file systems) the block runs without.

    Args:
        folder: what is kept; all that wish to keep it must ask by this function.
        patience: seconds to wait for a process that has it; infinity for as long as it takes.
        waiting: told once who has it, if it is to be waited for.
        hint: what to do about it, for the error.

    Raises:
        StoreError: if another process keeps it past the patience, or it cannot be written to.
    """
    try:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        handle = _enter(folder)
        give_up = time.monotonic() + patience
        while handle is None:
            holder = _holder(folder / LOCK)
            if time.monotonic() >= give_up:
                raise StoreError(f"{folder}: {holder} is at work in it; {hint}")
            if waiting is not None:
                waiting(f"{folder}: {holder} is at work in it; waiting for that to end")
                waiting = None
            time.sleep(_LOOK_SECONDS)
            handle = _enter(folder)
    except FileExistsError:
        raise StoreError(f"{folder}: is not a folder; name another") from None
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written: {error.strerror or error}") from None
    try:
        yield
    finally:
        # Before the lock goes, or it would be another's file that is removed; as it would where
        # somebody moved the folder, or the file, and another process has begun in its place.
        with suppress(OSError):
            if handle < 0 or _is_still(folder / LOCK, handle):
                (folder / LOCK).unlink(missing_ok=True)
        if handle >= 0:
            os.close(handle)
        # A folder that nothing came into leaves no trace.
        with suppress(OSError):
            for path in missing:
                path.rmdir()


def sweep(folder: Path) -> None:
    """Take away the file that a process which was killed left in ``folder``, if it did."""
    with suppress(OSError, StoreError):
        if (folder / LOCK).exists():
            with locked(folder):
                pass


_UNLOCKED = -1
"""In place of a handle where there are no locks."""


def _enter(folder: Path) -> int | None:
    """:func:`_take`, in a folder that the one before may remove as we come."""
    for _ in range(_TRIES):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return _take(folder / LOCK)
        except FileNotFoundError:
            pass
        except FileExistsError as error:
            # mkdir looks twice: told that something is there, it asks whether that is a folder. One
            # that has just been removed is none, and nothing in the way either.
            if _is_in_the_way(Path(error.filename)):
                raise
    folder.mkdir(parents=True, exist_ok=True)
    return _take(folder / LOCK)


def _is_in_the_way(path: Path) -> bool:
    """Whether something other than a folder is there, by one look at it."""
    try:
        return not stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        return path.is_symlink()


def _take(path: Path) -> int | None:
    """A handle that holds the lock, or None while another process has it."""
    if fcntl is None:
        return _UNLOCKED
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        except OSError:
            os.close(handle)
            return _UNLOCKED
        if _is_still(path, handle):
            # To be read by people; the lock holds without it, on a full disk too.
            with suppress(OSError):
                os.truncate(handle, 0)
                os.write(handle, f"{os.getpid()} {platform.node()}\n".encode())
            return handle
        # The one before removed it between our opening and locking: that lock is nobody's.
        os.close(handle)


def _is_still(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    try:
        process, _, host = path.read_text(errors="replace").strip().partition(" ")
    except OSError:
        process, host = "", ""
    if not process.isdecimal():
        return "another process"
    return f"process {process}" + (f" on {host}" if host != platform.node() else "")
