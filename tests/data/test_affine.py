"""Pillow is the reference: no pixel may differ."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kilonet.data.affine import affine_matrices, rotation_matrices, transform

RESAMPLE = {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR}
BY_HAND = np.arange(1, 10, dtype=np.uint8).reshape(1, 3, 3)


def random_images(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def pillow_fill(images, fill):
    return fill if images.ndim == 3 else (fill,) * 3


def pillow_rotated(images, degrees, *, resample, fill):
    fill = pillow_fill(images, fill)
    return np.stack(
        [
            np.asarray(Image.fromarray(image).rotate(angle, RESAMPLE[resample], fillcolor=fill))
            for image, angle in zip(images, degrees, strict=True)
        ]
    )


def pillow_transformed(images, matrices, *, resample, fill):
    size = images.shape[2], images.shape[1]
    fill = pillow_fill(images, fill)
    return np.stack(
        [
            np.asarray(
                Image.fromarray(image).transform(
                    size,
                    Image.Transform.AFFINE,
                    matrix.tolist(),
                    RESAMPLE[resample],
                    fillcolor=fill,
                )
            )
            for image, matrix in zip(images, matrices, strict=True)
        ]
    )


def rotated(images, degrees, *, resample, fill):
    _, height, width = images.shape[:3]
    matrices = rotation_matrices(degrees, height=height, width=width)
    return transform(images, matrices, resample=resample, fill=fill)


def test_a_thousand_rotations_as_the_notebook_makes_them():
    images = random_images(0, 1000, 28, 28)
    degrees = np.random.default_rng(1).uniform(-7, 7, 1000).tolist()
    expected = pillow_rotated(images, degrees, resample="nearest", fill=1)
    assert np.array_equal(rotated(images, degrees, resample="nearest", fill=1), expected)
    # The angles do move pixels, or the comparison would say nothing.
    assert np.mean(expected != images) > 0.5


@pytest.mark.parametrize("resample", ["nearest", "bilinear"])
@pytest.mark.parametrize(
    "shape", [(28, 28), (27, 31), (31, 16), (16, 31, 3), (28, 28, 3), (1, 9), (9, 1)]
)
def test_rotations_of_every_angle_and_shape(shape, resample):
    images = random_images(2, 160, *shape)
    degrees = np.random.default_rng(3).uniform(-360, 360, 160)
    degrees[:17] = 45 * np.arange(-8, 9)  # quarter turns among them
    degrees[17:21] = 1e-13, -1e-20, 89.9999999999, 360 - 1e-9
    degrees = degrees.tolist()
    expected = pillow_rotated(images, degrees, resample=resample, fill=255)
    assert np.array_equal(rotated(images, degrees, resample=resample, fill=255), expected)


def test_a_quarter_turn_by_hand():
    left = rotated(BY_HAND, [90.0], resample="nearest", fill=0)
    assert left[0].tolist() == [[3, 6, 9], [2, 5, 8], [1, 4, 7]]


@pytest.mark.parametrize("resample", ["nearest", "bilinear"])
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    color=st.booleans(),
    stretch=st.sampled_from([0.1, 1.0, 3.0, 100.0, 1e4, 1e6]),
    straight=st.booleans(),
)
def test_any_matrix(resample, seed, height, width, color, stretch, straight):
    images = random_images(seed, 8, height, width, *[3] * color)
    # Scaled up, the corners leave the range of 16.16 fixed point; straight, it is pure scaling.
    spread = [stretch, stretch, stretch * 20] * 2
    matrices = np.random.default_rng(seed).normal(size=(8, 6)) * spread
    if straight:
        matrices[::2, [1, 3]] = 0.0
    expected = pillow_transformed(images, matrices, resample=resample, fill=7)
    assert np.array_equal(transform(images, matrices, resample=resample, fill=7), expected)


def test_pure_scaling_reads_places_on_the_edge_of_a_pixel_as_pillow_does():
    # Simple fractions put places on edges between pixels, where floating point, added up step by
    # step as Pillow does for matrices without turn or shear, and 16.16 fixed point go apart.
    steps = [
        (up / down, left / 10) for up in range(1, 12) for down in (3, 7, 10) for left in (0, 3)
    ]
    images = random_images(5, len(steps), 40, 40)
    matrices = np.array([[step, 0, start, 0, step, -start] for step, start in steps])
    expected = pillow_transformed(images, matrices, resample="nearest", fill=9)
    assert np.array_equal(transform(images, matrices, resample="nearest", fill=9), expected)


def test_one_batch_may_mix_pillows_arithmetics():
    images = random_images(4, 3, 20, 20)
    matrices = np.array(
        [
            [1.25, 0, -2.5, 0, 0.75, 3],  # scaling
            [0.9, 0.2, 1, -0.2, 0.9, 2],  # fixed point
            # Floating point: a step of 2¹⁶ pixels would wrap around to the same place in 16.16.
            [65536, 0.5, -32768, 0.25, 1, 0],
        ]
    )
    expected = pillow_transformed(images, matrices, resample="nearest", fill=9)
    assert np.mean(expected[2] == 9) > 0.9
    assert np.array_equal(transform(images, matrices, resample="nearest", fill=9), expected)


def test_no_images():
    nothing = np.empty((0, 5, 5), dtype=np.uint8)
    for resample in RESAMPLE:
        assert transform(nothing, np.empty((0, 6)), resample=resample, fill=0).shape == (0, 5, 5)


def composed(*, angle, translate, scale, shear, height, width):
    """M = T·C·R·scale·Y·X·C⁻¹ of torchvision's documentation, multiplied out as 3 × 3 matrices."""

    def move(right, down):
        return np.array([[1, 0, right], [0, 1, down], [0, 0, 1]])

    turn, slant_x, slant_y = (math.radians(value) for value in (angle, *shear))
    rotation = np.array(
        [
            [math.cos(turn), -math.sin(turn), 0],
            [math.sin(turn), math.cos(turn), 0],
            [0, 0, 1],
        ]
    )
    along_y = np.array([[1, 0, 0], [-math.tan(slant_y), 1, 0], [0, 0, 1]])
    along_x = np.array([[1, -math.tan(slant_x), 0], [0, 1, 0], [0, 0, 1]])
    center = width * 0.5, height * 0.5
    return (
        move(*translate)
        @ move(*center)
        @ rotation
        @ np.diag([scale, scale, 1.0])
        @ along_y
        @ along_x
        @ move(-center[0], -center[1])
    )


