"""Weights in the native engine: one array for all, with a view for each name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]


class Flat:
    """Named float32 arrays, one after another in a single array.

    Attributes:
        flat: all values.
        arrays: name → view of ``flat``, in order.
        offsets: name → its first index in ``flat``.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], names: list[str] | None = None) -> None:
        names = list(arrays) if names is None else names
        self.flat: Floats = np.zeros(sum(arrays[name].size for name in names), dtype=np.float32)
        self.arrays: dict[str, Floats] = {}
        self.offsets: dict[str, int] = {}
        end = 0
        for name in names:
            begin, end = end, end + arrays[name].size
            self.offsets[name] = begin
            self.arrays[name] = self.flat[begin:end].reshape(arrays[name].shape)
            self.arrays[name][...] = arrays[name]

    def ranges(self, chosen: Callable[[Floats], bool]) -> list[tuple[int, int]]:
        """(first, end) in ``flat`` of the arrays that are chosen, neighbors as one."""
        found: list[tuple[int, int]] = []
        for name, array in self.arrays.items():
            first = self.offsets[name]
            if not chosen(array) or not array.size:
                continue
            if found and found[-1][1] == first:
                first = found.pop()[0]
            found.append((first, self.offsets[name] + array.size))
        return found


def zeros_like(like: Flat) -> Flat:
    """Zeros of the same names and shapes."""
    zeros = Flat(like.arrays)
    zeros.flat[:] = 0
    return zeros
