"""What is in a folder, with errors in one line."""

from __future__ import annotations

from pathlib import Path

from kilonet.errors import StorageError


def is_file(path: Path) -> bool:
    """Whether there is a file.

    Raises:
        StorageError: that is unknown: no access, or a name that is too long.
    """
    try:
        return path.is_file()
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None


def names_in(folder: Path) -> list[str]:
    """The names in a folder, sorted; none if there is no such folder.

    Raises:
        StorageError: it is a file, or cannot be read.
    """
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        raise StorageError(f"{folder}: is not a folder; name another") from None
    except OSError as error:
        raise unreadable(folder, error) from None


def unreadable(path: Path, error: OSError | ValueError) -> StorageError:
    """The error of a file or folder that cannot be read."""
    reason = error.strerror if isinstance(error, OSError) else error
    return StorageError(f"{path}: cannot be read: {reason}")
