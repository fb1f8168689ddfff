"""Files as other programs write them: IDX by struct and gzip, not by the code under test."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.generic]]

IDX_NAMES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


def idx_bytes(array: NDArray[np.generic]) -> bytes:
    assert array.dtype == np.uint8
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


@pytest.fixture
def arrays() -> Arrays:
    generator = np.random.default_rng(0)
    return {
        "train_images": generator.integers(0, 256, (12, 5, 4), dtype=np.uint8),
        "train_labels": np.arange(12, dtype=np.uint8) % 3,
        "test_images": generator.integers(0, 256, (6, 5, 4), dtype=np.uint8),
        "test_labels": np.arange(6, dtype=np.uint8) % 3,
    }


@pytest.fixture
def idx_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write the arrays as a folder of IDX files."""

    def write(arrays: Arrays, *, packed: bool = False) -> Path:
        folder = tmp_path / "digits"
        folder.mkdir()
        for key, array in arrays.items():
            content = idx_bytes(array)
            if packed:
                (folder / f"{IDX_NAMES[key]}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / IDX_NAMES[key]).write_bytes(content)
        return folder

    return write
