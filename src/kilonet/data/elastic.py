"""Elastic deformation: a smooth random displacement of every pixel.

Source: Simard, Steinkraus and Platt, "Best practices for convolutional neural networks applied to
visual document analysis", ICDAR 2003: uniform random displacements, smoothed by a Gaussian and
scaled. The Gaussian is cut off at four standard deviations, and noise is mirrored at the border, as
in torchvision's ElasticTransform and SciPy's ``gaussian_filter(mode="mirror")``.

The native engine must give the same bits. So noise is smoothed by matrices that are computed once,
here, and every sum is of float32 products in ascending order of the pixels.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from kilonet.randomness import Purpose, philox4x32

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

CUT_OFF = 4.0
"""The Gaussian ends at this many standard deviations."""

POSITION_SHIFT = 22
"""Bits of the block that count four pixels each: images have at most 4096 × 4096."""


def displacements(
    index: NDArray[np.int64],
    *,
    height: int,
    width: int,
    sigma: float,
    seed: int,
    epoch: int,
    position: int,
) -> tuple[Floats, Floats]:
    """Smoothed uniform noise, of which each image has its own; not scaled yet.

    Args:
        index: (n,) each image's position in the training set.
        height: of an image, pixels.
        width: of an image, pixels.
        sigma: standard deviation of the Gaussian, pixels.
        seed: the run's.
        epoch: from 0.
        position: of the transform in the list.

    Returns:
        To the right and down: (n, h, w) float32 each, of uniform noise in (−1, 1) before smoothing.
    """
    noise = _noise(index, height * width, seed=seed, epoch=epoch, position=position)
    down, across = smoothing_matrix(height, sigma=sigma), smoothing_matrix(width, sigma=sigma)
    fields = []
    for field in noise:
        values = field.reshape(len(index), height, width)
        # Column by column of the matrix, so that each sum has the order that the engine has.
        smooth = np.zeros_like(values)
        for row in range(height):
            smooth += down[:, row, None] * values[:, row, None, :]
        both = np.zeros_like(values)
        for column in range(width):
            both += smooth[:, :, column, None] * across[:, column]
        fields.append(both)
    return fields[0], fields[1]


@lru_cache(maxsize=32)
def smoothing_matrix(size: int, *, sigma: float) -> Floats:
    """The Gaussian along one axis, mirrored at both ends (the border pixel is not repeated).

    Returns:
        (size, size) float32, read-only: a row has the weights that make one smoothed value. They
        are rounded from float64, and add up to 1.
    """
    radius = int(CUT_OFF * sigma + 0.5)
    weights = [math.exp(-0.5 * (distance / sigma) ** 2) for distance in range(radius + 1)]
    total = math.fsum([weights[0], *(2 * weight for weight in weights[1:])])
    matrix = np.zeros((size, size))
    period = max(1, 2 * (size - 1))
    for row in range(size):
        for distance in range(-radius, radius + 1):
            place = (row + distance) % period
            matrix[row, min(place, period - place)] += weights[abs(distance)] / total
    result = matrix.astype(np.float32)
    result.setflags(write=False)
    return result


def _noise(
    index: NDArray[np.int64], count: int, *, seed: int, epoch: int, position: int
) -> tuple[Floats, Floats]:
    """Two uniform numbers in (−1, 1) a pixel, each of 16 bits: (n, count) float32 each."""
    blocks = -(-count // 4)
    counter = np.empty((len(index), blocks, 4), dtype=np.uint32)
    counter[..., 0] = index[:, None]
    counter[..., 1] = epoch
    counter[..., 2] = (position << POSITION_SHIFT) + np.arange(blocks)
    counter[..., 3] = Purpose.DISPLACEMENT
    words = philox4x32(counter, seed=seed).reshape(len(index), 4 * blocks)[:, :count]

    def uniform(halves: NDArray[np.uint32]) -> Floats:
        # The centers of 2¹⁶ equal intervals, all of which float32 holds exactly.
        return (2 * halves.astype(np.int32) - 65535).astype(np.float32) * np.float32(2.0**-16)

    return uniform(words & np.uint32(0xFFFF)), uniform(words >> np.uint32(16))
