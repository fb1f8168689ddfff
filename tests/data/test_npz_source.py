"""NPZ files of four arrays."""

from __future__ import annotations

import numpy as np
import pytest

from kilonet.data import load_dataset
from kilonet.errors import DataError


def error_of(path) -> str:
    with pytest.raises(DataError) as caught:
        load_dataset(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "keys",
    [
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("x_train", "y_train", "x_test", "y_test"),
    ],
)
def test_npz(tmp_path, arrays, keys):
    path = tmp_path / "digits.npz"
    np.savez_compressed(path, **dict(zip(keys, arrays.values(), strict=True)))
    dataset = load_dataset(path)
    for key, array in arrays.items():
        np.testing.assert_array_equal(getattr(dataset, key), array)
    assert dataset.name == "digits"
    assert dataset.source == str(path)


def test_npz_of_another_name(tmp_path, arrays):
    np.savez(tmp_path / "digits.npz", **arrays)
    path = (tmp_path / "digits.npz").rename(tmp_path / "digits.data")
    np.testing.assert_array_equal(load_dataset(path).test_images, arrays["test_images"])


def test_npz_as_keras_publishes_cifar(tmp_path, arrays):
    # Labels in a column, color in the last axis.
    np.savez(
        tmp_path / "c.npz",
        x_train=np.stack([arrays["train_images"]] * 3, axis=-1),
        y_train=arrays["train_labels"][:, None],
        x_test=np.stack([arrays["test_images"]] * 3, axis=-1),
        y_test=arrays["test_labels"][:, None],
    )
    dataset = load_dataset(tmp_path / "c.npz")
    assert dataset.image_shape == (3, 5, 4)
    np.testing.assert_array_equal(dataset.train_labels, arrays["train_labels"])


@pytest.mark.parametrize("key", ["classes", "class_names", "label_names"])
@pytest.mark.parametrize(
    ("array", "names"),
    [
        (np.array(["ant", "bee", "日本語"]), ("ant", "bee", "日本語")),
        (np.array(["ant", "bee", "Käfer"]).astype("U9").astype(">U9"), ("ant", "bee", "Käfer")),
        (np.array(["ä".encode(), b"b", b"c"]), ("ä", "b", "c")),
        (np.array([3, 5, 7]), ("3", "5", "7")),
        (np.array(["a", "b", "c", "d"]), ("a", "b", "c", "d")),
    ],
)
def test_class_names(tmp_path, arrays, key, array, names):
    np.savez(tmp_path / "n.npz", **arrays, **{key: array})
    assert load_dataset(tmp_path / "n.npz").classes == names


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array(["ant", "bee"]), "train label 2 at index 2 is out of range: the classes are 0"),
        (np.array(["ant", "bee", "ant"]), "class names are not unique: ant"),
        (np.array(["ant", "", "cat"]), "the name of class 1 is empty"),
        (np.array([b"\xff", b"b", b"c"]), "a class name is not UTF-8"),
        (np.array(3), "classes: int64 of shape (); expected class names, (n,) strings"),
        (np.array([0.5, 1, 2]), "classes: float64 of shape (3,); expected class names"),
        (np.array([["a", "b", "c"]]), "of shape (1, 3); expected class names"),
        (np.array(["a", "b", "c"], dtype=object), "save plain numbers, or text with dtype=str"),
    ],
)
def test_class_names_that_are_refused(tmp_path, arrays, array, message):
    np.savez(tmp_path / "n.npz", **arrays, classes=array)
    assert message in error_of(tmp_path / "n.npz")


def test_npz_of_fractions(tmp_path, arrays):
    arrays["train_images"] = arrays["train_images"] / 255
    np.savez(tmp_path / "f.npz", **arrays)
    assert "train images are float64; expected uint8, 0 to 255" in error_of(tmp_path / "f.npz")


def test_npz_that_lacks_an_array(tmp_path, arrays):
    path = tmp_path / "part.npz"
    train = {"x_train": arrays["train_images"], "y_train": arrays["train_labels"]}
    np.savez(path, x_test=arrays["test_images"], **train)
    assert "no array y_test; expected" in error_of(path)
    np.savez(path, x_train=arrays["train_images"], x_test=arrays["test_images"])
    assert "no array y_train, y_test; expected" in error_of(path)
    np.savez(path)
    assert "it has none" in error_of(path)


def test_npz_without_test_images(tmp_path, arrays):
    path = tmp_path / "training.npz"
    np.savez(path, x_train=arrays["train_images"], y_train=arrays["train_labels"])
    dataset = load_dataset(path)
    assert not dataset.has_test
    np.testing.assert_array_equal(dataset.train_images, arrays["train_images"])
    assert dataset.test_images.shape == (0, *arrays["train_images"].shape[1:])


def test_a_file_that_is_no_zip(tmp_path):
    path = tmp_path / "digits.npz"
    path.touch()
    assert "empty file" in error_of(path)
    path.write_bytes(b"anything else")
    assert "not a complete NPZ (zip) file" in error_of(path)
