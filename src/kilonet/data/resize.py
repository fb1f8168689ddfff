"""Resizing, bit for bit as Pillow's ``Image.resize`` with its bilinear filter.

Each output pixel is the mean of the source under a triangle, which is wider if the image shrinks
(antialiasing): along one axis, then along the other, rounded to 8 bits after each. The bits are
those of Pillow 13; earlier versions always begin with the rows. Source: Pillow's Resample.c, whose
weights are whole multiples of 2⁻²², and its pull request 9549 on the order.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from kilonet.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WEIGHT_BITS = 22
_VALUES_AT_ONCE = 2**20


def resize(images: NDArray[np.uint8], *, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize images.

    Args:
        images: (n, h, w) or (n, h, w, c) uint8.
        size: (height, width) of the result, pixels, each at least 1.

    Returns:
        (n, *size) or (n, *size, c) uint8.

    Raises:
        DataError: if the images have another shape or type.
    """
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise DataError(
            f"cannot resize {images.dtype} of shape {images.shape}; "
            "give uint8 of shape (n, h, w) or (n, h, w, c)"
        )
    count, height, width = images.shape[:3]
    channels = images.shape[3:]
    result = np.empty((count, *size, *channels), dtype=np.uint8)
    if size == (height, width):
        result[:] = images
        return result
    # The order of the passes matters, as there is a rounding between them. Pillow begins with the
    # columns if the height shrinks by more than twice as much as the width.
    axes = (1, 2) if height - size[0] > max(0, 2 * (width - size[1])) else (2, 1)
    largest = max(height, size[0]) * max(width, size[1]) * int(np.prod(channels))
    at_once = max(1, _VALUES_AT_ONCE // largest)
    for start in range(0, count, at_once):
        part = images[start : start + at_once].reshape(-1, height, width, *channels)
        for axis in axes:
            part = _resample(part, size[axis - 1], axis=axis)
        result[start : start + at_once] = part
    return result


def _resample(images: NDArray[np.uint8], size: int, *, axis: int) -> NDArray[np.uint8]:
    """Resize one axis."""
    if images.shape[axis] == size:
        return images
    weights = _weights(images.shape[axis], size)
    # Products and sums are whole numbers below 2³¹, which float64 adds exactly in any order, so
    # BLAS's matrix product gives Pillow's bits.
    sums = np.tensordot(images.astype(np.float64), weights, axes=(axis, 1))
    sums += 2 ** (_WEIGHT_BITS - 1)
    sums *= 2.0**-_WEIGHT_BITS
    return np.moveaxis(sums.astype(np.uint8), -1, axis)


@lru_cache(maxsize=8)
def _weights(source: int, size: int) -> NDArray[np.float64]:
    """(size, source) float64, whole numbers: the weight of each source pixel, in 2⁻²²."""
    scale = source / size
    support = max(scale, 1.0)
    weights = np.zeros((size, source))
    for pixel in range(size):
        center = (pixel + 0.5) * scale
        first = max(int(center - support + 0.5), 0)
        last = min(int(center + support + 0.5), source)
        # As Pillow: multiplied by the reciprocal, and summed one by one.
        distance = np.abs((np.arange(last - first) + first - center + 0.5) * (1.0 / support))
        triangle = np.maximum(1.0 - distance, 0.0)
        share = triangle / np.cumsum(triangle)[-1]
        weights[pixel, first:last] = np.floor(share * 2**_WEIGHT_BITS + 0.5)
    weights.flags.writeable = False
    return weights
