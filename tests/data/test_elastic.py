"""Elastic deformation against SciPy, and its noise against the draws that the docstrings state."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats

from kilonet.data import elastic as module
from kilonet.data.affine import displace
from kilonet.data.augment import augment
from kilonet.data.elastic import displacements, smoothing_matrix
from kilonet.randomness import Purpose, random_words
from kilonet.spec.data import Affine, Elastic

SEED, EPOCH = 11, 2


def noise_of(index: int, *, height: int, width: int, position: int = 0) -> np.ndarray:
    """(2, h, w) float64: to the right and down, pixel by pixel as the table in augment.py says."""
    noise = np.empty((2, height * width))
    for pixel in range(height * width):
        block = 2**22 * position + pixel // 4
        words = random_words(
            index, seed=SEED, purpose=Purpose.DISPLACEMENT, epoch=EPOCH, block=block
        )
        word = int(words[pixel % 4])
        noise[:, pixel] = [((half + 0.5) / 2**15) - 1 for half in (word % 2**16, word // 2**16)]
    return noise.reshape(2, height, width)


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    sigma=st.floats(0.3, 12),
    position=st.integers(0, 3),
)
def test_a_field_is_scipys_gaussian_filter_of_the_noise(
    height: int, width: int, sigma: float, position: int
) -> None:
    index = np.array([5, 59_999])
    found = displacements(
        index,
        height=height,
        width=width,
        sigma=sigma,
        seed=SEED,
        epoch=EPOCH,
        position=position,
    )
    for i, image in enumerate(index.tolist()):
        noise = noise_of(image, height=height, width=width, position=position)
        for field, values in zip(found, noise, strict=True):
            expected = ndimage.gaussian_filter(values, sigma, mode="mirror", truncate=4.0)
            assert field.dtype == np.float32
            np.testing.assert_allclose(field[i], expected, atol=2e-6)


def test_the_smoothing_matrix_by_hand() -> None:
    # sigma 0.3: radius 1, weights 1 and exp(-1 / 0.18); the neighbor beyond the border is the one
    # on the other side.
    side = math.exp(-1 / 0.18)
    inner, outer = 1 / (1 + 2 * side), side / (1 + 2 * side)
    expected = [[inner, 2 * outer, 0], [outer, inner, outer], [0, 2 * outer, inner]]
    np.testing.assert_allclose(smoothing_matrix(3, sigma=0.3), expected, rtol=1e-6)
    np.testing.assert_array_equal(smoothing_matrix(1, sigma=5.0), [[1.0]])
    np.testing.assert_array_equal(smoothing_matrix(4, sigma=1e-9), np.eye(4))


def test_noise_is_uniform_and_independent() -> None:
    noise = module._noise(np.arange(300), 784, seed=3, epoch=0, position=0)
    for field in noise:
        assert stats.kstest(field.ravel()[::7], stats.uniform(-1, 2).cdf).pvalue > 0.01
        assert np.abs(field).max() < 1
        assert abs(stats.pearsonr(field[:, :-1].ravel(), field[:, 1:].ravel()).statistic) < 0.01
    assert abs(stats.pearsonr(noise[0].ravel(), noise[1].ravel()).statistic) < 0.01


def test_the_standard_deviation_that_the_spec_states() -> None:
    """0.163 · alpha / sigma: 1 / √3 of uniform noise, 1 / (2 σ √π) of a Gaussian."""
    fields = displacements(
        np.arange(400), height=50, width=50, sigma=4.0, seed=1, epoch=0, position=0
    )
    inner = np.concatenate([field[:, 20:30, 20:30].ravel() for field in fields])
    assert inner.std() == pytest.approx(1 / math.sqrt(3) / (2 * 4 * math.sqrt(math.pi)), rel=0.03)
    assert inner.std() == pytest.approx(0.163 / 4, rel=0.03)


@pytest.mark.parametrize("color", [(), (3,)], ids=["gray", "rgb"])
@settings(max_examples=20, deadline=None)
@given(height=st.integers(2, 20), width=st.integers(2, 20), seed=st.integers(0, 99))
def test_the_warp_is_scipys_map_coordinates(
    color: tuple[int, ...], height: int, width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (3, height, width, *color), dtype=np.uint8)
    right, down = rng.uniform(-4, 4, (2, 3, height, width))
    found = displace(images, right=right, down=down, resample="bilinear", fill=7)
    nearest = displace(images, right=right, down=down, resample="nearest", fill=7)
    rows, columns = np.mgrid[:height, :width]
    for image, x, y, got, near in zip(images, right, down, found, nearest, strict=True):
        places = np.stack([rows + y, columns + x])
        outside = (
            (places[0] < -0.5)
            | (places[0] >= height - 0.5)
            | (places[1] < -0.5)
            | (places[1] >= width - 0.5)
        )
        # Half a pixel around the image counts as its border.
        planes = np.moveaxis(image, -1, 0) if color else image[None]
        gots = np.moveaxis(got, -1, 0) if color else got[None]
        nears = np.moveaxis(near, -1, 0) if color else near[None]
        for plane, result, taken in zip(planes, gots, nears, strict=True):
            exact = ndimage.map_coordinates(plane.astype(float), places, order=1, mode="nearest")
            # Pillow cuts off the fraction.
            assert (np.abs(result + 0.5 - exact)[~outside] <= 0.5 + 1e-9).all()
            closest = ndimage.map_coordinates(plane, places, order=0, mode="nearest")
            even = np.abs(places % 1 - 0.5).min(axis=0) < 1e-6
            assert (taken == closest)[~outside & ~even].all()
            assert (result[outside] == 7).all()
            assert (taken[outside] == 7).all()


def test_an_image_is_displaced_by_its_field_times_alpha() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 12, 17), dtype=np.uint8)
    index = np.array([3, 0, 59_999, 2**32 - 1])
    elastic = Elastic(alpha=30.0, sigma=2.0, fill=9)
    found = augment(images, index, augmentations=[Affine(), elastic], seed=SEED, epoch=EPOCH)
    for image, position, got in zip(images, index.tolist(), found, strict=True):
        noise = noise_of(position, height=12, width=17, position=1)
        x, y = (30.0 * ndimage.gaussian_filter(field, 2.0, mode="mirror") for field in noise)
        expected = displace(image[None], right=x[None], down=y[None], resample="bilinear", fill=9)[
            0
        ]
        # The field is of float32: an interpolated value near a whole number may fall below it.
        assert np.abs(got.astype(int) - expected).max() <= 1
        assert (got != expected).mean() < 0.01


def test_no_displacement_is_no_change() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 9, 9), dtype=np.uint8)
    still = [Elastic(alpha=0.0), Elastic(alpha=0.0, resample="nearest")]
    assert np.array_equal(
        augment(images, np.arange(5), augmentations=still, seed=1, epoch=0), images
    )


@pytest.mark.parametrize(("sigma", "kernel_size"), [(4.0, 33), (5.0, 41), (4.4, 37)])
def test_the_smoothing_is_torchvisions(sigma: float, kernel_size: int) -> None:
    """Its ElasticTransform blurs with int(8 · sigma + 1) taps, made odd, and mirrored borders."""
    torch = pytest.importorskip("torch")
    assert kernel_size == int(8 * sigma + 1) + (int(8 * sigma + 1) % 2 == 0)
    half = (kernel_size - 1) // 2
    taps = torch.exp(-0.5 * (torch.linspace(-half, half, kernel_size) / sigma) ** 2)
    kernel = (taps / taps.sum())[:, None] * (taps / taps.sum())[None, :]
    noise = torch.rand(1, 1, 47, 43, generator=torch.Generator().manual_seed(0)) * 2 - 1
    padded = torch.nn.functional.pad(noise, [half] * 4, mode="reflect")
    blurred = torch.nn.functional.conv2d(padded, kernel[None, None])[0, 0].numpy()
    down, across = smoothing_matrix(47, sigma=sigma), smoothing_matrix(43, sigma=sigma)
    np.testing.assert_allclose(down @ noise[0, 0].numpy() @ across.T, blurred, atol=1e-6)
