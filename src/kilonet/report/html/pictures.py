"""Images in the page, as small PNGs that the browser enlarges without smoothing.

Test images, augmented training images, the first layer's weights, and receptive fields.
"""

from __future__ import annotations

import base64
import io
import math
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from kilonet.data.augment import augment
from kilonet.report.charts.svg import box, drawing, element, number
from kilonet.report.html.artifacts import StageImages
from kilonet.spec import Net, Run
from kilonet.spec.graph import Conv2d, Linear, walk
from kilonet.summary import Summary
from kilonet.summary.blocks import windows

MAX_SIDE = 48
"""Larger images are shrunk to this many pixels a side: the page shows hundreds."""

MAX_KERNELS = 64
"""Filters that are shown."""

NUM_SAMPLES = 10
"""Training images that augmentation is shown on: the first of each class, at most this many."""

SHOWN_EPOCHS = 6
"""Epochs that they are shown for, the first ones."""

_BRIGHT = 192  # of 255

# Okabe and Ito's vermilion and blue about a light gray: negative, zero, positive.
_NEGATIVE, _ZERO, _POSITIVE = (213, 94, 0), (244, 244, 244), (0, 114, 178)


class Picture(NamedTuple):
    """A PNG in the page: a data URI, a description, and its size in pixels."""

    uri: str
    alt: str
    width: int
    height: int


def picture(pixels: NDArray[np.uint8], *, alt: str) -> Picture:
    """(h, w) gray or (h, w, 3) RGB uint8 as a picture; a large image is shrunk."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if max(image.size) > MAX_SIDE:
        image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    uri = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return Picture(uri=uri, alt=alt, width=image.width, height=image.height)


def augmented_samples(run: Run, images: StageImages) -> list[tuple[str, list[Picture]]]:
    """The first training image of each class: the class, the image, then one of each epoch.

    These are the images that the run was trained on: augmentation is a function of seed, epoch and
    the image's position in the training set.
    """
    data = images.data
    labels = data.train_labels[data.train_index]
    first = [int(data.train_index[np.argmax(labels == label)]) for label in np.unique(labels)]
    index = np.array(first[:NUM_SAMPLES], dtype=np.int64)
    pixels = data.train_images[index]
    versions = [
        augment(pixels, index, augmentations=run.data.augment, seed=run.train.seed, epoch=epoch)
        for epoch in range(min(SHOWN_EPOCHS, run.train.epochs))
    ]
    samples = []
    for i, position in enumerate(index.tolist()):
        name = images.classes[int(data.train_labels[position])]
        shown = [picture(pixels[i], alt=f"Training image {position} of class {name}")]
        shown += [
            picture(version[i], alt=f"The same in epoch {epoch}")
            for epoch, version in enumerate(versions)
        ]
        samples.append((name, shown))
    return samples


def kernels(net: Net, weights: dict[str, NDArray[np.generic]]) -> list[Picture]:
    """The first layer's filters; none unless they have one or three channels.

    One channel: negative weights are vermilion, positive ones blue, zero is light gray. Three: RGB,
    zero is gray. All have one scale.
    """
    filters = _filters(net, weights)
    if filters is None:
        return []
    largest = float(np.abs(filters).max()) or 1.0
    pictures = []
    for i, weight in enumerate(filters[:MAX_KERNELS], 1):
        alt = f"Filter {i}: weights from {weight.min():.2f} to {weight.max():.2f}"
        pictures.append(picture(_colored(weight / largest), alt=alt))
    return pictures


def _filters(net: Net, weights: dict[str, NDArray[np.generic]]) -> NDArray[np.float64] | None:
    """(filters, channels, height, width) of the first layer that has weights, or None."""
    channels, height, width = net.input
    for node in walk(net.nodes):
        if not isinstance(node.op, Conv2d | Linear):
            continue
        weight = np.asarray(weights[f"{node.owner}.weight"], dtype=np.float64)
        if isinstance(node.op, Linear):
            if weight.shape[1] != math.prod(net.input):
                return None
            weight = weight.reshape(-1, channels, height, width)
        # A grouped convolution's filters have one channel each; two channels are no color.
        is_picture = weight.shape[1] in (1, 3) and min(weight.shape[2:]) > 1
        return weight if is_picture else None
    return None


def _colored(weight: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(channels, h, w) in [-1, 1] → (h, w, 3) uint8."""
    if len(weight) == 3:
        color = 127.5 + 127.5 * np.moveaxis(weight, 0, -1)
    else:
        share = np.abs(weight[0])[..., None]
        end = np.where(weight[0][..., None] < 0, _NEGATIVE, _POSITIVE)
        color = (1 - share) * np.array(_ZERO) + share * end
    return np.rint(color).astype(np.uint8)


def receptive_fields(
    summary: Summary, images: NDArray[np.uint8], *, name: str
) -> list[tuple[str, str, Markup]]:
    """For each layer with a larger field than the one before: its name, ``5 × 5``, a drawing.

    Args:
        summary: of the network.
        images: (n, h, w) or (n, h, w, 3) uint8, of the network's input size; one is chosen.
        name: unique on the page.
    """
    background = picture(images[_bright_in_the_middle(images)], alt="")
    rows = {layer.module: layer for layer in summary.layers}
    labels = [row[1] for row in summary.receptive_field_table.rows]
    shape = summary.net.input[1:]
    drawings: list[tuple[str, str, Markup]] = []
    before: Any = (1, 1)
    for label, node in zip(labels, windows(summary.net.nodes), strict=True):
        fields = rows[node.name].fields
        if fields == before:
            continue
        before = fields
        size = " × ".join(map(str, fields))
        whole = all(field >= side for field, side in zip(fields, shape, strict=True))
        which = "all of it" if whole else "the clear part"
        shown = _darkened(
            background,
            shape=shape,
            fields=fields,
            name=f"{name}-{len(drawings)}",
            text=f"A test image; one value of {label} depends on {which}, {size} pixels.",
        )
        drawings.append((label, size, shown))
    return drawings


def _bright_in_the_middle(images: NDArray[np.uint8]) -> int:
    """The first image that is bright in its middle, where the small fields are drawn."""
    middle = images[:, images.shape[1] // 2, images.shape[2] // 2]
    bright = middle.reshape(len(images), -1).max(axis=1) >= _BRIGHT
    return int(np.argmax(bright))


def _darkened(
    background: Picture, *, shape: tuple[int, int], fields: tuple[int, int], name: str, text: str
) -> Markup:
    """The image, darkened around a window of the field's size in its middle."""
    height, width = shape
    tall, wide = min(fields[0], height), min(fields[1], width)
    top, left = (height - tall) / 2, (width - wide) / 2
    outer = f"M0 0H{width}V{height}H0Z"
    inner = f"M{number(left)} {number(top)}h{wide}v{tall}h-{wide}Z"
    # The frame's stroke has one width for images of any size.
    margin = max(shape) / 28
    image = element(
        "image", href=background.uri, width=width, height=height, preserveAspectRatio="none"
    )
    veil = element("path", d=f"{outer}{inner}", fill_rule="evenodd", class_="veil")
    window = element("path", d=inner, class_="window", stroke_width=margin)
    shift = f"translate({number(margin)} {number(margin)})"
    return drawing(
        element("g", image, veil, window, transform=shift),
        name=name,
        title="Receptive field",
        text=text,
        viewBox=box(width + 2 * margin, height + 2 * margin),
    )
