import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilonet.data.dataset import Dataset
from kilonet.data.files import read_dataset
from kilonet.errors import DataError


def assert_holds(dataset, arrays):
    for key, array in arrays.items():
        np.testing.assert_array_equal(getattr(dataset, key), array)


def refuses(path) -> str:
    with pytest.raises(DataError) as caught:
        read_dataset(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("packed", [False, True])
def test_idx_folder(arrays, idx_folder, packed):
    folder = idx_folder(arrays, packed=packed)
    dataset = read_dataset(folder)
    assert_holds(dataset, arrays)
    assert dataset.name == "digits"
    assert dataset.source == str(folder)
    assert dataset.image_shape == (1, 5, 4)
    assert dataset.classes == ("0", "1", "2")


def test_other_spellings_of_the_names(arrays, idx_folder):
    folder = idx_folder(arrays)
    for path in list(folder.iterdir()):
        path.rename(folder / path.name.replace("-idx", ".idx").replace("t10k", "test"))
    assert_holds(read_dataset(folder), arrays)


def test_colour_in_four_dimensions(arrays, idx_folder):
    for key in ("train_images", "test_images"):
        arrays[key] = np.stack([arrays[key]] * 3, axis=-1)
    folder = idx_folder(arrays)
    for path in list(folder.glob("*images*")):
        path.rename(folder / path.name.replace("idx3", "idx4"))
    dataset = read_dataset(folder)
    assert_holds(dataset, arrays)
    assert dataset.image_shape == (3, 5, 4)


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
    dataset = read_dataset(path)
    assert_holds(dataset, arrays)
    assert dataset.name == "digits"


def test_npz_as_keras_publishes_cifar(tmp_path, arrays):
    # Labels in a column, colour in the last axis.
    np.savez(
        tmp_path / "c.npz",
        x_train=np.stack([arrays["train_images"]] * 3, axis=-1),
        y_train=arrays["train_labels"][:, None],
        x_test=np.stack([arrays["test_images"]] * 3, axis=-1),
        y_test=arrays["test_labels"][:, None],
    )
    dataset = read_dataset(tmp_path / "c.npz")
    assert dataset.image_shape == (3, 5, 4)
    np.testing.assert_array_equal(dataset.train_labels, arrays["train_labels"])


def test_an_idx_folder_that_does_not_fit_together(arrays, idx_folder):
    arrays["train_labels"] = arrays["train_labels"][:-1]
    folder = idx_folder(arrays)
    assert "12 train images but 11 train labels" in refuses(folder)


def test_a_missing_file_is_named(arrays, idx_folder):
    folder = idx_folder(arrays)
    (folder / "t10k-labels-idx1-ubyte").unlink()
    assert "no file with the test labels: t10k-labels-idx1-ubyte or" in refuses(folder)


def test_labels_where_images_should_be(arrays, idx_folder):
    folder = idx_folder(arrays)
    labels, images = folder / "train-labels-idx1-ubyte", folder / "train-images-idx3-ubyte"
    images.write_bytes(labels.read_bytes())
    assert "an array of 1 dimensions; images have 3" in refuses(folder)


def test_images_where_labels_should_be(arrays, idx_folder):
    folder = idx_folder(arrays)
    labels, images = folder / "train-labels-idx1-ubyte", folder / "train-images-idx3-ubyte"
    labels.write_bytes(images.read_bytes())
    assert "an array of 3 dimensions; labels have 1" in refuses(folder)


def test_npz_of_fractions(tmp_path, arrays):
    arrays["train_images"] = arrays["train_images"] / 255
    np.savez(tmp_path / "f.npz", **arrays)
    assert "train images are float64; expected uint8, 0 to 255" in refuses(tmp_path / "f.npz")


def test_npz_that_lacks_an_array(tmp_path, arrays):
    path = tmp_path / "part.npz"
    np.savez(path, x_train=arrays["train_images"], y_train=arrays["train_labels"])
    assert "no array x_test, y_test; expected" in refuses(path)
    np.savez(path)
    assert "it has none" in refuses(path)


def test_paths_that_are_no_data_set(tmp_path, arrays, idx_folder):
    folder = idx_folder(arrays)
    assert "no such file or folder" in refuses(tmp_path / "absent")
    assert "neither an NPZ file nor a folder" in refuses(folder / "train-images-idx3-ubyte")
    empty = tmp_path / "empty.npz"
    empty.touch()
    assert "empty file" in refuses(empty)
    (tmp_path / "nothing").mkdir()
    assert "no file with the train images" in refuses(tmp_path / "nothing")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_neither(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "neither a folder of IDX files nor an NPZ file" in refuses(tmp_path / "pipe")


@pytest.mark.parametrize("name", ["a" * 5000, "loop"])
def test_paths_that_the_system_refuses(tmp_path, name):
    if name == "loop":
        (tmp_path / name).symlink_to(tmp_path / name)
    assert "cannot be read" in refuses(tmp_path / name) or "no such file" in refuses(
        tmp_path / name
    )


FILES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("kind", ["idx", "gzip", "npz"])
def test_any_damage_gives_a_data_set_or_a_data_error(kind, data):
    import gzip

    labels = np.array([0, 1, 0], dtype=np.uint8)
    images = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if kind == "npz":
            target = path = folder / "digits.npz"
            np.savez_compressed(
                path,
                train_images=images,
                train_labels=labels,
                test_images=images,
                test_labels=labels,
            )
        else:
            path = folder
            header = b"\0\0\x08\3\0\0\0\3\0\0\0\2\0\0\0\2", b"\0\0\x08\1\0\0\0\3"
            contents = {
                "images-idx3": header[0] + images.tobytes(),
                "labels-idx1": header[1] + labels.tobytes(),
            }
            for split in ("train", "t10k"):
                for part, content in contents.items():
                    packed = gzip.compress(content) if kind == "gzip" else content
                    (folder / f"{split}-{part}-ubyte").write_bytes(packed)
            target = data.draw(st.sampled_from(sorted(folder.iterdir())))
        damaged = bytearray(target.read_bytes())
        for _ in range(data.draw(st.integers(0, 3))):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        target.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
        try:
            dataset = read_dataset(path)
        except DataError as error:
            assert "\n" not in str(error)
        else:
            assert isinstance(dataset, Dataset)
            assert dataset.train_labels.max() < dataset.num_classes
            assert len(dataset.test_images) == len(dataset.test_labels) > 0
