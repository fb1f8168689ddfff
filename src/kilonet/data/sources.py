"""Data sets by name or path: the registry of sources, and the one way in.

A new kind of data set on disk is a file with a :class:`Source`, and an entry in :data:`SOURCES`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from kilonet.data.idx_source import IdxFolder
from kilonet.data.mnist import load_mnist
from kilonet.data.npz_source import NpzFile
from kilonet.errors import DataError, UsageError, did_you_mean
from kilonet.paths import expand
from kilonet.spec import DATASET_NAMES, is_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kilonet.data.dataset import Dataset


class Source(Protocol):
    """A kind of data set on disk.

    Attributes:
        phrase: what it is, for messages: "an NPZ file".
    """

    phrase: str

    def recognizes(self, path: Path) -> bool:
        """Whether an existing path looks like this kind; OSError if it cannot be read."""
        ...

    def read(self, path: Path) -> Dataset:
        """Read and check the data set.

        Raises:
            DataError: missing, damaged or truncated parts, or parts that do not fit together.
            OSError: if the path cannot be read.
        """
        ...


_NAMED: dict[str, Callable[[], Dataset]] = dict(zip(DATASET_NAMES, (load_mnist,), strict=True))
SOURCES: tuple[Source, ...] = (IdxFolder(), NpzFile())
"""The kinds of data set on disk; the first that recognizes a path reads it."""


IN_MEMORY = "python:"
"""How the name of a data set begins that was given from Python, see
:mod:`kilonet.data.in_memory`."""


def load_dataset(name_or_path: str | os.PathLike[str]) -> Dataset:
    """Load a data set by name ("mnist") or from a path that a registered source recognizes.

    A known name has priority over a path of the same spelling: write ``./mnist`` for the path.

    Raises:
        DataError: for an unknown name, or for whatever is wrong with the path; one line.
    """
    text = os.fspath(name_or_path)
    if isinstance(name_or_path, str) and text in _NAMED:
        return _NAMED[text]()
    if text.startswith(IN_MEMORY):
        raise DataError(
            f"the images of {text!r} were given from Python and are not kept; give them there "
            "again: data=…"
        )
    try:
        path = expand(name_or_path)
    except UsageError as error:
        raise DataError(str(error)) from None
    if is_name(text) and not os.path.lexists(path):
        raise DataError(
            f"no data set {text!r} ({did_you_mean(text.lower(), DATASET_NAMES)}); "
            f"a path must be {_registered()}"
        )
    try:
        return _source_of(path).read(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise DataError(f"{path}: does not fit in this machine's memory") from error


def _source_of(path: Path) -> Source:
    """The first registered source that recognizes the path."""
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; give {_registered()}")
    for source in SOURCES:
        if source.recognizes(path):
            return source
    # One file of a folder: name the folder.
    if path.is_file() and any(source.recognizes(path.parent) for source in SOURCES):
        raise DataError(f"{path}: one file of a data set; give its folder, {path.parent}")
    raise DataError(f"{path}: not a data set; give {_registered()}")


def _registered() -> str:
    """What a path may be: "a folder of …, … or an NPZ file"."""
    *others, last = (source.phrase for source in SOURCES)
    return f"{', '.join(others)} or {last}"
