"""A data set as one NPZ file of four arrays; of two without test images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kilonet.data.dataset import Dataset
from kilonet.errors import DataError
from kilonet.storage.npz import npz_names, read_npz

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KEYS = (
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("x_train", "y_train", "x_test", "y_test"),
)
"""The names of the arrays: kilonet's, and those of the files that Keras publishes."""

_CLASSES = ("classes", "class_names", "label_names")
"""The names of an array of class names, if there is one; the first that is there counts."""

_ZIP_MAGIC = b"PK"


class NpzFile:
    """An NPZ file of ``train_images``, ``train_labels``, ``test_images`` and ``test_labels``.

    Or of ``x_train``, ``y_train``, ``x_test`` and ``y_test``, as Keras names them. An array
    ``classes``, ``class_names`` or ``label_names`` holds the names of the classes, in order. A file
    may have no test images: neither of the two arrays.
    """

    phrase = "an NPZ file"

    def recognizes(self, path: Path) -> bool:
        """Whether it is a file that is named ``.npz`` or starts as a zip file does."""
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return path.suffix.lower() == ".npz" or file.read(2) == _ZIP_MAGIC

    def read(self, path: Path) -> Dataset:
        """Read the arrays; DataError if the file is damaged or lacks one of them."""
        if not path.stat().st_size:
            raise DataError(f"{path}: empty file; expected an NPZ file")
        found = npz_names(path)
        # Of the two sets of names, the one that the file comes nearest to.
        keys: tuple[str, ...] = max(_KEYS, key=lambda names: len(found.intersection(names)))
        if found.isdisjoint(keys[2:]):
            keys = keys[:2]  # without test images
        missing = [key for key in keys if key not in found]
        if missing:
            has = ", ".join(sorted(found)[:8]) or "none"
            raise DataError(
                f"{path}: no array {', '.join(missing)}; expected {', '.join(_KEYS[0])} or "
                f"{', '.join(_KEYS[1])}; it has {has}"
            )
        naming = next((name for name in _CLASSES if name in found), None)
        arrays = read_npz(path, names=[*keys, *([naming] if naming else [])])
        renamed: dict[str, Any] = {
            ours: arrays[theirs] for ours, theirs in zip(_KEYS[0], keys, strict=False)
        }
        classes = _class_names(arrays[naming], where=f"{path}: {naming}") if naming else ()
        return Dataset(name=path.resolve().stem, source=str(path), classes=classes, **renamed)


def _class_names(array: NDArray[Any], *, where: str) -> tuple[str, ...]:
    """The names in an array of strings, of UTF-8 bytes, or of whole numbers."""
    if array.ndim != 1 or array.dtype.kind not in "USiu":
        raise DataError(
            f"{where}: {array.dtype} of shape {array.shape}; expected class names, (n,) strings "
            f"(rename the array if it is something else)"
        )
    try:
        return tuple(n.decode() if isinstance(n, bytes) else str(n) for n in array.tolist())
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: a class name is not UTF-8; save the names as str") from error
