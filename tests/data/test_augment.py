"""Image by image against Pillow and plain Python, on the draws that the module's table states."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from scipy import stats

from kilonet.data import augment as module
from kilonet.data.augment import augment, normalize
from kilonet.errors import DataError, SpecError
from kilonet.randomness import Purpose, random_uniform
from kilonet.spec.data import Affine, ColorJitter, Crop, Data, Elastic, Erasing, Rotation

EVERY = (
    Rotation(degrees=20, fill=1),
    Rotation(degrees=20, resample="bilinear"),
    Affine(degrees=10, translate=(0.1, 0.2), scale=(0.8, 1.2), shear=10, shear_y=5),
    Affine(degrees=10, translate=(0.1, 0.1), scale=(0.8, 1.2), resample="bilinear"),
    Crop(padding=3, fill=9),
    ColorJitter(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.2),
    Erasing(p=0.7),
    Elastic(alpha=20, sigma=2, fill=4),
    Elastic(alpha=20, sigma=2, resample="nearest"),
)


def random_images(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def random_index(seed, count):
    return np.random.default_rng(seed).choice(60_000, count, replace=False)


def draw(index, number, *, seed=11, epoch=2, place=0):
    """The four uniform numbers of one image, as Python floats."""
    uniform = random_uniform(
        index, seed=seed, purpose=Purpose.AUGMENTATION, epoch=epoch, block=16 * place + number
    )
    return uniform.tolist()


def augmented(images, index, *augmentations, seed=11, epoch=2):
    return augment(images, index, augmentations=augmentations, seed=seed, epoch=epoch)


@pytest.mark.parametrize("color", [(), (3,)], ids=["gray", "rgb"])
class TestPurity:
    @settings(max_examples=40, deadline=None)
    @given(
        seed=st.integers(0, 2**63 - 1),
        epoch=st.integers(0, 1000),
        chosen=st.lists(st.integers(0, 11), min_size=1, max_size=12),
        augmentations=st.lists(st.sampled_from(EVERY), min_size=1, max_size=4),
    )
    def test_an_image_does_not_see_its_batch(self, color, seed, epoch, chosen, augmentations):
        images, index = random_images(0, 12, 14, 11, *color), random_index(0, 12)
        stated = {"augmentations": augmentations, "seed": seed, "epoch": epoch}
        whole = augment(images, index, **stated)
        assert np.array_equal(augment(images[chosen], index[chosen], **stated), whole[chosen])

    @pytest.mark.parametrize("augmentation", EVERY, ids=lambda spec: spec.name)
    def test_seed_epoch_index_and_place_all_count(self, color, augmentation):
        images = np.repeat(random_images(1, 1, 20, 20, *color), 40, axis=0)
        index = np.arange(40)
        base = augmented(images, index, augmentation)
        assert np.array_equal(base, augmented(images, index, augmentation))
        assert not np.array_equal(base, augmented(images, index, augmentation, seed=12))
        assert not np.array_equal(base, augmented(images, index, augmentation, epoch=3))
        assert not np.array_equal(base, augmented(images, index + 40, augmentation))
        nothing = Affine()
        assert np.array_equal(augmented(images, index, nothing), images)
        assert not np.array_equal(base, augmented(images, index, nothing, augmentation))

    def test_parts_of_a_large_batch_join(self, color, monkeypatch):
        images, index = random_images(2, 30, 12, 12, *color), random_index(2, 30)
        whole = augmented(images, index, *EVERY)
        monkeypatch.setattr(module, "_VALUES_AT_ONCE", 7 * images[0].size)
        assert np.array_equal(augmented(images, index, *EVERY), whole)

    def test_the_images_given_stay_as_they_are(self, color):
        images, index = random_images(3, 10, 12, 12, *color), random_index(3, 10)
        before = images.copy()
        images.flags.writeable = False
        augmented(images, index, *EVERY)
        assert np.array_equal(images, before)
        assert not np.shares_memory(augmented(images, index), images)

    def test_no_images(self, color):
        nothing = np.empty((0, 8, 8, *color), dtype=np.uint8)
        assert augmented(nothing, np.empty(0, dtype=np.int64), *EVERY).shape == nothing.shape


class TestRotation:
    @pytest.mark.parametrize("resample", ["nearest", "bilinear"])
    def test_equals_pillow(self, resample):
        images, index = random_images(4, 200, 28, 28), random_index(4, 200)
        rotation = Rotation(degrees=(-7, 12), resample=resample, fill=1)
        result = augmented(images, index, Affine(), rotation)
        filters = {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR}
        for image, position, got in zip(images, index, result, strict=True):
            angle = -7 + 19 * draw(position, 0, place=1)[0]
            turned = Image.fromarray(image).rotate(angle, filters[resample], fillcolor=1)
            assert np.array_equal(got, np.asarray(turned))

    def test_angles_are_uniform(self, monkeypatch):
        angles = []

        def spy(degrees, *, height, width):
            angles.extend(degrees)
            return original(degrees, height=height, width=width)

        original = module.rotation_matrices
        monkeypatch.setattr(module, "rotation_matrices", spy)
        images, index = np.zeros((10_000, 1, 1), dtype=np.uint8), np.arange(10_000)
        for epoch in range(2):
            augmented(images, index, Rotation(degrees=7), epoch=epoch)
        angles = np.array(angles)
        assert stats.kstest(angles, stats.uniform(-7, 14).cdf).pvalue > 0.01
        # Neither neighbors in the data set nor one image's epochs go together.
        assert abs(stats.pearsonr(angles[:-1], angles[1:]).statistic) < 0.03
        assert abs(stats.pearsonr(angles[:10_000], angles[10_000:]).statistic) < 0.03


class TestAffine:
    def test_draws(self, monkeypatch):
        stated = {}

        def spy(**parameters):
            stated.update(parameters)
            return original(**parameters)

        original = module.affine_matrices
        monkeypatch.setattr(module, "affine_matrices", spy)
        affine = Affine(
            degrees=(-10, 30), translate=(0.25, 0.1), scale=(0.5, 2), shear=(1, 5), shear_y=4
        )
        images, index = random_images(5, 50, 20, 30), random_index(5, 50)
        augmented(images, index, affine)
        assert (stated["height"], stated["width"]) == (20, 30)
        for number, position in enumerate(index):
            angle, right, down, scale = draw(position, 0)
            shear_x, shear_y, _, _ = draw(position, 1)
            assert stated["degrees"][number] == pytest.approx(-10 + 40 * angle)
            # Whole pixels out of ± a quarter of 30 and ± a tenth of 20.
            moved = round(-7.5 + 15 * right), round(-2 + 4 * down)
            assert stated["translate"][number] == moved
            assert stated["scale"][number] == pytest.approx(0.5 + 1.5 * scale)
            slants = (1 + 4 * shear_x, -4 + 8 * shear_y)
            assert stated["shear"][number] == pytest.approx(slants)

    @pytest.mark.parametrize("resample", ["nearest", "bilinear"])
    def test_translation_alone_moves_whole_pixels(self, resample):
        images, index = random_images(6, 30, 10, 20, 3), random_index(6, 30)
        affine = Affine(translate=(0.2, 0.3), resample=resample, fill=5)
        result = augmented(images, index, affine)
        for image, position, got in zip(images, index, result, strict=True):
            _, right, down, _ = draw(position, 0)
            right, down = round(-4 + 8 * right), round(-3 + 6 * down)
            padded = np.pad(image, ((3, 3), (4, 4), (0, 0)), constant_values=5)
            assert np.array_equal(got, padded[3 - down : 13 - down, 4 - right : 24 - right])

    def test_rotation_turns_the_other_way(self):
        images, index = random_images(7, 30, 21, 21), random_index(7, 30)
        clockwise = augmented(images, index, Affine(degrees=(90, 90)))
        assert np.array_equal(clockwise, np.rot90(images, -1, axes=(1, 2)))
        counterclockwise = augmented(images, index, Rotation(degrees=(90, 90)))
        assert np.array_equal(counterclockwise, np.rot90(images, axes=(1, 2)))


@pytest.mark.parametrize("color", [(), (3,)], ids=["gray", "rgb"])
def test_crop(color):
    images, index = random_images(8, 300, 6, 9, *color), random_index(8, 300)
    result = augmented(images, index, Crop(padding=2, fill=77))
    corners = set()
    for image, position, got in zip(images, index, result, strict=True):
        top, left = (math.floor(5 * uniform) for uniform in draw(position, 0)[:2])
        padded = Image.new("RGB" if color else "L", (13, 10), (77,) * 3 if color else 77)
        padded.paste(Image.fromarray(image), (2, 2))
        assert np.array_equal(got, np.asarray(padded.crop((left, top, left + 9, top + 6))))
        corners.add((top, left))
    assert len(corners) == 25


def pillow_jittered(image, position, jitter):
    """ColorJitter on one Pillow image, operation by operation."""

    def hue(image, turn):
        hue, saturation, value = image.convert("HSV").split()
        hue = hue.point([(level + int(turn * 255)) % 256 for level in range(256)])
        return Image.merge("HSV", (hue, saturation, value)).convert("RGB")

    operations = {
        "brightness": lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
        "contrast": lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
        "saturation": lambda image, factor: ImageEnhance.Color(image).enhance(factor),
        "hue": lambda image, turn: image if image.mode == "L" else hue(image, turn),
    }
    drawn = zip(operations.items(), draw(position, 0), draw(position, 1), strict=True)
    for (name, operation), uniform, _ in sorted(drawn, key=lambda each: each[2]):
        low, high = getattr(jitter, name)
        if (low, high) != ((0, 0) if name == "hue" else (1, 1)):
            image = operation(image, low + (high - low) * uniform)
    return np.asarray(image)


@pytest.mark.parametrize("color", [(), (3,)], ids=["gray", "rgb"])
@pytest.mark.parametrize(
    "jitter",
    [
        EVERY[5],
        ColorJitter(brightness=0.4),
        ColorJitter(contrast=(0.5, 0.5), hue=(0.1, 0.3)),
        ColorJitter(saturation=2, brightness=(1, 3)),
        ColorJitter(),
    ],
    ids=["all", "brightness", "contrast-hue", "saturation-brightness", "none"],
)
def test_color_jitter_equals_pillow(jitter, color):
    images, index = random_images(9, 100, 7, 8, *color), random_index(9, 100)
    result = augmented(images, index, jitter)
    for image, position, got in zip(images, index, result, strict=True):
        assert np.array_equal(got, pillow_jittered(Image.fromarray(image), position, jitter))


def erased_rectangle(position, erasing, *, height, width):
    """(top, left, height, width) as torchvision's RandomErasing draws it; None for nothing."""
    if not draw(position, 0)[0] < erasing.p:
        return None
    for attempt in range(1, 11):
        area, ratio, top, left = draw(position, attempt)
        low, high = erasing.scale
        area = (low + (high - low) * area) * (height * width)
        low, high = (math.log(bound) for bound in erasing.ratio)
        ratio = math.exp(low + (high - low) * ratio)
        tall, wide = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if tall < height and wide < width:
            top, left = int(top * (height - tall + 1)), int(left * (width - wide + 1))
            return top, left, tall, wide
    return None


