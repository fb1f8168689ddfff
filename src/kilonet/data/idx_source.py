"""A data set as a folder of IDX files, the form in which MNIST is published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kilonet.data.dataset import Dataset
from kilonet.data.idx import read_idx
from kilonet.errors import DataError

# File names have MNIST's name of the split ("t10k": test, ten thousand) or plain "test".
_SPLITS = {"train": ("train",), "test": ("t10k", "test")}
_ENDINGS = {
    "images": ("images-idx3-ubyte", "images.idx3-ubyte", "images-idx4-ubyte", "images.idx4-ubyte"),
    "labels": ("labels-idx1-ubyte", "labels.idx1-ubyte"),
}


class IdxFolder:
    """A folder of four IDX files, each gzipped (``.gz``) or not.

    They are ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte``
    and ``t10k-labels-idx1-ubyte``. A dot may replace the hyphen before ``idx``, and ``test``
    replace ``t10k``; ``idx4`` holds (n, h, w, channels).
    """

    phrase = "a folder of IDX files (train-images-idx3-ubyte, …)"

    def recognizes(self, path: Path) -> bool:
        """Whether it is a folder with at least one of the files."""
        return path.is_dir() and any(
            _find(path, split=split, content=content) for split in _SPLITS for content in _ENDINGS
        )

    def read(self, path: Path) -> Dataset:
        """Read the four files; DataError if one is missing, damaged or not what its name says."""
        arrays: dict[str, Any] = {
            f"{split}_{content}": _read(path, split=split, content=content)
            for split in _SPLITS
            for content in _ENDINGS
        }
        return Dataset(name=path.resolve().stem, source=str(path), **arrays)


def _read(folder: Path, *, split: str, content: str) -> Any:
    path = _find(folder, split=split, content=content)
    if path is None:
        name = f"{_SPLITS[split][0]}-{_ENDINGS[content][0]}"
        raise DataError(f"{folder}: no file with the {split} {content}: {name} or {name}.gz")
    array = read_idx(path)
    if content == "images" and array.ndim not in (3, 4):
        raise DataError(
            f"{path}: holds an array of {array.ndim} dimensions; images have 3, or 4 with channels"
        )
    if content == "labels" and array.ndim != 1:
        raise DataError(f"{path}: holds an array of {array.ndim} dimensions; labels have 1")
    return array


def _find(folder: Path, *, split: str, content: str) -> Path | None:
    """The file with the images or labels of a split; of a plain and a gzipped one, the plain."""
    for name in _SPLITS[split]:
        for ending in _ENDINGS[content]:
            for path in (folder / f"{name}-{ending}", folder / f"{name}-{ending}.gz"):
                if path.is_file():
                    return path
    return None
