"""Resampling of batches of images, affine bit for bit as Pillow's ``Image.transform``.

A matrix (a, b, c, d, e, f) maps the center of an output pixel to a position in the source:
x' = a·x + b·y + c, y' = d·x + e·y + f, with x to the right, y down and pixel (0, 0) from 0 to 1. A
position outside the source gives the fill value.

Sources: the arithmetic is that of Pillow's Geometry.c, on machines whose compiler does not fuse a
multiplication and an addition (x86-64); the matrices are those of Pillow's ``Image.rotate`` and
torchvision's ``RandomAffine``. Sines and cosines are from ``math``: those of NumPy are vectorized
and may differ in the last bit.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Images = NDArray[np.uint8]
    Matrices = NDArray[np.float64]

_FIXED_POINT_BITS = 16
_FIXED_POINT_LIMIT = 2.0 ** (31 - _FIXED_POINT_BITS)


def rotation_matrices(degrees: Sequence[float], *, height: int, width: int) -> Matrices:
    """Rotations about the image's center, as in Pillow's ``Image.rotate``.

    Args:
        degrees: n angles, counterclockwise.
        height: of the image, pixels.
        width: of the image, pixels.

    Returns:
        (n, 6) float64.
    """
    center_x, center_y = width / 2, height / 2
    matrices = np.empty((len(degrees), 6))
    for row, angle in enumerate(degrees):
        radians = -math.radians(angle % 360.0)
        # Rounded as in Pillow. So quarter turns are exact, and need no special case as in Pillow.
        cos, sin = round(math.cos(radians), 15), round(math.sin(radians), 15)
        matrices[row] = (
            cos,
            sin,
            cos * -center_x + sin * -center_y + center_x,
            -sin,
            cos,
            -sin * -center_x + cos * -center_y + center_y,
        )
    return matrices


def affine_matrices(
    *,
    degrees: Sequence[float],
    translate: Sequence[tuple[float, float]],
    scale: Sequence[float],
    shear: Sequence[tuple[float, float]],
    height: int,
    width: int,
) -> Matrices:
    """Rotation, scaling, shear and translation about the image's center, as in torchvision.

    The result is the inverse of M = T·C·R·scale·Y·X·C⁻¹, where R is the rotation, Y and X are the
    shears along y and x, C moves the origin to the center and T is the translation.

    Args:
        degrees: n angles, clockwise, as torchvision's ``affine`` (not its ``rotate``).
        translate: n pairs (right, down), pixels.
        scale: n factors above 0.
        shear: n pairs (along x, along y), degrees.
        height: of the image, pixels.
        width: of the image, pixels.

    Returns:
        (n, 6) float64.
    """
    center_x, center_y = width * 0.5, height * 0.5
    matrices = np.empty((len(degrees), 6))
    each = zip(degrees, translate, scale, shear, strict=True)
    for row, (angle, (right, down), factor, slants) in enumerate(each):
        turn = math.radians(angle)
        slant_x, slant_y = (math.radians(slant) for slant in slants)
        # R·Y·X, whose determinant is 1, so that its inverse is [[yy, −xy], [−yx, xx]].
        cos = math.cos(turn - slant_y) / math.cos(slant_y)
        sin = math.sin(turn - slant_y) / math.cos(slant_y)
        xx, xy = cos, -cos * math.tan(slant_x) - math.sin(turn)
        yx, yy = sin, -sin * math.tan(slant_x) + math.cos(turn)
        a, b, d, e = yy / factor, -xy / factor, -yx / factor, xx / factor
        from_x, from_y = -center_x - right, -center_y - down
        matrices[row] = (
            a,
            b,
            a * from_x + b * from_y + center_x,
            d,
            e,
            d * from_x + e * from_y + center_y,
        )
    return matrices


def transform(
    images: Images, matrices: Matrices, *, resample: Literal["nearest", "bilinear"], fill: int
) -> Images:
    """Transform each image by its matrix: ``Image.transform(size, AFFINE, …)`` of Pillow.

    Args:
        images: (n, h, w) or (n, h, w, c) uint8.
        matrices: (n, 6) float64.
        resample: ``nearest`` or ``bilinear``.
        fill: value of pixels from outside the image, 0 to 255.

    Returns:
        uint8 of the images' shape.
    """
    if resample == "bilinear":
        return _bilinear(images, matrices, fill=fill)
    fixed = _takes_fixed_point(matrices, height=images.shape[1], width=images.shape[2])
    if fixed.all():
        return _nearest_fixed_point(images, matrices, fill=fill)
    result = np.empty_like(images)
    result[fixed] = _nearest_fixed_point(images[fixed], matrices[fixed], fill=fill)
    result[~fixed] = _nearest_floating_point(images[~fixed], matrices[~fixed], fill=fill)
    return result


def displace(
    images: Images,
    *,
    right: NDArray[np.float64],
    down: NDArray[np.float64],
    resample: Literal["nearest", "bilinear"],
    fill: int,
) -> Images:
    """Read each pixel from a place of its own, with the arithmetic of :func:`transform`.

    Args:
        images: (n, h, w) or (n, h, w, c) uint8.
        right: (n, h, w) float64, how far the source is to the right of each pixel.
        down: likewise below it.
        resample: ``nearest`` or ``bilinear``.
        fill: value of pixels from outside the image, 0 to 255.

    Returns:
        uint8 of the images' shape.
    """
    _, height, width = images.shape[:3]
    x, y = (np.arange(width) + 0.5) + right, (np.arange(height)[:, None] + 0.5) + down
    if resample == "bilinear":
        return _interpolate(images, x=x, y=y, fill=fill)
    columns, rows = (
        np.floor(np.clip(place, -1, size)).astype(np.int32)
        for place, size in ((x, width), (y, height))
    )
    return _gather(images, columns, rows, fill=fill)


def _takes_fixed_point(matrices: Matrices, *, height: int, width: int) -> NDArray[np.bool_]:
    """Whether Pillow uses 16.16 fixed point: not for pure scaling, and only if the corners fit."""
    a, b, c, d, e, f = matrices.T
    takes: NDArray[np.bool_] = (b != 0) | (d != 0)
    for x, y in ((0, 0), (width, height), (0, height), (width, 0)):
        takes &= np.abs(x * a + y * b + c) < _FIXED_POINT_LIMIT
        takes &= np.abs(x * d + y * e + f) < _FIXED_POINT_LIMIT
    return takes


def _nearest_fixed_point(images: Images, matrices: Matrices, *, fill: int) -> Images:
    _, height, width = images.shape[:3]
    a, b, c, d, e, f = matrices.T
    right, down = np.arange(width, dtype=np.int32), np.arange(height, dtype=np.int32)

    def coordinate(
        along_x: NDArray[np.float64], along_y: NDArray[np.float64], origin: NDArray[np.float64]
    ) -> NDArray[np.int32]:
        # The center of pixel (0, 0), and the step to the next pixel, each rounded to 2⁻¹⁶.
        first = _fixed_point(origin + along_x * 0.5 + along_y * 0.5)
        rows = first[:, None] + _fixed_point(along_y)[:, None] * down
        columns = _fixed_point(along_x)[:, None] * right
        place: NDArray[np.int32] = rows[:, :, None] + columns[:, None, :]
        place >>= _FIXED_POINT_BITS
        return place

    return _gather(images, coordinate(a, b, c), coordinate(d, e, f), fill=fill)


def _fixed_point(value: NDArray[np.float64]) -> NDArray[np.int32]:
    # By way of int64: along an axis of one pixel a step may exceed int32; it is then not used.
    steps = np.floor(value * 2.0**_FIXED_POINT_BITS + 0.5)
    return steps.astype(np.int64).astype(np.int32)


def _nearest_floating_point(images: Images, matrices: Matrices, *, fill: int) -> Images:
    count, height, width = images.shape[:3]
    a, b, c, d, e, f = matrices.T

    def coordinate(
        along_x: NDArray[np.float64],
        along_y: NDArray[np.float64],
        origin: NDArray[np.float64],
        size: int,
    ) -> NDArray[np.int32]:
        # Pillow adds steps one by one, down and then right; cumsum rounds after each, as it does.
        steps = np.empty((count, height, width))
        steps[:, :, 1:] = along_x[:, None, None]
        steps[:, 1:, 0] = along_y[:, None]
        steps[:, 0, 0] = origin + along_y * 0.5 + along_x * 0.5
        np.cumsum(steps[:, :, 0], axis=1, out=steps[:, :, 0])
        np.cumsum(steps, axis=2, out=steps)
        return np.floor(np.clip(steps, -1, size)).astype(np.int32)

    x, y = coordinate(a, b, c, width), coordinate(d, e, f, height)
    return _gather(images, x, y, fill=fill)


def _gather(images: Images, x: NDArray[np.int32], y: NDArray[np.int32], *, fill: int) -> Images:
    """The pixels at (x, y), both (n, h, w) int32, of each image; the fill value if outside."""
    count, height, width = images.shape[:3]
    # As unsigned numbers negative coordinates are huge: one comparison instead of two.
    outside = x.view(np.uint32) >= width
    outside |= y.view(np.uint32) >= height
    y *= width
    y += x
    place = y + (np.arange(count) * (height * width))[:, None, None]
    pixels = images.reshape(count * height * width, *images.shape[3:])
    result: Images = pixels.take(place, axis=0, mode="clip")
    result[outside] = fill
    return result


def _bilinear(images: Images, matrices: Matrices, *, fill: int) -> Images:
    _, height, width = images.shape[:3]
    a, b, c, d, e, f = matrices.T[:, :, None, None]
    right, down = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    return _interpolate(images, x=a * right + b * down + c, y=d * right + e * down + f, fill=fill)


def _interpolate(
    images: Images, *, x: NDArray[np.float64], y: NDArray[np.float64], fill: int
) -> Images:
    """Bilinear interpolation at positions, (n, h, w) each, which are overwritten."""
    count, height, width = images.shape[:3]
    outside = (x < 0) | (x >= width) | (y < 0) | (y >= height)

    def before(
        place: NDArray[np.float64], size: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The pixel center at or before each position, from −1, and the distance to it, 0 to 1."""
        place -= 0.5
        pixel = np.floor(place)
        share = place - pixel
        # Positions outside are filled at the end; clipped here, as they may not fit int64.
        np.clip(pixel, -1, size - 1, out=pixel)
        return pixel.astype(np.int64), share.reshape(*share.shape, *[1] * (images.ndim - 3))

    column, share_x = before(x, width)
    row, share_y = before(y, height)

    # Half a pixel around the image counts as its border: a frame of repeated pixels provides it.
    colors = [(0, 0)] * (images.ndim - 3)
    framed = np.pad(images, [(0, 0), (1, 1), (1, 1), *colors], mode="edge")
    stride = width + 2
    # In float64, as in Pillow: differences of pixels are exact.
    pixels = framed.reshape(-1, *images.shape[3:]).astype(np.float64)
    place = (row + 1) * stride
    place += column + 1
    place += (np.arange(count) * ((height + 2) * stride))[:, None, None]

    def along_x(place: NDArray[np.int64]) -> NDArray[np.float64]:
        left = pixels.take(place, axis=0, mode="clip")
        between = pixels.take(place + 1, axis=0, mode="clip")
        between -= left
        between *= share_x
        between += left
        return between

    upper, lower = along_x(place), along_x(place + stride)
    lower -= upper
    lower *= share_y
    lower += upper
    result = lower.astype(np.uint8)
    result[outside] = fill
    return result
