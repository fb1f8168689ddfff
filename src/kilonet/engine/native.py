"""The native engine: kilonet's own kernels, on the CPU, without PyTorch."""

from __future__ import annotations

import importlib
import math
import os
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from kilonet.data.augment import augment, normalise
from kilonet.engine.arrays import checked_arrays
from kilonet.engine.base import Batch, EvalResult, StepResult
from kilonet.engine.init import initial_weights
from kilonet.environment import package_version
from kilonet.errors import DataError, EngineError, SpecError, UsageError, did_you_mean
from kilonet.spec import SGD, AdamW, graph

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from kilonet.engine.base import Arrays
    from kilonet.spec import Net, Run

    Floats = NDArray[np.float32]

_EVAL_IMAGES = 2048
"""Images between two looks at Ctrl-C: milliseconds for a small network."""


class NativeEngine:
    """Trains a network with kilonet's own kernels; see :class:`kilonet.engine.base.Engine`.

    The same run gives the same bits for any number of threads, on one instruction set.

    Args:
        run: what to train and how.
        mean: a channel, of pixels scaled to [0, 1].
        std: a channel, likewise.
        device: ``auto`` or ``cpu``.
        threads: None for as many as the process may use.

    Raises:
        EngineError: if the extension module was not built, or for a device that is not the CPU.
        UsageError: for an unknown device, or an unknown instruction set in ``KILONET_ISA``.
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
    ) -> None:
        _check_device(device)
        self.run = run
        self.isa = _instruction_set()
        self.threads = _thread_count() if threads is None else threads
        self._table = _pixel_table(run.net.input[0], mean=mean, std=std)
        weights = initial_weights(run.net, seed=run.train.seed)
        self._parameters = _Flat(weights, names=list(run.net.parameters))
        if not self._parameters.arrays:
            raise EngineError("the network has no parameter to train")
        self._buffers = _Flat(
            weights, names=[n for n in run.net.buffers if not n.endswith("num_batches_tracked")]
        )
        # In the order of PyTorch's state_dict.
        self._names = list(weights)
        self._batches_tracked: dict[str, NDArray[np.int64]] = {
            n: a.astype(np.int64) for n, a in weights.items() if a.dtype == np.int64
        }
        self._gradients = _Flat(self._parameters.arrays)
        self._network = _compile(
            run.net,
            _native().Network(self.isa, self.threads, *run.net.input),
            parameters=self._parameters,
            buffers=self._buffers,
        )
        self._reset()

    @property
    def description(self) -> str:
        """Version, instruction set and threads: ``native 0.1.0 on cpu (avx512), 2 threads``."""
        return _describe(self.isa, self.threads)

    @property
    def settings(self) -> dict[str, str | int]:
        """Version and instruction set; the bits do not depend on the threads."""
        version = package_version("kilonet") or "unknown"
        return {"version": version, "device": "cpu", "instruction_set": self.isa}

    @staticmethod
    def describe(*, device: str = "auto", threads: int | None = None) -> str:
        """The description of an engine that these arguments would make; raises as making it."""
        _check_device(device)
        return _describe(_instruction_set(), _thread_count() if threads is None else threads)

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
        self._update(lr, momentum)
        if self._average is not None:
            self._average_weights(self._average)
        if not math.isfinite(loss):
            raise EngineError(
                f"epoch {batch.epoch}, step {batch.step}: the training diverged, its loss is "
                f"{loss}; lower train.optimizer.lr (this step's was {lr:g})"
            )
        return StepResult(loss=loss, correct=correct)

    def gradients(self, batch: Batch) -> dict[str, NDArray[np.generic]]:
        """The gradients that :meth:`step` would follow, weight decay left out; changes nothing.

        Args:
            batch: images and labels.

        Returns:
            Parameter name → gradient of the mean loss, float32, of the parameter's shape.
        """
        self._pass(batch, update_buffers=False)
        return {name: array.copy() for name, array in self._gradients.arrays.items()}

    def evaluate(
        self, images: NDArray[np.uint8], labels: NDArray[np.int64], *, logits: bool = False
    ) -> EvalResult:
        """Loss and correct count; see :meth:`kilonet.engine.base.Engine.evaluate`."""
        if not len(images):
            raise DataError("no images to evaluate")
        images = self._checked_images(images)
        self._check_labels(labels)
        parameters, buffers = self._parameters, self._buffers
        if self._average is not None:
            parameters, buffers = self._average.parameters, self._average.buffers
        out = np.empty((len(images), self.run.net.classes), dtype=np.float32)
        for start in range(0, len(images), _EVAL_IMAGES):
            part = slice(start, start + _EVAL_IMAGES)
            self._network.logits(
                images[part], self._table, parameters.flat, buffers.flat, out[part]
            )
        # In float64, so that the order of the sum does not show.
        shifted = out.astype(np.float64)
        shifted -= shifted.max(axis=1, keepdims=True)
        own = shifted[np.arange(len(labels)), labels]
        loss = float((np.log(np.exp(shifted).sum(axis=1)) - own).mean())
        correct = int((out.argmax(axis=1) == labels).sum())
        return EvalResult(
            loss=loss, correct=correct, count=len(images), logits=out if logits else None
        )

    def weights(self) -> dict[str, NDArray[np.generic]]:
        """What :meth:`evaluate` uses; see :meth:`kilonet.engine.base.Engine.weights`."""
        return {name: array.copy() for name, array in self._evaluated().items()}

    def load_weights(self, weights: Arrays) -> None:
        """Set parameters and buffers, forget the optimiser's state and the average.

        Raises:
            StoreError: naming the array that is missing, foreign or of another shape.
        """
        live = self._live_weights()
        _write(checked_arrays(weights, like=live, where="weights", exact=False), live)
        self._reset()

    def state(self) -> dict[str, NDArray[np.generic]]:
        """All that a resume needs: ``weights/…``, ``optimizer/PARAMETER/…`` and ``average/…``."""
        return {name: array.copy() for name, array in self._live_state().items()}

    def load_state(self, state: Arrays) -> None:
        """Go on from :meth:`state`; see :meth:`kilonet.engine.base.Engine.load_state`."""
        live = self._live_state()
        _write(checked_arrays(state, like=live, where="state", exact=True), live)

    def _pass(self, batch: Batch, *, update_buffers: bool) -> tuple[float, int]:
        """Forward and backward: the gradients, the mean loss and the correct count."""
        train = self.run.train
        where = f"epoch {batch.epoch}, step {batch.step}: "
        images = batch.images
        if self.run.data.augment:
            images = augment(
                images,
                batch.index,
                augmentations=self.run.data.augment,
                seed=train.seed,
                epoch=batch.epoch,
            )
        images = self._checked_images(images)
        self._check_labels(batch.labels)
        self._check_batch_size(len(images), where)
        try:
            loss, correct = self._network.gradients(
                images,
                np.ascontiguousarray(batch.labels, dtype=np.int64),
                self._table,
                self._parameters.flat,
                self._buffers.flat,
                self._gradients.flat,
                train.seed,
                batch.step,
                train.label_smoothing,
                update_buffers,
            )
        except MemoryError:
            raise EngineError(
                f"{where}out of memory; a smaller network or train.batch_size needs less"
            ) from None
        return loss, correct

    def _update(self, lr: float, momentum: float | None) -> None:
        spec = self.run.train.optimizer
        parameters, gradients = self._parameters.flat, self._gradients.flat
        if isinstance(spec, SGD):
            momentum = spec.momentum if momentum is None else momentum
            [buffer] = self._moments.values()
            self._network.sgd(
                parameters,
                gradients,
                buffer.flat,
                lr,
                momentum,
                spec.weight_decay,
                spec.nesterov,
            )
            return
        for count in self._steps.values():
            count += 1
        steps = int(next(iter(self._steps.values())))
        beta1 = spec.betas[0] if momentum is None else momentum
        beta2 = spec.betas[1]
        decoupled = isinstance(spec, AdamW)
        first, second = self._moments.values()
        self._network.adam(
            parameters,
            gradients,
            first.flat,
            second.flat,
            lr / (1 - beta1**steps),
            1 - beta1,
            beta2,
            1 - beta2,
            math.sqrt(1 - beta2**steps),
            spec.eps,
            0.0 if decoupled else spec.weight_decay,
            1 - lr * spec.weight_decay if decoupled else 1.0,
        )

    def _average_weights(self, average: _Average) -> None:
        """As ``torch.optim.swa_utils.AveragedModel.update_parameters`` with buffers."""
        spec = self.run.train.average
        assert spec is not None
        keep = 0.0 if not average.count else spec.decay
        self._network.lerp(average.parameters.flat, self._parameters.flat, 1 - keep)
        self._network.lerp(average.buffers.flat, self._buffers.flat, 1 - keep)
        for name, count in self._batches_tracked.items():
            # PyTorch averages counts in float32 and drops the fraction.
            kept = np.float32(average.batches_tracked[name]) * np.float32(keep)
            average.batches_tracked[name][...] = np.int64(
                kept + np.float32(count) * np.float32(1 - keep)
            )
        average.count += 1

    def _reset(self) -> None:
        """A new optimiser, and a new average that starts from the weights as they are."""
        sgd = isinstance(self.run.train.optimizer, SGD)
        parts = ("momentum_buffer",) if sgd else ("exp_avg", "exp_avg_sq")
        self._moments = {part: _zeros(self._parameters) for part in parts}
        self._steps = (
            {} if sgd else {name: np.zeros((), np.float32) for name in self._parameters.arrays}
        )
        self._average: _Average | None = None
        if self.run.train.average is not None:
            self._average = _Average(self._parameters, self._buffers, self._batches_tracked)

    def _live_weights(self) -> dict[str, NDArray[np.generic]]:
        every: dict[str, NDArray[np.generic]] = {
            **self._parameters.arrays,
            **self._buffers.arrays,
            **self._batches_tracked,
        }
        return {name: every[name] for name in self._names}

    def _evaluated(self) -> dict[str, NDArray[np.generic]]:
        if self._average is None:
            return self._live_weights()
        every = self._average.arrays()
        return {name: every[name] for name in self._names}

    def _live_state(self) -> dict[str, NDArray[np.generic]]:
        """Every array that training changes, not copied: what is written to it is in force."""
        live = {f"weights/{name}": array for name, array in self._live_weights().items()}
        for name in self._parameters.arrays:
            if name in self._steps:
                live[f"optimizer/{name}/step"] = self._steps[name]
            for part, moment in self._moments.items():
                live[f"optimizer/{name}/{part}"] = moment.arrays[name]
        if self._average is not None:
            live["average/n_averaged"] = self._average.count
            live |= {f"average/module.{n}": array for n, array in self._evaluated().items()}
        return live

    def _checked_images(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(n, h, w[, c]) uint8 in C order, or an error if they are not the network's input."""
        channels = images.shape[3] if images.ndim == 4 else 1
        shape = (channels, *images.shape[1:3])
        if shape != self.run.net.input:
            raise DataError(
                f"images are {graph.show(shape)}, but the network's input is "
                f"{graph.show(self.run.net.input)}; set data.resize or net.input"
            )
        return np.ascontiguousarray(images, dtype=np.uint8)

    def _check_labels(self, labels: NDArray[np.int64]) -> None:
        outside = labels[(labels < 0) | (labels >= self.run.net.classes)]
        if len(outside):
            raise DataError(
                f"label {outside[0]} does not fit the network's {self.run.net.classes} outputs; "
                "change its last layer"
            )

    def _check_batch_size(self, count: int, where: str) -> None:
        if count > 1:
            return
        for node in graph.walk(self.run.net.nodes):
            if isinstance(node.op, graph.BatchNorm) and math.prod(node.input_shape[1:]) == 1:
                raise EngineError(
                    f"{where}batch norm of layer {node.line} '{node.text}' has one value a "
                    "channel, from a batch of one image; change train.batch_size so that more "
                    "than one image is left for the last batch"
                )


