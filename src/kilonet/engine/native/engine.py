"""The native engine: kilonet's own kernels on the CPU, without PyTorch."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from kilonet.data.batch import Batch
from kilonet.engine.arrays import checked_arrays
from kilonet.engine.base import EvalResult, StepResult
from kilonet.engine.checks import (
    batch_of_one,
    check_image_shape,
    check_label_range,
    check_loss,
    out_of_memory,
)
from kilonet.engine.init import starting_weights
from kilonet.engine.native.augmentation import append_augmentations
from kilonet.engine.native.averaging import Average
from kilonet.engine.native.flat import Flat
from kilonet.engine.native.layer_times import ProfileRow, profile_network
from kilonet.engine.native.machine import (
    check_device,
    describe,
    extension,
    instruction_set,
)
from kilonet.engine.native.network import compile_network, pixel_table
from kilonet.engine.native.optimizer import Optimizer
from kilonet.engine.teachers import TeacherNetwork, read_teachers, soft_targets
from kilonet.errors import DataError, EngineError
from kilonet.spec.graph import single_value_norm
from kilonet.storage.environment import package_version, usable_processors
from kilonet.storage.provenance import EngineInfo, Normalization

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from kilonet.engine.base import Arrays
    from kilonet.spec import Run

_NO_TARGETS = np.empty(0, np.float32)
_AUGMENTED = np.empty(0, np.int64)
"""In place of the images' index: they are augmented already."""


