"""Brightness, contrast, saturation and hue of batches of images, bit for bit as in Pillow.

The first three are ``ImageEnhance.Brightness``, ``Contrast`` and ``Color`` of Pillow, a blend with
a degenerate image in float32. The hue is torchvision's ``adjust_hue`` of Pillow images, a shift of
the uint8 hue that wraps around. Sources: Pillow's ImageEnhance.py, Blend.c and Convert.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Images = NDArray[np.uint8]
    Factors = NDArray[np.float64]

# Weights of red, green and blue in the luma of ITU-R BT.601, times 2¹⁶, rounded as in Pillow.
_LUMA = np.array([19595, 38470, 7471], dtype=np.int32)

# Which of (value, rising, low, falling) are red, green and blue in each sixth of the hue circle.
_VALUE, _RISING, _LOW, _FALLING = range(4)
_SIXTHS = np.array(
    [
        [_VALUE, _RISING, _LOW],
        [_FALLING, _VALUE, _LOW],
        [_LOW, _VALUE, _RISING],
        [_LOW, _FALLING, _VALUE],
        [_RISING, _LOW, _VALUE],
        [_VALUE, _LOW, _FALLING],
    ]
)


def adjust_brightness(images: Images, factors: Factors) -> Images:
    """Each image blended with black; a factor of 0 gives black, 1 the image.

    Args:
        images: (n, h, w) or (n, h, w, 3) uint8.
        factors: (n,) float64, 0 or more.

    Returns:
        uint8 of the images' shape.
    """
    return _blend(np.zeros((1, 1, 1), dtype=np.uint8), images, factors)


def adjust_contrast(images: Images, factors: Factors) -> Images:
    """Each image blended with its mean gray; a factor of 0 gives that gray, 1 the image.

    Args and result as in :func:`adjust_brightness`.
    """
    gray = _luma(images) if images.ndim == 4 else images
    _, height, width = gray.shape
    mean = np.sum(gray, axis=(1, 2), dtype=np.int64) / (height * width)
    return _blend(np.floor(mean + 0.5).astype(np.uint8)[:, None, None], images, factors)


def adjust_saturation(images: Images, factors: Factors) -> Images:
    """Each image blended with its luma; a factor of 0 gives gray, 1 the image.

    Args and result as in :func:`adjust_brightness`; gray images are returned unchanged.
    """
    return images if images.ndim == 3 else _blend(_luma(images), images, factors)


def adjust_hue(images: Images, turns: Factors) -> Images:
    """Each image's hue shifted on the color circle.

    Even a shift of 0 changes some pixels, as hue and saturation are rounded to 8 bits.

    Args:
        images: (n, h, w) or (n, h, w, 3) uint8; gray images are returned unchanged.
        turns: (n,) float64, −0.5 to 0.5 of the circle.

    Returns:
        uint8 of the images' shape.
    """
    if images.ndim == 3:
        return images
    hue, saturation, value = _rgb_to_hsv(images)
    hue += (turns * 255).astype(np.int32).astype(np.uint8)[:, None, None]
    return _hsv_to_rgb(hue, saturation, value)


def _blend(degenerate: Images, images: Images, factors: Factors) -> Images:
    """The sum d + factor · (image − d) with d = degenerate, (n or 1, h or 1, w or 1)."""
    channels = (1,) * (images.ndim - 3)
    start = degenerate.reshape(*degenerate.shape, *channels).astype(np.float32)
    result = images.astype(np.float32)
    result -= start
    result *= factors.astype(np.float32).reshape(-1, 1, 1, *channels)
    result += start
    np.clip(result, 0, 255, out=result)
    return result.astype(np.uint8)


def _luma(images: Images) -> Images:
    """Gray of (n, h, w, 3) RGB: (n, h, w) uint8, rounded."""
    red, green, blue = np.moveaxis(images, -1, 0)
    luma: NDArray[np.int32] = red * _LUMA[0]
    luma += green * _LUMA[1]
    luma += blue * _LUMA[2]
    luma += 1 << 15
    luma >>= 16
    return luma.astype(np.uint8)


def _rgb_to_hsv(images: Images) -> tuple[Images, Images, Images]:
    """Hue, saturation and value, each (n, h, w) uint8, of (n, h, w, 3) RGB.

    Rounded to float32 where Pillow's variables are floats, which affects the hue.
    """
    red, green, blue = np.moveaxis(images, -1, 0)
    value = np.maximum(np.maximum(red, green), blue)
    spread = value - np.minimum(np.minimum(red, green), blue)
    # Gray pixels divide 0 by 1, so that hue and saturation are 0 as in Pillow.
    divisor = np.maximum(spread, 1).astype(np.float32)
    from_red, from_green, from_blue = (
        ((value - channel).astype(np.float32) / divisor).astype(np.float64)
        for channel in (red, green, blue)
    )
    sixths = np.where(
        red == value,
        from_blue - from_green,
        np.where(green == value, 2.0 + from_red - from_blue, 4.0 + from_green - from_red),
    ).astype(np.float32)
    turn = np.fmod(sixths.astype(np.float64) / 6.0 + 1.0, 1.0).astype(np.float32)
    saturation = spread / np.maximum(value, 1)
    return (
        (turn.astype(np.float64) * 255.0).astype(np.uint8),
        (saturation * 255.0).astype(np.uint8),
        value,
    )


def _hsv_to_rgb(hue: Images, saturation: Images, value: Images) -> Images:
    """(n, h, w, 3) uint8 RGB of hue, saturation and value, each (n, h, w) uint8."""
    # Pillow mixes float32 and float64 here; float64 alone gives the same result for all inputs.
    sixths = np.arange(256) * 6.0 / 255.0
    sixth = np.floor(sixths)
    within = (sixths - sixth)[hue]
    share = saturation / 255.0
    rising = value * (1.0 - share * (1.0 - within))
    low = value * (1.0 - share)
    falling = value * (1.0 - share * within)
    # No ties: all levels are fractions over 255 · 85, which is odd.
    levels = np.rint(np.stack([value, rising, low, falling], axis=-1)).astype(np.uint8)
    channels = _SIXTHS[sixth.astype(np.int64) % 6][hue]
    return np.take_along_axis(levels, channels, axis=-1)
