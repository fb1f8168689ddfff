"""Pillow is the reference: no pixel may differ."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from kilonet.data.color import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
)

ENHANCE = [
    (adjust_brightness, ImageEnhance.Brightness),
    (adjust_contrast, ImageEnhance.Contrast),
    (adjust_saturation, ImageEnhance.Color),
]


def random_images(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(("adjust", "enhance"), ENHANCE)
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    factors=st.lists(
        st.floats(0, 10) | st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=1, max_size=6
    ),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    color=st.booleans(),
)
def test_enhance(adjust, enhance, seed, factors, height, width, color):
    images = random_images(seed, len(factors), height, width, *[3] * color)
    expected = [
        np.asarray(enhance(Image.fromarray(image)).enhance(factor))
        for image, factor in zip(images, factors, strict=True)
    ]
    assert np.array_equal(adjust(images, np.array(factors)), np.stack(expected))


@pytest.mark.parametrize(("adjust", "enhance"), ENHANCE)
def test_enhance_every_gray(adjust, enhance):
    gray = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    for factor in np.linspace(0, 3, 61):
        expected = enhance(Image.fromarray(gray[0])).enhance(factor)
        assert np.array_equal(adjust(gray, np.array([factor]))[0], np.asarray(expected))


def hue_adjusted(image, turn):
    """Torchvision's recipe on a Pillow image: add to the uint8 hue, truncated, wrapping around."""
    hue, saturation, value = Image.fromarray(image).convert("HSV").split()
    shift = int(turn * 255) % 256
    hue = Image.fromarray(((np.asarray(hue).astype(int) + shift) % 256).astype(np.uint8))
    return np.asarray(Image.merge("HSV", (hue, saturation, value)).convert("RGB"))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    turns=st.lists(
        st.floats(-0.5, 0.5) | st.sampled_from([0.0, -0.5, 0.5]), min_size=1, max_size=6
    ),
)
def test_hue(seed, turns):
    images = random_images(seed, len(turns), 9, 11, 3)
    expected = [hue_adjusted(image, turn) for image, turn in zip(images, turns, strict=True)]
    assert np.array_equal(adjust_hue(images, np.array(turns)), np.stack(expected))


def colors(*, red):
    """Every green and blue of one red: (256, 256, 3)."""
    green, blue = np.meshgrid(np.arange(256), np.arange(256), indexing="ij")
    return np.stack([np.full_like(green, red), green, blue], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    "reds",
    [
        pytest.param((0, 1, 100, 128, 254, 255), id="some"),
        pytest.param(range(256), id="all", marks=pytest.mark.slow),
    ],
)
def test_hue_of_every_color(reds):
    for red in reds:
        turn = ((red * 37) % 256 - 128) / 256
        image = colors(red=red)
        assert np.array_equal(
            adjust_hue(image[None], np.array([turn]))[0], hue_adjusted(image, turn)
        )


def test_gray_images_have_no_hue_and_no_saturation():
    gray = random_images(0, 3, 8, 8)
    assert np.array_equal(adjust_hue(gray, np.full(3, 0.3)), gray)
    assert np.array_equal(adjust_saturation(gray, np.full(3, 0.3)), gray)


def test_by_hand():
    image = np.array([[[[100, 0, 0], [0, 0, 0]]]], dtype=np.uint8)
    # Half of 100; luma of (100, 0, 0) is 0.299 · 100, the mean gray 15; a third of a turn to green.
    assert adjust_brightness(image, np.array([0.5]))[0, 0, 0].tolist() == [50, 0, 0]
    assert adjust_saturation(image, np.array([0.0]))[0, 0, 0].tolist() == [30, 30, 30]
    assert adjust_contrast(image, np.array([0.0]))[0, 0].tolist() == [[15] * 3] * 2
    assert adjust_hue(image, np.array([1 / 3]))[0, 0, 0].tolist() == [0, 100, 0]
