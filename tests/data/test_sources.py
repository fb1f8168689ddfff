"""The registry: names, paths, and what no source recognizes."""

from __future__ import annotations

import gzip
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilonet.data import Dataset, load_dataset, sources
from kilonet.errors import DataError


def error_of(name_or_path) -> str:
    with pytest.raises(DataError) as caught:
        load_dataset(name_or_path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnits", "no data set 'mnits' (did you mean 'mnist'?); a path must be a folder of IDX"),
        ("MNIST", "did you mean 'mnist'?"),
        ("cifar", "no data set 'cifar' (known: mnist); a path must be a folder of IDX"),
        ("", "'' is not a path: it is empty"),
        ("a\0b", "is not a path: it contains a NUL"),
        ("./digits", "digits: no such file or folder; give a folder of IDX"),
        ("digits.npz", "digits.npz: no such file or folder"),
        ("~nobody-of-this-name/digits", "the home folder ~nobody-of-this-name is unknown here"),
    ],
)
def test_unknown(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in error_of(name)


def test_by_path(arrays, idx_folder, monkeypatch):
    folder = idx_folder(arrays)
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("HOME", str(folder.parent))
    for path in (folder, str(folder), "digits", "~/digits"):
        np.testing.assert_array_equal(load_dataset(path).train_images, arrays["train_images"])


def test_a_source_is_an_entry_in_the_registry(arrays, idx_folder, tmp_path, monkeypatch):
    """The first source that recognizes a path reads it, and messages name every source."""

    class Pictures:
        phrase = "a folder of pictures"

        def recognizes(self, path: Path) -> bool:
            return path.name == "pictures"

        def read(self, path: Path) -> Dataset:
            return Dataset(name="found", **arrays)

    monkeypatch.setattr(sources, "SOURCES", (*sources.SOURCES, Pictures()))
    (tmp_path / "pictures").mkdir()
    (tmp_path / "nothing").mkdir()
    assert load_dataset(tmp_path / "pictures").name == "found"
    assert load_dataset(idx_folder(arrays)).name == "digits"
    for path in (tmp_path / "nothing", tmp_path / "absent"):
        assert error_of(path).endswith(", …), an NPZ file or a folder of pictures")


def test_paths_that_are_no_data_set(tmp_path, arrays, idx_folder):
    folder = idx_folder(arrays)
    assert f"give its folder, {folder}" in error_of(folder / "train-images-idx3-ubyte")
    (tmp_path / "nothing").mkdir()
    assert "not a data set; give a folder of IDX" in error_of(tmp_path / "nothing")
    (tmp_path / "text").write_text("text")
    assert "not a data set; give a folder of IDX" in error_of(tmp_path / "text")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    assert "not a data set" in error_of(tmp_path / "pipe.npz")


@pytest.mark.parametrize("name", ["a" * 5000, "loop"])
def test_paths_that_the_system_refuses(tmp_path, name):
    path = tmp_path / name
    if name == "loop":
        path.symlink_to(path)
    assert "cannot be read" in error_of(path) or "no such file" in error_of(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_a_file_that_may_not_be_read(tmp_path, arrays):
    np.savez(tmp_path / "digits.npz", **arrays)
    (tmp_path / "digits.npz").chmod(0)
    assert "cannot be read: Permission denied" in error_of(tmp_path / "digits.npz")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("kind", ["idx", "gzip", "npz"])
def test_any_damage_gives_a_data_set_or_a_data_error(kind, data):
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
            dataset = load_dataset(path)
        except DataError as error:
            assert "\n" not in str(error)
        else:
            assert isinstance(dataset, Dataset)
            assert dataset.train_labels.max() < dataset.num_classes
            assert len(dataset.test_images) == len(dataset.test_labels) > 0
