import hashlib
import json

import numpy as np
import pytest

from kilonet.data.dataset import Dataset
from kilonet.data.describe import describe, pixel_statistics
from kilonet.errors import DataError


def dataset_of(train_images, **changes):
    labels = np.zeros(len(train_images), np.int64)
    return Dataset(
        name="d",
        train_images=train_images,
        train_labels=labels,
        test_images=train_images,
        test_labels=labels,
        **changes,
    )


@pytest.mark.parametrize("shape", [(30, 7, 5), (30, 7, 5, 3)])
def test_statistics_are_numpys_in_float64(shape):
    images = np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)
    mean, std = pixel_statistics(dataset_of(images))
    scaled = images.reshape(30, 35, -1) / 255
    np.testing.assert_allclose(mean, scaled.mean(axis=(0, 1)), rtol=1e-14)
    np.testing.assert_allclose(std, scaled.std(axis=(0, 1)), rtol=1e-13)


def test_statistics_by_hand():
    # Half black, half white: mean 1/2, deviation 1/2; channel 1: 51 = 1/5 everywhere but once 255.
    images = np.zeros((2, 1, 1, 3), np.uint8)
    images[:, 0, 0] = [[0, 51, 7], [255, 255, 7]]
    mean, std = pixel_statistics(dataset_of(images))
    assert mean == (0.5, 0.6, 7 / 255)
    assert std == (0.5, 0.4, 0.0)


@pytest.fixture
def summary(arrays):
    arrays["test_labels"] = np.array([0, 0, 0, 0, 0, 2], np.uint8)
    return describe(Dataset(name="small", classes=("ant", "bee", "cat"), source="a | b", **arrays))


def test_without_test_images(arrays):
    summary = describe(Dataset(name="small", **arrays).without_test())
    assert summary.test is None
    assert summary.to_json()["test"] is None
    text = str(summary)
    assert "test images" in text
    assert "none" in text
    assert "Test  share" not in text
    assert not summary.notes, "a class lacks no test images where there are none"


def test_json(summary, arrays):
    found = json.loads(json.dumps(summary.to_json()))
    assert found["name"] == "small"
    assert found["image_shape"] == [1, 5, 4]
    assert found["dtype"] == "uint8"
    assert found["classes"] == ["ant", "bee", "cat"]
    assert found["train"]["images"] == 12
    assert found["train"]["shape"] == [12, 5, 4]
    assert found["train"]["class_counts"] == {"ant": 4, "bee": 4, "cat": 4}
    assert found["test"]["class_counts"] == {"ant": 5, "bee": 0, "cat": 1}
    stream = bytes.fromhex("00000803 00000006 00000005 00000004") + arrays["test_images"].tobytes()
    assert found["test"]["images_md5"] == hashlib.md5(stream).hexdigest()
    stream = bytes.fromhex("00000801 00000006") + bytes([0, 0, 0, 0, 0, 2])
    assert found["test"]["labels_md5"] == hashlib.md5(stream).hexdigest()
    assert found["mean"] == list(summary.mean)
    assert len(found["fingerprint"]) == 64


def test_notes(summary):
    assert summary.to_json()["notes"][0] == "class 'bee' has no test images"
    assert str(summary).endswith("\nNote: class 'bee' has no test images.")
    assert "<p>Note: class &#x27;bee&#x27; has no test images.</p>" in summary._repr_html_()


def test_constant_pixels_are_described():
    found = describe(dataset_of(np.full((3, 2, 2), 51, np.uint8)))
    assert (found.mean, found.std) == ((0.2,), (0.0,))
    assert found.tables()[2].rows == (("gray", "0.2000", "0.0000"),)


def test_tables(summary):
    overview, balance, pixels, checksums = summary.tables()
    assert ("training images", "12 × 5 × 4") in overview.rows
    assert ("license", "not stated") in overview.rows
    assert balance.rows[0] == ("ant", "4", "33.33 %", "5", "83.33 %")
    assert balance.rows[-1] == ("all", "12", "", "6", "")
    assert pixels.rows == (("gray", f"{summary.mean[0]:.4f}", f"{summary.std[0]:.4f}"),)
    assert checksums.rows[-1][-1] == summary.fingerprint
    assert str(summary).count("+\n\n") == 3
    assert summary._repr_html_().count("<table>") == 4


def test_class_names_that_repeat_are_refused(arrays):
    with pytest.raises(DataError, match="class names are not unique: ant"):
        Dataset(name="small", classes=("ant", "ant", "cat"), **arrays)
