"""A run folder's files as bytes. Each tells by itself when it was truncated or altered.

A file carries its own check, so there is no instant at which files and a list of their sums
disagree, and any of them can be read, and checked, without kilonet:

- safetensors: ``sha256`` in the metadata, over the other metadata and the tensors;
- JSON, a row of ``epochs.jsonl`` among it: ``crc32``, eight hexadecimal digits, of the object
  without it, written with sorted keys and no spaces;
- NPZ: the CRC-32 that a zip file keeps of each array.

They notice what disks, cables and cut-off writers do, not somebody who mends the check too.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from kilonet.record import EpochRow

FORMAT = 2
"""Of run folders. Format 1 had no checks in JSON, and none on the metadata of tensors."""

FORMATS = (1, 2)
"""Those that can be read; a folder of a newer one is refused, not guessed at."""

Arrays = Mapping[str, NDArray[np.generic]]

_CHECK = "crc32"


class AlteredError(ValueError):
    """Bytes that are not what was written; the message says where, as far as that is known."""


def tensors_to_bytes(tensors: Arrays, metadata: Mapping[str, str]) -> bytes:
    """A safetensors file with its format and digest; equal tensors make equal bytes."""
    whole = {key: np.ascontiguousarray(array) for key, array in tensors.items()}
    # ascontiguousarray makes an array of a scalar; batch norm's count must stay one.
    whole = {key: array.reshape(tensors[key].shape) for key, array in whole.items()}
    metadata = {**metadata, "format": str(FORMAT)}
    digest = _digest(whole, metadata)
    return _with_sorted_metadata(safetensors.numpy.save(whole, {**metadata, "sha256": digest}))


def tensors_from_bytes(
    content: bytes,
) -> tuple[dict[str, NDArray[np.generic]], dict[str, str]]:
    """The tensors and the metadata, the digest left out; AlteredError where it does not hold."""
    try:
        tensors = safetensors.numpy.load(content)
        end = 8 + int.from_bytes(content[:8], "little")
        metadata = dict(json.loads(content[8:end])["__metadata__"])
        found = metadata.pop("sha256")
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError):
        raise AlteredError from None
    covered = {} if metadata.get("format") == "1" else metadata
    if found != _digest(tensors, covered):
        raise AlteredError
    return dict(tensors), metadata


def arrays_to_bytes(arrays: Arrays) -> bytes:
    """An NPZ file, without pickle; :func:`kilonet.data.npz.read_npz` is the inverse."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def json_to_bytes(data: Mapping[str, Any]) -> bytes:
    """JSON with its check, for people to read too."""
    return (json.dumps(_checked(data), indent=2, allow_nan=False) + "\n").encode()


def json_from_bytes(content: bytes) -> dict[str, Any]:
    """The object without its check; AlteredError where that does not hold.

    The environment of a folder of format 1, which has none, passes.
    """
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        raise AlteredError("not valid JSON") from None
    if not isinstance(data, dict):
        raise AlteredError("not a JSON object")
    if _CHECK not in data and data.get("format") == 1:
        return data
    return _unchecked(data)


def rows_to_bytes(rows: Iterable[EpochRow]) -> bytes:
    """A line an epoch, each with its check."""
    return "".join(json.dumps(_checked(_plain(row))) + "\n" for row in rows).encode()


def rows_from_bytes(content: bytes, *, checks: bool) -> tuple[EpochRow, ...]:
    """The rows; AlteredError names the first line that is not as it was written.

    Args:
        content: of ``epochs.jsonl``.
        checks: whether a line without a check is refused, as it is from format 2 on.
    """
    *lines, rest = content.split(b"\n")
    rows = []
    for number, line in enumerate([*lines, rest] if rest else lines):
        try:
            data = json.loads(line)
            row = EpochRow(**(_unchecked(data) if checks or _CHECK in data else data))
        except (TypeError, ValueError, RecursionError):
            row = None
        if row is None or row.epoch != number or not _is_whole(row):
            raise AlteredError(f"line {number + 1}")
        rows.append(row)
    if not rows:
        raise AlteredError("empty")
    return tuple(rows)


def _checked(data: Mapping[str, Any]) -> dict[str, Any]:
    return {**data, _CHECK: _check(data)}


def _unchecked(data: Mapping[str, Any]) -> dict[str, Any]:
    rest = dict(data)
    if rest.pop(_CHECK, None) != _check(rest):
        raise AlteredError("its crc32 does not hold")
    return rest


def _check(data: Mapping[str, Any]) -> str:
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"{zlib.crc32(text.encode()):08x}"


def _digest(tensors: Arrays, metadata: Mapping[str, str]) -> str:
    """SHA-256 over the metadata and each tensor's name, dtype, shape and bytes.

    safetensors itself notices no flipped bit.
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
    """A safetensors file of which equal tensors make equal bytes.

    safetensors writes metadata in the order of a hash table that is seeded anew in each process.
    """
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + content[end:]


def _plain(row: EpochRow) -> dict[str, Any]:
    return {key: value for key, value in asdict(row).items() if value is not None}


def _is_whole(row: EpochRow) -> bool:
    """Whether every value that was read is a finite number."""
    values = list(_plain(row).values())
    optional = {"validation_accuracy", "validation_loss"}
    required = len(fields(EpochRow)) - len(optional)
    numbers = all(isinstance(value, int | float) and math.isfinite(value) for value in values)
    return numbers and len(values) >= required
