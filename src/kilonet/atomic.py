"""Files that are either whole or not there: written aside, flushed to the disk, renamed."""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from kilonet.errors import StoreError

if sys.platform != "win32":
    import fcntl

_ASIDE = re.compile(r"\..+\.[0-9a-f]{16}\.tmp")


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write that becomes ``path`` when the block ends without an error.

    Readers see the old file or the new one, after a crash too, and of several writers at once the
    last one stands. What killed writers left aside in the folder is removed.

    Raises:
        OSError: the folder cannot be written; ``path`` is as it was.
    """
    _remove_abandoned(path.parent)
    aside, file = _open_aside(path)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if sys.platform != "win32":
                # Renamed while it is still locked: nobody takes it for abandoned in between.
                aside.replace(path)
        if sys.platform == "win32":  # which renames no open file
            aside.replace(path)
    except BaseException:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)


def write_atomically(path: Path, content: bytes | str) -> None:
    """Replace ``path`` with ``content`` (text as UTF-8), making its folder where there is none.

    Raises:
        StoreError: if it cannot be written; what stood there before is untouched.
    """
    try:
        _make_folder(path.parent)
        with replacing(path) as file:
            # Text may name a file whose name is no text, which UTF-8 has no place for.
            file.write(content.encode(errors="replace") if isinstance(content, str) else content)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror or error}") from None


def is_aside(name: str) -> bool:
    """Whether a file of this name is one being written, or left by a writer that was killed."""
    return _ASIDE.fullmatch(name) is not None


def _open_aside(path: Path) -> tuple[Path, BinaryIO]:
    """A new file beside ``path``, locked for as long as its writer lives.

    The lock, which the system takes from a process that dies, is what tells a file that is being
    written from one that was abandoned; its age would not, where a clock jumps.
    """
    while True:
        aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        file = aside.open("xb")
        if sys.platform == "win32":
            return aside, file
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass  # another writer found it not yet locked and is about to remove it
        except OSError:
            return aside, file  # a file system without locks; then nobody removes either
        else:
            if aside.exists():
                return aside, file
        file.close()


def _remove_abandoned(folder: Path) -> None:
    """Remove what writers that are dead left aside; where there are no locks it stays."""
    if sys.platform == "win32":
        return
    with suppress(OSError):
        for aside in [entry for entry in folder.iterdir() if is_aside(entry.name)]:
            # Open to be written to: NFS locks nothing else against others.
            with suppress(OSError), aside.open("rb+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                aside.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, and flush their names to the disk."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        if folder.parent == folder:
            break
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(exist_ok=True)
        _flush_folder(new.parent)


def _flush_folder(folder: Path) -> None:
    """Flush the rename itself, where the system lets a folder be opened (Windows does not)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
