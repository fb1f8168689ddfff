"""Runs that do not use the test set: ``data.test = false``."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

import kilonet as kn
from guarded_data import TestSetReadError, load_guarded
from kilonet.data import Dataset, RunData, load_dataset
from kilonet.data.in_memory import DatasetLoader
from kilonet.errors import KilonetError, SpecError, StorageError, UsageError
from kilonet.report.comparison import compare
from kilonet.report.json.comparison import comparison_json
from kilonet.report.json.records import run_json
from kilonet.report.rebuild import rebuild
from kilonet.report.terminal.seeds import finals
from kilonet.report.terminal.study_progress import StudyProgress
from kilonet.spec import Run, load_run
from kilonet.storage.record import EpochRow, RunRecord
from kilonet.storage.run_folder import RunFolder
from kilonet.study import run_study
from kilonet.training.loop import train
from kilonet.training.observer import Observer
from small_studies import study_of


@pytest.fixture(scope="module")
def held_out(small_run: Run) -> Run:
    return small_run.replace({"data.validation": 100, "data.test": False})


@pytest.fixture(scope="module")
def record(held_out: Run, tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    folder = tmp_path_factory.mktemp("held-out") / "run"
    return train(held_out, folder=folder, data=DatasetLoader(load=load_guarded))


@pytest.fixture(scope="module")
def tested(small_run: Run, tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    folder = tmp_path_factory.mktemp("tested") / "run"
    return train(small_run.replace({"data.validation": 100}), folder=folder)


def test_the_guard_works(small_run: Run, tmp_path: Path) -> None:
    with pytest.raises(TestSetReadError):
        train(small_run, folder=tmp_path, data=DatasetLoader(load=load_guarded))


def test_it_trains_to_the_same_bits_and_has_the_same_validation_figures(
    record: RunRecord, tested: RunRecord
) -> None:
    one, other = RunFolder(record.path).weights(), RunFolder(tested.path).weights()
    assert one.keys() == other.keys()
    assert all(one[name].tobytes() == other[name].tobytes() for name in one)
    for row, same in zip(record.rows, tested.rows, strict=True):
        assert (row.test_accuracy, row.test_loss) == (None, None)
        expected = dataclasses.replace(same, test_accuracy=None, test_loss=None)
        assert dataclasses.replace(row, seconds=0.0, train_seconds=None) == dataclasses.replace(
            expected, seconds=0.0, train_seconds=None
        )
    assert record.run.content_hash != tested.run.content_hash
    assert record.provenance.data.test_images is None
    assert record.provenance.data.sha256 == tested.provenance.data.sha256


def test_its_folder_is_finished_and_read_again(record: RunRecord, held_out: Run) -> None:
    found = RunFolder(record.path).read()
    assert found is not None
    assert found.finished
    assert found.record.rows == record.rows
    again = train(held_out, folder=record.path, data=DatasetLoader(load=load_guarded))
    assert again.rows == record.rows


def test_predictions_are_of_the_validation_split(
    record: RunRecord, tested: RunRecord, held_out: Run
) -> None:
    folder = RunFolder(record.path)
    images = RunData.of(held_out, load_dataset(held_out.data.name))
    index = images.validation_index
    logits = folder.validation_logits()
    model = record.model()
    np.testing.assert_array_equal(logits, model.logits(images.train_images[index]))
    right = logits.argmax(axis=1) == images.train_labels[index]
    assert record.final_validation_accuracy == pytest.approx(100 * right.mean(), rel=1e-12)
    with pytest.raises(StorageError, match=r"the validation split alone: data\.test = false"):
        folder.test_logits()
    with pytest.raises(StorageError, match="the test set alone"):
        RunFolder(tested.path).validation_logits()


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_it_resumes_to_the_same_bits(held_out: Run, engine: str, tmp_path: Path) -> None:
    if engine == "torch":
        pytest.importorskip("torch")

    class Stop(Observer):
        def step(self, *, step: int, **_: object) -> None:
            if step == 13:
                raise KeyboardInterrupt

    whole = train(held_out, folder=tmp_path / "whole", engine=engine)
    given = DatasetLoader(load=load_guarded)
    with pytest.raises(KeyboardInterrupt):
        train(held_out, folder=tmp_path / "cut", engine=engine, data=given, observer=Stop())
    resumed = train(held_out, folder=tmp_path / "cut", engine=engine, resume=True, data=given)
    assert [dataclasses.replace(row, seconds=0.0, train_seconds=None) for row in resumed.rows] == [
        dataclasses.replace(row, seconds=0.0, train_seconds=None) for row in whole.rows
    ]
    for name in ("weights.safetensors", "predictions.npz"):
        one, other = (RunFolder(tmp_path / run).read_file(name) for run in ("whole", "cut"))
        assert one == other, name


def test_data_without_a_test_set(held_out: Run, record: RunRecord, tmp_path: Path) -> None:
    whole = load_dataset(held_out.data.name)
    dataset = Dataset(name="mine", train_images=whole.train_images, train_labels=whole.train_labels)
    found = train(held_out, folder=tmp_path, data=dataset)
    assert [row.validation_loss for row in found.rows] == [
        row.validation_loss for row in record.rows
    ]
    with pytest.raises(KilonetError, match="has no test images"):
        train(held_out.replace({"data.test": True}), folder=tmp_path / "no", data=dataset)


def test_without_a_validation_split_nothing_is_left() -> None:
    with pytest.raises(SpecError, match=r"data\.test: .* set data\.validation"):
        load_run("interim").replace({"data.test": False})
    # Together, in either order.
    for changes in (
        ({"data.validation": 10}, {"data.test": False}),
        (
            {"data.test": False},
            {"data.validation": 10},
        ),
    ):
        load_run("interim").replace({**changes[0], **changes[1]})


def test_the_record_has_its_validation_figures(record: RunRecord, held_out: Run) -> None:
    assert not record.tested
    assert record.final_validation_accuracy is not None
    for read in (
        lambda: record.final_test_accuracy,
        lambda: record.best_test_accuracy,
        lambda: record.reached(0.0),
    ):
        with pytest.raises(UsageError, match=r"data\.test = false") as caught:
            read()
        assert "\n" not in str(caught.value)
    columns = record.log_table.columns
    assert "Test Accuracy" not in columns
    assert columns[-1] == "Validation Loss"
    [*_, last] = record.log_table.rows
    row = record.rows[-1]
    assert last[2] == f"{row.validation_accuracy:.2f}%"
    assert last[-1] == f"{row.validation_loss:.4f}"
    assert row.gap == row.train_accuracy - row.validation_accuracy
    assert finals(record) == {"final validation accuracy": record.final_validation_accuracy}
    data = run_json(record)
    assert data["final_validation_accuracy"] == pytest.approx(record.final_validation_accuracy)
    assert not [key for key in (*data, *data["epochs"][0]) if "test" in key]
    pytest.importorskip("pandas")
    frame = record.to_frame()
    assert frame["test_accuracy"].isna().all()
    assert frame["validation_accuracy"].tolist() == [r.validation_accuracy for r in record.rows]
    del held_out


def test_a_row_needs_figures_of_one_split(record: RunRecord, tmp_path: Path) -> None:
    from kilonet.storage.checksums import CorruptError, rows_from_bytes, rows_to_bytes

    rows = record.rows[:1]
    assert rows_from_bytes(rows_to_bytes(rows), checked=True) == rows
    bare = dataclasses.replace(rows[0], validation_loss=None)
    with pytest.raises(CorruptError):
        rows_from_bytes(rows_to_bytes([bare]), checked=True)
    del tmp_path


def test_it_is_compared_on_validation_images(
    record: RunRecord, tested: RunRecord, small_run: Run, tmp_path: Path
) -> None:
    found = compare(tested, record)
    text = str(found)
    assert "Final validation accuracy" in text
    assert found.to_text(width=30)
    entries = comparison_json(found)["rows"][0]
    assert entries[0]["mean"] is not None
    assert entries[1]["mean"] is None
    assert entries[1]["validation"]["mean"] == pytest.approx(record.final_validation_accuracy)
    without = train(small_run.replace({"train.epochs": 1}), folder=tmp_path / "no-split")
    with pytest.raises(UsageError, match="no images in common to compare on"):
        compare(without, record)


def test_reports_say_why_there_is_none(record: RunRecord) -> None:
    for call in (record.report, lambda: rebuild(record.path)):
        with pytest.raises(StorageError, match=r"data\.test = false") as caught:
            call()
        assert "\n" not in str(caught.value)
    assert not (record.path / "report.md").exists()


def test_plots_show_the_validation_accuracy(record: RunRecord) -> None:
    axes = kn.plot.learning_curves(record)
    assert [line.get_label() for line in axes.get_lines()] == ["train", "validation"]
    axes.figure.clear()


@pytest.mark.native
def test_a_study_of_such_runs(held_out: Run, tmp_path: Path) -> None:
    """In processes of its own too; from Python, where no report is written."""
    study = study_of(held_out)
    result = run_study(study, folder=tmp_path / "s", jobs=2, load=load_guarded)
    rows = [row for stage in result.stages for r in stage.records for row in r.rows]
    assert len(rows) == 8
    assert all(isinstance(row, EpochRow) and row.test_loss is None for row in rows)
    with pytest.raises(StorageError, match=r"data\.test = false"):
        result.report()
    with pytest.raises(UsageError, match=r"stage 1 'Batch norm' does not use the test set"):
        StudyProgress(study)
    pytest.importorskip("pandas")
    frame = result.to_frame()
    assert math.isnan(frame["final_test_accuracy"].iloc[0])
    assert frame["final_validation_accuracy"].notna().all()