class _Flat:
    """Named float32 arrays that lie one after the other in a single one.

    Attributes:
        flat: all values.
        arrays: name → view of ``flat``, in order.
        offsets: name → where it begins.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], names: list[str] | None = None) -> None:
        names = list(arrays) if names is None else names
        self.flat: Floats = np.zeros(sum(arrays[name].size for name in names), dtype=np.float32)
        self.arrays: dict[str, Floats] = {}
        self.offsets: dict[str, int] = {}
        end = 0
        for name in names:
            begin, end = end, end + arrays[name].size
            self.offsets[name] = begin
            self.arrays[name] = self.flat[begin:end].reshape(arrays[name].shape)
            self.arrays[name][...] = arrays[name]


class _Average:
    """Averaged weights, and how often they have been."""

    def __init__(
        self, parameters: _Flat, buffers: _Flat, batches_tracked: dict[str, NDArray[Any]]
    ) -> None:
        self.parameters, self.buffers = _Flat(parameters.arrays), _Flat(buffers.arrays)
        self.batches_tracked = {name: count.copy() for name, count in batches_tracked.items()}
        self.count = np.zeros((), dtype=np.int64)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        return {**self.parameters.arrays, **self.buffers.arrays, **self.batches_tracked}


def _zeros(like: _Flat) -> _Flat:
    zeros = _Flat(like.arrays)
    zeros.flat[:] = 0
    return zeros


def _write(arrays: Arrays, live: Mapping[str, NDArray[Any]]) -> None:
    for name, array in arrays.items():
        live[name][...] = array


def _native() -> Any:
    """The extension module."""
    try:
        module = importlib.import_module("kilonet.engine._native")
    except ImportError:
        raise EngineError(
            "the native engine was not built; install a C++ compiler (GCC or Clang) and "
            "reinstall kilonet, or use --engine torch"
        ) from None
    return module


def _instruction_set() -> str:
    """The best that the machine has, or the one that ``KILONET_ISA`` asks for."""
    here: list[str] = _native().instruction_sets()
    asked = os.environ.get("KILONET_ISA", "")
    if asked and asked not in here:
        raise UsageError(
            f"KILONET_ISA={asked}: not an instruction set of this machine; "
            f"{did_you_mean(asked, here)}"
        )
    return asked or here[0]


def _thread_count() -> int:
    """Processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def _check_device(device: str) -> None:
    if device in ("auto", "cpu"):
        return
    if device.partition(":")[0] in ("cuda", "mps"):
        raise EngineError(f"device {device!r}: the native engine runs on the CPU; use engine torch")
    raise UsageError(
        f"device {device!r}: unknown; {did_you_mean(device, ['auto', 'cpu', 'cuda', 'mps'])}"
    )


