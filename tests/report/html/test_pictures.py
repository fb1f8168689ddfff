"""Pixels that come back as they went in, and kernels, samples and fields that are what they say."""

from __future__ import annotations

import base64
import re
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from color_images import color_dataset
from kilonet.data import RunData
from kilonet.data.augment import augment
from kilonet.report.html.artifacts import StageImages
from kilonet.report.html.pictures import (
    MAX_SIDE,
    Picture,
    augmented_samples,
    kernels,
    picture,
    receptive_fields,
)
from kilonet.spec import Net, Run, load_net
from kilonet.summary import summarize


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
    # Half of the largest weight: halfway from gray to blue.
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
    dataset = color_dataset("c")
    images = RunData.of(run, dataset)
    samples = augmented_samples(run, StageImages(data=images, classes=dataset.classes))
    assert [name for name, _ in samples] == list(dataset.classes)
    for name, (original, *epochs) in samples:
        # The first of its class that is not held out.
        of_class = dataset.train_labels[images.train_index] == dataset.classes.index(name)
        index = images.train_index[of_class][0]
        assert np.array_equal(pixels(original), dataset.train_images[index])
        assert len(epochs) == 3
        for epoch, shown in enumerate(epochs):
            expected = augment(
                dataset.train_images[index][None],
                np.array([index]),
                augmentations=run.data.augment,
                seed=5,
                epoch=epoch,
            )[0]
            assert np.array_equal(pixels(shown), expected)


def test_fields_are_the_notebooks() -> None:
    images = np.zeros((3, 28, 28), dtype=np.uint8)
    images[1, 14, 14] = 255
    fields = receptive_fields(summarize(load_net("interim")), images, name="f")
    # The notebook's receptive fields, those that grow: see tests/summary.
    assert [size.split(" × ")[0] for _, size, _ in fields] == [
        "3", "5", "6", "10", "14", "18", "22", "32",
    ]  # fmt: skip
    (_, _, first), (_, size, last) = fields[0], fields[-1]
    assert 'class="window"' in first
    # Three pixels about the middle of 28; the last field covers all of the image.
    assert "M12.5 12.5h3v3h-3Z" in first
    assert "M0 0h28v28h-28Z" in last
    assert size == "32 × 32"
    data = re.search(r'href="data:image/png;base64,([^"]+)"', first)
    assert data is not None
    with Image.open(BytesIO(base64.b64decode(data[1]))) as image:
        assert np.array_equal(np.asarray(image), images[1])
