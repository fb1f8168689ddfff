"""The normalization of a run: what it states, or that of the images it trains on."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilonet.data import Dataset, RunData, normalization
from kilonet.data.dataset import pixel_histogram
from kilonet.data.describe import describe
from kilonet.data.resize import resize
from kilonet.data.rounding import rounded_mean, rounded_std
from kilonet.data.run_data import unrecorded_normalization
from kilonet.errors import DataError
from kilonet.spec import Data, Run


def dataset_of(images: Any) -> Dataset:
    images = np.asarray(images, np.uint8)
    labels = np.arange(len(images)) % 2
    return Dataset(
        name="d", train_images=images, train_labels=labels, test_images=images, test_labels=labels
    )


@pytest.fixture
def color() -> Dataset:
    """The channels differ, and so do the two halves of the images."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 6, 8, 3))
    return dataset_of(
        pixels // [1, 2, 3] // np.where(np.arange(40) < 20, 1, 2)[:, None, None, None]
    )


def run_of(**data: Any) -> Run:
    height, width = data.get("resize", (6, 8))
    layers = ["gap", "pointwise 2 bare"]
    return Run.from_dict({"net": {"input": [3, height, width], "layers": layers}, "data": data})


def assert_is_that_of(found: Any, pixels: np.ndarray) -> None:
    scaled = pixels / 255
    assert found.mean == tuple(np.round(scaled.mean((0, 1, 2)), 4).tolist())
    assert found.std == tuple(np.round(scaled.std((0, 1, 2)), 4).tolist())


def test_it_rounds_to_four_decimals() -> None:
    histogram = pixel_histogram(np.array([[[0, 0, 255]]], np.uint8))
    # mean 1/3, variance 1/3 · 2/3, deviation √2/3 = 0.47140…
    found = normalization(lambda: histogram, data=Data(), where="d")
    assert (found.mean, found.std) == ((0.3333,), (0.4714,))


def test_the_images_of_the_training_alone_count(color: Dataset) -> None:
    """Row 19 of the issue: neither held-out nor test images."""
    whole = RunData.of(run_of(), color)
    assert_is_that_of(whole.normalization, color.train_images)
    split = RunData.of(run_of(validation=0.4), color)
    assert len(split.train_index) == 24
    assert_is_that_of(split.normalization, color.train_images[split.train_index])
    assert split.normalization != whole.normalization
    inverted = dataclasses.replace(color, test_images=255 - color.test_images)
    assert RunData.of(run_of(validation=0.4), inverted).normalization == split.normalization
    changed = color.train_images.copy()
    changed[split.validation_index] = 255
    other = dataclasses.replace(color, train_images=changed)
    assert RunData.of(run_of(validation=0.4), other).normalization == split.normalization


def test_it_is_that_of_the_pixels_that_the_network_sees(color: Dataset) -> None:
    found = RunData.of(run_of(resize=[3, 5]), color).normalization
    assert_is_that_of(found, resize(color.train_images, size=(3, 5)))


def test_that_of_version_0_1_is_of_all_images_as_they_were(color: Dataset) -> None:
    run = run_of(validation=0.4, resize=[3, 5])
    assert_is_that_of(unrecorded_normalization(run, color), color.train_images)
    stated = run.replace({"data.mean": [0.5], "data.std": [0.25]})
    assert unrecorded_normalization(stated, color).mean == (0.5,)


def test_what_is_stated_is_used(color: Dataset) -> None:
    both = RunData.of(run_of(mean=[0.5], std=[0.1, 0.2, 0.3], validation=0.4), color)
    assert (both.mean, both.std) == ((0.5,), (0.1, 0.2, 0.3))
    own = RunData.of(run_of(validation=0.4), color)
    one = RunData.of(run_of(mean=[0.5], validation=0.4), color)
    assert (one.mean, one.std) == ((0.5,), own.std)
    other = RunData.of(run_of(std=[0.5], validation=0.4), color)
    assert (other.mean, other.std) == (own.mean, (0.5,))


