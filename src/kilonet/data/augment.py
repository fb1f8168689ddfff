"""Augmentation and normalization of the images of a batch.

Every draw is a pure function of (seed, epoch, image, position of the transform in the list), so an
image's augmentation does not depend on its batch. This is the reference implementation: the native
engine's (``native/augment``) must give the same bits from the same draws.

A draw u is uniform in [0, 1): word ``u[k]`` of ``random_uniform`` with purpose AUGMENTATION, the
epoch, the image's position in the training set as index, and block 16 × position + number. "From
[low, high]" is low + (high − low)·u in float64; "one of n" is ⌊n·u⌋.

============  ======  ============================================================================
transform     number  words
============  ======  ============================================================================
rotation      0       angle from ``degrees``
affine        0       angle; shift right and shift down, each from ± the largest and rounded to
                      whole pixels (halves to even); scale
affine        1       shear along x; shear along y
crop          0       top, left: each one of 2·padding + 1
color_jitter  0       brightness, contrast, saturation, hue
color_jitter  1       keys of the same four, which are applied in ascending order of their keys
erasing       0       the image is changed if u < p
erasing       1 … 10  one attempt each: area, logarithm of the ratio, top and left (each one of
                      all possible positions); the first attempt that fits is used
============  ======  ============================================================================

An elastic transform draws for each pixel: purpose DISPLACEMENT, block 2²² × position + number,
where number counts four pixels, row by row. The low half of a pixel's word is the displacement to
the right, the high half that down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kilonet.data.affine import affine_matrices, displace, rotation_matrices, transform
from kilonet.data.color import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
)
from kilonet.data.elastic import displacements
from kilonet.errors import DataError, SpecError
from kilonet.randomness import Purpose, random_uniform
from kilonet.spec.data import Affine, ColorJitter, Crop, Elastic, Erasing, Rotation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from kilonet.spec.data import Augmentation

    Images = NDArray[np.uint8]
    Floats = NDArray[np.float64]

_BLOCKS_PER_TRANSFORM = 16
_ERASING_ATTEMPTS = 10
_VALUES_AT_ONCE = 2**18


def augment(
    images: NDArray[np.uint8],
    index: NDArray[np.int64],
    *,
    augmentations: Sequence[Augmentation],
    seed: int,
    epoch: int,
) -> NDArray[np.uint8]:
    """Apply augmentations in order.

    Args:
        images: (n, h, w) gray or (n, h, w, 3) RGB, uint8.
        index: (n,) integers, each image's position in the training set.
        augmentations: the transforms.
        seed: the run's.
        epoch: from 0.

    Returns:
        uint8 of the images' shape; always a copy.

    Raises:
        DataError: if the images have another shape or type, or the index is not one integer per
            image.
    """
    _check_images(images)
    if index.shape != images.shape[:1] or not np.issubdtype(index.dtype, np.integer):
        raise DataError(
            f"index is {index.dtype} of shape {index.shape}; "
            f"give one integer for each of the {len(images)} images"
        )
    result = np.empty_like(images)
    # A part at a time, so that intermediate arrays stay small for any number of images.
    at_once = max(1, _VALUES_AT_ONCE // max(1, math.prod(images.shape[1:])))
    for start in range(0, len(images), at_once):
        part = slice(start, start + at_once)
        augmented = images[part]
        for position, augmentation in enumerate(augmentations):
            draws = _Draws(index=index[part], seed=seed, epoch=epoch, position=position)
            augmented = _apply(augmentation, augmented, draws)
        result[part] = augmented
    return result


def normalize(
    images: NDArray[np.uint8], *, mean: Sequence[float], std: Sequence[float]
) -> NDArray[np.float32]:
    """Scale pixels to [0, 1], subtract the mean and divide by the standard deviation.

    Each operation is rounded to float32: the bits are those of torchvision's ``ToTensor`` and
    ``Normalize``.

    Args:
        images: (n, h, w) or (n, h, w, 3) uint8.
        mean: of pixels in [0, 1], one value per channel or one for all.
        std: likewise.

    Returns:
        (n, c, h, w) float32.

    Raises:
        DataError: if the images have another shape or type.
        SpecError: if there is neither one value nor one per channel.
    """
    _check_images(images)
    if images.ndim == 3:
        images = images[..., None]
    count, height, width, channels = images.shape
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, channels):
            raise SpecError(
                f"data.{name}: has {len(values)} values for images of {channels} "
                f"{'channels' if channels > 1 else 'channel'}; give 1 or {channels}"
            )
    result = np.empty((count, channels, height, width), dtype=np.float32)
    np.divide(np.moveaxis(images, -1, 1), np.float32(255), out=result, dtype=np.float32)
    result -= np.array(mean, dtype=np.float32)[:, None, None]
    result /= np.array(std, dtype=np.float32)[:, None, None]
    return result


def _check_images(images: Images) -> None:
    gray_or_rgb = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)
    if images.dtype != np.uint8 or not gray_or_rgb:
        raise DataError(
            f"images are {images.dtype} of shape {images.shape}; "
            "give uint8 of shape (n, h, w) or (n, h, w, 3)"
        )


@dataclass(frozen=True, kw_only=True)
class _Draws:
    """The random numbers of one transform for the images at ``index``."""

    index: NDArray[np.int64]
    seed: int
    epoch: int
    position: int

    def block(self, number: int) -> Floats:
        """(4, n) uniform in [0, 1)."""
        block = _BLOCKS_PER_TRANSFORM * self.position + number
        purpose = Purpose.AUGMENTATION
        uniform = random_uniform(
            self.index, seed=self.seed, purpose=purpose, epoch=self.epoch, block=block
        )
        return uniform.T


def _apply(augmentation: Augmentation, images: Images, draws: _Draws) -> Images:
    match augmentation:
        case Rotation():
            return _rotate(augmentation, images, draws)
        case Affine():
            return _affine(augmentation, images, draws)
        case Crop():
            return _crop(augmentation, images, draws)
        case ColorJitter():
            return _jitter(augmentation, images, draws)
        case Erasing():
            return _erase(augmentation, images, draws)
        case Elastic():
            return _displace(augmentation, images, draws)


def _between(bounds: tuple[float, float], uniform: Floats) -> Floats:
    low, high = bounds
    return low + (high - low) * uniform


def _one_of(count: NDArray[np.int64] | int, uniform: Floats) -> NDArray[np.int64]:
    return np.floor(count * uniform).astype(np.int64)


def _rotate(rotation: Rotation, images: Images, draws: _Draws) -> Images:
    _, height, width = images.shape[:3]
    degrees = _between(rotation.degrees, draws.block(0)[0])
    matrices = rotation_matrices(degrees.tolist(), height=height, width=width)
    return transform(images, matrices, resample=rotation.resample, fill=rotation.fill)


def _affine(affine: Affine, images: Images, draws: _Draws) -> Images:
    _, height, width = images.shape[:3]
    angle, right, down, scale = draws.block(0)
    shear_x, shear_y, *_ = draws.block(1)
    most_right, most_down = affine.translate[0] * width, affine.translate[1] * height
    right = np.rint(_between((-most_right, most_right), right))
    down = np.rint(_between((-most_down, most_down), down))
    shear = zip(
        _between(affine.shear, shear_x).tolist(),
        _between(affine.shear_y, shear_y).tolist(),
        strict=True,
    )
    matrices = affine_matrices(
        degrees=_between(affine.degrees, angle).tolist(),
        translate=list(zip(right.tolist(), down.tolist(), strict=True)),
        scale=_between(affine.scale, scale).tolist(),
        shear=list(shear),
        height=height,
        width=width,
    )
    return transform(images, matrices, resample=affine.resample, fill=affine.fill)


def _displace(elastic: Elastic, images: Images, draws: _Draws) -> Images:
    _, height, width = images.shape[:3]
    right, down = displacements(
        draws.index,
        height=height,
        width=width,
        sigma=elastic.sigma,
        seed=draws.seed,
        epoch=draws.epoch,
        position=draws.position,
    )
    return displace(
        images,
        right=elastic.alpha * right.astype(np.float64),
        down=elastic.alpha * down.astype(np.float64),
        resample=elastic.resample,
        fill=elastic.fill,
    )


def _crop(crop: Crop, images: Images, draws: _Draws) -> Images:
    count, height, width = images.shape[:3]
    pad = crop.padding
    top, left, *_ = _one_of(2 * pad + 1, draws.block(0))
    padded = np.full(
        (count, height + 2 * pad, width + 2 * pad, *images.shape[3:]), crop.fill, dtype=np.uint8
    )
    padded[:, pad : pad + height, pad : pad + width] = images
    # A view of all possible crops: (n, tops, lefts[, c], h, w).
    crops = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    chosen = crops[np.arange(count), top, left]
    return np.moveaxis(chosen, (-2, -1), (1, 2))


def _jitter(jitter: ColorJitter, images: Images, draws: _Draws) -> Images:
    # As in torchvision, a range of the neutral value alone skips the operation. Saturation and hue
    # do not change gray images.
    colorless = images.ndim == 3
    operations = [
        (operate, word, bounds)
        for word, (operate, bounds, neutral, skip) in enumerate(
            (
                (adjust_brightness, jitter.brightness, 1.0, False),
                (adjust_contrast, jitter.contrast, 1.0, False),
                (adjust_saturation, jitter.saturation, 1.0, colorless),
                (adjust_hue, jitter.hue, 0.0, colorless),
            )
        )
        if not skip and bounds != (neutral, neutral)
    ]
    if not operations:
        return images
    values, keys = draws.block(0), draws.block(1)
    result = images.copy()
    # The operation that is first, second, … for each image: (operations, n).
    order = np.argsort(keys[[word for _, word, _ in operations]], axis=0, kind="stable")
    for turn in order:
        for number, (operate, word, bounds) in enumerate(operations):
            now = turn == number
            result[now] = operate(result[now], _between(bounds, values[word, now]))
    return result


def _erase(erasing: Erasing, images: Images, draws: _Draws) -> Images:
    count, height, width = images.shape[:3]
    log_ratio = (math.log(erasing.ratio[0]), math.log(erasing.ratio[1]))
    corner = np.zeros((2, count), dtype=np.int64)  # top, left
    extent = np.zeros((2, count), dtype=np.int64)  # height, width; 0 if nothing is erased
    pending = draws.block(0)[0] < erasing.p
    for attempt in range(1, _ERASING_ATTEMPTS + 1):
        if not pending.any():
            break
        area, ratio, top, left = draws.block(attempt)
        area = _between(erasing.scale, area) * (height * width)
        # Not NumPy's exp, which may differ in the last bit between processors.
        ratio = np.array([math.exp(log) for log in _between(log_ratio, ratio).tolist()])
        tall = np.rint(np.sqrt(area * ratio)).astype(np.int64)
        wide = np.rint(np.sqrt(area / ratio)).astype(np.int64)
        fits = pending & (tall < height) & (wide < width)
        corner[:, fits] = (
            _one_of(height - tall + 1, top)[fits],
            _one_of(width - wide + 1, left)[fits],
        )
        extent[:, fits] = tall[fits], wide[fits]
        pending &= ~fits
    (top, left), (bottom, right) = corner[:, :, None], (corner + extent)[:, :, None]
    rows, columns = np.arange(height), np.arange(width)
    in_rows = (rows >= top) & (rows < bottom)
    in_columns = (columns >= left) & (columns < right)
    result = images.copy()
    result[in_rows[:, :, None] & in_columns[:, None, :]] = erasing.value
    return result
