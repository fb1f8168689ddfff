"""Run folders: what is written comes back, and damage is told from content."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from kilonet.errors import StoreError
from kilonet.record import EpochRow, RunRecord
from kilonet.spec import Run, load_run
from kilonet.store import Checkpoint, RunFolder, StepLog

RUN = load_run("interim", settings=["train.epochs=3"])
ENVIRONMENT = {"engine": {"name": "torch", "threads": 2}, "data": {"sha256": "0"}, "python": "3"}


def row(epoch: int, test_accuracy: float = 99.0) -> EpochRow:
    return EpochRow(
        epoch=epoch,
        train_accuracy=98.5 + epoch,
        train_loss=0.1 / (epoch + 3),
        test_accuracy=test_accuracy,
        test_loss=0.05,
        lr=0.01,
        seconds=1.5,
    )


def checkpoint(epochs: int) -> Checkpoint:
    return Checkpoint(
        epochs=epochs,
        state={
            "weights/a": np.arange(6, dtype=np.float32).reshape(2, 3),
            "count": np.array(7, np.int64),
        },
        rows=tuple(row(epoch) for epoch in range(epochs)),
        steps=StepLog(
            loss=np.linspace(1, 0, 4 * epochs), correct=np.arange(4 * epochs, dtype=np.int64)
        ),
    )


def begun(path: Path, epochs: int = 0) -> RunFolder:
    folder = RunFolder(path)
    folder.begin(RUN, ENVIRONMENT)
    for epoch in range(epochs):
        folder.save(checkpoint(epoch + 1))
    return folder


def finished(path: Path) -> RunFolder:
    folder = begun(path, RUN.train.epochs)
    folder.finish(weights={"w": np.ones(3, np.float32)}, logits=np.eye(4, 10, dtype=np.float32))
    return folder


def test_round_trip(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")
    assert folder.finished()
    assert folder.run() == RUN
    assert folder.environment() == {"format": 1, **ENVIRONMENT}
    record = folder.record()
    assert record.rows == checkpoint(3).rows
    assert record.finished
    found, expected = folder.checkpoint(), checkpoint(3)
    assert found is not None
    assert found.epochs == 3
    for key, array in expected.state.items():
        np.testing.assert_array_equal(found.state[key], array)
        assert found.state[key].dtype == array.dtype
        assert found.state[key].shape == array.shape
    np.testing.assert_array_equal(found.steps.loss, expected.steps.loss)
    np.testing.assert_array_equal(found.steps.correct, expected.steps.correct)
    np.testing.assert_array_equal(folder.weights()["w"], np.ones(3, np.float32))
    np.testing.assert_array_equal(folder.test_logits(), np.eye(4, 10, dtype=np.float32))


def test_readable_without_kilonet(tmp_path: Path) -> None:
    folder = finished(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "run.toml",
        "environment.json",
        "epochs.jsonl",
        "steps.npz",
        "checkpoint.safetensors",
        "weights.safetensors",
        "predictions.npz",
    }
    lines = (tmp_path / "epochs.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1, 2]
    with np.load(tmp_path / "steps.npz", allow_pickle=False) as steps:
        assert steps["loss"].shape == (12,)
    tensors = safetensors.numpy.load_file(tmp_path / "weights.safetensors")
    np.testing.assert_array_equal(tensors["w"], folder.weights()["w"])


def test_floats_come_back_to_the_bit(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    odd = dataclasses.replace(row(0), train_loss=0.1 + 0.2, validation_loss=1e-300)
    folder.save(dataclasses.replace(checkpoint(1), rows=(odd,)))
    assert folder.rows() == (odd,)


def test_rows_beyond_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    """As after a kill between the rows of an epoch and its checkpoint."""
    folder = begun(tmp_path, 2)
    kept = (tmp_path / "checkpoint.safetensors").read_bytes()
    folder.save(checkpoint(3))
    (tmp_path / "checkpoint.safetensors").write_bytes(kept)
    found = folder.checkpoint()
    assert found is not None
    assert found.epochs == 2
    assert found.rows == checkpoint(2).rows
    np.testing.assert_array_equal(found.steps.loss, checkpoint(3).steps.loss[:8])


def test_steps_ahead_of_the_rows_are_dropped(tmp_path: Path) -> None:
    """As after a kill between the steps of an epoch and its rows."""
    folder = begun(tmp_path, 2)
    kept = {
        name: (tmp_path / name).read_bytes() for name in ("checkpoint.safetensors", "epochs.jsonl")
    }
    folder.save(checkpoint(3))
    for name, content in kept.items():
        (tmp_path / name).write_bytes(content)
    found = folder.checkpoint()
    assert found is not None
    assert found.rows == checkpoint(2).rows
    np.testing.assert_array_equal(found.steps.loss, checkpoint(3).steps.loss[:8])


def test_an_unfinished_run(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    assert folder.exists()
    assert not folder.finished()
    assert folder.checkpoint() is None
    assert folder.rows() == ()
    with pytest.raises(StoreError, match=r"weights\.safetensors: missing"):
        folder.weights()
    assert not RunFolder(tmp_path / "elsewhere").exists()


def test_beginning_again_forgets_the_run_before(tmp_path: Path) -> None:
    finished(tmp_path)
    folder = begun(tmp_path)
    assert folder.checkpoint() is None
    assert not folder.finished()
    assert {path.name for path in tmp_path.iterdir()} == {"run.toml", "environment.json"}


def test_a_folder_with_other_files_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StoreError, match=r"holds 'thesis.tex', which is not a run's"):
        begun(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "nonsense",
        "[]",
        '{"format": 0}',
        '{"format": 2}',
        '{"engine": "torch"}',
        '{"format": 1, "engine": {}, "data": []}',
        '{"format": 1, "engine": "torch", "data": {}}',
        '{"format": 1, "engine": {}, "data": {}, "resumed": 3}',
    ],
)
def test_an_environment_that_cannot_be_read(tmp_path: Path, content: str) -> None:
    folder = finished(tmp_path)
    (tmp_path / "environment.json").write_text(content)
    with pytest.raises(
        StoreError, match=r"environment.json: (not valid JSON|format|.* is damaged)"
    ):
        folder.record()


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{}",
        "[1]",
        '{"epoch": 1}',
        json.dumps(dataclasses.asdict(row(2))),
        json.dumps(dataclasses.asdict(row(1)) | {"test_accuracy": None}),
        json.dumps(dataclasses.asdict(row(1)) | {"test_loss": float("nan")}),
        json.dumps(dataclasses.asdict(row(1)) | {"lr": "fast"}),
    ],
)
def test_rows_that_cannot_be_read(tmp_path: Path, line: str) -> None:
    folder = finished(tmp_path)
    lines = (tmp_path / "epochs.jsonl").read_text().splitlines()
    (tmp_path / "epochs.jsonl").write_text("\n".join([lines[0], line, lines[2]]) + "\n")
    with pytest.raises(StoreError, match=r"epochs\.jsonl: line 2 is damaged"):
        folder.record()


def test_a_row_that_is_no_number_is_not_written(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        folder.save(dataclasses.replace(checkpoint(1), rows=(row(0, float("nan")),)))


def test_a_resumption_elsewhere_is_recorded(tmp_path: Path) -> None:
    folder = begun(tmp_path, 2)
    folder.note_resumption(ENVIRONMENT | {"started": "later"}, after_epoch=0)
    assert "resumed" not in folder.environment()
    elsewhere = ENVIRONMENT | {"engine": {"name": "torch", "threads": 5}}
    for epoch in (1, 2):
        folder.note_resumption(elsewhere, after_epoch=epoch)
    assert folder.environment()["resumed"] == [{"after_epoch": 1, **elsewhere}]
    folder.note_resumption(ENVIRONMENT, after_epoch=3)
    assert [entry["after_epoch"] for entry in folder.environment()["resumed"]] == [1, 3]
    assert {k: v for k, v in folder.environment().items() if k in ENVIRONMENT} == ENVIRONMENT


def test_a_name_that_no_folder_can_have() -> None:
    with pytest.raises(StoreError, match="cannot be read"):
        RunFolder("x" * 300).exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return finished(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("checkpoint.safetensors", RunFolder.checkpoint),
        ("weights.safetensors", RunFolder.weights),
        ("predictions.npz", RunFolder.test_logits),
        ("steps.npz", RunFolder.checkpoint),
    ],
)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_damage_is_noticed(whole: RunFolder, name: str, read: object, data: st.DataObject) -> None:
    """A cut or a flipped bit anywhere either is refused in one line or has changed nothing."""
    path = whole.path / name
    content = path.read_bytes()
    expected = _plain(read(whole))
    damaged = bytearray(content)
    if data.draw(st.booleans(), label="cut"):
        damaged = damaged[: data.draw(st.integers(0, len(content) - 1))]
    else:
        damaged[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(damaged)
    try:
        found = _plain(read(whole))
    except StoreError as error:
        assert "\n" not in str(error)
    else:
        assert found == expected
    finally:
        path.write_bytes(content)


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return value


def test_reached_means_each_of_the_last_three_epochs() -> None:
    def record(*accuracies: float) -> RunRecord:
        rows = tuple(row(epoch, accuracy) for epoch, accuracy in enumerate(accuracies))
        return RunRecord(path=Path(), run=RUN, rows=rows, environment={})

    assert record(90, 99.4, 99.4, 99.5).reached(99.4)
    assert not record(99.5, 99.5, 99.39, 99.5).reached(99.4)
    assert not record(99.5, 99.5).reached(99.4)
    assert record(99.1, 99.6, 99.2).best_test_accuracy == 99.6
    assert record(99.1, 99.6, 99.2).final_test_accuracy == 99.2


def test_log_table_has_the_notebooks_columns() -> None:
    rows = (dataclasses.replace(row(0, 97.17), train_accuracy=88.16, train_loss=0.37589),)
    table = RunRecord(path=Path(), run=RUN, rows=rows, environment={}).log_table
    assert str(table) == "\n".join(
        [
            "+-------+-------------------+---------------+-------+---------------+-----------+",
            "| Epoch | Training Accuracy | Test Accuracy |  Diff | Training Loss | Test Loss |",
            "+-------+-------------------+---------------+-------+---------------+-----------+",
            "|     0 |            88.16% |        97.17% | -9.01 |        0.3759 |    0.0500 |",
            "+-------+-------------------+---------------+-------+---------------+-----------+",
        ]
    )


def test_equal_runs_share_a_hash_and_others_do_not() -> None:
    again = Run.from_dict(RUN.to_dict())
    assert again.content_hash == RUN.content_hash
    assert again.replace({"train.seed": 2}).content_hash != RUN.content_hash
