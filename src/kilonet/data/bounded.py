"""Reading that a hostile or damaged file cannot turn into more memory than it may have."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Protocol

    class Readable(Protocol):
        """Anything with ``read``."""

        def read(self, size: int, /) -> bytes:
            """Up to ``size`` bytes; none at the end."""


MAX_DEFLATE_RATIO = 1032
"""What deflate can make of a byte at most: 258 bytes from 2 bits. Source: zlib's notes."""

_PIECE = 1 << 20


def read_at_most(stream: Readable, *, size: int) -> bytearray:
    """``size`` bytes, fewer where the stream ends; memory grows with what really arrives."""
    data = bytearray()
    while len(data) < size:
        piece = stream.read(min(size - len(data), _PIECE))
        if not piece:
            break
        data += piece
    return data
