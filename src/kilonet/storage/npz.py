"""Reads NPZ files without pickle, and without allocating more than an array's header announces."""

from __future__ import annotations

import math
import tokenize
import warnings
import zipfile
import zlib
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from kilonet.errors import DataError
from kilonet.storage.bounded import MAX_DEFLATE_RATIO, read_at_most

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import IO

    from numpy.typing import NDArray

_METHODS = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: MAX_DEFLATE_RATIO}
"""The compression methods of ``numpy.savez`` and ``savez_compressed``, with the highest ratio of
each."""

_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_START_BYTES = 1 << 14  # NumPy refuses headers past 10,000 characters

_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OverflowError)
# What NumPy's header parser raises for text that is not a header (it calls ast.literal_eval).
_HEADER_ERRORS = (
    ValueError,
    TypeError,
    SyntaxError,
    MemoryError,
    RecursionError,
    tokenize.TokenError,
    EOFError,
)


def npz_names(path: Path) -> frozenset[str]:
    """The names of the arrays in an NPZ file.

    Raises:
        DataError: not a readable zip file.
    """
    with _open(path, where=str(path)) as archive:
        return frozenset(
            name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")
        )


def read_npz(path: Path, *, names: Iterable[str]) -> dict[str, NDArray[np.generic]]:
    """Read the named arrays of an NPZ file.

    Nothing is unpickled. An array whose header disagrees with the size in the zip directory, or
    announces more than the packed bytes can hold, is refused before it is unpacked.

    Returns:
        The arrays by name, C-contiguous.

    Raises:
        DataError: damaged zip, missing name, pickled objects, truncated or oversized array.
    """
    where = str(path)
    with _open(path, where=where) as archive:
        return {name: _read_member(archive, name, where=f"{where}: {name}") for name in names}


def parse_npz(
    content: bytes, *, names: Iterable[str], where: str
) -> dict[str, NDArray[np.generic]]:
    """As :func:`read_npz`, of a file's content; ``where`` names the file in errors."""
    with _open(BytesIO(content), where=where) as archive:
        return {name: _read_member(archive, name, where=f"{where}: {name}") for name in names}


def _open(file: Path | BytesIO, *, where: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except OSError as error:
        raise DataError(f"{where}: cannot be read: {error.strerror or error}") from error
    except (*_DAMAGED, NotImplementedError) as error:
        raise DataError(f"{where}: not a complete NPZ (zip) file: {_one_line(error)}") from error


def _read_member(archive: zipfile.ZipFile, name: str, *, where: str) -> NDArray[np.generic]:
    try:
        member = archive.getinfo(f"{name}.npy")
    except KeyError as error:
        raise DataError(f"{where}: no such array") from error
    largest = member.compress_size * _METHODS.get(member.compress_type, 0)
    if member.flag_bits & 1 or member.compress_type not in _METHODS:
        raise DataError(
            f"{where}: encrypted, or compressed by a method that NumPy does not use; save it again "
            f"with numpy.savez_compressed"
        )
    if member.file_size > largest:
        raise DataError(
            f"{where}: said to unpack to {member.file_size:,} bytes, more than its "
            f"{member.compress_size:,} packed bytes can hold; the file is damaged"
        )
    try:
        with archive.open(member) as stream:
            return _read_array(stream, where=where, available=member.file_size)
    except OSError as error:
        raise DataError(f"{where}: cannot be read: {error.strerror or error}") from error
    except (*_DAMAGED, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{where}: damaged: {_one_line(error)}") from error


def _read_array(stream: IO[bytes], *, where: str, available: int) -> NDArray[np.generic]:
    """The array of an NPY stream, which has ``available`` bytes according to the zip directory."""
    start = BytesIO(stream.read(_START_BYTES))
    shape, fortran_order, dtype = _read_header(start, where=where)
    if dtype.hasobject:
        raise DataError(
            f"{where}: contains pickled Python objects, which are never loaded; save plain "
            f"numbers, or text with dtype=str"
        )
    announced = math.prod(shape) * dtype.itemsize
    if announced == 0 or min(shape, default=1) < 1:
        raise DataError(f"{where}: empty: its header announces the shape {shape} of {dtype}")
    stored = available - start.tell()
    if announced != stored:
        raise DataError(
            f"{where}: its header announces {announced:,} bytes of data for the shape {shape} of "
            f"{dtype}, but {stored:,} are stored"
        )
    # zipfile compares the checksum when the last byte is read.
    data = bytearray(start.read())
    data += read_at_most(stream, size=announced - len(data))
    if len(data) < announced:
        raise DataError(f"{where}: truncated: {len(data):,} of {announced:,} bytes of data")
    flat = np.frombuffer(data, dtype=dtype)
    # Not ascontiguousarray: it turns a scalar into an array.
    return np.asarray(flat.reshape(shape, order="F" if fortran_order else "C"), order="C")


def _read_header(
    start: BytesIO, *, where: str
) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Shape, whether in Fortran order, and dtype; leaves ``start`` at the data."""
    try:
        version = np.lib.format.read_magic(start)
        if version not in _HEADER_READERS:
            raise ValueError(f"version {version} of the format is not for plain numbers")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy warns about headers written by Python 2
            return _HEADER_READERS[version](start)
    except _HEADER_ERRORS as error:
        raise DataError(f"{where}: not a NumPy array: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