def _describe(isa: str, threads: int) -> str:
    version = package_version("kilonet") or "unknown"
    return f"native {version} on cpu ({isa}), {threads} thread{'' if threads == 1 else 's'}"


def _pixel_table(channels: int, *, mean: Sequence[float], std: Sequence[float]) -> Floats:
    """What each of 256 pixel values becomes: (channels, 256) float32, the reference's own bits."""
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, channels):
            raise SpecError(f"data.{name}: has {len(values)} values; give 1 or {channels}")
    pixels = np.arange(256, dtype=np.uint8).reshape(256, 1, 1)
    rows = [
        normalise(pixels, mean=(mean[c % len(mean)],), std=(std[c % len(std)],)).ravel()
        for c in range(channels)
    ]
    return np.stack(rows)


def _compile(net: Net, network: Any, *, parameters: _Flat, buffers: _Flat) -> Any:
    """Append the network's operations to an empty plan and compile it."""

    def run(nodes: Sequence[graph.Node], tensor: int) -> int:
        for node in nodes:
            tensor = append(node, tensor)
        return tensor

    def append(node: graph.Node, tensor: int) -> int:
        weight = parameters.offsets.get(f"{node.name}.weight", -1)
        bias = parameters.offsets.get(f"{node.name}.bias", -1)
        result: int
        match node.op:
            case graph.Conv2d() as op:
                result = network.conv(
                    tensor,
                    op.out_channels,
                    op.kernel,
                    op.stride,
                    op.padding,
                    op.groups,
                    weight,
                    bias,
                )
            case graph.Linear() as op:
                one, none = (1, 1), (0, 0)
                result = network.conv(tensor, op.out_features, one, one, none, 1, weight, bias)
            case graph.BatchNorm() as op:
                mean = buffers.offsets[f"{node.name}.running_mean"]
                var = buffers.offsets[f"{node.name}.running_var"]
                result = network.norm(tensor, op.eps, op.momentum, weight, bias, mean, var)
            case graph.ReLU():
                result = network.activation(tensor, "relu", 0.0)
            case graph.LeakyReLU(slope=slope):
                result = network.activation(tensor, "leaky_relu", slope)
            case graph.SiLU():
                result = network.activation(tensor, "silu", 0.0)
            case graph.Hardswish():
                result = network.activation(tensor, "hardswish", 0.0)
            case graph.Dropout(p=p):
                code = zlib.crc32(node.name.encode())
                result = network.dropout(tensor, p, code) if p else tensor
            case graph.MaxPool2d() as op:
                result = network.pool(tensor, False, op.kernel, op.stride, op.padding)
            case graph.AvgPool2d() as op:
                result = network.pool(tensor, True, op.kernel, op.stride, op.padding)
            case graph.Flatten():
                result = network.flatten(tensor)
            case graph.Residual(body=body):
                result = network.add(run(body, tensor), tensor)
            case _:
                raise EngineError(
                    f"layer {node.line} '{node.text}': not in the native engine; use engine torch"
                )
        return result

    network.compile(run(net.nodes, 0), len(parameters.flat))
    return network
