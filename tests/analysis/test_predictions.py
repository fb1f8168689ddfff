"""Errors read from a study that has been trained: they add up to what its rows say."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kilonet.analysis import analyse, read_errors, rung_errors
from kilonet.data import Dataset, load_dataset
from kilonet.errors import DataError, StoreError
from kilonet.spec import Run, Study
from kilonet.store import RunFolder
from kilonet.study import StudyResult, read_study, run_study

TEST_IMAGES = 200


@pytest.fixture(scope="module")
def result(small_run: Run, tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    study = Study(
        name="small",
        target=50.0,
        seeds=2,
        net=small_run.net,
        data=small_run.data,
        train=small_run.train.replace({"epochs": 1}),
        step=[
            {"name": "One", "change": {"train.batch_size": 32}},
            {"name": "Two", "change": {"train.batch_size": 16}},
        ],
    )
    return run_study(study, folder=tmp_path_factory.mktemp("predictions") / "study")


def test_the_errors_are_those_of_the_rows(result: StudyResult) -> None:
    found = read_errors(result)
    assert len(found) == 2
    for rung, errors in zip(result.rungs, found, strict=True):
        assert (errors.images, errors.seeds) == (TEST_IMAGES, 2)
        mean = np.mean([record.final_test_accuracy for record in rung.records])
        assert errors.mean_wrong == pytest.approx(TEST_IMAGES * (1 - mean / 100))
        assert 100 * errors.calibration.accuracy == pytest.approx(mean)
        # The same images by another file: not MNIST's test set, so no label of it is doubted.
        assert errors.doubtful == ()


def test_each_data_set_is_loaded_once(result: StudyResult) -> None:
    loaded: list[str] = []

    def load(name: str) -> Dataset:
        loaded.append(name)
        return load_dataset(name)

    read_errors(result, load=load)
    assert loaded == [result.study.data.name]


def test_the_analysis_speaks_of_them(result: StudyResult) -> None:
    errors = read_errors(result)
    with_errors = analyse(result, test_images=TEST_IMAGES, errors=errors)
    without = analyse(result, test_images=TEST_IMAGES)
    for i, (rung, plain) in enumerate(zip(with_errors.rungs, without.rungs, strict=True)):
        assert rung.errors is errors[i]
        assert plain.errors is None
        more = [found.kind for found in rung.findings if found not in plain.findings]
        assert [kind for kind in more if kind != "labels"] == [
            "class pairs",
            "hard images",
            "calibration",
        ]
    with pytest.raises(ValueError, match="errors of 1 rungs for 2"):
        analyse(result, test_images=TEST_IMAGES, errors=errors[:1])


def test_other_images_are_refused(result: StudyResult, mnist: Dataset) -> None:
    with pytest.raises(DataError, match="was tested on other images than") as error:
        read_errors(result, load=lambda _: mnist)
    assert "\n" not in str(error.value)
    assert str(result.rungs[0].records[0].path) in str(error.value)


def test_a_seed_far_behind_is_left_out(result: StudyResult) -> None:
    """Half of the seeds wrong everywhere: what is said of single images is the other's."""
    rung = result.rungs[0]
    dataset = load_dataset(rung.rung.run.data.name)
    behind, other = rung.records
    row = replace(behind.rows[-1], test_accuracy=0.0)
    failed = replace(behind, rows=(*behind.rows[:-1], row))
    good = replace(other.rows[-1], test_accuracy=90.0)
    trained = replace(other, rows=(*other.rows[:-1], good))
    found = rung_errors(replace(rung, records=(failed, trained)), dataset)
    alone = rung_errors(replace(rung, records=(other,)), dataset)
    assert found.seeds == 1
    assert found.confusion.tolist() == alone.confusion.tolist()


def test_damaged_logits_are_refused(result: StudyResult, tmp_path: Path) -> None:
    shutil.copytree(result.path, tmp_path / "study")
    copy = read_study(tmp_path / "study")
    record = copy.rungs[1].records[0]
    for logits in (np.zeros((7, 10), np.float32), np.full((TEST_IMAGES, 10), np.nan, np.float32)):
        RunFolder(record.path).finish(weights={}, logits=logits)
        with pytest.raises(StoreError, match="test logits of rung 2 are damaged") as error:
            read_errors(copy)
        assert "\n" not in str(error.value)
    first = replace(copy, rungs=copy.rungs[:1])
    assert len(read_errors(first)) == 1
