"""Pillow is the reference: no pixel may differ."""

import numpy as np
import PIL
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from kilonet.data.resize import resize
from kilonet.errors import DataError

PILLOW = int(PIL.__version__.split(".")[0])
SIDE = st.integers(1, 48)


def random_images(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def pillow_resized(images, size):
    height, width = size
    return np.stack(
        [
            np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
            for image in images
        ]
    )


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=SIDE,
    width=SIDE,
    size=st.tuples(SIDE, SIDE),
    color=st.booleans(),
)
def test_any_size(seed, height, width, size, color):
    # Before 13, Pillow resized rows first even where columns first is cheaper.
    assume(PILLOW >= 13 or height - size[0] <= max(0, 2 * (width - size[1])))
    images = random_images(seed, 2, height, width, *[3] * color)
    assert np.array_equal(resize(images, size=size), pillow_resized(images, size))


@pytest.mark.parametrize("size", [(14, 14), (32, 32), (28, 56), (20, 28), (224, 224)])
def test_sizes_of_practice(size):
    images = random_images(0, 3, 28, 28)
    assert np.array_equal(resize(images, size=size), pillow_resized(images, size))


def test_large_images_and_many_parts():
    images = random_images(1, 5, 301, 997, 3)
    assert np.array_equal(resize(images, size=(64, 100)), pillow_resized(images, (64, 100)))


def test_extremes_stay_within_a_byte():
    white = np.full((1, 999, 3), 255, dtype=np.uint8)
    assert np.all(resize(white, size=(7, 1000)) == 255)


def test_by_hand():
    # Halving: the triangle spans four pixels, weighted 1 : 3 : 3 : 1; one is cut off at each end.
    row = np.array([[[80, 160, 0, 240]]], dtype=np.uint8)
    left = (3 * 80 + 3 * 160 + 1 * 0) / 7
    right = (1 * 160 + 3 * 0 + 3 * 240) / 7
    assert resize(row, size=(1, 2))[0, 0].tolist() == [round(left), round(right)]


def test_the_same_size_is_a_copy():
    images = random_images(2, 4, 9, 9)
    result = resize(images, size=(9, 9))
    assert np.array_equal(result, images)
    assert not np.shares_memory(result, images)


def test_no_images():
    assert resize(np.empty((0, 9, 9, 3), dtype=np.uint8), size=(4, 5)).shape == (0, 4, 5, 3)


@pytest.mark.parametrize("images", [np.zeros((2, 9, 9)), np.zeros((9, 9), dtype=np.uint8)])
def test_anything_else_is_refused(images):
    with pytest.raises(DataError, match="cannot resize"):
        resize(images, size=(4, 4))
