"""The embedded MNIST: compressed in the package, unpacked once into the user's cache.

``mnist.idx.xz`` holds the four original IDX streams one after the other: training images, training
labels, test images, test labels. ``scripts/build_mnist.py`` makes it; ``MNIST-LICENSE.md`` has the
terms and the attribution.
"""

from __future__ import annotations

import hashlib
import logging
import lzma
import mmap
import os
from importlib import resources
from pathlib import Path

import numpy as np
import platformdirs

from kilonet.data.dataset import Dataset
from kilonet.errors import DataError, UsageError
from kilonet.paths import expand
from kilonet.storage.atomic import replacing

CACHE_VARIABLE = "KILONET_CACHE"
"""The environment variable for the cache folder, instead of the system's."""

SOURCE = "embedded in kilonet"
LICENSE = "CC BY-SA 3.0; Y. LeCun, C. Cortes, C. J. C. Burges; only the format was changed"

_SHAPES = ((60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,))
_SHA256 = "b2d8f5bf39174ee5ffeefa97e42d673c35432b411bb5d1f74fbbeddae7f1690a"
_NUM_BYTES = sum(4 + 4 * len(shape) + int(np.prod(shape)) for shape in _SHAPES)

_log = logging.getLogger(__name__)


def load_mnist() -> Dataset:
    """All 70,000 images of MNIST, memory-mapped from the user's cache.

    The first call unpacks the embedded file into the cache (0.9 s); later calls verify the cached
    file by SHA-256 (30 ms for its 55 MB with SHA instructions) and map it. A damaged cache is
    rebuilt; if the cache cannot be written, the images are in this process's memory.

    Raises:
        DataError: the file in the package is missing or damaged.
    """
    content = _open_cache()
    arrays = []
    offset = 0
    for shape in _SHAPES:
        offset += 4 + 4 * len(shape)  # the IDX header, which the checksum covers
        count = int(np.prod(shape))
        arrays.append(np.frombuffer(content, np.uint8, count, offset).reshape(shape))
        offset += count
    train_images, train_labels, test_images, test_labels = arrays
    dataset = Dataset(
        name="mnist",
        train_images=train_images,
        train_labels=train_labels.astype(np.int64),
        test_images=test_images,
        test_labels=test_labels.astype(np.int64),
        source=SOURCE,
        license=LICENSE,
    )
    # Set on this object alone: a data set that is made from it computes its own.
    dataset.__dict__["fingerprint"] = _SHA256
    return dataset


def cache_folder() -> Path | None:
    """The folder for files that can be made again: ``KILONET_CACHE``, else the user's cache.

    None if the user has none.

    Raises:
        UsageError: ``KILONET_CACHE`` is not a path, see :func:`kilonet.paths.expand`.
    """
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        try:
            return expand(named)
        except UsageError as error:
            raise UsageError(f"{CACHE_VARIABLE}: {error}") from None
    try:
        folder = expand(platformdirs.user_cache_path("kilonet"))
    except UsageError:  # a user without a home folder, as in a container
        return None
    # XDG's rule: a relative XDG_CACHE_HOME is ignored.
    return folder if folder.is_absolute() else None


def _open_cache() -> mmap.mmap | bytes:
    """The unpacked content, mapped from the cache if possible."""
    folder = cache_folder()
    if folder is None:
        return _unpack()
    path = folder / f"mnist-{_SHA256[:12]}.idx"
    mapped = _map_checked(path)
    if mapped is not None:
        return mapped
    content = _unpack()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(content)
    except OSError as error:
        # No error: with a read-only home MNIST is unpacked at every start.
        _log.info("%s cannot be written (%s): MNIST stays in memory", path, error)
        return content
    return _map_checked(path) or content


def _map_checked(path: Path) -> mmap.mmap | None:
    """``path`` mapped read-only, or None if it is missing, unreadable or damaged."""
    try:
        with path.open("rb") as file:
            # The size first: reading a mapped page past the end of the file is a crash.
            if os.fstat(file.fileno()).st_size != _NUM_BYTES:
                return None
            mapped = mmap.mmap(file.fileno(), _NUM_BYTES, access=mmap.ACCESS_READ)
    except (OSError, ValueError):
        return None
    return mapped if hashlib.sha256(mapped).hexdigest() == _SHA256 else None


def _unpack() -> bytes:
    packed = resources.files("kilonet.data").joinpath("mnist.idx.xz")
    try:
        decompressor = lzma.LZMADecompressor()
        content = decompressor.decompress(packed.read_bytes(), max_length=_NUM_BYTES + 1)
    except (OSError, lzma.LZMAError) as error:
        raise DataError(
            f"{packed}: kilonet's own MNIST cannot be unpacked ({error}); install kilonet again"
        ) from error
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise DataError(f"{packed}: kilonet's own MNIST is damaged; install kilonet again")
    return content
