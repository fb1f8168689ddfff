"""The images of one run: resized and split as its spec says, in batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kilonet.data.batch import Batch
from kilonet.data.dataset import Dataset, pixel_histogram
from kilonet.data.describe import pixel_statistics
from kilonet.data.normalization import normalization
from kilonet.data.resize import resize
from kilonet.data.rounding import rounded_std
from kilonet.data.split import training_subset, validation_split
from kilonet.errors import DataError
from kilonet.randomness import Purpose, permutation
from kilonet.spec import Run
from kilonet.spec.graph import single_value_norm
from kilonet.storage.provenance import Normalization
from kilonet.summary import check_data


@dataclass(frozen=True, kw_only=True)
class RunData:
    """A run's images, resized and split as its spec says, and their normalization.

    Attributes:
        train_images, train_labels: the whole training set, uint8 and int64.
        train_index: (n,) int64, the images to train on.
        validation_index: (m,) int64, the images that are held out.
        test_images, test_labels: the test set; of no images where the run does not use it.
        normalization: the stated one, or that of the images to train on.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    train_index: NDArray[np.int64]
    validation_index: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    normalization: Normalization

    @classmethod
    def of(cls, run: Run, dataset: Dataset) -> RunData:
        """The images of ``dataset`` for a run.

        Raises:
            DataError: if they do not fit the run.
            NetError: if the network has not one output per class.
        """
        data = run.data
        dataset = for_run(run, dataset)
        train_index, validation_index = cls.check(run, dataset)
        train_images, test_images = dataset.train_images, dataset.test_images
        if data.resize is not None:
            train_images = resize(train_images, size=data.resize)
            test_images = resize(test_images, size=data.resize)

        def histogram() -> NDArray[np.int64]:
            if len(train_index) < len(train_images) or data.resize is not None:
                return pixel_histogram(train_images, index=train_index)
            return dataset.train_histogram

        return cls(
            train_images=train_images,
            train_labels=dataset.train_labels,
            train_index=train_index,
            validation_index=validation_index,
            test_images=test_images,
            test_labels=dataset.test_labels,
            normalization=normalization(histogram, data=data, where=dataset.source or dataset.name),
        )

    @property
    def mean(self) -> tuple[float, ...]:
        """Of each channel or of all, of pixels scaled to [0, 1]."""
        return self.normalization.mean

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation, likewise."""
        return self.normalization.std

    @staticmethod
    def check(run: Run, dataset: Dataset) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The training and validation indices; raises as :meth:`of`, without resizing images."""
        data = run.data
        channels, *size = dataset.image_shape
        height, width = size if data.resize is None else data.resize
        shape = (channels, height, width)
        labels = dataset.train_labels
        if data.test and not dataset.has_test:
            raise DataError(
                f"{dataset.source or dataset.name}: has no test images; set data.test = false and "
                "data.validation, to evaluate on images that are held out"
            )
        firsts = [labels.min(), *([dataset.test_labels.min()] if data.test else [])]
        check_data(
            run.net,
            image_shape=shape,
            num_classes=dataset.num_classes,
            where=data.name,
            first_label=int(min(firsts)),
        )
        train_index, validation_index = np.arange(len(labels)), np.empty(0, np.int64)
        if data.validation:
            train_index, validation_index = validation_split(
                labels, amount=data.validation, seed=data.validation_seed
            )
        num_held_out = len(validation_index)
        if data.subset != 1.0:
            train_index = training_subset(
                labels, train_index, amount=data.subset, seed=data.subset_seed
            )
        if data.std is None:
            # Its error now: before a study's first run, not in each of them.
            rounded_std(pixel_statistics(dataset)[1], where=dataset.source or dataset.name)
        _check_last_batch(run, num_train=len(train_index), num_held_out=num_held_out)
        return train_index, validation_index

    def batches(self, run: Run, epoch: int) -> Iterator[Batch]:
        """The epoch's batches, shuffled by the run's seed."""
        size = run.train.batch_size_of(epoch)
        count = len(self.train_index)
        order = permutation(count, seed=run.train.seed, purpose=Purpose.SHUFFLE, epoch=epoch)
        first_step = self.first_step(run, epoch)
        end = count - count % size if run.train.drop_last else count
        for number, start in enumerate(range(0, end, size)):
            index = self.train_index[order[start : start + size]]
            # `take` with mode="clip" skips the check of bounds: half the time of indexing.
            yield Batch(
                images=self.train_images.take(index, axis=0, mode="clip"),
                labels=self.train_labels.take(index, mode="clip"),
                index=index,
                epoch=epoch,
                step=first_step + number,
            )

    def steps_per_epoch(self, run: Run, epoch: int = 0) -> int:
        """Number of batches in an epoch; without ``drop_last`` the last one may be smaller."""
        count, size = len(self.train_index), run.train.batch_size_of(epoch)
        return count // size if run.train.drop_last else -(-count // size)

    def first_step(self, run: Run, epoch: int) -> int:
        """The number of the first step of an epoch in the run, from 0."""
        if run.train.batch_schedule is None:
            return epoch * self.steps_per_epoch(run)
        return sum(self.steps_per_epoch(run, before) for before in range(epoch))


def for_run(run: Run, dataset: Dataset) -> Dataset:
    """The part of a data set that a run may see: without its test images if ``data.test = false``.

    It has the same fingerprint.
    """
    return dataset if run.data.test else dataset.without_test()


def unrecorded_normalization(run: Run, dataset: Dataset) -> Normalization:
    """The normalization of runs of version 0.1, whose folders do not state it.

    It was that of all training images, the held-out ones included, before resizing.
    """
    where = dataset.source or dataset.name
    return normalization(lambda: dataset.train_histogram, data=run.data, where=where)


def _check_last_batch(run: Run, *, num_train: int, num_held_out: int) -> None:
    """Refuse an epoch without a batch, and a batch of one that the network cannot train on."""
    images = f"{num_train:,} training {'image' if num_train == 1 else 'images'}"
    splits = []
    if num_held_out:
        images += f" ({num_held_out:,} are held out by data.validation)"
        splits.append("data.validation")
    if run.data.subset != 1.0:
        splits.append("data.subset")
    other_split = f" or change {' or '.join(splits)}" if splits else ""
    for size in run.train.batch_sizes:
        if run.train.drop_last and size > num_train:
            raise DataError(
                f"train.drop_last: {images} make no batch of {size:,}, so none would be left; "
                f"{_other_size(run, num_train)}, or set train.drop_last = false{other_split}"
            )
    node = None if run.module is not None else single_value_norm(run.net.nodes)
    for size in run.train.batch_sizes:
        rest = 0 if run.train.drop_last else num_train % size
        if node is None or (size > 1 and rest != 1):
            continue
        if num_train == 1:
            problem, remedy = f"there is only {images}", f"add images{other_split}"
        else:
            # The nearest size that leaves more than one image in every batch.
            fit = [s for s in range(2, num_train + 1) if run.train.drop_last or num_train % s != 1]
            nearest = min(fit, key=lambda s: (abs(s - size), s))
            problem = f"{images} in batches of {size:,} leave a batch of one"
            if size == 1:
                problem = "train.batch_size is 1"
            remedy = f"{_other_size(run, nearest)}{other_split}"
        raise DataError(
            f"{node.where}: batch norm sees one value per channel and image, and {problem}; "
            f"{remedy}"
        )


def _other_size(run: Run, size: int) -> str:
    """What to change for another batch size."""
    if run.train.batch_schedule is None:
        return f"set train.batch_size = {size}"
    return f"change train.batch_size or train.batch_schedule, for example to batches of {size}"
