"""The engine's input against the NumPy reference and Pillow: bit for bit, in every transform."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kilonet.data import load_dataset
from kilonet.data.affine import affine_matrices, rotation_matrices
from kilonet.data.augment import augment, normalize
from kilonet.data.batch import Batch
from kilonet.engine.native import NativeEngine
from kilonet.errors import DataError, SpecError
from kilonet.randomness import MAX_SEED, Purpose, random_uniform
from kilonet.spec import Net, Run
from kilonet.spec.data import (
    Affine,
    Augmentation,
    ColorJitter,
    Crop,
    Data,
    Elastic,
    Erasing,
    Rotation,
)

native = pytest.importorskip("kilonet.engine._native", reason="no compiler when installed")
ISAS = native.instruction_sets()


def engine_of(
    *augmentations: Augmentation,
    shape: tuple[int, int, int],
    seed: int = 11,
    isa: str = "",
    threads: int = 1,
    mean: tuple[float, ...] = (0.5,),
    std: tuple[float, ...] = (0.25,),
) -> NativeEngine:
    run = Run(
        net=Net(input=shape, layers=["flatten", "linear 3"]),
        data=Data(augment=augmentations),
        train={"seed": seed},
    )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("KILONET_ISA", isa)
        return NativeEngine(run, mean=mean, std=std, threads=threads)


def batch_of(images: Any, *, index: Any = None, epoch: int = 2, step: int = 5) -> Batch:
    index = np.arange(len(images)) if index is None else index
    labels = np.arange(len(images)) % 3
    return Batch(images=images, labels=labels, index=index, epoch=epoch, step=step)


def random_images(seed: int, count: int, shape: tuple[int, int, int], *, levels: int = 256) -> Any:
    channels, height, width = shape
    size = (count, height, width) if channels == 1 else (count, height, width, channels)
    values = np.random.default_rng(seed).integers(0, levels, size)
    return (values * 255 // (levels - 1)).astype(np.uint8)


@st.composite
def ranges(draw: st.DrawFn, low: float, high: float) -> tuple[float, float]:
    """Of a random width; often of none, and often with a whole number at an end."""
    ends = st.floats(low, high) | st.integers(int(np.ceil(low)), int(high)).map(float)
    a, b = draw(ends), draw(ends)
    return draw(st.sampled_from([(min(a, b), max(a, b)), (a, a)]))


PIXELS = st.integers(0, 255)
RESAMPLE = st.sampled_from(["nearest", "bilinear"])
ANGLES = (
    st.sampled_from([(-7.0, 7.0), (0.0, 0.0), (90.0, 90.0), (-180.0, 180.0), (-1e-13, 1e-13)])
    | ranges(-360, 360)
)  # fmt: skip
SLANTS = st.just((0.0, 0.0)) | ranges(-20, 20) | ranges(-89.9999, 89.9999)
FACTORS = st.just((1.0, 1.0)) | ranges(0, 2) | ranges(0, 10)
SHARES = st.floats(0, 1)
TRANSFORMS: dict[str, st.SearchStrategy[Augmentation]] = {
    "rotation": st.builds(Rotation, degrees=ANGLES, resample=RESAMPLE, fill=PIXELS),
    "affine": st.builds(
        Affine,
        degrees=ANGLES,
        translate=st.just((0.0, 0.0)) | st.tuples(SHARES, SHARES),
        scale=st.just((1.0, 1.0)) | ranges(0.8, 1.2) | ranges(0.01, 100),
        shear=SLANTS,
        shear_y=SLANTS,
        resample=RESAMPLE,
        fill=PIXELS,
    ),
    "crop": st.builds(Crop, padding=st.integers(1, 5) | st.integers(1, 64), fill=PIXELS),
    "color_jitter": st.builds(
        ColorJitter,
        brightness=FACTORS,
        contrast=FACTORS,
        saturation=FACTORS,
        hue=st.just((0.0, 0.0)) | ranges(-0.5, 0.5),
    ),
    "erasing": st.builds(
        Erasing,
        p=SHARES,
        scale=ranges(0, 1),
        ratio=ranges(0.3, 3.3) | ranges(0.01, 100),
        value=PIXELS,
    ),
    "elastic": st.builds(
        Elastic,
        alpha=st.floats(0, 100) | st.floats(0, 10_000),
        sigma=st.floats(0.5, 6) | st.floats(1e-6, 60),
        resample=RESAMPLE,
        fill=PIXELS,
    ),
}
LISTS = st.lists(st.one_of(*TRANSFORMS.values()), min_size=2, max_size=4)
SHAPES = st.tuples(st.sampled_from([1, 3]), st.integers(1, 40), st.integers(1, 40))
# Up to six chunks of 16, the last one mostly ragged.
COUNTS = st.integers(1, 80)


@st.composite
def batches(draw: st.DrawFn, shape: tuple[int, int, int]) -> Batch:
    """Noise of 256 levels or of a few, where channels are often equal, with any index at all."""
    seed, count = draw(st.integers(0, 1000)), draw(COUNTS)
    most = draw(st.sampled_from([60_000, 2**32]))
    index = np.random.default_rng(seed).integers(0, most, count)
    images = random_images(seed, count, shape, levels=draw(st.sampled_from([2, 4, 256])))
    return batch_of(images, index=index, epoch=draw(st.integers(0, 2000)))


def check(data: st.DataObject, transforms: st.SearchStrategy[list[Augmentation]]) -> None:
    """The reference's images, and its normalized input."""
    shape, seed = data.draw(SHAPES), data.draw(st.integers(0, MAX_SEED))
    augmentations, batch = data.draw(transforms), data.draw(batches(shape))
    threads, isa = data.draw(st.integers(1, 3)), data.draw(st.sampled_from(ISAS))
    engine = engine_of(*augmentations, shape=shape, seed=seed, threads=threads, isa=isa)
    expected = augment(
        batch.images, batch.index, augmentations=augmentations, seed=seed, epoch=batch.epoch
    )
    np.testing.assert_array_equal(engine.augmented(batch), expected)
    floats = normalize(expected, mean=(0.5,), std=(0.25,))
    assert engine.normalized(batch).tobytes() == floats.tobytes()


