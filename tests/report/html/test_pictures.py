"""Pixels that come back as they went in, and kernels, samples and fields that are what they say."""

from __future__ import annotations

import base64
import re
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from colour_images import colour_dataset
from kilonet.data.augment import augment
from kilonet.report.html.pictures import (
    MAX_SIDE,
    Picture,
    augmented_samples,
    kernels,
    picture,
    receptive_fields,
)
from kilonet.run import Images
from kilonet.spec import Net, Run, load_net
from kilonet.summary import summarise


def pixels(shown: Picture) -> np.ndarray:
    head, _, data = shown.uri.partition(",")
    assert head == "data:image/png;base64"
    with Image.open(BytesIO(base64.b64decode(data))) as image:
        return np.asarray(image)


@pytest.mark.parametrize("shape", [(28, 28), (8, 8, 3), (1, 5)])
def test_small_images_are_kept(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    shown = picture(image, alt="a")
    assert np.array_equal(pixels(shown), image)
    assert (shown.height, shown.width) == shape[:2]


def test_large_images_are_shrunk() -> None:
    shown = picture(np.full((200, 100, 3), 7, dtype=np.uint8), alt="a")
    assert (shown.height, shown.width) == (MAX_SIDE, MAX_SIDE // 2)
    assert (pixels(shown) == 7).all()


def test_kernels_of_one_channel_by_hand() -> None:
    net = Net(input=(1, 4, 4), layers=["conv 2", "gap", "pointwise 2 bare"])
    name = next(iter(net.parameters))
    weight = np.zeros((2, 1, 3, 3))
    weight[0, 0, 0, 0], weight[0, 0, 2, 2], weight[1, 0, 1, 1] = 2.0, -2.0, 1.0
    first, second = kernels(net, {name: weight})
    assert first.alt == "Filter 1: weights from -2.00 to 2.00"
    shown = pixels(first)
    assert tuple(shown[0, 0]) == (0, 114, 178)
    assert tuple(shown[2, 2]) == (213, 94, 0)
    assert tuple(shown[1, 1]) == (244, 244, 244)
    # Half of the largest weight: halfway from grey to blue.
    assert tuple(pixels(second)[1, 1]) == (122, 179, 211)


def test_a_linear_first_layer_has_pictures_too() -> None:
    net = Net(input=(1, 4, 5), layers=["flatten", "linear 3"])
    name = next(iter(net.parameters))
    shown = kernels(net, {name: np.eye(3, 20)})
    assert [(p.height, p.width) for p in shown] == [(4, 5)] * 3


@pytest.mark.parametrize("layers", [["pointwise 4", "gap", "pointwise 2 bare"]])
def test_what_is_no_picture_has_none(layers: list[str]) -> None:
    net = Net(input=(1, 4, 4), layers=layers)
    weights = {name: np.ones(shape) for name, shape in net.parameters.items()}
    assert kernels(net, weights) == []


def test_samples_are_what_the_run_saw() -> None:
    run = Run.from_dict(
        {
            "net": {"input": [3, 8, 8], "layers": ["conv 4", "gap", "pointwise 3 bare"]},
            "data": {
                "name": "c",
                "augment": [{"name": "crop", "padding": 2}],
                "validation": 30,
            },
            "train": {"epochs": 3, "seed": 5},
        }
    )
    dataset = colour_dataset("c")
    images = Images.of(run, dataset)
    samples = augmented_samples(run, images, classes=dataset.classes)
    assert [sample.label for sample in samples] == list(dataset.classes)
    for sample in samples:
        # None that is held out, and the first of its class that is not.
        of_class = dataset.train_labels[images.train_index] == dataset.classes.index(sample.label)
        assert sample.index == images.train_index[of_class][0]
        original, *epochs = sample.pictures
        assert np.array_equal(pixels(original), dataset.train_images[sample.index])
        assert len(epochs) == 3
        for epoch, shown in enumerate(epochs):
            expected = augment(
                dataset.train_images[sample.index][None],
                np.array([sample.index]),
                augmentations=run.data.augment,
                seed=5,
                epoch=epoch,
            )[0]
            assert np.array_equal(pixels(shown), expected)


def test_fields_are_the_notebooks() -> None:
    images = np.zeros((3, 28, 28), dtype=np.uint8)
    images[1, 14, 14] = 255
    fields = receptive_fields(summarise(load_net("interim")), images, name="f")
    # The notebook's receptive fields, those that grow: see tests/summary.
    assert [field.size.split(" × ")[0] for field in fields] == [
        "3", "5", "6", "10", "14", "18", "22", "32",
    ]  # fmt: skip
    window = re.search(r'class="window"', fields[0].drawing)
    assert window is not None
    # Three pixels about the middle of 28; the last field covers all of the image.
    assert "M12.5 12.5h3v3h-3Z" in fields[0].drawing
    assert "M0 0h28v28h-28Z" in fields[-1].drawing
    assert "sees all of it, 32 × 32 pixels" in fields[-1].drawing
    data = re.search(r'href="data:image/png;base64,([^"]+)"', fields[0].drawing)
    assert data is not None
    with Image.open(BytesIO(base64.b64decode(data[1]))) as image:
        assert np.array_equal(np.asarray(image), images[1])
