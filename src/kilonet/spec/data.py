"""The data of a run: which images, how they are normalized, augmented and split."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from kilonet.errors import UsageError
from kilonet.randomness import MAX_SEED
from kilonet.spec.base import Spec
from kilonet.spec.data_paths import absolute_name
from kilonet.spec.invalid import named


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"[{value[0]}, {value[1]}] should go from low to high")
    return value


def _around(center: float, *, lowest: float = float("-inf")) -> BeforeValidator:
    """One number d is the range (center − d, center + d), as in torchvision."""

    def spread(value: Any) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool):
            if not value >= 0:
                raise ValueError(f"{value!r} should be 0 or more, or a range [low, high]")
            return (max(lowest, center - value), center + value)
        return value

    return BeforeValidator(spread)


def _subset(value: Any) -> Any:
    # Not a count of 1, which Python holds equal to the default 1.0, and so would the content hash.
    count = isinstance(value, int) and not isinstance(value, bool) and value >= 2
    fraction = isinstance(value, float) and 0 < value <= 1
    if not (fraction or count):
        raise ValueError(
            f"{value!r} should be a count of images, 2 or more, without a decimal point, or a "
            "fraction above 0; 1.0 is all images"
        )
    return value


def _count_or_fraction(value: Any) -> Any:
    """A count, or a fraction below 1; 0.0 becomes 0, so that equal specs have equal hashes."""
    count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    fraction = isinstance(value, float) and 0 <= value < 1
    if not (fraction or count):
        raise ValueError(
            f"{value!r} should be a count of images without a decimal point, or a fraction below 1"
        )
    return value or 0


_ORDERED = AfterValidator(_ordered)
_Size = Annotated[int, Field(ge=1, le=4096)]
_Pixel = Annotated[int, Field(ge=0, le=255)]
_Fraction = Annotated[float, Field(ge=0, le=1)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Angle = Annotated[float, Field(ge=-360, le=360)]
_Slant = Annotated[float, Field(gt=-90, lt=90)]
_Factor = Annotated[float, Field(ge=0, le=10)]
_Turn = Annotated[float, Field(ge=-0.5, le=0.5)]
_Angles = Annotated[tuple[_Angle, _Angle], _around(0.0), _ORDERED]
_Slants = Annotated[tuple[_Slant, _Slant], _around(0.0), _ORDERED]
_Factors = Annotated[tuple[_Factor, _Factor], _around(1.0, lowest=0.0), _ORDERED]
_Turns = Annotated[tuple[_Turn, _Turn], _around(0.0), _ORDERED]
_Fractions = Annotated[tuple[_Fraction, _Fraction], _ORDERED]
_Ratio = Annotated[float, Field(ge=0.01, le=100)]
_Ratios = Annotated[tuple[_Ratio, _Ratio], _ORDERED]
_Resample = Literal["nearest", "bilinear"]


class Rotation(Spec):
    """Rotation about the center by an angle drawn uniformly from a range, as RandomRotation.

    Bit for bit what Pillow's ``Image.rotate`` gives for the angle.

    Attributes:
        degrees: d for ±d, or [low, high]; positive turns counterclockwise.
        resample: ``nearest`` or ``bilinear``.
        fill: value of pixels from outside the image, 0 to 255.
    """

    name: Literal["rotation"] = "rotation"
    degrees: _Angles
    resample: _Resample = "nearest"
    fill: _Pixel = 0


class Affine(Spec):
    """Rotation, translation, scaling and shear in one resampling, as torchvision's RandomAffine.

    Attributes:
        degrees: d for ±d, or [low, high]; positive turns clockwise, as in torchvision (whose
            RandomRotation turns counterclockwise).
        translate: largest shift as a fraction of (width, height), in either direction; shifts are
            whole pixels.
        scale: [low, high] of the factor, 0.01 to 100; above 1 enlarges.
        shear, shear_y: d for ±d, or [low, high], in degrees along x and along y.
        resample, fill: as in :class:`Rotation`.
    """

    name: Literal["affine"] = "affine"
    degrees: _Angles = (0.0, 0.0)
    translate: tuple[_Fraction, _Fraction] = (0.0, 0.0)
    scale: _Ratios = (1.0, 1.0)
    shear: _Slants = (0.0, 0.0)
    shear_y: _Slants = (0.0, 0.0)
    resample: _Resample = "nearest"
    fill: _Pixel = 0


class Crop(Spec):
    """A crop of the image's size at a random place in the padded image.

    Attributes:
        padding: pixels added on every side.
        fill: value of the padding, 0 to 255.
    """

    name: Literal["crop"] = "crop"
    padding: int = Field(ge=1, le=64)
    fill: _Pixel = 0


class ColorJitter(Spec):
    """Random brightness, contrast, saturation and hue in random order, as torchvision's for Pillow.

    Attributes:
        brightness, contrast, saturation: d for a factor in [max(0, 1 − d), 1 + d], or [low, high].
        hue: d for a shift in ±d, or [low, high], within ±0.5 of a turn. Saturation and hue do not
            change gray images, as in Pillow. A range of the factor 1, or of the shift 0, alone
            skips that operation.
    """

    name: Literal["color_jitter"] = "color_jitter"
    brightness: _Factors = (1.0, 1.0)
    contrast: _Factors = (1.0, 1.0)
    saturation: _Factors = (1.0, 1.0)
    hue: _Turns = (0.0, 0.0)


class Erasing(Spec):
    """A random rectangle set to one value, as torchvision's RandomErasing, on the uint8 image.

    Source: Zhong et al., "Random erasing data augmentation", AAAI 2020.

    Attributes:
        p: probability that an image is changed.
        scale: [low, high] of the rectangle's area as a fraction of the image's.
        ratio: [low, high] of its height / width, 0.01 to 100, uniform on a log scale. A rectangle
            that does not fit is drawn again, up to ten times; then nothing is erased.
        value: the pixels' new value, 0 to 255.
    """

    name: Literal["erasing"] = "erasing"
    p: _Fraction = 0.5
    scale: _Fractions = (0.02, 0.33)
    ratio: _Ratios = (0.3, 3.3)
    value: _Pixel = 0


class Elastic(Spec):
    """A smooth random displacement of every pixel, as torchvision's ElasticTransform.

    Source: Simard, Steinkraus and Platt, "Best practices for convolutional neural networks applied
    to visual document analysis", ICDAR 2003, whose values for MNIST are the defaults. Uniform noise
    in ±1 is smoothed and scaled, so that displacements have a standard deviation of about
    0.163 · alpha / sigma pixels away from the border: 1.4 by default.

    Attributes:
        alpha: factor of the smoothed noise, pixels; torchvision's, for square images, is 2 · alpha.
        sigma: standard deviation of the Gaussian that smooths it, pixels; cut off at 4 · sigma.
        resample, fill: as in :class:`Rotation`.
    """

    name: Literal["elastic"] = "elastic"
    alpha: Annotated[float, Field(ge=0, le=10_000)] = 34.0
    sigma: Annotated[float, Field(gt=0, le=100)] = 4.0
    resample: _Resample = "bilinear"
    fill: _Pixel = 0


Augmentation = Annotated[
    Rotation | Affine | Crop | ColorJitter | Erasing | Elastic,
    Field(discriminator="name"),
    BeforeValidator(named),
]


class Data(Spec):
    """The images of a run and their preprocessing.

    Attributes:
        name: a known data set (``mnist``), or a path (see :mod:`kilonet.data.sources`). A relative
            one starts at the current folder, in a TOML file at the folder of the file.
        mean, std: normalization of each channel, of pixels scaled to [0, 1]; left out: those of
            the training images, to four decimals.
        resize: (height, width) to which all images are resized first; bit for bit as Pillow's
            bilinear ``Image.resize``.
        augment: random transforms of each training image, in order, drawn again each epoch.
        validation: part of the training set that is held out for validation, stratified by
            class: a count (an integer) or a fraction.
        validation_seed: chooses those images; separate from the run's seed, so that all seeds of
            a study have the same split.
        subset: part of the images that are left after the validation split to train on, stratified
            by class: a count (an integer) or a fraction; 1.0 is all. A smaller subset is contained
            in a larger one of the same seed and split.
        subset_seed: chooses those images; separate from the run's seed likewise.
        test: whether the test set is evaluated. With ``false`` no test image is used: the run
            trains to the same weights, and is measured on the validation split alone. For choices,
            which must not depend on the test set, and for data without one.
    """

    belonging: ClassVar[Mapping[str, tuple[str, ...]]] = {"name": ("mean", "std")}

    name: str = Field(default="mnist", min_length=1)
    mean: tuple[Annotated[float, Field(allow_inf_nan=False)], ...] | None = None
    std: tuple[_Positive, ...] | None = None
    resize: tuple[_Size, _Size] | None = None
    augment: tuple[Augmentation, ...] = ()
    validation: Annotated[
        Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, lt=1)],
        BeforeValidator(_count_or_fraction),
    ] = 0
    validation_seed: int = Field(default=0, ge=0, le=MAX_SEED)
    subset: Annotated[
        Annotated[int, Field(ge=2)] | Annotated[float, Field(gt=0, le=1)],
        BeforeValidator(_subset),
    ] = 1.0
    subset_seed: int = Field(default=0, ge=0, le=MAX_SEED)
    test: bool = True

    @classmethod
    def is_same(cls, key: str, before: Any, after: Any) -> bool:
        """Whether two names are of the same data: equal, or one path in two spellings."""
        if before == after or key != "name":
            return bool(before == after)
        if not isinstance(before, str) or not isinstance(after, str):
            return False
        try:
            return _real(absolute_name(before)) == _real(absolute_name(after))
        except UsageError:  # not a path: an error of the spec
            return False


def _real(name: str) -> str:
    """A path with all links followed; a known name as it is."""
    return os.path.realpath(name) if os.path.isabs(name) else name  # noqa: PTH117