@pytest.mark.parametrize("color", [(), (3,)], ids=["gray", "rgb"])
@pytest.mark.parametrize(
    ("erasing", "share"),
    [
        (Erasing(), 0.5),
        (Erasing(p=1, value=200), 1.0),
        (Erasing(p=0), 0.0),
        # Most rectangles do not fit, so that some images need several attempts, or run out of them.
        (Erasing(p=1, scale=(0.5, 1), ratio=(0.2, 5)), 0.8),
        # The whole area as a square is 13 × 13, which a height of 12 never holds.
        (Erasing(p=1, scale=(1, 1), ratio=(1, 1)), 0.0),
    ],
    ids=["default", "always", "never", "large", "impossible"],
)
def test_erasing(erasing, share, color):
    images, index = random_images(10, 200, 12, 15, *color), random_index(10, 200)
    result = augmented(images, index, erasing)
    touched = 0
    for image, position, got in zip(images, index, result, strict=True):
        expected = image.copy()
        rectangle = erased_rectangle(position, erasing, height=12, width=15)
        if rectangle is not None:
            top, left, tall, wide = rectangle
            expected[top : top + tall, left : left + wide] = erasing.value
            touched += 1
        assert np.array_equal(got, expected)
    assert touched / 200 == pytest.approx(share, abs=0.1 if 0 < share < 1 else 0)


