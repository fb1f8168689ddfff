"""Run folders: what is written comes back; what cannot be one is refused in a line."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from kilonet.errors import StoreError
from kilonet.record import EpochRow, RunRecord
from kilonet.sealed import json_to_bytes
from kilonet.spec import Run
from kilonet.store import RunFolder
from run_folders import ENVIRONMENT, RUN, begun, checkpoint, finished, row


def test_round_trip(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")
    assert folder.finished()
    assert folder.run() == RUN
    digest = hashlib.sha256((tmp_path / "run" / "run.toml").read_bytes()).hexdigest()
    assert folder.environment() == {"format": 2, "run_sha256": digest, **ENVIRONMENT}
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
    ("content", "problem"),
    [
        ("", "not valid JSON"),
        ("nonsense", "not valid JSON"),
        ("[]", "not a JSON object"),
        ("{}", "its crc32 does not hold"),
        ('{"format": 2}', "its crc32 does not hold"),
        (json_to_bytes({"format": 0}), "format 0, but this kilonet reads formats 1 to 2"),
        (json_to_bytes({"format": 3}), "format 3, but this kilonet reads formats 1 to 2"),
        (json_to_bytes({"engine": "torch"}), "format None, but"),
        ('{"format": 1, "engine": {}, "data": []}', "'data' is no table"),
        ('{"format": 1, "engine": "torch", "data": {}}', "'engine' is no table"),
        ('{"format": 1, "engine": {}, "data": {}, "resumed": 3}', "'resumed' is no list"),
        (json_to_bytes({"format": 2, "engine": {}, "data": {}}), "'run_sha256' is missing"),
    ],
)
def test_an_environment_that_cannot_be_read(
    tmp_path: Path, content: str | bytes, problem: str
) -> None:
    folder = finished(tmp_path)
    (tmp_path / "environment.json").write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )
    with pytest.raises(StoreError, match=r"environment.json: ") as caught:
        folder.record()
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


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
    with pytest.raises(StoreError, match=r"epochs\.jsonl: truncated or altered \(line 2\)"):
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


def test_a_spec_that_was_edited(tmp_path: Path) -> None:
    folder = finished(tmp_path)
    path = tmp_path / "run.toml"
    path.write_text(path.read_text().replace("epochs = 3", "epochs = 2"))
    with pytest.raises(StoreError, match=r"run\.toml: truncated or altered; restore it"):
        folder.run()


def test_a_checkpoint_that_is_gone(tmp_path: Path) -> None:
    """After one epoch it may never have been written; after two it was, and work would be lost."""
    for epochs in (1, 2):
        folder = begun(tmp_path / str(epochs), epochs)
        (folder.path / "checkpoint.safetensors").unlink()
        if epochs == 1:
            assert folder.checkpoint() is None
            assert folder.record().rows == ()
        else:
            with pytest.raises(StoreError, match=r"checkpoint.safetensors: missing, though"):
                folder.checkpoint()


@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_run_that_goes_on_as_it_is_read(
    before: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch or two that are saved between any two looks at the folder are no damage."""
    real = Path.is_file

    def rows_read(folder: RunFolder, *, moment: int) -> tuple[EpochRow, ...]:
        looks = count()

        def looking(path: Path) -> bool:
            found = real(path)
            if next(looks) == moment:
                for epoch in range(before, 3):
                    folder.save(checkpoint(epoch + 1))
            return found

        with monkeypatch.context() as patch:
            patch.setattr(Path, "is_file", looking)
            return folder.record().rows

    for moment in range(20):
        rows = rows_read(begun(tmp_path / str(moment), before), moment=moment)
        assert rows in (checkpoint(before).rows, checkpoint(3).rows)


@pytest.mark.parametrize("name", ["weights.safetensors", "checkpoint.safetensors"])
def test_results_whose_spec_is_lost_are_not_written_over(tmp_path: Path, name: str) -> None:
    finished(tmp_path)
    (tmp_path / "run.toml").unlink()
    other = {"weights.safetensors", "checkpoint.safetensors"} - {name}
    (tmp_path / other.pop()).unlink()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(StoreError, match=rf"run\.toml: missing, though {name} is there; restore"):
        begun(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_may_not_be_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = finished(tmp_path)

    def denied(real: Callable[..., object]) -> Callable[..., object]:
        def wrapped(path: Path, *arguments: str, **options: object) -> object:
            if path.suffix in (".npz", ".safetensors"):
                raise PermissionError(13, "Permission denied")
            return real(path, *arguments, **options)

        return wrapped

    for name in ("open", "read_bytes"):
        monkeypatch.setattr(Path, name, denied(getattr(Path, name)))
    for read in (RunFolder.weights, RunFolder.test_logits, RunFolder.checkpoint):
        with pytest.raises(StoreError, match="cannot be read: Permission denied"):
            read(folder)


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
