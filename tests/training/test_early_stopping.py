"""A run that stops early is finished: record, files, resume; its weights are those of one epoch."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from kilonet.data import RunData, load_dataset
from kilonet.errors import StorageError
from kilonet.report.json.records import run_json, study_json
from kilonet.report.rebuild import analyze_records
from kilonet.spec import Run, Study
from kilonet.storage.run_folder import RunFolder
from kilonet.study import read_study, run_study
from kilonet.training.loop import train
from kilonet.training.model import load
from kilonet.training.observer import Observer
from stopped_runs import StopAt

EPOCHS = 12


@pytest.fixture(scope="module")
def stopping_run(small_run: Run) -> Run:
    """Its rate is far too high from the third epoch on."""
    return small_run.replace(
        {
            "train.epochs": EPOCHS,
            "data.validation": 140,
            "data.augment": [],
            "train.schedule": {"name": "multistep", "milestones": [2], "gamma": 500.0},
            "train.early_stopping": {"patience": 2},
        }
    )


@pytest.fixture(scope="module")
def stopped(stopping_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "stopped"
    train(stopping_run, folder=folder)
    return folder


def bits(folder: Path) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in RunFolder(folder).weights().items()}


def test_the_record_says_that_and_why_it_stopped(stopped: Path) -> None:
    record = RunFolder(stopped).record()
    losses = [row.validation_loss for row in record.rows]
    best = int(np.argmin([loss for loss in losses if loss is not None]))
    assert best < len(losses) - 1
    assert len(losses) == best + 3 < EPOCHS
    assert record.finished
    assert record.stopped_early
    assert record.stopping is not None
    assert (record.stopping.best, record.stopping.value) == (best, losses[best])
    assert record.final == record.rows[best]
    assert record.final_test_accuracy == record.rows[best].test_accuracy
    assert record.final_validation_accuracy == record.rows[best].validation_accuracy
    assert record.ending == (
        f"Stopped early after {best + 3} of 12 epochs: its best validation loss is epoch "
        f"{best}'s, {losses[best]:.4f}, and 2 epochs brought no improvement; the final weights "
        f"are those of epoch {best}."
    )


def test_the_final_weights_are_the_best_epochs(stopped: Path, stopping_run: Run) -> None:
    """Equal to those of a run that ends there; the predictions and the model are theirs."""
    record = RunFolder(stopped).record()
    short = stopping_run.replace(
        {"train.epochs": record.final.epoch + 1, "train.early_stopping": "none"}
    )
    train(short, folder=stopped.parent / "short")
    assert bits(stopped) == bits(stopped.parent / "short")
    dataset = load_dataset(stopping_run.data.name)
    logits = RunFolder(stopped).test_logits()
    accuracy = 100 * np.mean(logits.argmax(axis=1) == dataset.test_labels)
    assert accuracy == pytest.approx(record.final_test_accuracy)
    evaluation = load(stopped).evaluate(dataset.test_images, dataset.test_labels)
    assert evaluation.accuracy == pytest.approx(record.final_test_accuracy)
    data = RunData.of(stopping_run, dataset)
    held_out = load(stopped).evaluate(
        data.train_images[data.validation_index], data.train_labels[data.validation_index]
    )
    assert held_out.loss == pytest.approx(record.final.validation_loss, rel=1e-5)


def test_without_restore_best_the_final_weights_are_the_last(
    stopped: Path, stopping_run: Run, tmp_path: Path
) -> None:
    run = stopping_run.replace({"train.early_stopping.restore_best": False})
    record = train(run, folder=tmp_path)
    assert [row.test_loss for row in record.rows] == [
        row.test_loss for row in RunFolder(stopped).record().rows
    ]
    assert record.final == record.rows[-1]
    assert bits(tmp_path) != bits(stopped)


def test_a_run_that_was_not_stopped_keeps_its_best_epoch_too(
    stopping_run: Run, tmp_path: Path
) -> None:
    run = stopping_run.replace({"train.early_stopping.patience": 9, "train.epochs": 4})
    record = train(run, folder=tmp_path)
    assert record.finished
    assert not record.stopped_early
    assert record.final.epoch < 3
    assert record.ending.startswith("Not stopped early; its best validation loss is epoch ")


def test_a_stopped_run_is_not_trained_again(stopped: Path, stopping_run: Run) -> None:
    before = {path.name: path.read_bytes() for path in stopped.iterdir()}
    assert train(stopping_run, folder=stopped) == RunFolder(stopped).record()
    assert {path.name: path.read_bytes() for path in stopped.iterdir()} == before


def test_an_epoch_that_is_missing_is_still_damage(stopped: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cut"
    folder.mkdir()
    for path in stopped.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    rows = (folder / "epochs.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "epochs.jsonl").write_bytes(b"".join(rows[:-1]))
    with pytest.raises(StorageError, match=r"epochs.jsonl: has \d of 12 epochs"):
        RunFolder(folder).read()


def test_it_resumes_to_the_same_bits(stopped: Path, stopping_run: Run, tmp_path: Path) -> None:
    """Interrupted in each epoch in turn: also between the best epoch and the stop."""
    with pytest.raises(KeyboardInterrupt):
        train(stopping_run, folder=tmp_path, observer=StopAt(3))
    for _ in range(20):
        try:
            train(stopping_run, folder=tmp_path, resume=True, observer=StopAt(11))
        except KeyboardInterrupt:
            continue
        break
    assert bits(tmp_path) == bits(stopped)
    found, whole = (RunFolder(folder).record().rows for folder in (tmp_path, stopped))
    assert [dataclasses.replace(row, seconds=0, train_seconds=None) for row in found] == [
        dataclasses.replace(row, seconds=0, train_seconds=None) for row in whole
    ]


class KillBeforeResults(Observer):
    """Interrupts after the last epoch, before the results are written."""

    def end_epoch(self, row: object, *, correct: int, count: int) -> None:
        if row.epoch == self.last:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    def __init__(self, last: int) -> None:
        self.last = last


def test_interrupted_before_the_results(stopped: Path, stopping_run: Run, tmp_path: Path) -> None:
    last = len(RunFolder(stopped).record().rows) - 1
    with pytest.raises(KeyboardInterrupt):
        train(stopping_run, folder=tmp_path, observer=KillBeforeResults(last))
    state = RunFolder(tmp_path).read()
    assert state is not None
    assert not state.finished
    train(stopping_run, folder=tmp_path, resume=True)
    assert bits(tmp_path) == bits(stopped)


def test_the_test_set_has_no_say(stopped: Path, stopping_run: Run, tmp_path: Path) -> None:
    dataset = load_dataset(stopping_run.data.name)
    turned = dataclasses.replace(dataset, test_images=255 - dataset.test_images)
    record = train(stopping_run, folder=tmp_path, data=turned)
    assert record.final.epoch == RunFolder(stopped).record().final.epoch
    assert bits(tmp_path) == bits(stopped)


def test_reached_is_of_the_weights_that_are_kept_too(stopped: Path) -> None:
    """The last three epochs may be above a target that the kept one is below."""
    record = RunFolder(stopped).record()
    rows = [dataclasses.replace(row, test_accuracy=99.0) for row in record.rows]
    assert dataclasses.replace(record, rows=tuple(rows)).reached(99.0)
    best = record.final.epoch
    rows[best] = dataclasses.replace(rows[best], test_accuracy=98.0)
    if best < len(rows) - 3:
        assert not dataclasses.replace(record, rows=tuple(rows)).reached(99.0)
    rows = [dataclasses.replace(row, test_accuracy=99.0) for row in record.rows]
    assert not dataclasses.replace(record, rows=tuple(rows[:2])).reached(99.0)


def test_a_study_of_runs_that_stop(stopping_run: Run, tmp_path: Path) -> None:
    """In processes: its final accuracies are those of the weights that are kept, in all it says."""
    study = Study(
        name="stops",
        target=1.0001,
        seeds=2,
        net=stopping_run.net,
        data=stopping_run.data,
        train=stopping_run.train,
        stage=[
            {"name": "Stops"},
            {"name": "Goes on", "change": {"train.early_stopping": "none", "train.epochs": 4}},
        ],
    )
    result = run_study(study, folder=tmp_path, jobs=2)
    stops, goes_on = result.stages
    assert all(record.stopped_early and record.finished for record in stops.records)
    assert not any(record.ending for record in goes_on.records)
    data = study_json(result, analyze_records(result))
    finals = [record.rows[record.stopping.best] for record in stops.records if record.stopping]
    mean = sum(row.test_accuracy for row in finals) / 2
    assert data["stages"][0]["mean"] == pytest.approx(mean)
    held_out = sum(row.validation_accuracy or 0.0 for row in finals) / 2
    assert data["stages"][0]["validation"]["mean"] == pytest.approx(held_out)
    ends = [record.final_test_accuracy for record in goes_on.records]
    differences = [b - a.test_accuracy for a, b in zip(finals, ends, strict=True)]
    effect = data["stages"][1]["effect"]["final"]
    assert effect["mean"] == pytest.approx(sum(differences) / 2)
    for seed, record in zip(data["stages"][0]["seeds"], stops.records, strict=True):
        assert seed["final_epoch"] == record.final.epoch
        assert seed["stopped_early"]
    assert "ending" not in data["stages"][1]["seeds"][0]
    text = result.report()[0].read_text()
    assert text.count("Early stopping: **2 of 2 seeds** (seed 1 ran ") == 1
    assert run_study(study, folder=tmp_path).stages == result.stages
    assert read_study(tmp_path).stages == result.stages


def test_the_report_of_one_run(stopped: Path) -> None:
    record = RunFolder(stopped).record()
    markdown, page = (path.read_text() for path in record.report())
    assert "Early stopping: **yes** (Stopped early after " in markdown
    assert f"the final weights are those of epoch {record.final.epoch}" in page
    data = run_json(record)
    assert data["final_test_accuracy"] == pytest.approx(record.final.test_accuracy)
    assert (data["final_epoch"], data["stopped_early"]) == (record.final.epoch, True)
