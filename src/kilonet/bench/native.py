"""kilonet's engines as contenders, and the native one's kernels one by one."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kilonet.bench.work import LayerWork, layer_work
from kilonet.engine import Batch, create_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from kilonet.engine.native.profile import ProfileRow
    from kilonet.run import Images
    from kilonet.spec import Net, Run

LR, MOMENTUM = 0.01, 0.9
"""The notebook's, of every contender."""

NUM_BATCHES = 16
"""Different batches that steps go through in turn."""


class EngineSteps:
    """Training steps of a kilonet engine on batches in memory, without augmentation.

    Args:
        run: the network, and how it is trained.
        images: MNIST.
        engine: ``native`` or ``torch``.
        threads: of the engine.
    """

    def __init__(self, run: Run, images: Images, *, engine: str, threads: int) -> None:
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
        """One step; the loss before it, nats."""
        number = next(self._steps)
        images, labels, index = self._batches[number % NUM_BATCHES]
        batch = Batch(images=images, labels=labels, index=index, epoch=0, step=number)
        loss: float = self.engine.step(batch, LR).loss
        return loss

    def load_weights(self, weights: dict[str, NDArray[np.generic]]) -> None:
        """Set weights by PyTorch's names."""
        self.engine.load_weights(weights)

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, classes) in evaluation mode, from (n, 28, 28) uint8."""
        found = self.engine.evaluate(images, np.zeros(len(images), np.int64), logits=True)
        logits: NDArray[np.float32] = found.logits
        return logits


def engine_epoch(run: Run, images: Images, *, threads: int) -> Callable[[], float]:
    """An epoch of the native engine as ``kilonet train`` runs it: train all, then test.

    Returns:
        A function that runs the next epoch and gives the test accuracy, percent.
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
    """What one kernel of one layer came to.

    Attributes:
        work: the layer.
        kernel: ``forward``, ``input gradient`` or ``weight gradient``.
        intensity: FLOP a byte.
        gflops: 10⁹ FLOP a second, all threads together.
        seconds: a step, summed over the threads.
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
"""Stages of a convolution's profile, and what they are called here."""


def kernel_rates(
    net: Net, rows: Sequence[ProfileRow], *, steps: int, batch_size: int, threads: int
) -> list[KernelRate]:
    """The multiply-adds of each layer's kernels against the time that the profile has for them.

    Whatever the plan fused into a kernel (activations, sums) is in its time, not in its FLOP.
    """
    work = {layer.layer: layer for layer in layer_work(net)}
    rates = []
    for row in rows:
        layer = work.get(row.layer)
        if layer is None or row.stage not in KERNELS or row.seconds <= 0:
            continue
        if row.stage == "backward" and not layer.needs_input_gradient:
            continue
        flop = steps * batch_size * layer.flop_inside
        rates.append(
            KernelRate(
                work=layer,
                kernel=KERNELS[row.stage],
                intensity=layer.intensity(batch_size=batch_size),
                gflops=1e-9 * flop / (row.seconds / threads),
                seconds=row.seconds / steps,
            )
        )
    return rates
