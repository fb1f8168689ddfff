"""A batch of training images: what the training loop passes to an engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Training images, and what their random draws depend on.

    Attributes:
        images: (n, h, w) or (n, h, w, c) uint8, neither augmented nor normalized.
        labels: (n,) int64.
        index: (n,) int64, each image's position in the training set.
        epoch: from 0.
        step: from 0, over the whole run.
        targets: (n, classes) float32, what a run's teachers say of the images, where it is known
            before the step: without augmentation; None: the engine asks them.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    index: NDArray[np.int64]
    epoch: int
    step: int
    targets: NDArray[np.float32] | None = None
