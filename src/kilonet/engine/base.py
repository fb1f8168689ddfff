"""What an engine is: it holds one network and its optimiser, takes steps, and evaluates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Training images as they lie in memory, and what their random draws depend on.

    Attributes:
        images: (n, h, w) or (n, h, w, c) uint8, neither augmented nor normalised.
        labels: (n,) int64.
        index: (n,) int64, each image's position in the training set.
        epoch: from 0.
        step: from 0, over the whole run.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    index: NDArray[np.int64]
    epoch: int
    step: int


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """One training step.

    Attributes:
        loss: mean over the batch, nats, before the update.
        correct: images whose largest logit is their label's, before the update.
    """

    loss: float
    correct: int


@dataclass(frozen=True, kw_only=True)
class EvalResult:
    """An evaluation.

    Attributes:
        loss: mean cross-entropy, nats, without label smoothing.
        correct: images whose largest logit is their label's.
        count: images.
        logits: (count, classes) float32, if asked for.
    """

    loss: float
    correct: int
    count: int
    logits: NDArray[np.float32] | None = None

    @property
    def accuracy(self) -> float:
        """Percent."""
        return 100.0 * self.correct / self.count


class Engine(Protocol):
    """Trains one network. It augments and normalises the uint8 images itself.

    Every random draw inside is a pure function of the run's seed and the batch's step, epoch and
    index, so an engine whose state was saved and loaded goes on to the same bits.
    """

    @property
    def name(self) -> str:
        """``native`` or ``torch``."""
        ...

    @property
    def description(self) -> str:
        """One line on what computes: engine, version, device, threads."""
        ...

    @property
    def settings(self) -> dict[str, str | int]:
        """What else the bits depend on, for the run's record: version, device, threads."""
        ...

    def step(self, batch: Batch, lr: float, *, momentum: float | None = None) -> StepResult:
        """Forward, backward, update.

        Args:
            batch: images and labels.
            lr: learning rate of this step.
            momentum: SGD's momentum or Adam's first beta for this step; None: the optimiser's own.
        """
        ...

    def gradients(self, batch: Batch) -> dict[str, NDArray[np.generic]]:
        """The gradients that :meth:`step` would follow, weight decay left out; changes nothing.

        Returns:
            Parameter name → gradient of the mean loss, float32, of the parameter's shape.
        """
        ...

    def evaluate(
        self, images: NDArray[np.uint8], labels: NDArray[np.int64], *, logits: bool = False
    ) -> EvalResult:
        """Loss and correct count in evaluation mode; of the averaged weights, if any.

        Args:
            images: (n, h, w) or (n, h, w, c) uint8; normalised, not augmented.
            labels: (n,) int64.
            logits: whether to return them.
        """
        ...

    def weights(self) -> dict[str, NDArray[np.generic]]:
        """What :meth:`evaluate` uses, buffers too; PyTorch's ``state_dict`` names and layouts."""
        ...

    def load_weights(self, weights: Arrays) -> None:
        """Set parameters and buffers from PyTorch's names and layouts; optimiser state is reset."""
        ...

    def state(self) -> dict[str, NDArray[np.generic]]:
        """All that a resume needs, flat: weights, optimiser state, averages."""
        ...

    def load_state(self, state: Arrays) -> None:
        """Go on from :meth:`state` of an engine of the same run, to the same bits.

        Raises:
            StoreError: if the state is not of this network and optimiser.
        """
        ...
