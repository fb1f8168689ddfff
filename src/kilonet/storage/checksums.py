"""The formats of a run folder's files, each with a checksum that detects truncation and damage.

Every file contains its own checksum, so files and checksums cannot disagree at any instant, and
each file can be read and verified without kilonet:

- safetensors: ``sha256`` in the metadata, over the other metadata and the tensors;
- JSON, and each row of ``epochs.jsonl``: ``crc32``, eight hexadecimal digits, of the object
  without it, written with sorted keys and no spaces;
- NPZ: the CRC-32 that a zip file keeps of each array.

The checksums detect faults of disks, cables and interrupted writers, not a deliberate change.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from kilonet.errors import DataError
from kilonet.storage.npz import parse_npz
from kilonet.storage.record import EpochRow

FORMAT = 2
"""Format of the run folders that are written. Format 1 had no checksum in JSON files, and none over
the metadata of tensors."""

READABLE_FORMATS = (1, 2)
"""Formats that can be read; a folder of any other format is refused."""

Arrays = Mapping[str, NDArray[np.generic]]

_CRC = "crc32"


class CorruptError(ValueError):
    """A file's content is not what was written; the message gives the place, where it is known."""


def tensors_to_bytes(tensors: Arrays, metadata: Mapping[str, str]) -> bytes:
    """A safetensors file with its format and digest; equal tensors give equal bytes."""
    contiguous = {key: np.ascontiguousarray(array) for key, array in tensors.items()}
    # ascontiguousarray turns a scalar into an array; batch norm's count must stay a scalar.
    contiguous = {key: array.reshape(tensors[key].shape) for key, array in contiguous.items()}
    metadata = {**metadata, "format": str(FORMAT)}
    metadata["sha256"] = tensors_digest(contiguous, metadata)
    return _with_sorted_metadata(safetensors.numpy.save(contiguous, metadata))


def tensors_from_bytes(
    content: bytes,
) -> tuple[dict[str, NDArray[np.generic]], dict[str, str]]:
    """The tensors, and the metadata without the digest.

    Raises:
        CorruptError: not a safetensors file, or the digest does not match.
    """
    try:
        tensors = safetensors.numpy.load(content)
        end = 8 + int.from_bytes(content[:8], "little")
        metadata = dict(json.loads(content[8:end])["__metadata__"])
        found = metadata.pop("sha256")
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError):
        raise CorruptError from None
    covered = {} if metadata.get("format") == "1" else metadata
    if found != tensors_digest(tensors, covered):
        raise CorruptError
    return dict(tensors), metadata


def arrays_to_bytes(arrays: Arrays) -> bytes:
    """An NPZ file, without pickle."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def arrays_from_bytes(content: bytes, *, names: Iterable[str]) -> dict[str, NDArray[np.generic]]:
    """The named arrays of an NPZ file; CorruptError if one is missing or damaged."""
    try:
        return parse_npz(content, names=names, where="")
    except DataError:
        raise CorruptError from None


def json_to_bytes(data: Mapping[str, Any]) -> bytes:
    """Indented JSON with its checksum."""
    return (json.dumps(_with_crc(data), indent=2, allow_nan=False) + "\n").encode()


def json_from_bytes(content: bytes) -> dict[str, Any]:
    """The object without its checksum; a folder of format 1 has none.

    Raises:
        CorruptError: not a JSON object, or the checksum does not match.
    """
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        raise CorruptError("not valid JSON") from None
    if not isinstance(data, dict):
        raise CorruptError("not a JSON object")
    if _CRC not in data and data.get("format") == 1:
        return data
    return _without_crc(data)


def rows_to_bytes(rows: Iterable[EpochRow]) -> bytes:
    """One line of JSON for each epoch, each with its checksum."""
    return "".join(json.dumps(_with_crc(_row_to_dict(row))) + "\n" for row in rows).encode()


def rows_from_bytes(content: bytes, *, checked: bool) -> tuple[EpochRow, ...]:
    """The rows of ``epochs.jsonl``.

    Args:
        content: of the file.
        checked: whether a line without a checksum is an error: from format 2 on.

    Raises:
        CorruptError: naming the first damaged line.
    """
    *lines, rest = content.split(b"\n")
    rows = []
    for number, line in enumerate([*lines, rest] if rest else lines):
        try:
            data = json.loads(line)
            row = EpochRow(**(_without_crc(data) if checked or _CRC in data else data))
        except (TypeError, ValueError, RecursionError):
            row = None
        if row is None or row.epoch != number or not _is_complete(row):
            raise CorruptError(f"line {number + 1}")
        rows.append(row)
    if not rows:
        raise CorruptError("empty")
    return tuple(rows)


def _with_crc(data: Mapping[str, Any]) -> dict[str, Any]:
    return {**data, _CRC: _crc(data)}


def _without_crc(data: Mapping[str, Any]) -> dict[str, Any]:
    rest = dict(data)
    if rest.pop(_CRC, None) != _crc(rest):
        raise CorruptError("its crc32 does not match")
    return rest


def _crc(data: Mapping[str, Any]) -> str:
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"{zlib.crc32(text.encode()):08x}"


def tensors_digest(tensors: Arrays, metadata: Mapping[str, str]) -> str:
    """SHA-256, in hex, over the metadata and each tensor's name, dtype, shape and bytes.

    The safetensors format itself does not detect a flipped bit.
    """
    digest = hashlib.sha256()
    for key in sorted(metadata):
        digest.update(f"{key}={metadata[key]}\n".encode())
    for key in sorted(tensors):
        array = tensors[key]
        digest.update(f"{key} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _with_sorted_metadata(content: bytes) -> bytes:
    """The safetensors file with its metadata sorted, so that equal tensors give equal bytes.

    safetensors writes metadata in the order of a hash table with a new seed in each process.
    """
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + content[end:]


def _row_to_dict(row: EpochRow) -> dict[str, Any]:
    return {key: value for key, value in asdict(row).items() if value is not None}


def _is_complete(row: EpochRow) -> bool:
    """Whether every required value is present, and every value a finite number."""
    values = list(_row_to_dict(row).values())
    numbers = all(isinstance(value, int | float) and math.isfinite(value) for value in values)
    # A run is evaluated on the test set, on the validation split, or on both.
    tested = None not in (row.test_accuracy, row.test_loss)
    validated = None not in (row.validation_accuracy, row.validation_loss)
    return numbers and (tested or validated)
