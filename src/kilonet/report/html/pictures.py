"""Images in the report: pixels as small PNGs inside the page, enlarged by the browser unsmoothed.

Test images, what augmentation makes of training images, the first layer's weights, and how much of
an image each layer sees.
"""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from kilonet.data.augment import augment
from kilonet.report.html.svg import drawing, element, number
from kilonet.run import Images
from kilonet.spec import Net, Run
from kilonet.spec.graph import Conv2d, Linear, walk
from kilonet.summary import Summary
from kilonet.summary.blocks import windows

MAX_SIDE = 48
"""Larger images are shrunk to this many pixels a side: a gallery of hundreds has to stay small."""

MAX_KERNELS = 64
"""First layers with more filters show these many."""

NUM_SAMPLES = 10
"""Training images that augmentation is shown on: the first of each class, so many at most."""

SHOWN_EPOCHS = 6
"""How many of the first epochs' versions of them."""

_BRIGHT = 192  # of 255

# Okabe and Ito's vermilion and blue about a light grey: negative, zero, positive.
_NEGATIVE, _ZERO, _POSITIVE = (213, 94, 0), (244, 244, 244), (0, 114, 178)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image in the page.

    Attributes:
        uri: the PNG as a data URI.
        alt: what it shows, in words.
        width, height: of the PNG, pixels.
    """

    uri: str
    alt: str
    width: int
    height: int


def picture(pixels: NDArray[np.uint8], *, alt: str) -> Picture:
    """(h, w) grey or (h, w, 3) RGB uint8 as a picture, shrunk where it is large."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if max(image.size) > MAX_SIDE:
        image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    uri = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return Picture(uri=uri, alt=alt, width=image.width, height=image.height)


@dataclass(frozen=True, kw_only=True)
class Augmented:
    """A training image, and what the run made of it in its first epochs.

    Attributes:
        label: name of its class.
        index: in the training set, from 0.
        pictures: as it is, then an epoch each.
    """

    label: str
    index: int
    pictures: tuple[Picture, ...]


def augmented_samples(run: Run, images: Images, *, classes: tuple[str, ...]) -> list[Augmented]:
    """What the run's augmentation did to the first training image of each class, epoch by epoch.

    These are the run's own images, not new draws: augmentation is a function of seed, epoch and the
    image's place in the training set.
    """
    labels = images.train_labels[images.train_index]
    first = [int(images.train_index[np.argmax(labels == label)]) for label in np.unique(labels)]
    index = np.array(first[:NUM_SAMPLES], dtype=np.int64)
    epochs = min(SHOWN_EPOCHS, run.train.epochs)
    pixels = images.train_images[index]
    versions = [
        augment(pixels, index, augmentations=run.data.augment, seed=run.train.seed, epoch=epoch)
        for epoch in range(epochs)
    ]
    samples = []
    for i, position in enumerate(index.tolist()):
        label = classes[int(images.train_labels[position])]
        shown = [picture(pixels[i], alt=f"Training image {position} of class {label}")]
        shown += [
            picture(version[i], alt=f"The same in epoch {epoch}")
            for epoch, version in enumerate(versions)
        ]
        samples.append(Augmented(label=label, index=position, pictures=tuple(shown)))
    return samples


def kernels(net: Net, weights: dict[str, NDArray[np.generic]]) -> list[Picture]:
    """The first layer's filters, those of an RGB input in colour; none where it has no picture.

    Of one channel: negative weights vermilion, positive ones blue, zero light grey. Of three: grey
    is zero. One scale for all of them, so that they compare.
    """
    filters = _filters(net, weights)
    if filters is None:
        return []
    largest = float(np.abs(filters).max()) or 1.0
    shown = []
    for i, weight in enumerate(filters[:MAX_KERNELS], 1):
        alt = f"Filter {i}: weights from {weight.min():.2f} to {weight.max():.2f}"
        shown.append(picture(_coloured(weight / largest), alt=alt))
    return shown