@settings(max_examples=100, deadline=None)
@given(
    angle=st.floats(-360, 360),
    translate=st.tuples(st.integers(-20, 20), st.integers(-20, 20)),
    scale=st.floats(0.1, 10),
    shear=st.tuples(st.floats(-60, 60), st.floats(-60, 60)),
    height=st.integers(1, 64),
    width=st.integers(1, 64),
)
def test_affine_matrices_are_inverse_to_the_composed_map(
    angle, translate, scale, shear, height, width
):
    (matrix,) = affine_matrices(
        degrees=[angle],
        translate=[translate],
        scale=[scale],
        shear=[shear],
        height=height,
        width=width,
    )
    inverse = np.vstack([matrix.reshape(2, 3), [0, 0, 1]])
    parameters = {"angle": angle, "translate": translate, "scale": scale, "shear": shear}
    product = inverse @ composed(**parameters, height=height, width=width)
    assert np.allclose(product, np.eye(3), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"translate": (1, 0)}, [[0, 1, 2], [0, 4, 5], [0, 7, 8]]),
        ({"translate": (0, -1)}, [[4, 5, 6], [7, 8, 9], [0, 0, 0]]),
        ({"degrees": 90.0}, [[7, 4, 1], [8, 5, 2], [9, 6, 3]]),
        ({"scale": 3.0}, [[5, 5, 5], [5, 5, 5], [5, 5, 5]]),
        # The row above the center moves right by its distance, 1: x' = x − tan 45° · y.
        ({"shear": (45.0, 0.0)}, [[0, 1, 2], [4, 5, 6], [8, 9, 0]]),
        ({"shear": (0.0, 45.0)}, [[0, 2, 6], [1, 5, 9], [4, 8, 0]]),
    ],
)
def test_affine_matrices_by_hand(parameters, expected):
    neutral = {"degrees": 0.0, "translate": (0, 0), "scale": 1.0, "shear": (0.0, 0.0)}
    each = {name: [value] for name, value in (neutral | parameters).items()}
    matrices = affine_matrices(**each, height=3, width=3)
    assert transform(BY_HAND, matrices, resample="nearest", fill=0)[0].tolist() == expected
