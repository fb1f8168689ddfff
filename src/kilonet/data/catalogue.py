"""The data sets known by name, and the one way in: a name or a path."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from kilonet.data.files import read_dataset
from kilonet.data.mnist import load_mnist
from kilonet.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable

    from kilonet.data.dataset import Dataset

_BY_NAME: dict[str, Callable[[], Dataset]] = {"mnist": load_mnist}

DATASET_NAMES = tuple(_BY_NAME)
"""The names that ``load_dataset`` knows."""


def load_dataset(name_or_path: str | os.PathLike[str]) -> Dataset:
    """Load a data set by name ("mnist"), or by the path of a folder of IDX files or an NPZ file.

    A known name goes before a path of the same spelling: write ``./mnist`` for that.

    Raises:
        DataError: unknown name, or whatever is wrong with the files; one line.
    """
    text = os.fspath(name_or_path)
    if isinstance(name_or_path, str) and text in _BY_NAME:
        return _BY_NAME[text]()
    if not text or "\0" in text:
        raise DataError(f"{text!r} is neither the name of a data set nor a path")
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:
        raise DataError(f"{text}: no such home folder") from error
    if _looks_like_a_name(text) and not os.path.lexists(path):
        raise DataError(
            f"no data set {text!r}; {did_you_mean(text.lower(), DATASET_NAMES)} (or give the path "
            f"of a folder of IDX files or an NPZ file)"
        )
    return read_dataset(path)


def _looks_like_a_name(text: str) -> bool:
    return not any(mark in text for mark in "/\\.~")
