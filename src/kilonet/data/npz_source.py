"""A data set as one NPZ file of four arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kilonet.data.dataset import Dataset
from kilonet.errors import DataError
from kilonet.storage.npz import npz_names, read_npz

_KEYS = (
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("x_train", "y_train", "x_test", "y_test"),
)
"""The names of the arrays: kilonet's, and those of the files that Keras publishes."""

_ZIP_MAGIC = b"PK"


class NpzFile:
    """An NPZ file of ``train_images``, ``train_labels``, ``test_images`` and ``test_labels``.

    Or of ``x_train``, ``y_train``, ``x_test`` and ``y_test``, as Keras names them.
    """

    phrase = "an NPZ file"

    def recognizes(self, path: Path) -> bool:
        """Whether it is a file that is named ``.npz`` or starts as a zip file does."""
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return path.suffix.lower() == ".npz" or file.read(2) == _ZIP_MAGIC

    def read(self, path: Path) -> Dataset:
        """Read the four arrays; DataError if the file is damaged or lacks one of them."""
        if not path.stat().st_size:
            raise DataError(f"{path}: empty file; expected an NPZ file")
        found = npz_names(path)
        # Of the two sets of names, the one that the file comes nearest to.
        keys = max(_KEYS, key=lambda names: len(found.intersection(names)))
        missing = [key for key in keys if key not in found]
        if missing:
            has = ", ".join(sorted(found)[:8]) or "none"
            raise DataError(
                f"{path}: no array {', '.join(missing)}; expected {', '.join(_KEYS[0])} or "
                f"{', '.join(_KEYS[1])}; it has {has}"
            )
        arrays = read_npz(path, names=keys)
        renamed: dict[str, Any] = {
            ours: arrays[theirs] for ours, theirs in zip(_KEYS[0], keys, strict=True)
        }
        return Dataset(name=path.resolve().stem, source=str(path), **renamed)
