"""What a trained network does to images before its first layer: resize, scale and normalize."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kilonet.data.augment import normalize
from kilonet.data.dataset import check_pixel_type
from kilonet.data.resize import resize
from kilonet.errors import DataError
from kilonet.spec.graph import show

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


_CHANNELS = (2, 3, 4)
"""Of an image that is not gray: gray with alpha, RGB, RGBA."""


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """Turns images into a network's input; call it with images.

    Attributes:
        input_shape: (channels, height, width) of the network's input.
        mean, std: of each channel or of all, of pixels scaled to [0, 1].
        resize: (height, width) to which images of any size are resized first, as Pillow's bilinear
            ``Image.resize``; None: images must have the input's size.
    """

    input_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: tuple[int, int] | None = None

    def __call__(self, images: ArrayLike) -> NDArray[np.float32]:
        """Normalized images.

        Args:
            images: as for :meth:`pixels`.

        Returns:
            (n, channels, height, width) float32: (pixel / 255 − mean) / std.

        Raises:
            DataError: as :meth:`pixels`.
        """
        pixels = self.pixels(images)
        return np.ascontiguousarray(normalize(pixels, mean=self.mean, std=self.std))

    def pixels(self, images: ArrayLike) -> NDArray[np.uint8]:
        """Images of the network's size.

        Args:
            images: (n, h, w) or (n, h, w, c) uint8, or one image without n; an array or what NumPy
                makes one of, such as a list of arrays or a Pillow image.

        Returns:
            (n, h, w), or (n, h, w, c) with several channels, uint8, C-contiguous.

        Raises:
            DataError: another type, number of channels or size.
        """
        size = self.input_shape[1:]
        batch = self._batch(_array(images))
        if self.resize is None:
            if batch.shape[1:3] != size:
                raise DataError(
                    f"images are {show(batch.shape[1:3])}, but the network was trained on "
                    f"{show(size)} and its run does not resize; resize them first"
                )
        elif not batch.shape[1] * batch.shape[2]:
            raise DataError(f"images are {show(batch.shape[1:3])}: without a pixel")
        else:
            batch = resize(batch, size=self.resize)
        return np.ascontiguousarray(batch)

    def _batch(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(n, h, w), or (n, h, w, c) with several channels."""
        channels, shape = self.input_shape[0], images.shape
        if channels == 1:
            if len(shape) == 4 and shape[3] == 1:
                return images[..., 0]
            if len(shape) == 2:
                return images[None]
            # Of three axes the last one is the channel where it cannot be the width.
            if len(shape) == 3 and shape[2] == 1 and self.input_shape[2] != 1:
                return images[None, ..., 0]
            # Gray images as narrow as this are rare, one image with several channels is not.
            if len(shape) == 3 and (shape[2] not in _CHANNELS or shape[2] == self.input_shape[2]):
                return images
        elif len(shape) in (3, 4) and shape[-1] == channels:
            return images if len(shape) == 4 else images[None]
        axes = "(n, h, w)" if channels == 1 else f"(n, h, w, {channels}), channels last,"
        raise DataError(
            f"images have the shape {shape}; the network takes {axes} or one image, with "
            f"{channels} channel{'s' if channels > 1 else ''}"
        )


def _array(images: Any) -> NDArray[np.uint8]:
    try:
        array = np.asarray(images)
    except ValueError:
        raise DataError("images have different shapes; give images of one shape") from None
    check_pixel_type(array, what="images")
    return array
