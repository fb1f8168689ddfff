"""IDX, the format of the original MNIST files: a header, then the elements of one array.

The header is two zero bytes, a byte for the element type, a byte for the number of dimensions, and
each size as a big-endian 32-bit integer. Source: LeCun, Cortes and Burges, "The MNIST database".
"""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from kilonet.errors import DataError
from kilonet.storage.bounded import MAX_DEFLATE_RATIO, read_at_most

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

_TYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(np.uint8),
    0x09: np.dtype(np.int8),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
_CODES = {dtype.newbyteorder("="): code for code, dtype in _TYPES.items()}

_DIMENSIONS = range(1, 5)  # labels (n,) to color images (n, h, w, 3)

_GZIP_MAGIC = b"\x1f\x8b"


def idx_header(array: NDArray[np.generic]) -> bytes:
    """The header of the IDX stream of ``array``; the elements follow it, big-endian."""
    code = _CODES[array.dtype.newbyteorder("=")]
    return bytes([0, 0, code, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()


def idx_pieces(array: NDArray[np.generic]) -> Iterator[memoryview]:
    """The IDX stream of ``array`` in pieces; a uint8 array is not copied."""
    yield memoryview(idx_header(array))
    big_endian = array.astype(array.dtype.newbyteorder(">"), copy=False)
    yield np.ascontiguousarray(big_endian).data.cast("B")


def idx_md5(array: NDArray[np.generic]) -> str:
    """MD5, in hex, of the uncompressed IDX stream of ``array``."""
    digest = hashlib.md5(usedforsecurity=False)
    for piece in idx_pieces(array):
        digest.update(piece)
    return digest.hexdigest()


def read_idx(path: Path) -> NDArray[np.generic]:
    """Read one IDX file, plain or gzipped, whatever its name.

    No more is read and unpacked than the header announces, and one byte to see that nothing
    follows.

    Returns:
        The array with the header's shape, in the file's element type and native byte order.

    Raises:
        DataError: unreadable, wrong magic, fewer or more bytes than announced, damaged gzip.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            packed = file.read(2) == _GZIP_MAGIC
            file.seek(0)
            if not packed:
                return _read_stream(file, path=path, available=size)
            with gzip.GzipFile(fileobj=file) as unpacked, _gzip_errors(path):
                return _read_stream(unpacked, path=path, available=size * MAX_DEFLATE_RATIO)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


@contextmanager
def _gzip_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except EOFError as error:
        raise DataError(f"{path}: the gzip stream is truncated; download it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: the gzip stream is damaged; download it again") from error


def _read_stream(
    stream: BinaryIO | gzip.GzipFile, *, path: Path, available: int
) -> NDArray[np.generic]:
    """The array of an IDX stream that can hold at most ``available`` bytes."""
    dtype, shape = _read_header(stream, path=path)
    announced = math.prod(shape) * dtype.itemsize
    if announced > available:
        raise DataError(
            f"{path}: truncated: its header announces {announced:,} bytes of data for the shape "
            f"{shape}, more than the file can hold; download it again"
        )
    data = read_at_most(stream, size=announced)
    if len(data) < announced:
        raise DataError(
            f"{path}: truncated: {len(data):,} of the {announced:,} bytes of data that its header "
            f"announces; download it again"
        )
    if stream.read(1):
        raise DataError(
            f"{path}: holds more than the {announced:,} bytes of data that its header announces "
            f"for the shape {shape}"
        )
    array = np.frombuffer(data, dtype=dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _read_header(
    stream: BinaryIO | gzip.GzipFile, *, path: Path
) -> tuple[np.dtype[np.generic], tuple[int, ...]]:
    magic = stream.read(4)
    if not magic:
        raise DataError(f"{path}: empty file; expected an IDX file")
    if (
        len(magic) < 4
        or magic[:2] != b"\0\0"
        or magic[2] not in _TYPES
        or magic[3] not in _DIMENSIONS
    ):
        raise DataError(
            f"{path}: not an IDX file: it starts with the bytes {magic.hex(' ')}, where IDX has "
            f"00 00, an element type and 1 to 4 dimensions"
        )
    sizes = stream.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(f"{path}: truncated inside its header; download it again")
    shape = tuple(int(size) for size in np.frombuffer(sizes, dtype=">u4"))
    if 0 in shape:
        raise DataError(f"{path}: empty: its header announces the shape {shape}")
    return _TYPES[magic[2]], shape
