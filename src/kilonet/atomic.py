"""Files that are either whole or not there: written aside, flushed to the disk, renamed."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from kilonet.errors import StoreError

_ABANDONED_SECONDS = 3600.0


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write that becomes ``path`` when the block ends without an error.

    Readers see the old file or the new one, after a crash too, and of several writers at once the
    last one stands. What writers that were killed left aside is removed after an hour.

    Raises:
        OSError: the folder cannot be written; ``path`` is as it was.
    """
    _remove_abandoned(path)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with aside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
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
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror or error}") from None


def is_aside(name: str) -> bool:
    """Whether a file of this name is one being written, or left by a writer that was killed."""
    return name.startswith(".") and name.endswith(".tmp")


def _remove_abandoned(path: Path) -> None:
    oldest = time.time() - _ABANDONED_SECONDS
    with suppress(OSError):
        for aside in path.parent.iterdir():
            ours = aside.name.startswith(f".{path.name}.") and is_aside(aside.name)
            if ours and aside.stat().st_mtime < oldest:
                aside.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Flush the rename itself, where the system lets a folder be opened (Windows does not)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
