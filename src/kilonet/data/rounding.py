"""How many digits a computed normalization keeps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from kilonet.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

_DECIMALS = 4
"""As usual: MNIST's mean and deviation are 0.1307 and 0.3081, and so networks that are trained here
and elsewhere see the same inputs."""

_SPARSE = 1e-3
"""A smaller deviation gets four significant digits: most pixels are equal, as of a few stars."""


def rounded_mean(mean: Sequence[float], std: Sequence[float]) -> tuple[float, ...]:
    """The means of the channels, each as exact as the channel's deviation."""
    return tuple(round(m, decimals(s)) for m, s in zip(mean, std, strict=True))


def rounded_std(std: Sequence[float], *, where: str) -> tuple[float, ...]:
    """The standard deviations of the channels, none of them 0.

    Args:
        std: of each channel, of pixels scaled to [0, 1].
        where: the data set, for messages.

    Raises:
        DataError: a channel has the same value in all pixels.
    """
    if 0.0 in std:
        usable = [round(value, decimals(value)) if value else 1.0 for value in std]
        channel = f" of channel {std.index(0.0)}" if len(std) > 1 else ""
        raise DataError(
            f"{where}: all training pixels{channel} have the same value, so their standard "
            f"deviation is 0; set data.std, for example to {usable}"
        )
    return tuple(round(value, decimals(value)) for value in std)


def decimals(std: float) -> int:
    """The decimals of a channel's mean and deviation."""
    if std == 0 or std >= _SPARSE:
        return _DECIMALS
    return _DECIMALS - 1 - math.floor(math.log10(std))
