"""Atomic file writes: a temporary file, flushed to disk, then renamed.

A temporary file is locked while its writer lives. The lock, which the system releases when a
process dies, distinguishes a file that is being written from an abandoned one; its age could not,
where a clock jumps.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from kilonet.errors import StorageError

if sys.platform != "win32":
    import fcntl

_PNG = b"\x89PNG\r\n\x1a\n"
"""The first bytes of every PNG file."""

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{16}\.tmp")


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file that replaces ``path`` when the block ends without an error.

    Readers see the old file or the new one, also after a crash. Of several concurrent writers the
    last one wins. Temporary files of killed writers in the folder are removed.

    Raises:
        OSError: the folder cannot be written, or ``path`` is a device; it is unchanged.
    """
    _remove_abandoned(path.parent)
    temporary, file = _open_temporary(path)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if sys.platform != "win32":
                # Renamed while it is locked, so that no other writer removes it as abandoned.
                temporary.replace(path)
        if sys.platform == "win32":  # an open file cannot be renamed there
            temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)


def write_atomically(path: Path, content: bytes | str) -> None:
    """Replace ``path`` with ``content`` (text as UTF-8); creates its folder if necessary.

    Raises:
        StorageError: it cannot be written; the previous file is unchanged.
    """
    try:
        _make_folder(path.parent)
        with replacing(path) as file:
            # Text may contain a file name with bytes that UTF-8 cannot encode.
            file.write(content.encode(errors="replace") if isinstance(content, str) else content)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from None


def check_picture(path: Path) -> None:
    """Raise StorageError if a PNG cannot be written here, or would replace a file that is none.

    For a file in an existing folder that a user names, before a long computation whose result it is
    to show.
    """
    before = b""
    try:
        if path.is_dir():
            raise StorageError(f"{path}: is a folder; name the file to write")
        temporary, file = _open_temporary(path)
        file.close()
        temporary.unlink(missing_ok=True)
        with suppress(FileNotFoundError), path.open("rb") as existing:
            before = existing.read(len(_PNG))
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from None
    if before and before != _PNG:
        raise StorageError(f"{path}: is not a PNG, and would be replaced; name another file")


def is_temporary(name: str) -> bool:
    """Whether the name is that of a temporary file: being written, or left by a killed writer."""
    return _TEMPORARY.fullmatch(name) is not None


def _open_temporary(path: Path) -> tuple[Path, BinaryIO]:
    """A new, locked file in the folder of ``path``."""
    with suppress(FileNotFoundError):
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # renaming would replace /dev/null
            raise OSError(errno.EINVAL, "it is a device or a pipe, not a file")
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        file = temporary.open("xb")
        if sys.platform == "win32":
            return temporary, file
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass  # another writer found it before it was locked, and is about to remove it
        except OSError:
            return temporary, file  # a file system without locks, where nothing is removed either
        else:
            if temporary.exists():
                return temporary, file
        file.close()


def _remove_abandoned(folder: Path) -> None:
    """Remove the temporary files of dead writers; without file locks they stay."""
    if sys.platform == "win32":
        return
    with suppress(OSError):
        for temporary in [entry for entry in folder.iterdir() if is_temporary(entry.name)]:
            # Opened for writing: NFS grants an exclusive lock only then.
            with suppress(OSError), temporary.open("rb+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                temporary.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    """Create a folder and its parents, and flush their names to disk."""
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
    """Flush the rename to disk, where the system can open a folder (Windows cannot)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
