"""Reads a stream of unknown length without allocating memory for bytes that never arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Protocol

    class Readable(Protocol):
        """Anything with ``read``."""

        def read(self, size: int, /) -> bytes:
            """Up to ``size`` bytes; empty at the end."""


MAX_DEFLATE_RATIO = 1032
"""The highest compression ratio of deflate: 258 bytes from 2 bits. Source: zlib's technical
notes."""

_CHUNK = 1 << 20


def read_at_most(stream: Readable, *, size: int) -> bytearray:
    """Read ``size`` bytes, or fewer if the stream ends; memory grows with the bytes that arrive."""
    data = bytearray()
    while len(data) < size:
        chunk = stream.read(min(size - len(data), _CHUNK))
        if not chunk:
            break
        data += chunk
    return data