@pytest.mark.parametrize("name", TRANSFORMS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_transform_equals_the_reference(name: str, data: st.DataObject) -> None:
    check(data, TRANSFORMS[name].map(lambda one: [one]))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("sigma", [2.0, 30.0])
@pytest.mark.parametrize("shape", [(1, 70, 131), (3, 131, 65)])
def test_an_image_wider_than_what_is_computed_at_once(
    shape: tuple[int, int, int], sigma: float, isa: str
) -> None:
    transforms = [
        Elastic(alpha=60, sigma=sigma, fill=3),
        Affine(degrees=30, scale=(0.7, 1.3), resample="bilinear"),
    ]
    batch = batch_of(random_images(3, 5, shape))
    expected = augment(batch.images, batch.index, augmentations=transforms, seed=11, epoch=2)
    engine = engine_of(*transforms, shape=shape, isa=isa)
    np.testing.assert_array_equal(engine.augmented(batch), expected)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_transforms_in_a_row_equal_the_reference(data: st.DataObject) -> None:
    check(data, LISTS)


@pytest.mark.slow
@settings(max_examples=5000, deadline=None)
@given(data=st.data())
def test_many_transforms_equal_the_reference(data: st.DataObject) -> None:
    check(data, st.one_of(*TRANSFORMS.values()).map(lambda one: [one]) | LISTS)


@pytest.mark.slow
def test_every_color_changes_its_hue_as_in_the_reference() -> None:
    colors = np.arange(2**24, dtype=np.uint32)[:, None] >> np.array([16, 8, 0], dtype=np.uint32)
    images = colors.astype(np.uint8).reshape(-1, 64, 64, 3)
    jitter, batch = ColorJitter(hue=(0.1, 0.1)), batch_of(images)
    result = engine_of(jitter, shape=(3, 64, 64)).augmented(batch)
    expected = augment(images, batch.index, augmentations=[jitter], seed=11, epoch=2)
    assert np.array_equal(result, expected)


@pytest.mark.parametrize("resample", ["nearest", "bilinear"])
def test_rotated_digits_equal_pillow(resample: Any) -> None:
    images = load_dataset("mnist").train_images[:1000]
    batch = batch_of(images, index=np.arange(1000), epoch=3)
    rotation = Rotation(degrees=(-7, 7), resample=resample, fill=1)
    result = engine_of(rotation, shape=(1, 28, 28), seed=5, threads=2).augmented(batch)
    filters = {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR}
    uniform = random_uniform(batch.index, seed=5, purpose=Purpose.AUGMENTATION, epoch=3)[:, 0]
    for image, u, got in zip(images, uniform.tolist(), result, strict=True):
        turned = Image.fromarray(image).rotate(-7 + 14 * u, filters[resample], fillcolor=1)
        np.testing.assert_array_equal(got, np.asarray(turned))


@settings(max_examples=300, deadline=None)
@given(
    x=st.floats(-1, 1)
    # Halfway between two decimals of 15 digits; and around it.
    | st.integers(-(2**16), 2**16).map(lambda halves: halves / 2**16)
    | st.integers(-(10**15), 10**15).map(lambda digits: digits / 10**15)
    | st.integers(-100, 100).map(lambda digits: digits * 5e-16)
)
def test_decimal_rounding_is_pythons(x: float) -> None:
    rounded = native.round_to_15_digits(x)
    assert np.float64(rounded).tobytes() == np.float64(round(x, 15)).tobytes()


DEGREES = st.floats(-360, 360) | st.integers(-8, 8).map(lambda turns: 45.0 * turns)
PIXEL_COUNTS = st.integers(1, 4096)


@settings(max_examples=150, deadline=None)
@given(degrees=DEGREES, height=PIXEL_COUNTS, width=PIXEL_COUNTS)
def test_rotation_matrices_are_the_references(degrees: float, height: int, width: int) -> None:
    [expected] = rotation_matrices([degrees], height=height, width=width)
    result = np.array(native.rotation_matrix(degrees, height, width))
    assert result.tobytes() == expected.tobytes()


@settings(max_examples=150, deadline=None)
@given(
    degrees=DEGREES,
    translate=st.tuples(st.integers(-99, 99), st.integers(-99, 99)),
    scale=st.floats(0.01, 100),
    shear=st.tuples(st.floats(-89.99, 89.99), st.floats(-89.99, 89.99)),
    height=PIXEL_COUNTS,
    width=PIXEL_COUNTS,
)
def test_affine_matrices_are_the_references(
    degrees: float,
    translate: tuple[int, int],
    scale: float,
    shear: tuple[float, float],
    height: int,
    width: int,
) -> None:
    [expected] = affine_matrices(
        degrees=[degrees],
        translate=[translate],
        scale=[scale],
        shear=[shear],
        height=height,
        width=width,
    )
    result = native.affine_matrix(degrees, *translate, scale, *shear, height, width)
    assert np.array(result).tobytes() == expected.tobytes()


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_layout_is_exact(isa: str, data: st.DataObject) -> None:
    """Each pixel scaled, less the mean, over the deviation: three float32 operations."""
    channels = data.draw(st.integers(1, 4))
    shape = (channels, data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40)))
    each = st.tuples(*[st.floats(0, 1, width=32)] * channels)
    mean, std = data.draw(each), tuple(0.01 + x for x in data.draw(each))
    batch = data.draw(batches(shape))
    threads = data.draw(st.integers(1, 3))
    engine = engine_of(shape=shape, isa=isa, threads=threads, mean=mean, std=std)
    pixels = np.moveaxis(batch.images.reshape(len(batch.images), *shape[1:], channels), -1, 1)
    expected = pixels.astype(np.float32) / np.float32(255)
    expected -= np.array(mean, dtype=np.float32)[:, None, None]
    expected /= np.array(std, dtype=np.float32)[:, None, None]
    assert engine.normalized(batch).tobytes() == expected.tobytes()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_step_sees_the_augmented_images(channels: int, isa: str) -> None:
    shape = (channels, 13, 9)
    augmentations = (Rotation(degrees=30), Crop(padding=2), Erasing(p=0.7))
    batch = batch_of(random_images(0, 75, shape), index=np.arange(75) * 7)
    own = engine_of(*augmentations, shape=shape, isa=isa).gradients(batch)
    images = augment(batch.images, batch.index, augmentations=augmentations, seed=11, epoch=2)
    plain = engine_of(shape=shape, isa=isa)
    expected = plain.gradients(dataclasses.replace(batch, images=images))
    other = plain.gradients(batch)
    for name, gradient in own.items():
        assert gradient.tobytes() == expected[name].tobytes(), name
        assert gradient.tobytes() != other[name].tobytes(), name


