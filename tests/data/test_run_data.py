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


def test_a_smaller_last_batch_can_be_dropped(small_run: Run) -> None:
    """As a DataLoader with drop_last does; each epoch leaves out other images."""
    run = small_run.replace({"train.batch_size": 100, "train.drop_last": True})
    images = RunData.of(run, load_dataset(run.data.name))
    epochs = [list(images.batches(run, epoch)) for epoch in range(2)]
    for number, batches in enumerate(epochs):
        assert [len(batch.labels) for batch in batches] == [100] * 6
        assert [batch.step for batch in batches] == list(range(6 * number, 6 * number + 6))
    assert images.steps_per_epoch(run) == 6
    dropped = [set(range(640)) - {i for b in batches for i in b.index} for batches in epochs]
    assert [len(left_out) for left_out in dropped] == [40, 40]
    assert dropped[0] != dropped[1]
    whole = run.replace({"train.drop_last": False})
    first = list(images.batches(whole, 0))
    np.testing.assert_array_equal(first[5].index, epochs[0][5].index)
    exact = run.replace({"train.batch_size": 64})
    assert images.steps_per_epoch(exact) == 10


def test_an_epoch_needs_a_batch(small_run: Run) -> None:
    dataset = load_dataset(small_run.data.name)
    run = small_run.replace({"train.batch_size": 641, "train.drop_last": True})
    with pytest.raises(DataError, match=r"train.drop_last: 640 training images make no batch") as e:
        RunData.of(run, dataset)
    assert str(e.value).endswith("set train.batch_size = 640, or set train.drop_last = false")
    RunData.of(run.replace({"train.drop_last": False}), dataset)
    grows = {"train.batch_size": 64, "train.batch_schedule": {"milestones": [1, 2], "factor": 4}}
    with pytest.raises(DataError, match=r"make no batch of 1,024, .*train.batch_schedule"):
        RunData.of(run.replace(grows), dataset)


def test_a_batch_schedule_may_leave_a_batch_of_one(small_run: Run) -> None:
    """640 images leave one in batches of 213, those of the third epoch."""
    dataset = load_dataset(small_run.data.name)
    layers = ["conv 8", "gap", "batchnorm", "pointwise 10 bare"]
    schedule = {"milestones": [2], "factor": 3.55}
    changes = {"net.layers": layers, "train.batch_size": 60, "train.batch_schedule": schedule}
    run = small_run.replace(changes)
    with pytest.raises(DataError, match=r"batches of 213 leave a batch of one; .*batch_schedule"):
        RunData.of(run, dataset)
    RunData.of(run.replace({"train.epochs": 2}), dataset)
    RunData.of(run.replace({"train.drop_last": True}), dataset)


NORM_OF_ONE = Net(input=(1, 6, 6), layers=["conv 3", "gap", "batchnorm", "pointwise 2 bare"])


def check(
    number: int,
    *,
    batch_size: int,
    validation: float = 0,
    std: tuple[float, ...] | None = (1.0,),
    net: Net = NORM_OF_ONE,
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
    RunData.check(Run(net=net, data=data, train={"batch_size": batch_size}), dataset)


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


@pytest.mark.parametrize("norm", ["groupnorm 1", "layernorm"])
def test_normalizations_of_an_image_take_a_batch_of_one(norm: str) -> None:
    net = Net(input=(1, 6, 6), layers=["conv 3", "gap", norm, "pointwise 2 bare"])
    check(number=129, batch_size=128, net=net)


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


def test_a_subset_is_trained_on_alone(small_run: Run) -> None:
    dataset = load_dataset(small_run.data.name)
    run = small_run.replace({"data.validation": 0.25, "data.subset": 100, "data.mean": None})
    images = RunData.of(run, dataset)
    assert len(images.validation_index) == 160
    assert len(images.train_index) == 100
    assert not set(images.train_index) & set(images.validation_index)
    trained = np.concatenate([batch.index for batch in images.batches(run, 0)])
    assert sorted(trained) == images.train_index.tolist()
    pixels = dataset.train_images[images.train_index] / 255
    assert images.mean == (pytest.approx(pixels.mean(), abs=5e-5),)
    larger = RunData.of(run.replace({"data.subset": 0.5}), dataset)
    assert len(larger.train_index) == 240
    assert set(images.train_index) < set(larger.train_index)
    np.testing.assert_array_equal(larger.validation_index, images.validation_index)


def test_a_batch_of_one_image_of_a_subset() -> None:
    images, labels = np.zeros((20, 6, 6), np.uint8), np.arange(20) % 2
    dataset = Dataset(name="few", train_images=images, train_labels=labels, classes=("a", "b"))
    data = {"validation": 4, "subset": 9, "std": [1.0], "test": False}
    run = Run(net=NORM_OF_ONE, data=data, train={"batch_size": 4})
    remedy = "set train.batch_size = 3 or change data.validation or data.subset"
    with pytest.raises(DataError, match=remedy):
        RunData.check(run, dataset)
    RunData.check(run.replace({"train.batch_size": 3}), dataset)


def test_a_data_set_without_test_images_needs_a_run_that_uses_none(small_run: Run) -> None:
    dataset = load_dataset(small_run.data.name).without_test()
    with pytest.raises(DataError, match=r"has no test images; set data\.test = false"):
        RunData.of(small_run, dataset)
    RunData.of(small_run.replace({"data.test": False, "data.validation": 100}), dataset)
