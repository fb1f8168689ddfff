"""Training steps of kilonet's engines, and the speed of the native engine's kernels."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kilonet.bench.work import LayerWork, layer_work
from kilonet.data.batch import Batch
from kilonet.engine import create_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from kilonet.data import RunData
    from kilonet.engine.native.layer_times import ProfileRow
    from kilonet.spec import Net, Run

LR, MOMENTUM = 0.01, 0.9
"""The notebook's, for every implementation."""

NUM_BATCHES = 16
"""Number of different batches that steps cycle through."""


class EngineSteps:
    """Training steps of an engine of kilonet, on batches in memory, without augmentation.

    Args:
        run: the network, and how it is trained.
        images: MNIST.
        engine: ``native`` or ``torch``.
        threads: of the engine.
    """

    def __init__(self, run: Run, images: RunData, *, engine: str, threads: int) -> None:
        self.run = run.replace({"data.augment": []})
        self.engine: Any = create_engine(
            self.run, engine=engine, mean=images.mean, std=images.std, threads=threads
        )
        size = run.train.batch_size
        self._batches = [
            (
                np.ascontiguousarray(images.train_images[i * size : (i + 1) * size]),
                images.train_labels[i * size : (i + 1) * size],
                np.arange(i * size, (i + 1) * size),
            )
            for i in range(NUM_BATCHES)
        ]
        self._steps = itertools.count()

    def step(self) -> float:
        """Take one step; the loss before it, in nats."""
        number = next(self._steps)
        images, labels, index = self._batches[number % NUM_BATCHES]
        batch = Batch(images=images, labels=labels, index=index, epoch=0, step=number)
        loss: float = self.engine.step(batch, LR).loss
        return loss

    def load_weights(self, weights: dict[str, NDArray[np.generic]]) -> None:
        """Set weights by PyTorch's names."""
        self.engine.load_weights(weights)

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, classes) logits in evaluation mode, of (n, 28, 28) uint8."""
        found = self.engine.evaluate(images, np.zeros(len(images), np.int64), logits=True)
        logits: NDArray[np.float32] = found.logits
        return logits


def engine_epoch(run: Run, images: RunData, *, threads: int) -> Callable[[], float]:
    """An epoch of the native engine as in ``kilonet train``: training, then testing.

    Returns:
        A function that runs the next epoch and returns the test accuracy in percent.
    """
    engine = create_engine(run, engine="native", mean=images.mean, std=images.std, threads=threads)
    epochs = itertools.count()

    def epoch() -> float:
        for batch in images.batches(run, next(epochs)):
            engine.step(batch, LR)
        return engine.evaluate(images.test_images, images.test_labels).accuracy

    return epoch


@dataclass(frozen=True, kw_only=True)
class KernelRate:
    """The speed of one kernel of one layer.

    Attributes:
        work: the layer's.
        kernel: ``forward``, ``input gradient`` or ``weight gradient``.
        intensity: FLOP per byte.
        gflops: 10⁹ FLOP per second, all threads together.
        seconds: of a step, summed over the threads.
    """

    work: LayerWork
    kernel: str
    intensity: float
    gflops: float
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``kilonet bench --json``."""
        return {
            "layer": self.work.layer,
            "text": self.work.text,
            "kernel": self.kernel,
            "flop_per_byte": self.intensity,
            "gflops": self.gflops,
            "thread_ms": 1e3 * self.seconds,
        }


KERNELS = {
    "forward": "forward",
    "backward": "input gradient",
    "weight_gradient": "weight gradient",
}
"""Phase in the profile → kernel."""


def kernel_rates(
    net: Net, rows: Sequence[ProfileRow], *, steps: int, batch_size: int, threads: int
) -> list[KernelRate]:
    """The speed of each layer's kernels: their multiply-adds over their time in the profile.

    The time includes operations that are fused into a kernel (activations, sums); the FLOP do not.
    """
    work = {layer.layer: layer for layer in layer_work(net)}
    rates = []
    for row in rows:
        layer = work.get(row.layer)
        if layer is None or row.phase not in KERNELS or row.seconds <= 0:
            continue
        if row.phase == "backward" and not layer.needs_input_gradient:
            continue
        flop = steps * batch_size * layer.flop_inside
        rates.append(
            KernelRate(
                work=layer,
                kernel=KERNELS[row.phase],
                intensity=layer.intensity(batch_size=batch_size),
                gflops=1e-9 * flop / (row.seconds / threads),
                seconds=row.seconds / steps,
            )
        )
    return rates
