"""The engine protocol: an engine holds one network and its optimizer, trains and evaluates it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from kilonet.data.batch import Batch
    from kilonet.storage.provenance import EngineInfo, Normalization

    Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """Result of one training step.

    Attributes:
        loss: mean over the batch in nats, before the update: what is optimized, so with label
            smoothing, and with the teachers' part if there are any.
        correct: number of correctly classified images, before the update.
    """

    loss: float
    correct: int


@dataclass(frozen=True, kw_only=True)
class EvalResult:
    """Result of an evaluation.

    Attributes:
        loss: mean cross-entropy in nats, without label smoothing.
        correct: number of correctly classified images.
        count: number of images.
        logits: (count, classes) float32, if requested.
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
    """Trains one network. Images are uint8; the engine augments and normalizes them.

    Every random draw is a pure function of the run's seed and the batch's step, epoch and index, so
    an engine that resumes from a saved state gives the same bits.
    """

    @property
    def name(self) -> str:
        """``native`` or ``torch``."""
        ...

    @property
    def description(self) -> str:
        """One line: engine, version, device, threads."""
        ...

    @property
    def info(self) -> EngineInfo:
        """Name, description, and whatever the bits depend on, for the run's record."""
        ...

    @property
    def normalization(self) -> Normalization:
        """What it normalizes pixels with."""
        ...

    def step(self, batch: Batch, lr: float, *, momentum: float | None = None) -> StepResult:
        """Forward, backward, update.

        Args:
            batch: images and labels.
            lr: learning rate of this step.
            momentum: SGD's momentum or Adam's first beta in this step; None: the optimizer's.
        """
        ...

    def end_epoch(self, epoch: int, batches: Iterable[Batch]) -> None:
        """Average the weights of an epoch that ends, where ``train.average`` says so.

        Called after the last step of each epoch of a run with averaged weights, before evaluation.

        Args:
            epoch: from 0.
            batches: of the epoch, again; read where batch norm's statistics are computed anew.
        """
        ...

    def gradients(self, batch: Batch) -> dict[str, NDArray[np.generic]]:
        """The gradients of a training step, without weight decay; the engine's state is unchanged.

        Returns:
            Parameter name → gradient of the mean loss, float32, of the parameter's shape.
        """
        ...

    def soft_targets(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The mean of the probabilities that the run's teachers give, softened; see its spec.

        Args:
            images: as for :meth:`evaluate`; as the student sees them.

        Returns:
            (n, classes) float32, for :attr:`kilonet.data.batch.Batch.targets`.
        """
        ...

    def evaluate(
        self, images: NDArray[np.uint8], labels: NDArray[np.int64], *, logits: bool = False
    ) -> EvalResult:
        """Loss and correct count in evaluation mode, with averaged weights if there are any.

        Args:
            images: (n, h, w) or (n, h, w, c) uint8; normalized, not augmented.
            labels: (n,) int64.
            logits: whether to return the logits.
        """
        ...

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits in evaluation mode; each image's bits depend on that image and the weights alone.

        Args:
            images: as for :meth:`evaluate`; there may be none.

        Returns:
            (n, classes) float32.
        """
        ...

    def weights(self) -> dict[str, NDArray[np.generic]]:
        """Weights and buffers of :meth:`evaluate`; PyTorch's ``state_dict`` names and layouts."""
        ...

    def load_weights(self, weights: Arrays) -> None:
        """Set parameters and buffers by PyTorch's names and layouts; resets the optimizer."""
        ...

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Everything that a resume needs: weights, optimizer state, averages."""
        ...

    def load_state(self, state: Arrays) -> None:
        """Resume from :meth:`state` of an engine of the same run, with the same bits.

        Raises:
            StorageError: if the state is of another network or optimizer.
        """
        ...