def test_pixels_without_a_deviation() -> None:
    images = np.zeros((4, 6, 8, 3), np.uint8)
    images[..., 0] = images[0, ..., 2] = 9
    with pytest.raises(DataError, match=r"channel 0 have the same value, .*data\.std"):
        RunData.of(run_of(), dataset_of(images))
    assert RunData.of(run_of(std=[1.0]), dataset_of(images)).mean[0] == round(9 / 255, 4)


@pytest.mark.parametrize("count", [1, 5, 2500])
def test_a_histogram_of_some_images(count: int) -> None:
    images = np.random.default_rng(1).integers(0, 256, (count, 2, 3, 3), dtype=np.uint8)
    index = np.arange(0, count, 2)
    found = pixel_histogram(images, index=index)
    assert found.shape == (3, 256)
    for channel in range(3):
        expected = np.bincount(images[index, ..., channel].ravel(), minlength=256)
        np.testing.assert_array_equal(found[channel], expected)
    np.testing.assert_array_equal(pixel_histogram(images).sum(1), [count * 6] * 3)


def computed(images: Any, **stated: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    found = normalization(lambda: pixel_histogram(images), data=Data(**stated), where="d")
    return found.mean, found.std


@pytest.mark.parametrize("stated", [{}, {"mean": (0.5,)}])
def test_a_constant_channel_needs_a_stated_deviation(stated: dict[str, Any]) -> None:
    images = np.zeros((2, 2, 2, 3), np.uint8)
    images[0, ..., 0] = images[0, ..., 2] = 51
    with pytest.raises(DataError) as caught:
        computed(images, **stated)
    # Half of the pixels are 1/5: mean 1/10, deviation 1/10.
    assert str(caught.value) == (
        "d: all training pixels of channel 1 have the same value, so their standard deviation is "
        "0; set data.std, for example to [0.1, 1.0, 0.1]"
    )
    with pytest.raises(DataError, match=r"d: all training pixels have .* to \[1\.0\]"):
        computed(images[..., 1], **stated)


def test_only_what_is_not_stated_is_computed() -> None:
    black = np.zeros((2, 2, 2), np.uint8)
    assert computed(black, std=(1.0,)) == ((0.0,), (1.0,))
    assert computed(black, mean=(0.2,), std=(0.5,)) == ((0.2,), (0.5,))
    half = np.array([[[0, 255]]], np.uint8)
    assert computed(half, mean=(0.25,)) == ((0.25,), (0.5,))
    assert computed(half, std=(0.25,)) == ((0.5,), (0.25,))


def test_sparse_images_keep_four_significant_digits() -> None:
    # One white pixel of 2·10⁶: mean 5·10⁻⁷, deviation √(5·10⁻⁷) = 7.071…·10⁻⁴.
    images = np.zeros((2, 1000, 1000), np.uint8)
    images[0, 0, 0] = 255
    assert computed(images) == ((5e-7,), (0.0007071,))
    [row] = describe(dataset_of(images)).tables()[2].rows
    assert row == ("gray", "0.0000005", "0.0007071")
    # One pixel of value 51 of 10⁶: deviation 0.2·10⁻³ = 0.0002, mean 2·10⁻⁷.
    images = np.zeros((1, 1000, 1000), np.uint8)
    images[0, 0, 0] = 51
    assert computed(images) == ((2e-7,), (0.0002,))


@given(std=st.floats(1e-9, 0.5), mean=st.floats(0, 1))
def test_rounding_loses_little(std: float, mean: float) -> None:
    [rounded] = rounded_std((std,), where="d")
    assert rounded == pytest.approx(std, abs=0.5001 * max(1e-3 * std, 1e-4 if std >= 1e-3 else 0))
    [center] = rounded_mean((mean,), (std,))
    assert abs(center - mean) <= 0.0501 * std + 1e-12 or std < 1e-12
