"""A trained network in Python: predictions from images, with the bits of the training's own."""

from __future__ import annotations

import copy
import html
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kilonet.data import load_dataset
from kilonet.data.preprocess import Preprocess
from kilonet.data.run_data import unrecorded_normalization
from kilonet.engine import ENGINES, create_engine, torch_engine, with_module
from kilonet.errors import DataError, EngineError, UsageError
from kilonet.spec import Net, Run
from kilonet.storage.provenance import EngineInfo, Normalization
from kilonet.storage.record import RunRecord
from kilonet.storage.trained import read_finished
from kilonet.table import Table

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from kilonet.engine import Engine
    from kilonet.engine.torch.own_module import TorchModule


def load(folder: Path | str, *, module: Any = None) -> Model:
    """The trained network in a run's folder.

    Args:
        folder: of a finished run.
        module: for a run of your own module: the module, or a class or function without arguments
            that builds one; its weights do not matter.

    Raises:
        StorageError: the folder holds no run or an unfinished one, is damaged, or its run is of
            another module.
        UsageError: the run is of a module of your own, which is not given.
        EngineError: no engine can run the network here.
        DataError: the run is of version 0.1, which did not record the normalization that it
            computed, and the images to compute it from are gone.
    """
    store, state = read_finished(folder)
    record = state.record
    run = record.run
    if run.module is not None:
        if module is None:
            raise UsageError(
                f"{store.path}: trained your own module {run.module.name!r}, which is not in the "
                "folder; give it: kilonet.load(folder, module=…)"
            )
        run, module = with_module(run, module)
    elif module is not None:
        raise UsageError(f"{store.path}: trained the network of its spec; leave out the module")
    return Model(
        run,
        weights=store.weights(),
        classes=record.provenance.data.classes or tuple(map(str, range(run.net.num_classes))),
        normalization=_normalization(record),
        engine=record.provenance.last_engine,
        module=module,
    )


def _normalization(record: RunRecord) -> Normalization:
    recorded, data = record.provenance.normalization, record.run.data
    if recorded.mean:
        return recorded
    if data.mean is not None and data.std is not None:
        return Normalization(mean=data.mean, std=data.std)
    dataset = load_dataset(data.name)
    if dataset.fingerprint != record.provenance.data.sha256:
        raise DataError(
            f"{record.path}: does not state its normalization, and the images of {data.name!r} "
            "have changed since; bring them back, or train it again"
        )
    return unrecorded_normalization(record.run, dataset)


