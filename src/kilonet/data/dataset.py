"""A data set in memory: images, labels and the names of the classes, checked once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar
from unicodedata import category

import numpy as np

from kilonet.data.idx import idx_pieces
from kilonet.errors import DataError
from kilonet.spec.graph import show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_Element = TypeVar("_Element", bound=np.generic)

MAX_CLASSES = 1000
"""A data set with more classes is taken to be damaged (ImageNet has 1,000)."""

_HISTOGRAM_CHUNK = 2048  # images; bincount converts its input to 8 bytes a pixel


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Training and test images with their labels; read-only, C-contiguous.

    The constructor converts arrays to this form: a last axis of one (a single channel, or labels
    in a column) is dropped, and labels of any integer type become int64. Images are not copied
    where they have this form already: do not change them afterwards.

    A data set may have no test images: both test arrays are left out, and are of no images then.
    A run trains on it with ``data.test = false``.

    Attributes:
        name: for reports.
        train_images: (n, h, w) or (n, h, w, 3) uint8, 0 to 255.
        train_labels: (n,) int64, 0 to num_classes − 1.
        test_images: as ``train_images``, of the same height, width and channels.
        test_labels: as ``train_labels``.
        classes: the name of each class, any text; if empty, "0" to the largest training label.
        source: where the data came from: a path, or a phrase.
        license: terms and attribution of the data, if known.

    Raises:
        DataError: if the arrays are not a data set; the message names the array and the reason.
    """

    name: str
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8] = None  # type: ignore[assignment]  # never after __post_init__
    test_labels: NDArray[np.int64] = None  # type: ignore[assignment]
    classes: tuple[str, ...] = ()
    source: str = ""
    license: str = ""

    def __post_init__(self) -> None:
        where = self.source or self.name
        has_test = _has_test(self.test_images, self.test_labels, where=where)
        for split in ("train", "test") if has_test else ("train",):
            images = _checked_images(getattr(self, f"{split}_images"), where=f"{where}: {split}")
            labels = _checked_labels(getattr(self, f"{split}_labels"), where=f"{where}: {split}")
            if len(images) != len(labels):
                raise DataError(
                    f"{where}: {len(images):,} {split} images but {len(labels):,} {split} labels; "
                    f"there must be one label per image"
                )
            object.__setattr__(self, f"{split}_images", images)
            object.__setattr__(self, f"{split}_labels", labels)
        if not has_test:
            object.__setattr__(self, "test_images", _frozen(self.train_images[:0]))
            object.__setattr__(self, "test_labels", _frozen(self.train_labels[:0]))
        train_shape, test_shape = self.train_images.shape[1:], self.test_images.shape[1:]
        if train_shape != test_shape:
            raise DataError(
                f"{where}: training images are {show(train_shape)} but test images are "
                f"{show(test_shape)}; they must have the same size"
            )
        names = tuple(map(_one_line, self.classes))
        named = bool(names)
        if not named:
            names = tuple(str(label) for label in range(int(self.train_labels.max()) + 1))
        object.__setattr__(self, "classes", names)
        if "" in names:
            raise DataError(f"{where}: the name of class {names.index('')} is empty")
        if len(set(names)) != len(names):
            repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
            raise DataError(f"{where}: class names are not unique: {', '.join(repeated)}")
        self._check_label_range(where, named=named)

    def _check_label_range(self, where: str, *, named: bool) -> None:
        remedy = "name every class" if named else "correct the label, or name all classes"
        every = np.union1d(self.train_labels, self.test_labels)
        if named and every[0] >= 1 and every[-1] == self.num_classes:
            remedy = "the labels count from 1, so subtract 1"
        for split, labels in (("train", self.train_labels), ("test", self.test_labels)):
            beyond = np.flatnonzero(labels >= self.num_classes)
            if beyond.size:
                raise DataError(
                    f"{where}: {split} label {labels[beyond[0]]} at index {beyond[0]:,} is out of "
                    f"range: the classes are 0 to {self.num_classes - 1}; {remedy}"
                )

    def __repr__(self) -> str:
        test = f"{len(self.test_labels):,}" if self.has_test else "no"
        return (
            f"Dataset({self.name!r}: {len(self.train_labels):,} training and {test} test images of "
            f"{show(self.image_shape)}, {self.num_classes} classes)"
        )

    @property
    def has_test(self) -> bool:
        """Whether there are test images."""
        return len(self.test_labels) > 0

    def without_test(self) -> Dataset:
        """The same data set without its test images; of the same fingerprint."""
        rest = Dataset(
            name=self.name,
            train_images=self.train_images,
            train_labels=self.train_labels,
            classes=self.classes,
            source=self.source,
            license=self.license,
        )
        # It identifies the whole data set, so that a run is known by it with and without its test.
        rest.__dict__["fingerprint"] = self.fingerprint
        return rest

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of an image, as in a network's input."""
        height, width, *channels = self.train_images.shape[1:]
        return (channels[0] if channels else 1, height, width)

    def idx_arrays(self) -> Iterator[tuple[str, NDArray[np.generic]]]:
        """The four arrays as in IDX files, each with its name, in the order of MNIST's files.

        Without test images the first two. Labels are uint8, or int32 with more than 256 classes.
        """
        label_type = np.uint8 if self.num_classes <= 256 else np.int32
        yield "train images", self.train_images
        yield "train labels", self.train_labels.astype(label_type)
        if not self.has_test:
            return
        yield "test images", self.test_images
        yield "test labels", self.test_labels.astype(label_type)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of the IDX streams in order: the same for equal content."""
        digest = hashlib.sha256()
        for _, array in self.idx_arrays():
            for piece in idx_pieces(array):
                digest.update(piece)
        return digest.hexdigest()

    @cached_property
    def train_histogram(self) -> NDArray[np.int64]:
        """Number of training pixels of each value: (channels, 256) int64."""
        return pixel_histogram(self.train_images)


def pixel_histogram(
    images: NDArray[np.uint8], *, index: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Number of pixels of each value: (channels, 256) int64.

    Args:
        images: (n, h, w) or (n, h, w, c) uint8.
        index: of the images that count; left out: all.
    """
    channels = images.shape[3] if images.ndim == 4 else 1
    counts = np.zeros((channels, 256), dtype=np.int64)
    for start in range(0, len(images if index is None else index), _HISTOGRAM_CHUNK):
        part = slice(start, start + _HISTOGRAM_CHUNK)
        chunk = images[part] if index is None else images[index[part]]
        for channel, pixels in enumerate(chunk.reshape(-1, channels).T):
            counts[channel] += np.bincount(pixels, minlength=256)
    return counts


