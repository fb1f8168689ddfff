"""A data set in numbers: counts, shapes, class balance, pixel statistics, checksums."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from html import escape
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from kilonet.data.idx import idx_md5
from kilonet.data.oddities import oddities
from kilonet.data.rounding import decimals
from kilonet.table import Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kilonet.data.dataset import Dataset


class SplitJson(TypedDict):
    """One split of :class:`DatasetJson`."""

    images: int
    shape: list[int]
    class_counts: dict[str, int]
    images_md5: str
    labels_md5: str


class DatasetJson(TypedDict):
    """The output of ``kilonet data NAME --json``."""

    name: str
    source: str
    license: str
    image_shape: list[int]
    dtype: str
    classes: list[str]
    mean: list[float]
    std: list[float]
    fingerprint: str
    train: SplitJson
    test: SplitJson | None
    notes: list[str]


@dataclass(frozen=True, kw_only=True)
class SplitSummary:
    """One split of a data set.

    Attributes:
        name: "train" or "test".
        shape: of the images, (n, h, w) or (n, h, w, 3).
        class_counts: images of each class, in the order of the classes.
        images_md5: MD5 of the uncompressed IDX stream of the images, in hex.
        labels_md5: the same of the labels.
    """

    name: str
    shape: tuple[int, ...]
    class_counts: tuple[int, ...]
    images_md5: str
    labels_md5: str

    @property
    def num_images(self) -> int:
        """Number of images."""
        return self.shape[0]


@dataclass(frozen=True, kw_only=True)
class DatasetSummary:
    """A data set in numbers, as text or, in a notebook, as HTML.

    Attributes:
        name: of the data set.
        source: where it came from.
        license: terms and attribution, if known.
        image_shape: (channels, height, width).
        dtype: of the pixels.
        classes: their names.
        train: the training split.
        test: the test split; None without test images.
        mean: of the training pixels scaled to [0, 1], of each channel.
        std: their population standard deviation, of each channel.
        fingerprint: SHA-256 of the content, in hex.
        notes: what is odd about it: :func:`kilonet.data.oddities.oddities`.
    """

    name: str
    source: str
    license: str
    image_shape: tuple[int, int, int]
    dtype: str
    classes: tuple[str, ...]
    train: SplitSummary
    test: SplitSummary | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str
    notes: tuple[str, ...] = ()

    def to_json(self) -> DatasetJson:
        """The summary as plain data with the stable keys of ``kilonet data --json``."""

        def split(summary: SplitSummary) -> SplitJson:
            counts = dict(zip(self.classes, summary.class_counts, strict=True))
            return SplitJson(
                images=summary.num_images,
                shape=list(summary.shape),
                class_counts=counts,
                images_md5=summary.images_md5,
                labels_md5=summary.labels_md5,
            )

        return DatasetJson(
            name=self.name,
            source=self.source,
            license=self.license,
            image_shape=list(self.image_shape),
            dtype=self.dtype,
            classes=list(self.classes),
            mean=list(self.mean),
            std=list(self.std),
            fingerprint=self.fingerprint,
            train=split(self.train),
            test=None if self.test is None else split(self.test),
            notes=list(self.notes),
        )

    def tables(self) -> tuple[Table, Table, Table, Table]:
        """Overview, class balance, pixel statistics, checksums."""
        return (
            self._overview_table(),
            self._balance_table(),
            self._pixel_table(),
            self._checksum_table(),
        )

    def __str__(self) -> str:
        tables = "\n\n".join(str(table) for table in self.tables())
        return "\n".join([tables, *(f"Note: {note}." for note in self.notes)])

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>Note: {escape(note)}.</p>" for note in self.notes)
        return "".join(table.to_html() for table in self.tables()) + notes

    @property
    def _splits(self) -> tuple[SplitSummary, ...]:
        return (self.train,) if self.test is None else (self.train, self.test)

    def _overview_table(self) -> Table:
        rows = [
            ("source", self.source),
            ("license", self.license or "not stated"),
            ("training images", _shape_cell(self.train)),
            ("test images", "none" if self.test is None else _shape_cell(self.test)),
            ("image (channels × height × width)", " × ".join(map(str, self.image_shape))),
            ("pixels", f"{self.dtype}, 0 to 255"),
            ("classes", str(len(self.classes))),
        ]
        return Table(
            columns=("Data set", self.name),
            rows=tuple(rows),
            left=frozenset({0, 1}),
        )

    def _balance_table(self) -> Table:
        def cells(split: SplitSummary, index: int) -> tuple[str, str]:
            count = split.class_counts[index]
            return f"{count:,}", f"{100 * count / split.num_images:.2f} %"

        rows = [
            (name, *(cell for split in self._splits for cell in cells(split, i)))
            for i, name in enumerate(self.classes)
        ]
        totals = (cell for split in self._splits for cell in (f"{split.num_images:,}", ""))
        columns = ("Class", "Training", "share", "Test", "share")
        return Table(
            columns=columns[: 1 + 2 * len(self._splits)],
            rows=(*rows, ("all", *totals)),
            left=frozenset({0}),
            title="Class balance",
        )

    def _pixel_table(self) -> Table:
        names = ("gray",) if len(self.mean) == 1 else ("red", "green", "blue")
        return Table(
            columns=("Channel", "Mean", "Standard deviation"),
            rows=tuple(
                (name, f"{mean:.{decimals(std)}f}", f"{std:.{decimals(std)}f}")
                for name, mean, std in zip(names, self.mean, self.std, strict=True)
            ),
            left=frozenset({0}),
            title="Training pixels, scaled to [0, 1]",
        )

    def _checksum_table(self) -> Table:
        rows = [
            (f"{split.name} {content}", "MD5 of the IDX stream", digest)
            for split in self._splits
            for content, digest in (("images", split.images_md5), ("labels", split.labels_md5))
        ]
        all_of_them = "all four" if self.test is not None else "both"
        return Table(
            columns=("Part", "Checksum", "Value"),
            rows=(*rows, (all_of_them, "SHA-256, the fingerprint", self.fingerprint)),
            left=frozenset({0, 1, 2}),
            title="Checksums",
        )


def describe(dataset: Dataset) -> DatasetSummary:
    """Summarize a data set; reads every pixel (0.2 s for MNIST)."""
    digests = {name: idx_md5(array) for name, array in dataset.idx_arrays()}

    def split(name: str, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> SplitSummary:
        counts = np.bincount(labels, minlength=dataset.num_classes)
        return SplitSummary(
            name=name,
            shape=images.shape,
            class_counts=tuple(int(count) for count in counts),
            images_md5=digests[f"{name} images"],
            labels_md5=digests[f"{name} labels"],
        )

    mean, std = pixel_statistics(dataset)
    return DatasetSummary(
        name=dataset.name,
        source=dataset.source,
        license=dataset.license,
        image_shape=dataset.image_shape,
        dtype=str(dataset.train_images.dtype),
        classes=dataset.classes,
        train=split("train", dataset.train_images, dataset.train_labels),
        test=split("test", dataset.test_images, dataset.test_labels) if dataset.has_test else None,
        mean=mean,
        std=std,
        fingerprint=dataset.fingerprint,
        notes=oddities(dataset),
    )


def pixel_statistics(dataset: Dataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and population standard deviation of the training pixels / 255, for each channel."""
    return channel_statistics(dataset.train_histogram)


def channel_statistics(
    histogram: NDArray[np.int64],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and population standard deviation of pixels / 255, for each channel.

    Computed in exact fractions, rounded once.

    Args:
        histogram: (channels, 256) int64, the number of pixels of each value.
    """
    means, deviations = [], []
    for channel in histogram.tolist():
        count = sum(channel)
        total = sum(value * times for value, times in enumerate(channel))
        squares = sum(value * value * times for value, times in enumerate(channel))
        means.append(float(Fraction(total, 255 * count)))
        variance = Fraction(count * squares - total * total, (255 * count) ** 2)
        deviations.append(math.sqrt(variance))
    return tuple(means), tuple(deviations)


def _shape_cell(split: SplitSummary) -> str:
    return " × ".join(f"{size:,}" for size in split.shape)