class NativeEngine:
    """Trains a network with kilonet's own kernels; see :class:`kilonet.engine.base.Engine`.

    A run's bits depend on the instruction set, not on the number of threads.

    Args:
        run: what to train and how.
        mean: of each channel, of pixels scaled to [0, 1].
        std: of each channel, likewise.
        device: ``auto`` or ``cpu``.
        threads: None for as many as the process may use.
        isa: the instruction set; None for the best one, or the one in ``KILONET_ISA``.

    Raises:
        EngineError: if the extension module was not built, or if the device is not the CPU.
        UsageError: for an unknown device, or an unknown instruction set in ``KILONET_ISA``.
        StorageError: if a run that this run builds on cannot be read, or its weights do not fit.
        DataError: if a teacher does not fit the network.
    """

    name = "native"

    def __init__(
        self,
        run: Run,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        device: str = "auto",
        threads: int | None = None,
        isa: str | None = None,
    ) -> None:
        check_device(device)
        self.run = run
        self.isa = instruction_set() if isa is None else isa
        self.threads = usable_processors() if threads is None else threads
        self.normalization = Normalization(mean=tuple(map(float, mean)), std=tuple(map(float, std)))
        self._table = pixel_table(run.net.input[0], mean=mean, std=std)
        weights = starting_weights(run)
        self._parameters = Flat(weights, names=list(run.net.parameters))
        if not self._parameters.arrays:
            raise EngineError("the network has no parameter to train")
        self._buffers = Flat(
            weights, names=[n for n in run.net.buffers if not n.endswith("num_batches_tracked")]
        )
        # In the order of PyTorch's state_dict.
        self._names = list(weights)
        self._batches_tracked: dict[str, NDArray[Any]] = {
            n: a for n, a in weights.items() if a.dtype == np.int64
        }
        self._gradients = Flat(self._parameters.arrays)
        self._network = extension().Network(self.isa, self.threads, *run.net.input)
        append_augmentations(run.data.augment, self._network, shape=run.net.input)
        compile_network(run.net, self._network, parameters=self._parameters, buffers=self._buffers)
        self._teachers = [self._teacher(teacher) for teacher in read_teachers(run)]
        self._reset()

    @property
    def description(self) -> str:
        """Version, instruction set and threads: ``native 0.1.0 on cpu (avx512), 2 threads``."""
        return describe(self.isa, self.threads)

    @property
    def info(self) -> EngineInfo:
        """Version and instruction set, without threads, on which the bits do not depend."""
        return EngineInfo(
            name=self.name,
            description=self.description,
            version=package_version("kilonet") or "unknown",
            device="cpu",
            instruction_set=self.isa,
        )

    @staticmethod
    def device_type(device: str) -> str:
        """``cpu``; raises as the constructor does for another device."""
        check_device(device)
        return "cpu"

    @staticmethod
    def describe(*, device: str = "auto", threads: int | None = None) -> str:
        """The description of an engine with these arguments; raises as the constructor does."""
        check_device(device)
        return describe(instruction_set(), usable_processors() if threads is None else threads)

    def step(self, batch: Batch, lr: float, *, momentum: float | None = None) -> StepResult:
        """Forward, backward, update; see :meth:`kilonet.engine.base.Engine.step`.

        Raises:
            EngineError: if the loss is no longer finite, the batch is too small for batch norm, or
                memory does not suffice.
            DataError: if images or labels do not fit the network.
        """
        loss, correct = self._pass(batch, update_buffers=True)
        for count in self._batches_tracked.values():
            count += 1
        self._optimizer.step(self._gradients, lr=lr, momentum=momentum)
        if self._average is not None:
            self._average.end_step(batch.epoch)
        check_loss(loss, batch=batch, lr=lr)
        return StepResult(loss=loss, correct=correct)

    def end_epoch(self, epoch: int, batches: Iterable[Batch]) -> None:
        """Average the weights; see :meth:`kilonet.engine.base.Engine.end_epoch`."""
        if self._average is not None:
            self._average.end_epoch(epoch, batches, self._update_statistics)

    def gradients(self, batch: Batch) -> dict[str, NDArray[np.generic]]:
        """Gradients of a training step; see :meth:`kilonet.engine.base.Engine.gradients`."""
        self._pass(batch, update_buffers=False)
        return {name: array.copy() for name, array in self._gradients.arrays.items()}

    def evaluate(
        self, images: NDArray[np.uint8], labels: NDArray[np.int64], *, logits: bool = False
    ) -> EvalResult:
        """Loss and correct count; see :meth:`kilonet.engine.base.Engine.evaluate`."""
        if not len(images):
            raise DataError("no images to evaluate")
        images = self._checked_images(images)
        self._check_labels(labels, len(images))
        out = self.logits(images)
        # In float64, so that the order of the sum does not matter.
        shifted = out.astype(np.float64)
        shifted -= shifted.max(axis=1, keepdims=True)
        own = shifted[np.arange(len(labels)), labels]
        loss = float((np.log(np.exp(shifted).sum(axis=1)) - own).mean())
        correct = int((out.argmax(axis=1) == labels).sum())
        return EvalResult(
            loss=loss, correct=correct, count=len(images), logits=out if logits else None
        )

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See :meth:`kilonet.engine.base.Engine.logits`."""
        images = self._checked_images(images)
        parameters, buffers = self._parameters, self._buffers
        if self._average is not None and self._average.begun:
            parameters, buffers = self._average.parameters, self._average.buffers
        out = np.empty((len(images), self.run.net.num_classes), dtype=np.float32)
        if len(images):
            with self._explained("evaluation"):
                self._network.logits(images, self._table, parameters.flat, buffers.flat, out)
        return out

    def soft_targets(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See :meth:`kilonet.engine.base.Engine.soft_targets`.

        An image's bits depend on that image alone.
        """
        teacher = self.run.train.teacher
        assert teacher is not None
        logits = [each.logits(images) for each in self._teachers]
        return soft_targets(logits, temperature=teacher.temperature)

    def augmented(self, batch: Batch) -> NDArray[np.uint8]:
        """The augmented images of a training step, for inspection.

        Args:
            batch: images, index and epoch; the labels are ignored.

        Returns:
            uint8 of the images' shape, equal to :func:`kilonet.data.augment.augment`.
        """
        images, index = self._checked_images(batch.images), _checked_index(batch)
        out = np.empty_like(images)
        self._network.augmented(images, index, self.run.train.seed, batch.epoch, out)
        return out

    def normalized(self, batch: Batch) -> NDArray[np.float32]:
        """The input of the first layer in a training step, for inspection.

        Args:
            batch: as for :meth:`augmented`.

        Returns:
            (n, c, h, w) float32, equal to :func:`kilonet.data.augment.normalize` of
            :meth:`augmented`.
        """
        images, index = self._checked_images(batch.images), _checked_index(batch)
        out = np.empty((len(images), *self.run.net.input), dtype=np.float32)
        self._network.normalized(images, self._table, index, self.run.train.seed, batch.epoch, out)
        return out

    def weights(self) -> dict[str, NDArray[np.generic]]:
        """Weights and buffers; see :meth:`kilonet.engine.base.Engine.weights`."""
        return {name: array.copy() for name, array in self._evaluated().items()}

    def load_weights(self, weights: Arrays) -> None:
        """Set parameters and buffers; reset the optimizer and the average.

        Raises:
            StorageError: naming an array that is missing, unknown or of another shape.
        """
        live = self._live_weights()
        _write(checked_arrays(weights, like=live, where="weights", exact=False), live)
        self._reset()

    def state(self) -> dict[str, NDArray[np.generic]]:
        """What a resume needs: ``weights/…``, ``optimizer/PARAMETER/…`` and ``average/…``."""
        return {name: array.copy() for name, array in self._live_state().items()}

    def load_state(self, state: Arrays) -> None:
        """Resume from :meth:`state`; see :meth:`kilonet.engine.base.Engine.load_state`."""
        live = self._live_state()
        _write(checked_arrays(state, like=live, where="state", exact=True), live)

    def profile(self, work: Callable[[], object]) -> list[ProfileRow]:
        """The times of this engine's training steps in ``work``, layer by layer."""
        return profile_network(self._network, self.run.net, work)

    def _pass(self, batch: Batch, *, update_buffers: bool) -> tuple[float, int]:
        """Forward and backward pass: sets the gradients, returns mean loss and correct count."""
        train = self.run.train
        where = f"epoch {batch.epoch}, step {batch.step}"
        images, index = self._checked_images(batch.images), _checked_index(batch)
        self._check_labels(batch.labels, len(images))
        self._check_batch_size(len(images), where)
        teacher, targets = train.teacher, _NO_TARGETS
        if teacher is not None:
            if batch.targets is not None:
                targets = self._checked_targets(batch.targets, len(images))
            else:
                # The teachers see what the student sees, which is then augmented once.
                images, index = self.augmented(batch), _AUGMENTED
                targets = self.soft_targets(images)
        with self._explained(where):
            loss, correct = self._network.gradients(
                images,
                np.ascontiguousarray(batch.labels, dtype=np.int64),
                self._table,
                self._parameters.flat,
                self._buffers.flat,
                self._gradients.flat,
                index,
                train.seed,
                batch.epoch,
                batch.step,
                train.label_smoothing,
                update_buffers,
                targets,
                0.0 if teacher is None else teacher.weight,
                1.0 if teacher is None else teacher.temperature,
            )
        return loss, correct

    def _teacher(self, network: TeacherNetwork) -> NativeEngine:
        """An engine for a teacher's logits, on as many threads."""
        used = network.normalization
        engine = NativeEngine(
            network.run, mean=used.mean, std=used.std, threads=self.threads, isa=self.isa
        )
        engine.load_weights(network.weights)
        return engine

    def _checked_targets(self, targets: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        shape = (count, self.run.net.num_classes)
        if targets.shape != shape:
            raise DataError(f"targets are of shape {targets.shape}; expected {shape}")
        return np.ascontiguousarray(targets, dtype=np.float32)

    @contextmanager
    def _explained(self, where: str) -> Iterator[None]:
        """Turn the extension's errors into one line that says what to change."""
        try:
            yield
        except MemoryError:
            raise out_of_memory(where) from None
        except RuntimeError as error:
            # Another thread uses the engine, or the system cannot start threads.
            raise EngineError(f"{where}: {error}") from None

    def _update_statistics(
        self, batch: Batch, parameters: Flat, buffers: Flat, momentum: float
    ) -> None:
        """The running statistics of a training step with these parameters and this momentum."""
        where = f"epoch {batch.epoch}, step {batch.step}"
        images, index = self._checked_images(batch.images), _checked_index(batch)
        self._check_batch_size(len(images), where)
        with self._explained(where):
            self._network.statistics(
                images,
                self._table,
                parameters.flat,
                buffers.flat,
                index,
                self.run.train.seed,
                batch.epoch,
                batch.step,
                momentum,
            )

    def _reset(self) -> None:
        """A new optimizer, and a new average that starts from the weights as they are."""
        self._optimizer = Optimizer(
            self.run.train.optimizer, self._network, parameters=self._parameters
        )
        self._average: Average | None = None
        if self.run.train.average is not None:
            self._average = Average(
                self.run.train,
                self._network,
                parameters=self._parameters,
                buffers=self._buffers,
                batches_tracked=self._batches_tracked,
            )

    def _live_weights(self) -> dict[str, NDArray[np.generic]]:
        every = {**self._parameters.arrays, **self._buffers.arrays, **self._batches_tracked}
        return {name: every[name] for name in self._names}

    def _evaluated(self) -> dict[str, NDArray[np.generic]]:
        average = self._average
        return (
            self._live_weights() if average is None or not average.begun else self._named(average)
        )

    def _named(self, average: Average) -> dict[str, NDArray[np.generic]]:
        every = average.arrays()
        return {name: every[name] for name in self._names}

    def _live_state(self) -> dict[str, NDArray[np.generic]]:
        """Every array that training changes, not copied: writing to it changes the engine."""
        live = {f"weights/{name}": array for name, array in self._live_weights().items()}
        live |= {f"optimizer/{name}": array for name, array in self._optimizer.arrays().items()}
        if self._average is not None:
            live["average/n_averaged"] = self._average.count
            live |= {
                f"average/module.{n}": array for n, array in self._named(self._average).items()
            }
        return live

    def _checked_images(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(n, h, w[, c]) uint8 in C order; DataError if the shape is not the network's input."""
        channels = images.shape[3] if images.ndim == 4 else 1
        shape = (channels, *images.shape[1:3])
        check_image_shape(shape, needed=self.run.net.input)
        return np.ascontiguousarray(images, dtype=np.uint8)

    def _check_labels(self, labels: NDArray[np.int64], count: int) -> None:
        if labels.shape != (count,):
            raise DataError(
                f"labels are of shape {labels.shape}; give one for each of {count} images"
            )
        check_label_range(labels, num_classes=self.run.net.num_classes)

    def _check_batch_size(self, count: int, where: str) -> None:
        node = single_value_norm(self.run.net.nodes) if count == 1 else None
        if node is not None:
            raise batch_of_one(where, node=node)


def _checked_index(batch: Batch) -> NDArray[np.int64]:
    index = batch.index
    if index.shape != batch.images.shape[:1] or not np.issubdtype(index.dtype, np.integer):
        raise DataError(
            f"index is {index.dtype} of shape {index.shape}; "
            f"give one integer for each of the {len(batch.images)} images"
        )
    return np.ascontiguousarray(index, dtype=np.int64)


def _write(arrays: Arrays, live: Mapping[str, NDArray[Any]]) -> None:
    for name, array in arrays.items():
        live[name][...] = array