class TestNormalize:
    @pytest.mark.parametrize(
        ("shape", "mean", "std"),
        [
            ((28, 28), [0.1307], [0.3081]),
            ((16, 16, 3), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ((16, 16, 3), [0.5], [0.25]),
            ((16, 16, 3), [0.4, 0.5, 0.6], [0.3]),
        ],
    )
    def test_bits_are_torchs(self, shape, mean, std):
        images = random_images(11, 5, *shape)
        images[0].reshape(-1)[:256] = np.arange(256)
        scaled = torch.from_numpy(images).to(torch.float32).div(255)
        scaled = scaled[:, None] if len(shape) == 2 else scaled.permute(0, 3, 1, 2)
        expected = scaled.sub(torch.tensor(mean)[:, None, None]).div(
            torch.tensor(std)[:, None, None]
        )
        result = normalize(images, mean=mean, std=std)
        assert result.dtype == np.float32
        assert result.flags.c_contiguous
        assert np.array_equal(result.view(np.uint32), expected.numpy().view(np.uint32))

    def test_by_hand(self):
        images = np.array([[[0, 255]]], dtype=np.uint8)
        assert normalize(images, mean=(0.5,), std=(0.25,)).tolist() == [[[[-2.0, 2.0]]]]

    @pytest.mark.parametrize(("mean", "std"), [((0.1, 0.2, 0.3), (1.0,)), ((0.1,), (1.0, 2.0))])
    def test_a_value_a_channel_or_one(self, mean, std):
        with pytest.raises(SpecError, match="for images of 1 channel; give 1") as caught:
            normalize(np.zeros((1, 4, 4), dtype=np.uint8), mean=mean, std=std)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("images", "index", "words"),
    [
        (np.zeros((2, 4, 4)), np.arange(2), "float64"),
        (np.zeros((4, 4), dtype=np.uint8), np.arange(4), r"\(4, 4\)"),
        (np.zeros((2, 4, 4, 2), dtype=np.uint8), np.arange(2), r"\(2, 4, 4, 2\)"),
        (np.zeros((2, 4, 4), dtype=np.uint8), np.arange(3), "2 images"),
        (np.zeros((2, 4, 4), dtype=np.uint8), np.zeros(2), "float64"),
    ],
)
def test_other_arrays_are_refused_in_a_line(images, index, words):
    with pytest.raises(DataError, match=words) as caught:
        augmented(images, index, Rotation(degrees=7))
    assert "\n" not in str(caught.value)


def test_specs_read_from_a_file_do():
    data = Data.from_dict(
        {"augment": [{"name": "rotation", "degrees": 7, "fill": 1}, {"name": "crop", "padding": 1}]}
    )
    images, index = random_images(12, 4, 9, 9), np.arange(4)
    same = augmented(images, index, Rotation(degrees=(-7, 7), fill=1), Crop(padding=1))
    assert np.array_equal(augmented(images, index, *data.augment), same)
