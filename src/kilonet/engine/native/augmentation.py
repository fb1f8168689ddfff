"""Translates a spec's augmentations to the extension's transforms."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from kilonet.data.elastic import smoothing_matrix
from kilonet.errors import SpecError
from kilonet.spec.data import Affine, ColorJitter, Crop, Elastic, Erasing, Rotation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kilonet.spec.data import Augmentation


def append_augmentations(
    augmentations: Sequence[Augmentation], network: Any, *, shape: tuple[int, int, int]
) -> None:
    """Append the transforms, in order, to the extension's network.

    Args:
        augmentations: the transforms of each training image.
        network: the extension's.
        shape: (channels, height, width) of an image.

    Raises:
        SpecError: if there are transforms, and the images are neither gray nor RGB.
    """
    channels, height, width = shape
    if augmentations and channels not in (1, 3):
        raise SpecError(
            f"data.augment: needs images of 1 or 3 channels, and net.input has {channels}; "
            "leave it out"
        )
    for augmentation in augmentations:
        match augmentation:
            case Rotation() as rotation:
                network.rotation(rotation.degrees, rotation.resample == "bilinear", rotation.fill)
            case Affine() as affine:
                network.affine(
                    affine.degrees,
                    (affine.translate[0] * width, affine.translate[1] * height),
                    affine.scale,
                    affine.shear,
                    affine.shear_y,
                    affine.resample == "bilinear",
                    affine.fill,
                )
            case Crop() as crop:
                network.crop(crop.padding, crop.fill)
            case ColorJitter() as jitter:
                network.color_jitter(_adjustments(jitter, gray=channels == 1))
            case Erasing() as erasing:
                low, high = erasing.ratio
                log_ratio = math.log(low), math.log(high)
                network.erasing(erasing.p, erasing.scale, log_ratio, erasing.value)
            case Elastic() as elastic:
                network.elastic(
                    elastic.alpha,
                    smoothing_matrix(height, sigma=elastic.sigma),
                    smoothing_matrix(width, sigma=elastic.sigma),
                    elastic.resample == "bilinear",
                    elastic.fill,
                )


def _adjustments(jitter: ColorJitter, *, gray: bool) -> list[tuple[int, tuple[float, float]]]:
    """For each operation that has an effect, its index among the draws and its range."""
    neutral = (1.0, 1.0)
    operations = [
        (0, jitter.brightness, neutral),
        (1, jitter.contrast, neutral),
        (2, jitter.saturation, neutral),
        (3, jitter.hue, (0.0, 0.0)),
    ]
    return [
        (word, bounds)
        for word, bounds, nothing in operations
        if bounds != nothing and not (gray and word >= 2)
    ]