class Model:
    """A trained network; :func:`load` reads it from a run's folder.

    Images are (n, h, w) or (n, h, w, c) uint8, 0 to 255, or one image without n, which counts as a
    batch of one: results have n entries, also for one image. ``n`` may be 0. See
    :meth:`kilonet.data.preprocess.Preprocess.pixels`.

    The logits are those in the run's ``predictions.npz``, bit for bit, where the engine, the kind
    of machine and its instruction set are those of the training. An image's logits do not depend
    on the other images. Where the engine of the training is missing, another one computes them,
    equal to float32's rounding.

    Methods may be called in several threads at once. A model writes no files and can be pickled; a
    module of your own must be picklable then.

    Attributes:
        run: what was trained.
        classes: the names of the classes, in the order of the logits.
        preprocess: turns images into the network's input.
    """

    def __init__(
        self,
        run: Run,
        *,
        weights: dict[str, NDArray[np.generic]],
        classes: tuple[str, ...],
        normalization: Normalization,
        engine: EngineInfo,
        module: TorchModule | None = None,
    ) -> None:
        self.run = run
        self.classes = classes
        self.preprocess = Preprocess(
            input_shape=run.net.input,
            mean=normalization.mean,
            std=normalization.std,
            resize=run.data.resize,
        )
        self._weights = weights
        self._trained_by = engine
        self._module = module
        self._start()

    @property
    def net(self) -> Net:
        """The network; of a module of your own its input and number of classes alone are true."""
        return self.run.net

    @property
    def num_parameters(self) -> int:
        """Trained parameters."""
        return self.run.num_parameters

    def logits(self, images: ArrayLike) -> NDArray[np.float32]:
        """(n, classes) float32.

        Raises:
            DataError: the images do not fit the network.
        """
        pixels = self.preprocess.pixels(images)
        with self._lock:  # an engine computes one thing at a time
            return self._engine.logits(pixels)

    def predict(self, images: ArrayLike) -> NDArray[np.int64]:
        """The index of the most probable class of each image: (n,) int64; raises as `logits`."""
        predicted: NDArray[np.int64] = self.logits(images).argmax(axis=1)
        return predicted

    def predict_proba(self, images: ArrayLike) -> NDArray[np.float64]:
        """The softmax of the logits: (n, classes) float64, rows add up to 1; raises as `logits`."""
        shifted = _shifted(self.logits(images))
        exponentials = np.exp(shifted)
        probabilities: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
        return probabilities

    def evaluate(self, images: ArrayLike, labels: ArrayLike) -> Evaluation:
        """Accuracy, loss and confusion on labeled images.

        Args:
            images: at least one.
            labels: (n,) or (n, 1) integers of any type, 0 to the number of classes − 1; of one
                image also a number.

        Raises:
            DataError: images or labels do not fit the network or one another.
        """
        logits = self.logits(images)
        checked = self._checked_labels(labels, count=len(logits))
        shifted = _shifted(logits)
        own = shifted[np.arange(len(checked)), checked]
        # As the engines compute it: in float64, so that the order of the sum does not matter.
        loss = float((np.log(np.exp(shifted).sum(axis=1)) - own).mean())
        confusion = np.zeros((len(self.classes), len(self.classes)), np.int64)
        np.add.at(confusion, (checked, logits.argmax(axis=1)), 1)
        return Evaluation(loss=loss, confusion=confusion, classes=self.classes)

    def to_torch(self) -> TorchModule:
        """A new ``torch.nn.Module`` with the trained weights, in evaluation mode, on the CPU.

        Its input is (n, channels, height, width) float32, normalized: ``model.preprocess(images)``
        as a tensor. Its output are the logits, to float32's rounding: PyTorch's sums depend on the
        size of the batch.

        Raises:
            EngineError: PyTorch is not installed.
        """
        torch_engine()  # says what to install
        from kilonet.engine.torch import trained_module

        module = None if self._module is None else copy.deepcopy(self._module).cpu()
        return trained_module(self.net, self._weights, module=module)

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._engine = self._new_engine()
        self._engine.load_weights(self._weights)

    def _new_engine(self) -> Engine:
        """The engine of the training; where it is not available, any other on the CPU."""
        trained = self._trained_by
        name = trained.name if trained.name in ENGINES else "auto"
        try:
            return self._create_engine(name, device=trained.device or "auto")
        except (EngineError, UsageError):  # UsageError: a device of another version
            return self._create_engine("auto", device="cpu")

    def _create_engine(self, name: str, *, device: str) -> Engine:
        # In evaluation the average of the weights is the weights; and nothing is to learn.
        run = self.run.replace(
            {"train.average": "none", "train.teacher": "none", "train.init": "none"}
        )
        mean, std = self.preprocess.mean, self.preprocess.std
        if name == "native" and self._module is None:
            from kilonet.engine.native import NativeEngine
            from kilonet.engine.native.machine import extension

            here = extension().instruction_sets()
            isa = self._trained_by.instruction_set
            return NativeEngine(run, mean=mean, std=std, isa=isa if isa in here else None)
        return create_engine(
            run,
            mean=mean,
            std=std,
            engine=name,
            device=device,
            module=copy.deepcopy(self._module),
        )

    def _checked_labels(self, labels: ArrayLike, *, count: int) -> NDArray[np.int64]:
        array = np.asarray(labels)
        if array.shape in ((count, 1), ()) and (array.ndim or count == 1):
            array = array.reshape(count)
        if array.shape != (count,):
            raise DataError(
                f"labels have the shape {array.shape}; expected ({count},), one class number per "
                "image (not one-hot)"
            )
        if not count:
            raise DataError("no images to evaluate")
        if not np.issubdtype(array.dtype, np.integer):
            raise DataError(
                f"labels are {array.dtype}; expected integers from 0, indices of model.classes"
            )
        outside = np.flatnonzero((array < 0) | (array >= len(self.classes)))
        if len(outside):
            raise DataError(
                f"label {array[outside[0]]} at index {outside[0]:,} is out of range: there are "
                f"{len(self.classes)} classes, 0 to {len(self.classes) - 1}"
            )
        return array.astype(np.int64)

    def __repr__(self) -> str:
        channels, height, width = self.net.input
        return (
            f"Model({self.num_parameters:,} parameters, {channels} × {height} × {width} → "
            f"{len(self.classes)} classes, {self._engine.description})"
        )

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k not in ("_lock", "_engine")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._start()


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """How well a network classifies labeled images; in a notebook, tables.

    Attributes:
        loss: mean cross-entropy, nats.
        confusion: (classes, classes) int64, rows the true class, columns the predicted one.
        classes: their names.
    """

    loss: float
    confusion: NDArray[np.int64]
    classes: tuple[str, ...]

    @property
    def count(self) -> int:
        """Number of images."""
        return int(self.confusion.sum())

    @property
    def correct(self) -> int:
        """Number of images classified right."""
        return int(self.confusion.trace())

    @property
    def accuracy(self) -> float:
        """Percent."""
        return 100.0 * self.correct / self.count

    @property
    def table(self) -> Table:
        """The confusion, with the accuracy within each class."""
        rows = []
        for name, row, own in zip(
            self.classes, self.confusion, self.confusion.diagonal(), strict=True
        ):
            share = f"{100 * own / row.sum():.2f}%" if row.any() else "–"
            rows.append((name, *map(str, row), share))
        columns = ("True \\ predicted", *self.classes, "Accuracy")
        return Table(columns=columns, rows=tuple(rows), left=frozenset({0}))

    def __str__(self) -> str:
        return f"{self._headline}\n\n{self.table}"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self._headline)}</p>{self.table.to_html()}"

    @property
    def _headline(self) -> str:
        return (
            f"{self.accuracy:.2f}% of {self.count:,} images ({self.correct:,}), "
            f"loss {self.loss:.4f}"
        )


def _shifted(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """In float64, with 0 as the largest of each row, so that no exponential overflows."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    return shifted
