"""Data specs: valid and invalid values."""

from __future__ import annotations

import pytest

from kilonet.spec import Affine, ColorJitter, Crop, Data, Erasing, InvalidSpecError, Rotation


@pytest.mark.parametrize(
    ("spec", "ranges"),
    [
        (Rotation(degrees=7), {"degrees": (-7, 7)}),
        (Rotation(degrees=[-3, 9]), {"degrees": (-3, 9)}),
        (Affine(degrees=0, shear=5), {"degrees": (0, 0), "shear": (-5, 5), "shear_y": (0, 0)}),
        (ColorJitter(brightness=0.25), {"brightness": (0.75, 1.25), "contrast": (1, 1)}),
        # The range of a factor ends at 0.
        (ColorJitter(contrast=1.5, hue=0.5), {"contrast": (0, 2.5), "hue": (-0.5, 0.5)}),
    ],
)
def test_one_number_is_a_range(spec, ranges):
    assert {name: getattr(spec, name) for name in ranges} == ranges


def test_defaults_change_nothing():
    affine, jitter = Affine(), ColorJitter()
    assert (affine.degrees, affine.translate) == ((0, 0), (0, 0))
    assert (affine.scale, affine.shear) == ((1, 1), (0, 0))
    assert {jitter.brightness, jitter.contrast, jitter.saturation} == {(1, 1)}
    assert jitter.hue == (0, 0)


@pytest.mark.parametrize(
    ("cls", "arguments", "message"),
    [
        (Rotation, {}, "degrees: is missing"),
        (Rotation, {"degrees": -7}, "degrees: -7 should be 0 or more, or a range [low, high]"),
        (Rotation, {"degrees": [7, -7]}, "degrees: [7.0, -7.0] should go from low to high"),
        (Rotation, {"degrees": [7]}, "degrees: [7] has too few values"),
        (Rotation, {"degrees": [1, 2, 3]}, "degrees: [1, 2, 3] should have at most 2 values"),
        (Rotation, {"degrees": 361}, "degrees: -361.0 should be greater than or equal to -360"),
        (Rotation, {"degrees": float("nan")}, "degrees: nan should be 0 or more"),
        (Rotation, {"degrees": "x"}, "degrees: 'x' should be a list"),
        (Rotation, {"degrees": 7, "fill": 256}, "fill: 256 should be less than or equal to 255"),
        (Rotation, {"degrees": 7, "resample": "bicubic"}, "'bicubic' should be 'nearest' or"),
        (Rotation, {"degree": 7}, "degree: unknown key of rotation; did you mean 'degrees'?"),
        (Affine, {"scale": [0, 1]}, "scale.0: 0 should be greater than or equal to 0.01"),
        (Affine, {"translate": [0.1, 2]}, "translate.1: 2 should be less than or equal to 1"),
        (Affine, {"shear": 90}, "shear: -90.0 should be greater than -90"),
        (Crop, {"padding": 0}, "padding: 0 should be greater than or equal to 1"),
        (Crop, {"padding": True}, "padding: 'true' should be a whole number"),
        (ColorJitter, {"hue": 0.6}, "hue: -0.6 should be greater than or equal to -0.5"),
        (ColorJitter, {"brightness": [1, 0.5]}, "should go from low to high"),
        (Erasing, {"p": 1.5}, "p: 1.5 should be less than or equal to 1"),
        (Erasing, {"scale": [0.3, 0.2]}, "scale: [0.3, 0.2] should go from low to high"),
        (Erasing, {"ratio": [0, 1]}, "ratio.0: 0 should be greater than or equal to 0.01"),
        (Data, {"name": ""}, "name: '' should have at least 1 character"),
        (Data, {"name": 3}, "name: 3 should be a string"),
        (Data, {"name": True}, "name: True should be a string"),
        (Data, {"std": [0]}, "std.0: 0 should be greater than 0"),
        (Data, {"mean": [float("inf")]}, "mean.0: inf should be a finite number"),
        (Data, {"resize": 32}, "resize: 32 should be a list"),
        (Data, {"resize": [0, 8]}, "resize.0: 0 should be greater than or equal to 1"),
        (Data, {"augment": ["crop"]}, "augment.0.padding: is missing"),
        (Data, {"augment": [3]}, "augment.0: 3 should be a table"),
        (Data, {"augment": [{"degrees": 7}]}, "augment.0: needs a name, as in { name = … }"),
        (Data, {"augment": [{"name": "rotate"}]}, "augment.0: unknown name 'rotate'; did you mean"),
        (
            Data,
            {"augment": [{"name": "crop", "padding": 2}, {"name": "rotation"}]},
            "augment.1.degrees: is missing",
        ),
        (Data, {"validation_seed": -1}, "validation_seed: -1 should be greater than or equal to 0"),
    ],
)
def test_what_is_wrong_with_data(cls, arguments, message):
    with pytest.raises(InvalidSpecError) as raised:
        cls(**arguments)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("value", "kept"), [(0, 0), (0.0, 0), (0.1, 0.1), (5000, 5000)])
def test_validation_is_a_count_or_a_fraction(value, kept):
    validation = Data(validation=value).validation
    assert validation == kept
    assert type(validation) is type(kept)


@pytest.mark.parametrize("value", [1.0, 0.1, 2, 5000])
def test_subset_is_a_count_or_a_fraction(value):
    subset = Data(subset=value).subset
    assert subset == value
    assert type(subset) is type(value)


# 1 is 1.0 in Python, so that as a count it would have the content hash of all images.
@pytest.mark.parametrize("value", [0, 0.0, 1, -1, 1.5, 5000.0, float("nan"), "x", True, None])
def test_subset_that_is_neither(value):
    with pytest.raises(InvalidSpecError) as raised:
        Data(subset=value)
    assert raised.value.path == ("subset",)


@pytest.mark.parametrize(
    "value", [-1, 1.0, 1.5, 5000.0, -0.1, float("nan"), float("inf"), "x", True, None]
)
def test_validation_that_is_neither(value):
    with pytest.raises(InvalidSpecError) as raised:
        Data(validation=value)
    assert raised.value.path == ("validation",)
