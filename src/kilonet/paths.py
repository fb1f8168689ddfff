"""The one rule for paths, wherever a user gives one: an option, a spec, the environment, Python.

``~`` and ``~user`` are home folders. A relative path starts at the current folder; in a TOML file,
at the folder of that file.
"""

from __future__ import annotations

import os
from pathlib import Path

from kilonet.errors import UsageError


def expand(path: str | os.PathLike[str]) -> Path:
    """The path with ``~`` and ``~user`` replaced by the home folder; a relative one stays relative.

    Raises:
        UsageError: it is empty or contains a NUL, or there is no such user.
    """
    text = os.fspath(path)
    if not isinstance(text, str):
        raise UsageError(f"{text!r} is not a path: it should be text, not bytes")
    if not text:
        raise UsageError("'' is not a path: it is empty")
    if "\0" in text:
        raise UsageError(f"{text!r} is not a path: it contains a NUL")
    if not text.startswith("~"):
        return Path(text)
    expanded = os.path.expanduser(text)  # noqa: PTH111  Path's raises errors without the text
    if expanded.startswith("~"):
        raise UsageError(
            f"{text}: the home folder {Path(text).parts[0]} is unknown here; give the whole path, "
            f"or ./{text} for a file of that name"
        )
    return Path(expanded)


def absolute(path: str | os.PathLike[str], *, folder: Path | None = None) -> Path:
    """The expanded path from the root, the same for every spelling of it.

    Links to folders are followed. If the path itself is a link it is kept, because a link that
    later names another file is still the user's choice.

    Args:
        path: as for :func:`expand`.
        folder: where a relative path starts; default the current folder.

    Raises:
        UsageError: as :func:`expand`, or the current folder no longer exists.
    """
    joined = expand(path) if folder is None else folder / expand(path)
    try:
        if joined.name in ("", ".."):
            return Path(os.path.realpath(joined))
        return Path(os.path.realpath(joined.parent)) / joined.name
    except FileNotFoundError:  # of the current folder: a missing path is none
        raise UsageError("the current folder no longer exists; change to another") from None


def relative(path: Path, *, folder: Path) -> str:
    """An absolute path from ``folder``, with forward slashes; it starts with ``./`` or ``../``.

    On another drive of Windows it stays absolute.
    """
    try:
        text = Path(os.path.relpath(path, os.path.realpath(folder))).as_posix()
    except ValueError:
        return str(path)
    return text if text == ".." or text.startswith("../") else f"./{text}"
