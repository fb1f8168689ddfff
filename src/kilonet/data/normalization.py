"""The mean and standard deviation that a run's pixels are normalized with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kilonet.data.describe import channel_statistics
from kilonet.data.rounding import rounded_mean, rounded_std
from kilonet.storage.provenance import Normalization

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from kilonet.spec import Data


def normalization(
    histogram: Callable[[], NDArray[np.int64]], *, data: Data, where: str
) -> Normalization:
    """What ``data`` states; what it leaves out is computed from the pixels.

    Computed values are rounded (:mod:`kilonet.data.rounding`).

    Args:
        histogram: returns (channels, 256) int64, the number of pixels of each value; called if a
            value is left out.
        data: the run's.
        where: the data set, for messages.

    Raises:
        DataError: the standard deviation of a channel is left out, and is 0.
    """
    mean, std = data.mean, data.std
    if mean is None or std is None:
        own_mean, own_std = channel_statistics(histogram())
        mean = rounded_mean(own_mean, own_std) if mean is None else mean
        std = rounded_std(own_std, where=where) if std is None else std
    return Normalization(mean=mean, std=std)
