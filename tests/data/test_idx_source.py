"""Folders of IDX files."""

from __future__ import annotations

import numpy as np
import pytest

from kilonet.data import load_dataset
from kilonet.data.idx_source import IdxFolder
from kilonet.errors import DataError


def assert_holds(dataset, arrays):
    for key, array in arrays.items():
        np.testing.assert_array_equal(getattr(dataset, key), array)


def error_of(path) -> str:
    with pytest.raises(DataError) as caught:
        load_dataset(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("packed", [False, True])
def test_idx_folder(arrays, idx_folder, packed):
    folder = idx_folder(arrays, packed=packed)
    dataset = load_dataset(folder)
    assert_holds(dataset, arrays)
    assert dataset.name == "digits"
    assert dataset.source == str(folder)
    assert dataset.image_shape == (1, 5, 4)
    assert dataset.classes == ("0", "1", "2")


def test_other_spellings_of_the_names(arrays, idx_folder):
    folder = idx_folder(arrays)
    for path in list(folder.iterdir()):
        path.rename(folder / path.name.replace("-idx", ".idx").replace("t10k", "test"))
    assert_holds(load_dataset(folder), arrays)


def test_color_in_four_dimensions(arrays, idx_folder):
    for key in ("train_images", "test_images"):
        arrays[key] = np.stack([arrays[key]] * 3, axis=-1)
    folder = idx_folder(arrays)
    for path in list(folder.glob("*images*")):
        path.rename(folder / path.name.replace("idx3", "idx4"))
    dataset = load_dataset(folder)
    assert_holds(dataset, arrays)
    assert dataset.image_shape == (3, 5, 4)


def test_any_of_the_files_is_recognized(arrays, idx_folder, tmp_path):
    assert not IdxFolder().recognizes(tmp_path)
    folder = idx_folder(arrays, packed=True)
    for path in sorted(folder.iterdir())[1:]:
        path.unlink()
    assert IdxFolder().recognizes(folder)


def test_counts_that_differ(arrays, idx_folder):
    arrays["train_labels"] = arrays["train_labels"][:-1]
    assert "12 train images but 11 train labels" in error_of(idx_folder(arrays))


def test_a_missing_file_is_named(arrays, idx_folder):
    folder = idx_folder(arrays)
    (folder / "t10k-labels-idx1-ubyte").unlink()
    assert "no file with the test labels: t10k-labels-idx1-ubyte or" in error_of(folder)


def test_labels_and_images_in_each_others_place(arrays, idx_folder):
    folder = idx_folder(arrays)
    labels, images = folder / "train-labels-idx1-ubyte", folder / "train-images-idx3-ubyte"
    content = images.read_bytes()
    images.write_bytes(labels.read_bytes())
    assert "an array of 1 dimensions; images have 3" in error_of(folder)
    images.write_bytes(content)
    labels.write_bytes(content)
    assert "an array of 3 dimensions; labels have 1" in error_of(folder)