def _filters(net: Net, weights: dict[str, NDArray[np.generic]]) -> NDArray[np.float64] | None:
    """(filters, channels, height, width) of the first layer that has weights, or None."""
    channels, height, width = net.input
    for node in walk(net.nodes):
        if not isinstance(node.op, Conv2d | Linear):
            continue
        weight = np.asarray(weights[f"{node.name}.weight"], dtype=np.float64)
        if isinstance(node.op, Linear):
            if weight.shape[1] != math.prod(net.input):
                return None
            weight = weight.reshape(-1, channels, height, width)
        # Two channels are no colour, and a grouped convolution's filters see one channel each.
        is_picture = weight.shape[1] in (1, 3) and min(weight.shape[2:]) > 1
        return weight if is_picture else None
    return None


def _coloured(weight: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(channels, h, w) in [-1, 1] → (h, w, 3) uint8."""
    if len(weight) == 3:
        return _bytes(127.5 + 127.5 * np.moveaxis(weight, 0, -1))
    share = np.abs(weight[0])[..., None]
    end = np.where(weight[0][..., None] < 0, _NEGATIVE, _POSITIVE)
    return _bytes((1 - share) * np.array(_ZERO) + share * end)


def _bytes(colour: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.rint(colour).astype(np.uint8)


@dataclass(frozen=True, kw_only=True)
class Field:
    """How much of an image one value of a layer sees.

    Attributes:
        label: the layer, as in the receptive-field table.
        size: ``5 × 5``.
        drawing: the image, with what is seen left clear.
    """

    label: str
    size: str
    drawing: Markup


def receptive_fields(summary: Summary, images: NDArray[np.uint8], *, name: str) -> list[Field]:
    """A drawing for each window of the network that sees more than the one before.

    Args:
        summary: of the network.
        images: (n, h, w) or (n, h, w, 3) uint8, of the network's input size, to choose one from.
        name: unlike any other on the page.
    """
    background = picture(images[_with_a_middle(images)], alt="")
    rows = {layer.module: layer for layer in summary.layers}
    labels = [row[1] for row in summary.receptive_field_table.rows]
    found: list[Field] = []
    before: Any = (1, 1)
    for label, node in zip(labels, windows(summary.net.nodes), strict=True):
        fields = rows[node.name].fields
        if fields == before:
            continue
        before = fields
        size = " × ".join(map(str, fields))
        whole = all(f >= s for f, s in zip(fields, summary.net.input[1:], strict=True))
        covers = "all of it" if whole else "the clear part"
        found.append(
            Field(
                label=label,
                size=size,
                drawing=_seen(
                    background,
                    shape=summary.net.input[1:],
                    fields=fields,
                    name=f"{name}-{len(found)}",
                    text=f"A test image; one value of {label} sees {covers}, {size} pixels.",
                ),
            )
        )
    return found


def _with_a_middle(images: NDArray[np.uint8]) -> int:
    """The first image with something bright in its middle, where the small fields are drawn."""
    middle = images[:, images.shape[1] // 2, images.shape[2] // 2]
    bright = middle.reshape(len(images), -1).max(axis=1) >= _BRIGHT
    return int(np.argmax(bright))


def _seen(
    background: Picture, *, shape: tuple[int, int], fields: tuple[int, int], name: str, text: str
) -> Markup:
    """The image under a veil with a window of the field's size in its middle."""
    height, width = shape
    tall, wide = min(fields[0], height), min(fields[1], width)
    top, left = (height - tall) / 2, (width - wide) / 2
    outer = f"M0 0H{width}V{height}H0Z"
    inner = f"M{number(left)} {number(top)}h{wide}v{tall}h-{wide}Z"
    # A frame of its own width of stroke, whatever the image's size.
    margin = max(shape) / 28
    return drawing(
        element(
            "image",
            href=background.uri,
            width=width,
            height=height,
            transform=f"translate({number(margin)} {number(margin)})",
            preserveAspectRatio="none",
        ),
        element(
            "g",
            element("path", d=f"{outer}{inner}", fill_rule="evenodd", class_="veil"),
            element("path", d=inner, class_="window", stroke_width=margin),
            transform=f"translate({number(margin)} {number(margin)})",
        ),
        name=name,
        title="Receptive field",
        text=text,
        width=width + 2 * margin,
        height=height + 2 * margin,
    )
