"""A run's images in batches."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from kilonet.data import Dataset, RunData, load_dataset
from kilonet.errors import DataError
from kilonet.spec import Net, Run


def test_batches_are_a_function_of_seed_and_epoch(small_run: Run) -> None:
    images = RunData.of(small_run, load_dataset(small_run.data.name))
    batches = list(images.batches(small_run, 4))
    assert [batch.step for batch in batches] == list(range(40, 50))
    index = np.concatenate([batch.index for batch in batches])
    assert sorted(index) == list(range(640))
    again = np.concatenate([batch.index for batch in images.batches(small_run, 4)])
    np.testing.assert_array_equal(index, again)
    other = np.concatenate([batch.index for batch in images.batches(small_run, 5)])
    assert (index != other).any()
    for batch in batches:
        np.testing.assert_array_equal(batch.images, images.train_images[batch.index])
        np.testing.assert_array_equal(batch.labels, images.train_labels[batch.index])


def test_the_last_batch_is_what_remains(small_run: Run) -> None:
    run = small_run.replace({"train.batch_size": 100})
    images = RunData.of(run, load_dataset(run.data.name))
    assert [len(batch.labels) for batch in images.batches(run, 0)] == [100] * 6 + [40]
    assert images.steps_per_epoch(run) == 7


NORM_OF_ONE = Net(input=(1, 6, 6), layers=["conv 3", "gap", "batchnorm", "pointwise 2 bare"])


def check(
    number: int, *, batch_size: int, validation: float = 0, std: tuple[float, ...] | None = (1.0,)
) -> None:
    """As before a training: on ``number`` black images of two classes."""
    images = np.zeros((number, 6, 6), np.uint8)
    labels = np.arange(number) % 2
    dataset = Dataset(
        name="few",
        train_images=images,
        train_labels=labels,
        test_images=images,
        test_labels=labels,
        classes=("a", "b"),
    )
    data = {"validation": validation, "std": std}
    RunData.check(Run(net=NORM_OF_ONE, data=data, train={"batch_size": batch_size}), dataset)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"number": 129, "batch_size": 128},
            "images in batches of 128 leave a batch of one; set train.batch_size = 127",
        ),
        (
            {"number": 143, "batch_size": 128, "validation": 14},
            "of 128 leave a batch of one; set train.batch_size = 127 or change data.validation",
        ),
        # Of 7 images, batches of 2, 3 and 6 leave one.
        (
            {"number": 7, "batch_size": 3},
            "7 training images in batches of 3 leave a batch of one; set train.batch_size = 4",
        ),
        ({"number": 3, "batch_size": 2}, "leave a batch of one; set train.batch_size = 3"),
        ({"number": 8, "batch_size": 1}, "train.batch_size is 1; set train.batch_size = 2"),
        ({"number": 1, "batch_size": 128}, "there is only 1 training image; add images"),
    ],
)
def test_a_batch_of_one_image_has_a_remedy(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        check(**settings)
    assert str(caught.value).endswith(message)
    assert "'batchnorm': batch norm sees one value per channel and image" in str(caught.value)
    split = "129 training images (14 are held out by data.validation)"
    assert (split in str(caught.value)) == ("validation" in settings)


@pytest.mark.parametrize("validation", [0, 3, 0.25])
def test_the_remedy_works(validation: float) -> None:
    for number in range(8, 40):
        for batch_size in range(1, number + 2):
            try:
                check(number, batch_size=batch_size, validation=validation)
            except DataError as error:
                size = re.search(r"train\.batch_size = (\d+)", str(error))
                assert size is not None
                check(number, batch_size=int(size[1]), validation=validation)


def test_constant_pixels_are_refused_before_a_studys_first_run() -> None:
    with pytest.raises(DataError, match=r"few: all training pixels .* set data\.std"):
        check(8, batch_size=4, std=None)
    check(8, batch_size=4)
