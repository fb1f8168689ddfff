"""Averaged weights in the native engine, as ``torch.optim.swa_utils`` averages them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kilonet.engine.native.flat import Flat
from kilonet.spec import EMA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from kilonet.data.batch import Batch
    from kilonet.spec import Train

    Statistics = Callable[[Batch, Flat, Flat, float], None]


class Average:
    """The averaged weights of a run; they begin as a copy of its weights.

    Args:
        train: with an average.
        network: the extension's.
        parameters, buffers, batches_tracked: the run's weights, which training changes in place.
    """

    def __init__(
        self,
        train: Train,
        network: Any,
        *,
        parameters: Flat,
        buffers: Flat,
        batches_tracked: dict[str, NDArray[Any]],
    ) -> None:
        assert train.average is not None
        self._spec = train.average
        self._epochs = train.epochs
        self._network = network
        self._live = parameters, buffers, batches_tracked
        self.parameters, self.buffers = Flat(parameters.arrays), Flat(buffers.arrays)
        self.batches_tracked = {name: count.copy() for name, count in batches_tracked.items()}
        self.count = np.zeros((), dtype=np.int64)
        """Number of updates."""

    @property
    def begun(self) -> bool:
        """Whether the average is what is evaluated: an equal one begins late in the run."""
        return bool(self.count) or isinstance(self._spec, EMA)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Name → the averaged array."""
        return {**self.parameters.arrays, **self.buffers.arrays, **self.batches_tracked}

    def end_step(self, epoch: int) -> None:
        """Average the weights after a step of ``epoch``."""
        if isinstance(self._spec, EMA):
            self._decay(0.0 if not self.count else self._spec.decay)
        elif self._spec.every == "step":
            self._average_equally(epoch)

    def end_epoch(self, epoch: int, batches: Iterable[Batch], statistics: Statistics) -> None:
        """Average the weights after the last step of ``epoch``; renew batch norm's statistics.

        Args:
            epoch: from 0.
            batches: of the epoch.
            statistics: updates running statistics: of a batch, with these parameters, in these
                buffers, with this momentum.
        """
        if not isinstance(self._spec, EMA) and self._spec.every == "epoch":
            self._average_equally(epoch)
        if self._spec.recompute_statistics and self.begun and self.batches_tracked:
            self._recompute_statistics(batches, statistics)

    def _decay(self, keep: float) -> None:
        """As ``AveragedModel.update_parameters`` of a moving average with buffers."""
        parameters, buffers, batches_tracked = self._live
        self._network.lerp(self.parameters.flat, parameters.flat, 1 - keep)
        self._network.lerp(self.buffers.flat, buffers.flat, 1 - keep)
        for name, count in batches_tracked.items():
            # PyTorch averages counts in float32 and drops the fraction.
            kept = np.float32(self.batches_tracked[name]) * np.float32(keep)
            self.batches_tracked[name][...] = np.int64(
                kept + np.float32(count) * np.float32(1 - keep)
            )
        self.count += 1

    def _average_equally(self, epoch: int) -> None:
        """As ``AveragedModel.update_parameters`` with its defaults, from the first epoch on."""
        assert not isinstance(self._spec, EMA)
        if epoch < self._spec.first_epoch(self._epochs):
            return
        parameters, buffers, batches_tracked = self._live
        weight = np.float32(1) / np.float32(self.count + 1)
        self._network.lerp(self.parameters.flat, parameters.flat, weight)
        self.buffers.flat[:] = buffers.flat
        for name, count in batches_tracked.items():
            self.batches_tracked[name][...] = count
        self.count += 1

    def _recompute_statistics(self, batches: Iterable[Batch], statistics: Statistics) -> None:
        """As ``update_bn``: the mean over the batches, in which each counts once."""
        for name, array in self.buffers.arrays.items():
            array[...] = 1.0 if name.endswith("running_var") else 0.0
        num_batches = 0
        for batch in batches:
            num_batches += 1
            statistics(batch, self.parameters, self.buffers, 1 / num_batches)
        for count in self.batches_tracked.values():
            count[...] = num_batches
