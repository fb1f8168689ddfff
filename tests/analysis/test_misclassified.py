"""Confusion, hard images and calibration, against counts and sums done by hand.

And errors read from a study that has been trained: they add up to its rows.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.special import softmax

from kilonet.analysis import Kind, analyze, measure_errors, read_errors, stage_errors
from kilonet.analysis.majority import only_guesses
from kilonet.data import Dataset, load_dataset
from kilonet.errors import DataError, StorageError
from kilonet.spec import Run, Study
from kilonet.storage.run_folder import RunFolder
from kilonet.study import StudyResult, read_study, run_study

TEST_IMAGES = 200


def logits_of(*probabilities: list[float]) -> np.ndarray:
    """Logits whose softmax is these rows, as float32 as a run folder keeps them."""
    return np.log(np.array(probabilities, dtype=np.float64)).astype(np.float32)


# Two seeds, five images of three classes.
LABELS = np.array([0, 0, 1, 2, 2])
FIRST = logits_of(
    [0.7, 0.2, 0.1],  # right
    [0.1, 0.8, 0.1],  # 0 predicted as 1
    [0.1, 0.9 - 1e-9, 1e-9],  # right
    [0.5, 0.1, 0.4],  # 2 predicted as 0
    [0.3, 0.6, 0.1],  # 2 predicted as 1
)
SECOND = logits_of(
    [0.6, 0.3, 0.1],  # right
    [0.3, 0.5, 0.2],  # 0 predicted as 1
    [0.2, 0.2, 0.6],  # 1 predicted as 2
    [0.1, 0.2, 0.7],  # right
    [0.5, 0.1, 0.4],  # 2 predicted as 0
)
BOTH = measure_errors([FIRST, SECOND], LABELS)


def test_confusion_is_the_mean_count() -> None:
    # Rows the true class: of class 0 each seed gets one right and takes one for 1; and so on.
    expected = [[1, 1, 0], [0, 0.5, 0.5], [1, 0.5, 0.5]]
    assert BOTH.confusion.dtype == np.float64
    assert BOTH.confusion.tolist() == expected
    assert (BOTH.images, BOTH.seeds) == (5, 2)
    assert BOTH.mean_wrong == 3.0
    with pytest.raises(ValueError, match="read-only"):
        BOTH.confusion[0, 0] = 7


def test_pairs_come_most_frequent_first() -> None:
    found = [(p.label, p.predicted, p.mean_count, p.seeds) for p in BOTH.pairs]
    assert found == [(0, 1, 1.0, 2), (2, 0, 1.0, 2), (1, 2, 0.5, 1), (2, 1, 0.5, 1)]


def test_hard_is_what_more_than_half_get_wrong() -> None:
    # Images 2 and 3 are wrong in one seed of two: not more than half.
    assert [(i.index, i.label, i.wrong, i.seeds) for i in BOTH.hard] == [(1, 0, 2, 2), (4, 2, 2, 2)]
    one, other = BOTH.hard
    assert one.predicted == 1
    assert one.probability_label == pytest.approx((0.1 + 0.3) / 2)
    assert one.probability_predicted == pytest.approx((0.8 + 0.5) / 2)
    # Taken for 0 once and for 1 once: 0 has (0.3 + 0.5) / 2, 1 only (0.6 + 0.1) / 2.
    assert other.predicted == 0
    assert other.probability_predicted == pytest.approx(0.4)


def test_hard_images_come_most_seeds_first() -> None:
    right, sure, unsure = [0.6, 0.4], [0.1, 0.9], [0.4, 0.6]
    labels = np.zeros(3, dtype=np.int64)
    seeds = [logits_of(sure, unsure, sure), logits_of(sure, unsure, unsure)]
    seeds.append(logits_of(right, unsure, unsure))
    hard = measure_errors(seeds, labels).hard
    # Of the two that all get wrong, the one with the least probability of its label is first.
    assert [(image.index, image.wrong) for image in hard] == [(2, 3), (1, 3), (0, 2)]


def test_predicted_is_the_most_frequent_wrong_class() -> None:
    # Twice predicted as 1, once, and surely, for 2; the label itself is predicted twice.
    seeds = [logits_of([0.3, 0.4, 0.3])] * 2 + [logits_of([0.01, 0.01, 0.98])]
    seeds += [logits_of([0.5, 0.25, 0.25])] * 2
    [image] = measure_errors(seeds, np.array([0])).hard
    assert (image.predicted, image.wrong) == (1, 3)
    assert image.probability_predicted == pytest.approx((0.4 + 0.4 + 0.01 + 0.25 + 0.25) / 5)


def test_calibration() -> None:
    # Fifteen bins of 1/15: 0.70 lies in (10/15, 11/15], 0.73 too, 0.40 in (5/15, 6/15].
    logits = logits_of([0.70, 0.15, 0.15], [0.73, 0.17, 0.10], [0.30, 0.40, 0.30])
    found = measure_errors([logits], np.array([0, 1, 1])).calibration
    low, high = found.bins
    assert (low.low, low.high) == (5 / 15, 6 / 15)
    assert (low.confidence, low.accuracy, low.count) == (pytest.approx(0.4), 1.0, 1)
    assert (high.low, high.high) == (10 / 15, 11 / 15)
    assert (high.confidence, high.accuracy, high.count) == (pytest.approx(0.715), 0.5, 2)
    assert found.ece == pytest.approx((1 * 0.6 + 2 * 0.215) / 3)
    assert found.confidence == pytest.approx(1.83 / 3)
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.excess == pytest.approx(-0.17 / 3)
    # Confidence minus right, image by image: -0.30, +0.73, -0.60.
    deviation = np.std([-0.30, 0.73, -0.60], ddof=1)
    assert found.standard_error == pytest.approx(deviation / np.sqrt(3))


def test_certainty_lies_in_the_last_bin() -> None:
    certain = np.array([[1000.0, 0.0], [0.0, -1000.0]], dtype=np.float32)
    [only] = measure_errors([certain], np.array([0, 1])).calibration.bins
    assert (only.low, only.high, only.confidence, only.accuracy) == (14 / 15, 1.0, 1.0, 0.5)


def test_seeds_of_one_image_are_one_draw() -> None:
    once = measure_errors([FIRST], LABELS).calibration
    twice = measure_errors([FIRST, FIRST], LABELS).calibration
    assert twice.standard_error == pytest.approx(once.standard_error)
    assert twice.ece == pytest.approx(once.ece)
    assert [b.count for b in twice.bins] == [2 * b.count for b in once.bins]


@given(
    arrays.arrays(np.float32, (3, 40, 4), elements=st.floats(-30, 30, width=32)),
    arrays.arrays(np.int64, 40, elements=st.integers(0, 3)),
)
@settings(max_examples=50, deadline=None)
def test_sums_hold(logits: np.ndarray, labels: np.ndarray) -> None:
    found = measure_errors(list(logits), labels)
    predicted = logits.argmax(axis=2)
    right = (predicted == labels).mean()
    assert found.confusion.sum() == pytest.approx(40)
    assert found.confusion.sum(axis=1).tolist() == pytest.approx(np.bincount(labels, minlength=4))
    assert np.trace(found.confusion) / 40 == pytest.approx(right)
    assert found.mean_wrong == pytest.approx(40 * (1 - right))
    calibration = found.calibration
    assert sum(b.count for b in calibration.bins) == 3 * 40
    assert calibration.accuracy == pytest.approx(right)
    confidence = softmax(logits.astype(np.float64), axis=2).max(axis=2).mean()
    assert calibration.confidence == pytest.approx(confidence)
    # |mean| of what the bins hold is at most the mean of their |…|, and that at most 1.
    assert abs(calibration.excess) <= calibration.ece + 1e-12
    assert calibration.ece <= 1
    assert {i.index for i in found.hard} == set(
        np.flatnonzero((predicted != labels).sum(axis=0) >= 2)
    )
    for image in found.hard:
        assert image.predicted != image.label


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ([], [0], "no errors to measure"),
        ([np.zeros((0, 2))], [], "no errors to measure"),
        ([np.zeros((2, 2))], [[0], [1]], "no errors to measure"),
        ([np.zeros((2, 2))], [0], r"shape \(2, 2\) do not fit 1 labels"),
        ([np.zeros((2, 2)), np.zeros((2, 3))], [0, 1], r"\(2, 2\), \(2, 3\) do not fit 2 labels"),
        ([np.zeros(2)], [0, 1], r"shape \(2,\) do not fit"),
        ([np.zeros((2, 2))], [0, 2], "labels from 0 to 2, but 2 classes"),
        ([np.zeros((2, 2))], [-1, 1], "labels from -1 to 1"),
        ([np.array([[0.0, np.nan]])], [0], "not finite"),
    ],
)
def test_what_does_not_fit_is_refused(
    logits: list[np.ndarray], labels: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        measure_errors(logits, np.array(labels, dtype=np.int64))


@pytest.fixture(scope="module")
def result(small_run: Run, tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    study = Study(
        name="small",
        target=50.0,
        seeds=2,
        net=small_run.net,
        data=small_run.data,
        train=small_run.train.replace({"epochs": 1}),
        stage=[
            {"name": "One", "change": {"train.batch_size": 32}},
            {"name": "Two", "change": {"train.batch_size": 16}},
        ],
    )
    return run_study(study, folder=tmp_path_factory.mktemp("predictions") / "study")


def test_the_errors_are_those_of_the_rows(result: StudyResult) -> None:
    found = read_errors(result)
    assert len(found) == 2
    for stage, errors in zip(result.stages, found, strict=True):
        assert (errors.images, errors.seeds) == (TEST_IMAGES, 2)
        mean = np.mean([record.final_test_accuracy for record in stage.records])
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


def test_the_analysis_has_findings_about_them(result: StudyResult) -> None:
    errors = read_errors(result)
    with_errors = analyze(result, test_images=TEST_IMAGES, errors=errors)
    without = analyze(result, test_images=TEST_IMAGES)
    for i, (stage, plain) in enumerate(zip(with_errors.stages, without.stages, strict=True)):
        assert stage.errors is errors[i]
        assert plain.errors is None
        more = [found.kind for found in stage.findings if found not in plain.findings]
        if Kind.CLASSES in more:
            assert stage.findings[0].kind is more.pop(0)
        assert set(more) <= {Kind.CLASS_PAIRS, Kind.HARD_IMAGES, Kind.LABELS, Kind.CALIBRATION}
        assert (Kind.CLASS_PAIRS in more) != only_guesses(errors[i])
    with pytest.raises(ValueError, match="errors of 1 stages for 2"):
        analyze(result, test_images=TEST_IMAGES, errors=errors[:1])


def test_other_images_are_refused(result: StudyResult, mnist: Dataset) -> None:
    with pytest.raises(DataError, match="was tested on other images than") as error:
        read_errors(result, load=lambda _: mnist)
    assert "\n" not in str(error.value)
    assert str(result.stages[0].records[0].path) in str(error.value)


def test_a_seed_far_behind_is_left_out(result: StudyResult) -> None:
    """Half of the seeds wrong everywhere: the errors are the other's."""
    stage = result.stages[0]
    dataset = load_dataset(stage.stage.run.data.name)
    behind, other = stage.records
    row = replace(behind.rows[-1], test_accuracy=0.0)
    failed = replace(behind, rows=(*behind.rows[:-1], row))
    good = replace(other.rows[-1], test_accuracy=90.0)
    trained = replace(other, rows=(*other.rows[:-1], good))
    found = stage_errors(replace(stage, records=(failed, trained)), dataset)
    alone = stage_errors(replace(stage, records=(other,)), dataset)
    assert found.seeds == 1
    assert found.confusion.tolist() == alone.confusion.tolist()


def test_damaged_logits_are_refused(result: StudyResult, tmp_path: Path) -> None:
    shutil.copytree(result.path, tmp_path / "study")
    copy = read_study(tmp_path / "study")
    record = copy.stages[1].records[0]
    for logits in (np.zeros((7, 10), np.float32), np.full((TEST_IMAGES, 10), np.nan, np.float32)):
        RunFolder(record.path).finish(weights={}, logits=logits)
        with pytest.raises(StorageError, match="test logits of stage 2 are damaged") as error:
            read_errors(copy)
        assert "\n" not in str(error.value)
    first = replace(copy, stages=copy.stages[:1])
    assert len(read_errors(first)) == 1
