"""Run folders: what was written is read back, each file once; anything else is an error."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from kilonet.errors import StorageError
from kilonet.storage.checksums import json_from_bytes, json_to_bytes
from kilonet.storage.provenance import Provenance
from kilonet.storage.record import EpochRow, RunRecord
from kilonet.storage.run_folder import RunFolder
from kilonet.storage.run_state import RunState
from run_folders import ENVIRONMENT, RUN, begun, checkpoint, finished, plain, reads, row

FILES_OF_AN_EPOCH = ["checkpoint.safetensors", "epochs.jsonl", "steps.npz"]


def state(folder: RunFolder) -> RunState:
    found = folder.read()
    assert found is not None
    return found


def environment(folder: RunFolder) -> dict[str, Any]:
    return json_from_bytes((folder.path / "environment.json").read_bytes())


def test_a_finished_run_is_read_back(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")
    found = state(folder)
    assert found.finished
    assert found.checkpoint is None
    assert found.record.run == folder.spec() == RUN
    assert found.record.rows == checkpoint(3).rows
    assert found.record.finished
    assert found.record.provenance == Provenance.from_json(ENVIRONMENT)
    assert found.record == folder.record()
    digest = hashlib.sha256((tmp_path / "run" / "run.toml").read_bytes()).hexdigest()
    assert found.spec_sha256 == digest
    assert environment(folder) == {"format": 2, "run_sha256": digest, **ENVIRONMENT}
    np.testing.assert_array_equal(folder.weights()["w"], np.ones(3, np.float32))
    np.testing.assert_array_equal(folder.test_logits(), np.eye(4, 10, dtype=np.float32))


def test_a_stopped_run_is_read_back(tmp_path: Path) -> None:
    found, expected = state(begun(tmp_path, 2)), checkpoint(2)
    assert not found.finished
    assert found.record.rows == expected.rows
    assert plain(found.checkpoint) == plain(expected)


@pytest.mark.parametrize(
    ("epochs", "names"),
    [
        (0, ["run.toml", "environment.json", "checkpoint.safetensors", "epochs.jsonl"]),
        (2, ["run.toml", "environment.json", *FILES_OF_AN_EPOCH]),
        (3, ["run.toml", "environment.json", "epochs.jsonl"]),
    ],
    ids=["begun", "stopped", "finished"],
)
def test_each_file_is_read_once(
    epochs: int, names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finished run's checkpoint and results are not read."""
    folder = finished(tmp_path) if epochs == 3 else begun(tmp_path, epochs)
    with reads(monkeypatch) as opened:
        folder.read()
    assert opened == names


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
    assert folder.record().rows == (odd,)


@pytest.mark.parametrize("ahead", [("steps.npz",), ("steps.npz", "epochs.jsonl")])
def test_steps_and_rows_ahead_of_the_checkpoint_are_dropped(
    tmp_path: Path, ahead: tuple[str, ...]
) -> None:
    """As after a kill between the files of an epoch."""
    folder = begun(tmp_path, 2)
    kept = {name: (tmp_path / name).read_bytes() for name in FILES_OF_AN_EPOCH if name not in ahead}
    folder.save(checkpoint(3))
    for name, content in kept.items():
        (tmp_path / name).write_bytes(content)
    found = state(folder).checkpoint
    assert found is not None
    assert found.epochs == 2
    assert found.rows == checkpoint(2).rows
    np.testing.assert_array_equal(found.steps.loss, checkpoint(3).steps.loss[:8])


def test_a_run_without_a_finished_epoch(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    assert folder.exists()
    found = state(folder)
    assert (found.finished, found.checkpoint, found.record.rows) == (False, None, ())
    with pytest.raises(StorageError, match=r"weights\.safetensors: missing"):
        folder.weights()


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "elsewhere")
    assert not folder.exists()
    assert folder.read() is None
    assert folder.spec() is None
    with pytest.raises(StorageError, match="not a run folder"):
        folder.record()


