"""Data sets that are given from Python: what a spec is named after, and how they are loaded."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest

from kilonet.data import Dataset, load_dataset
from kilonet.data.in_memory import DatasetLoader, is_given, with_data
from kilonet.errors import DataError, UsageError
from kilonet.spec import Run, Study
from small_studies import study_of


@pytest.fixture
def dataset(small_mnist: Path) -> Dataset:
    return load_dataset(str(small_mnist))


@pytest.fixture
def mine(dataset: Dataset) -> Dataset:
    return dataclasses.replace(dataset, name="my/own set", test_images=255 - dataset.test_images)


def name_of(run: Run, data: object) -> str:
    return with_data(run, data)[0].data.name  # type: ignore[arg-type]


def test_a_name_or_a_path_is_stated_as_it_is(small_run: Run, small_mnist: Path) -> None:
    run = small_run.replace({"data.name": "other.npz"})
    for data in (str(small_mnist), small_mnist):
        assert with_data(run, data)[0] == run.replace({"data.name": str(small_mnist)})
    assert name_of(run, "mnist") == "mnist"
    assert name_of(run, Path("mnist")) == str(Path.cwd() / "mnist")
    assert name_of(run, "other.npz") == str(Path.cwd() / "other.npz")
    assert with_data(small_run, None)[0] == small_run


def test_what_a_name_or_a_path_gives_is_known_by_it(small_run: Run, dataset: Dataset) -> None:
    other = small_run.replace({"data.name": "other.npz"})
    assert name_of(small_run, dataset) == small_run.data.name
    assert name_of(other, dataset) == dataset.source
    assert name_of(other, load_dataset("mnist")) == "mnist"


def test_different_data_sets_have_different_names(small_run: Run, mine: Dataset) -> None:
    changed = mine.train_images.copy()
    changed[0, 0, 0] ^= 1
    others = [
        mine,
        dataclasses.replace(mine, train_images=changed),
        dataclasses.replace(mine, classes=tuple("abcdefghij")),
        dataclasses.replace(mine, test_labels=mine.test_labels[::-1]),
        dataclasses.replace(mine, name="another"),
    ]
    names = [name_of(small_run, each) for each in others]
    assert len(set(names)) == len(others)
    assert all(map(is_given, names))
    assert names[0].startswith("python:my-own-set-")
    assert name_of(small_run, mine) == names[0]
    assert name_of(small_run.replace({"data.name": names[0]}), mine) == names[0]


def test_they_are_loaded_without_a_disk_also_elsewhere(small_run: Run, mine: Dataset) -> None:
    run, loader = with_data(small_run, mine)
    assert loader(run.data.name) is mine
    elsewhere: DatasetLoader = pickle.loads(pickle.dumps(loader))
    assert elsewhere(run.data.name).fingerprint == mine.fingerprint
    assert elsewhere("mnist").name == "mnist"
    with pytest.raises(DataError, match="were given from Python and are not kept; give them"):
        load_dataset(run.data.name)


def test_a_stage_that_states_its_own_images_keeps_them(small_run: Run, mine: Dataset) -> None:
    stages = [
        {"name": "One", "change": {"train.epochs": 1}},
        {"name": "Other images", "change": {"data.name": "mnist"}},
    ]
    study, _ = with_data(study_of(small_run, stages=stages), mine)
    assert isinstance(study, Study)
    names = [stage.run.data.name for stage in study.stages]
    assert is_given(names[0])
    assert names[1] == "mnist"


@pytest.mark.parametrize("data", [3, b"mnist", np.zeros(3), {"train_images": 1}])
def test_anything_else_is_an_error_of_one_line(small_run: Run, data: object) -> None:
    with pytest.raises(UsageError, match=r"data: .* give a name, a path or a kilonet\.Dataset"):
        with_data(small_run, data)  # type: ignore[arg-type]
