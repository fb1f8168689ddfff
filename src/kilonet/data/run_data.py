"""The images of one run: resized and split as its spec says, in batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kilonet.data.batch import Batch
from kilonet.data.dataset import Dataset
from kilonet.data.describe import normalization
from kilonet.data.resize import resize
from kilonet.data.split import validation_split
from kilonet.errors import DataError
from kilonet.randomness import Purpose, permutation
from kilonet.spec import Run
from kilonet.spec.graph import single_value_norm
from kilonet.summary import check_data


@dataclass(frozen=True, kw_only=True)
class RunData:
    """A run's images, resized and split as its spec says, and their normalization.

    Attributes:
        train_images, train_labels: the whole training set, uint8 and int64.
        train_index: (n,) int64, the images to train on.
        validation_index: (m,) int64, the others.
        test_images, test_labels: the test set.
        mean, std: of each channel, of pixels scaled to [0, 1].
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    train_index: NDArray[np.int64]
    validation_index: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, run: Run, dataset: Dataset) -> RunData:
        """The images of ``dataset`` for a run.

        Raises:
            DataError: if they do not fit the run.
            NetError: if the network has not one output per class.
        """
        data = run.data
        train_index, validation_index = cls.check(run, dataset)
        train_images, test_images = dataset.train_images, dataset.test_images
        if data.resize is not None:
            train_images = resize(train_images, size=data.resize)
            test_images = resize(test_images, size=data.resize)
        mean, std = data.mean, data.std
        if mean is None or std is None:
            own_mean, own_std = normalization(dataset)
            mean, std = mean or own_mean, std or own_std
        return cls(
            train_images=train_images,
            train_labels=dataset.train_labels,
            train_index=train_index,
            validation_index=validation_index,
            test_images=test_images,
            test_labels=dataset.test_labels,
            mean=mean,
            std=std,
        )

    @staticmethod
    def check(run: Run, dataset: Dataset) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The training and validation indices; raises as :meth:`of`, without resizing images."""
        data = run.data
        channels, *size = dataset.image_shape
        height, width = size if data.resize is None else data.resize
        shape = (channels, height, width)
        check_data(run.net, image_shape=shape, num_classes=dataset.num_classes, where=data.name)
        labels = dataset.train_labels
        train_index, validation_index = np.arange(len(labels)), np.empty(0, np.int64)
        if data.validation:
            train_index, validation_index = validation_split(
                labels, amount=data.validation, seed=data.validation_seed
            )
        _check_last_batch(run, num_images=len(train_index))
        return train_index, validation_index

    def batches(self, run: Run, epoch: int) -> Iterator[Batch]:
        """The epoch's batches, shuffled by the run's seed."""
        size = run.train.batch_size
        count = len(self.train_index)
        order = permutation(count, seed=run.train.seed, purpose=Purpose.SHUFFLE, epoch=epoch)
        first_step = epoch * self.steps_per_epoch(run)
        for number, start in enumerate(range(0, count, size)):
            index = self.train_index[order[start : start + size]]
            # `take` with mode="clip" skips the check of bounds: half the time of indexing.
            yield Batch(
                images=self.train_images.take(index, axis=0, mode="clip"),
                labels=self.train_labels.take(index, mode="clip"),
                index=index,
                epoch=epoch,
                step=first_step + number,
            )

    def steps_per_epoch(self, run: Run) -> int:
        """Number of batches in an epoch; the last one may be smaller."""
        return -(-len(self.train_index) // run.train.batch_size)


def _check_last_batch(run: Run, *, num_images: int) -> None:
    """Refuse a last batch of one image if the network cannot train on one."""
    size = run.train.batch_size
    node = single_value_norm(run.net.nodes)
    if node is not None and (size == 1 or num_images % size == 1):
        raise DataError(
            f"layer {node.line} '{node.text}': batch norm sees one value per channel, and "
            f"{num_images} images in batches of {size} leave a batch of one; change "
            "train.batch_size"
        )