def test_beginning_again_removes_the_previous_run(tmp_path: Path) -> None:
    finished(tmp_path)
    found = state(begun(tmp_path))
    assert found.checkpoint is None
    assert not found.finished
    assert {path.name for path in tmp_path.iterdir()} == {"run.toml", "environment.json"}


def test_a_folder_with_other_files_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StorageError, match=r"contains 'thesis.tex', which is not a run's"):
        begun(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "not valid JSON"),
        ("nonsense", "not valid JSON"),
        ("[]", "not a JSON object"),
        ("{}", "its crc32 does not match"),
        ('{"format": 2}', "its crc32 does not match"),
        (json_to_bytes({"format": 0}), "format 0, but this kilonet reads formats 1 to 2"),
        (json_to_bytes({"format": 3}), "format 3, but this kilonet reads formats 1 to 2"),
        (json_to_bytes({"engine": "torch"}), "format None, but"),
        ('{"format": 1, "engine": {}, "data": []}', "'data' is not a table"),
        ('{"format": 1, "engine": "torch", "data": {}}', "'engine' is not a table"),
        ('{"format": 1, "engine": {}, "data": {}, "resumed": 3}', "'resumed' is not a list"),
        (json_to_bytes({"format": 2, "engine": {}, "data": {}}), "'run_sha256' is missing"),
    ],
)
def test_a_damaged_environment(tmp_path: Path, content: str | bytes, problem: str) -> None:
    folder = finished(tmp_path)
    (tmp_path / "environment.json").write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )
    with pytest.raises(StorageError, match=r"environment.json: ") as caught:
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
def test_damaged_rows(tmp_path: Path, line: str) -> None:
    folder = finished(tmp_path)
    lines = (tmp_path / "epochs.jsonl").read_text().splitlines()
    (tmp_path / "epochs.jsonl").write_text("\n".join([lines[0], line, lines[2]]) + "\n")
    with pytest.raises(StorageError, match=r"epochs\.jsonl: truncated or altered \(line 2\)"):
        folder.record()