def check_pixel_type(images: NDArray[Any], *, what: str) -> None:
    """Raise DataError unless the images, called ``what``, are uint8."""
    kind = images.dtype.kind
    if images.dtype == np.uint8:
        return
    remedy = ""
    if kind in "iu":
        remedy = ": images.astype('uint8'), if no pixel is below 0 or above 255"
    elif kind == "b":
        remedy = ": images * numpy.uint8(255)"
    elif kind == "f":
        remedy = " (multiply pixels in [0, 1] by 255 and round)"
    raise DataError(f"{what} are {images.dtype}; expected uint8, 0 to 255{remedy}")


def _one_line(name: str) -> str:
    """A class's name without line breaks, other control characters and lone surrogates."""
    text = str(name).encode(errors="replace").decode()
    return " ".join("".join(" " if category(c) == "Cc" else c for c in text).split())


def _checked_images(images: NDArray[np.generic], *, where: str) -> NDArray[np.uint8]:
    images = np.asarray(images)
    check_pixel_type(images, what=f"{where} images")
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    if images.ndim != 3 and not (images.ndim == 4 and images.shape[3] == 3):
        raise DataError(
            f"{where} images have the shape {images.shape}; expected (n, height, width) or "
            f"(n, height, width, channels) with 1 or 3 channels, channels last"
        )
    if images.size == 0:
        raise DataError(f"{where} images are empty: their shape is {images.shape}")
    return _frozen(np.ascontiguousarray(images))


def _checked_labels(labels: NDArray[Any], *, where: str) -> NDArray[np.int64]:
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(
            f"{where} labels have the shape {labels.shape}; expected (n,), one class number per "
            f"image (not one-hot: labels.argmax(axis=1) has the numbers)"
        )
    if labels.dtype.kind in "USO":
        raise DataError(
            f"{where} labels are text ({labels.dtype}); expected integers from 0: "
            f"names, numbers = numpy.unique(labels, return_inverse=True) makes them, and an array "
            f"'classes' holds the names"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        remedy = " (labels.astype(int))"
        if labels.dtype.kind == "f" and not np.array_equal(labels, np.round(labels)):
            remedy = ", and some are not whole numbers"
        raise DataError(f"{where} labels are {labels.dtype}; expected integers from 0{remedy}")
    if labels.size == 0:
        raise DataError(f"{where} labels are empty")
    # Before the cast, as uint64 does not fit int64.
    outside = np.flatnonzero((labels < 0) | (labels >= MAX_CLASSES))
    if outside.size:
        raise DataError(
            f"{where} label {labels[outside[0]]} at index {outside[0]:,} is out of range: labels "
            f"are 0 to the number of classes − 1, at most {MAX_CLASSES - 1}"
        )
    return _frozen(labels.astype(np.int64))


def _has_test(images: Any, labels: Any, *, where: str) -> bool:
    """Whether the test arrays are there; they are left out, or of no images, together."""
    given = {
        name: array is not None and np.size(array) > 0
        for name, array in (("images", images), ("labels", labels))
    }
    if images is None and labels is not None and given["labels"]:
        raise DataError(f"{where}: test labels without test images; give both or neither")
    if labels is None and images is not None and given["images"]:
        raise DataError(f"{where}: test images without test labels; give both or neither")
    return any(given.values())


def _frozen(array: NDArray[_Element]) -> NDArray[_Element]:
    view = array.view()
    view.setflags(write=False)
    return view
