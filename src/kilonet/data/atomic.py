"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

_ABANDONED_SECONDS = 3600.0


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write that becomes ``path`` when the block ends without an error.

    Written aside in the same folder, flushed to the disk, then renamed: readers see the old file
    or the new one, after a crash too, and of several writers at once the last one stands.

    Raises:
        OSError: the folder cannot be written; ``path`` is as it was.
    """
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


def remove_abandoned(path: Path) -> None:
    """Remove what writers of ``path`` that were killed left aside more than an hour ago."""
    oldest = time.time() - _ABANDONED_SECONDS
    with suppress(OSError):
        for aside in path.parent.glob(f".{path.name}.*.tmp"):
            if aside.stat().st_mtime < oldest:
                aside.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Flush the rename itself, where the system lets a folder be opened (Windows does not)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
