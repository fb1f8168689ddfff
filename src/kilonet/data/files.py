"""Data sets by path: a folder of IDX files, or an NPZ file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kilonet.data.dataset import Dataset
from kilonet.data.idx import read_idx
from kilonet.data.npz import npz_names, read_npz
from kilonet.errors import DataError

if TYPE_CHECKING:
    import os

# A split's name in files is that of MNIST's ("t10k": test, ten thousand) or plain "test".
_IDX_SPLITS = {"train": ("train",), "test": ("t10k", "test")}
_IDX_ENDINGS = {
    "images": ("images-idx3-ubyte", "images.idx3-ubyte", "images-idx4-ubyte", "images.idx4-ubyte"),
    "labels": ("labels-idx1-ubyte", "labels.idx1-ubyte"),
}

NPZ_KEYS = (
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("x_train", "y_train", "x_test", "y_test"),
)
"""The names of the arrays in an NPZ file: kilonet's, and those of the files Keras publishes."""

_ZIP_MAGIC = b"PK"


def read_dataset(path: str | os.PathLike[str]) -> Dataset:
    """Read a folder of IDX files or an NPZ file.

    A folder holds ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``,
    ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, each gzipped (``.gz``) or not; a dot
    may stand for the hyphen before ``idx`` and ``test`` for ``t10k``; ``idx4`` holds
    (n, h, w, channels). An NPZ holds the arrays of ``NPZ_KEYS``.

    Raises:
        DataError: the path does not exist or is neither; a file is missing, damaged, truncated or
            larger than it says; images and labels do not fit together.
    """
    path = Path(path)
    try:
        if path.is_dir():
            arrays = _read_idx_folder(path)
        elif path.is_file():
            arrays = _read_npz_file(path)
        elif path.exists():
            raise DataError(f"{path}: neither a folder of IDX files nor an NPZ file")
        else:
            raise DataError(
                f"{path}: no such file or folder; give a folder of IDX files or an NPZ file"
            )
        return Dataset(name=path.resolve().stem, source=str(path), **arrays)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise DataError(f"{path}: does not fit in this machine's memory") from error


def _read_idx_folder(folder: Path) -> dict[str, Any]:
    paths = {
        f"{split}_{content}": _find_idx(folder, split=split, content=content)
        for split in _IDX_SPLITS
        for content in _IDX_ENDINGS
    }
    arrays = {key: read_idx(path) for key, path in paths.items()}
    for key, array in arrays.items():
        if key.endswith("images") and array.ndim not in (3, 4):
            raise DataError(
                f"{paths[key]}: holds an array of {array.ndim} dimensions; images have 3, or 4 "
                f"with channels"
            )
        if key.endswith("labels") and array.ndim != 1:
            raise DataError(
                f"{paths[key]}: holds an array of {array.ndim} dimensions; labels have 1"
            )
    return arrays


def _find_idx(folder: Path, *, split: str, content: str) -> Path:
    """The file that holds the ``content`` of a split; unpacked before gzipped."""
    stems = [f"{name}-{end}" for name in _IDX_SPLITS[split] for end in _IDX_ENDINGS[content]]
    for stem in stems:
        for name in (stem, f"{stem}.gz"):
            if (folder / name).is_file():
                return folder / name
    raise DataError(f"{folder}: no file with the {split} {content}: {stems[0]} or {stems[0]}.gz")


def _read_npz_file(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        start = file.read(2)
    if not start:
        raise DataError(f"{path}: empty file; expected an NPZ file")
    if start != _ZIP_MAGIC:
        raise DataError(
            f"{path}: neither an NPZ file nor a folder of IDX files (of IDX files, give the folder "
            f"that holds all four)"
        )
    found = npz_names(path)
    # The set of names that the file comes nearest to tells what is missing.
    keys = max(NPZ_KEYS, key=lambda names: len(found.intersection(names)))
    missing = [key for key in keys if key not in found]
    if missing:
        has = ", ".join(sorted(found)[:8]) or "none"
        raise DataError(
            f"{path}: no array {', '.join(missing)}; expected {', '.join(NPZ_KEYS[0])} or "
            f"{', '.join(NPZ_KEYS[1])}; it has {has}"
        )
    arrays = read_npz(path, names=keys)
    return {ours: arrays[theirs] for ours, theirs in zip(NPZ_KEYS[0], keys, strict=True)}