def test_threads_do_not_show() -> None:
    shape = (3, 17, 19)
    augmentations = (
        Affine(degrees=20, scale=(0.8, 1.2), resample="bilinear"),
        ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
    )
    batch = batch_of(random_images(1, 300, shape))
    engines = [
        engine_of(*augmentations, shape=shape, threads=threads)
        for threads in (1, 2, 3, 5, 1, 2, 3, 5)
    ]
    images = {engine.augmented(batch).tobytes() for engine in engines}
    assert images == {
        augment(batch.images, batch.index, augmentations=augmentations, seed=11, epoch=2).tobytes()
    }
    for engine in engines:
        engine.step(batch, 0.1)
    states = [engine.state() for engine in engines]
    for name, array in states[0].items():
        assert {state[name].tobytes() for state in states} == {array.tobytes()}, name


def test_without_augmentation_the_images_are_as_they_were() -> None:
    batch = batch_of(random_images(2, 40, (1, 5, 6)))
    assert np.array_equal(engine_of(shape=(1, 5, 6)).augmented(batch), batch.images)


def test_an_index_that_is_not_one_integer_an_image() -> None:
    engine = engine_of(Rotation(degrees=7), shape=(1, 5, 6))
    images = random_images(3, 4, (1, 5, 6))
    for index, words in ((np.arange(3), "4 images"), (np.zeros(4), "float64")):
        batch = batch_of(images, index=index)
        for read in (engine.augmented, engine.normalized, engine.gradients):
            with pytest.raises(DataError, match=words) as caught:
                read(batch)
            assert "\n" not in str(caught.value)


def test_images_of_other_channels_are_not_augmented() -> None:
    with pytest.raises(SpecError, match=r"^data\.augment: .*net\.input has 2"):
        engine_of(Crop(padding=1), shape=(2, 5, 6))