def test_a_row_with_nan_is_not_written(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        folder.save(dataclasses.replace(checkpoint(1), rows=(row(0, float("nan")),)))


def test_a_resumption_in_another_environment_is_recorded(tmp_path: Path) -> None:
    folder = begun(tmp_path, 1)

    def resume(content: dict[str, Any]) -> Provenance:
        return folder.resume(state(folder), Provenance.from_json(content))

    resume(ENVIRONMENT | {"started": "later"})
    assert "resumed" not in environment(folder)
    elsewhere = ENVIRONMENT | {"engine": {"name": "torch", "threads": 5}}
    folder.save(checkpoint(2))
    resume(elsewhere)
    folder.save(checkpoint(3))
    resume(elsewhere)
    assert environment(folder)["resumed"] == [{"after_epoch": 1, **elsewhere}]
    provenance = resume(ENVIRONMENT)
    assert [entry["after_epoch"] for entry in environment(folder)["resumed"]] == [1, 2]
    assert {k: v for k, v in environment(folder).items() if k in ENVIRONMENT} == ENVIRONMENT
    assert folder.record().provenance == provenance


def test_a_name_that_is_too_long() -> None:
    for read in (RunFolder.exists, RunFolder.read):
        with pytest.raises(StorageError, match="cannot be read"):
            read(RunFolder("x" * 300))


def test_a_spec_that_was_edited(tmp_path: Path) -> None:
    folder = finished(tmp_path)
    path = tmp_path / "run.toml"
    path.write_text(path.read_text().replace("epochs = 3", "epochs = 2"))
    with pytest.raises(StorageError, match=r"run\.toml: truncated or altered; restore it"):
        folder.spec()


def test_a_missing_checkpoint(tmp_path: Path) -> None:
    """After one epoch it may not have been written; after two it was, and work would be lost."""
    for epochs in (1, 2):
        folder = begun(tmp_path / str(epochs), epochs)
        (folder.path / "checkpoint.safetensors").unlink()
        if epochs == 1:
            assert state(folder).checkpoint is None
            assert folder.record().rows == ()
        else:
            with pytest.raises(StorageError, match=r"checkpoint.safetensors: missing, though"):
                folder.read()


def test_a_finished_run_that_lost_rows(tmp_path: Path) -> None:
    folder = finished(tmp_path)
    rows = tmp_path / "epochs.jsonl"
    rows.write_bytes(b"".join(rows.read_bytes().splitlines(keepends=True)[:2]))
    with pytest.raises(StorageError, match=r"epochs.jsonl: has 2 of 3 epochs"):
        folder.read()


@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_run_that_continues_while_it_is_read(
    before: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Epochs that another process saves between any two looks at the folder are no damage."""

    def rows_read(folder: RunFolder, *, moment: int) -> tuple[EpochRow, ...]:
        looks = count()

        def looking(real: Callable[[Path], object]) -> Callable[[Path], object]:
            def wrapped(path: Path) -> object:
                try:
                    return real(path)
                finally:
                    if next(looks) == moment:
                        for epoch in range(before, 3):
                            folder.save(checkpoint(epoch + 1))

            return wrapped

        with monkeypatch.context() as patch:
            for name in ("is_file", "read_bytes"):
                patch.setattr(Path, name, looking(getattr(Path, name)))
            return folder.record().rows

    for moment in range(10):
        rows = rows_read(begun(tmp_path / str(moment), before), moment=moment)
        assert rows in (checkpoint(before).rows, checkpoint(3).rows)


@pytest.mark.parametrize("name", ["weights.safetensors", "checkpoint.safetensors"])
def test_results_without_their_spec_are_not_overwritten(tmp_path: Path, name: str) -> None:
    finished(tmp_path)
    (tmp_path / "run.toml").unlink()
    other = {"weights.safetensors", "checkpoint.safetensors"} - {name}
    (tmp_path / other.pop()).unlink()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(StorageError, match=rf"run\.toml: missing, though {name} exists; restore"):
        begun(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_file_without_read_permission_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped, real = begun(tmp_path / "stopped", 2), Path.read_bytes
    done = finished(tmp_path / "finished")

    def denied(path: Path) -> bytes:
        if path.suffix in (".npz", ".safetensors"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", denied)
    for read in (done.weights, done.test_logits, stopped.read):
        with pytest.raises(StorageError, match="cannot be read: Permission denied"):
            read()


def test_reached_means_each_of_the_last_three_epochs() -> None:
    def record(*accuracies: float) -> RunRecord:
        rows = tuple(row(epoch, accuracy) for epoch, accuracy in enumerate(accuracies))
        return RunRecord(path=Path(), run=RUN, rows=rows, provenance=Provenance())

    assert record(90, 99.4, 99.4, 99.5).reached(99.4)
    assert not record(99.5, 99.5, 99.39, 99.5).reached(99.4)
    assert not record(99.5, 99.5).reached(99.4)
    assert record(99.1, 99.6, 99.2).best_test_accuracy == 99.6
    assert record(99.1, 99.6, 99.2).final_test_accuracy == 99.2


def test_log_table_has_the_notebooks_columns() -> None:
    rows = (dataclasses.replace(row(0, 97.17), train_accuracy=88.16, train_loss=0.37589),)
    table = RunRecord(path=Path(), run=RUN, rows=rows, provenance=Provenance()).log_table
    assert str(table) == "\n".join(
        [
            "+-------+-------------------+---------------+-------+---------------+-----------+",
            "| Epoch | Training Accuracy | Test Accuracy |  Diff | Training Loss | Test Loss |",
            "+-------+-------------------+---------------+-------+---------------+-----------+",
            "|     0 |            88.16% |        97.17% | -9.01 |        0.3759 |    0.0500 |",
            "+-------+-------------------+---------------+-------+---------------+-----------+",
        ]
    )
