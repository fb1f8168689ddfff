"""A picture of a data set: the first training images of each class, one row per class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kilonet.errors import DataError, UsageError
from kilonet.paths import expand
from kilonet.storage.atomic import replacing

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from kilonet.data.dataset import Dataset

_TILE = 56  # pixels; twice MNIST's 28, so that strokes are visible on a dense screen
_GAP = 2
_MARGIN = 8
_FONT_SIZE = 16
_PAPER, _INK = (255, 255, 255), (32, 32, 32)
_MAX_PER_CLASS = 100
_MOST_CHARACTERS = 40


def draw_samples(dataset: Dataset, path: str | os.PathLike[str], *, per_class: int = 10) -> None:
    """Write a PNG of the first ``per_class`` training images of each class, next to its name.

    A long name is shortened; in place of one that the font cannot draw stands the class's number.
    Small images are enlarged by a whole factor without smoothing, large ones shrunk, to fit tiles
    of 56 × 56 pixels. The file is written atomically.

    Args:
        dataset: where the images come from.
        path: the PNG to write, in an existing folder; an existing file is replaced.
        per_class: images in a row, 1 to 100; a class with fewer shows all of them.

    Raises:
        UsageError: ``per_class`` out of range.
        DataError: the file cannot be written.
    """
    if not 1 <= per_class <= _MAX_PER_CLASS:
        raise UsageError(f"{per_class} samples per class: should be 1 to {_MAX_PER_CLASS}")
    path = expand(path)
    sheet = _draw(dataset, per_class=per_class)
    try:
        if path.is_dir():
            raise DataError(f"{path}: is a folder; name the PNG file to write")
        with replacing(path) as file:
            sheet.save(file, format="PNG")
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error


def _draw(dataset: Dataset, *, per_class: int) -> Image.Image:
    font = ImageFont.load_default(_FONT_SIZE)
    names = [
        _cut(name) if _has_glyphs(font, name) else f"class {label}"
        for label, name in enumerate(dataset.classes)
    ]
    name_width = max(round(font.getlength(name)) for name in names)
    left = _MARGIN + name_width + _MARGIN
    step = _TILE + _GAP
    size = (
        left + per_class * step - _GAP + _MARGIN,
        _MARGIN + dataset.num_classes * step - _GAP + _MARGIN,
    )
    sheet = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(sheet)
    for label, name in enumerate(names):
        top = _MARGIN + label * step
        pen.text((_MARGIN, top + _TILE // 2), name, fill=_INK, font=font, anchor="lm")
        members = np.flatnonzero(dataset.train_labels == label)[:per_class]
        for column, index in enumerate(members):
            tile = _tile(dataset.train_images[index])
            corner = (_TILE - tile.width) // 2, (_TILE - tile.height) // 2
            sheet.paste(tile, (left + column * step + corner[0], top + corner[1]))
    return sheet


def _has_glyphs(font: ImageFont.FreeTypeFont | ImageFont.ImageFont, text: str) -> bool:
    """Whether the font can draw the text; Pillow's own has no Chinese characters, for example."""
    if text.isascii():
        return True
    missing = bytes(font.getmask("\uffff"))
    return all(bytes(font.getmask(character)) != missing for character in set(text))


def _cut(name: str) -> str:
    return name if len(name) <= _MOST_CHARACTERS else f"{name[: _MOST_CHARACTERS - 1]}…"


def _tile(image: NDArray[np.uint8]) -> Image.Image:
    """The image at the largest size that fits a tile, with its aspect ratio."""
    picture = Image.fromarray(np.ascontiguousarray(image))
    longer = max(picture.size)
    if longer > _TILE:
        picture.thumbnail((_TILE, _TILE), Image.Resampling.LANCZOS)
        return picture
    factor = _TILE // longer
    return picture.resize(
        (picture.width * factor, picture.height * factor), Image.Resampling.NEAREST
    )
