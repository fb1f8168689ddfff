"""A run's record as a data frame."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from kilonet.errors import UsageError
from kilonet.storage.record import EpochRow, RunRecord
from run_folders import begun, finished

COLUMNS = [
    "epoch",
    "train_accuracy",
    "train_loss",
    "test_accuracy",
    "test_loss",
    "lr",
    "seconds",
    "validation_accuracy",
    "validation_loss",
    "train_seconds",
]


def with_validation(record: RunRecord) -> RunRecord:
    rows: tuple[EpochRow, ...] = tuple(
        replace(row, validation_accuracy=97.0 + row.epoch, validation_loss=0.1)
        for row in record.rows
    )
    return replace(record, rows=rows)


def test_a_row_an_epoch(tmp_path: Path) -> None:
    record = finished(tmp_path / "run").record()
    frame = record.to_frame()
    assert list(frame.columns) == COLUMNS
    assert frame["epoch"].tolist() == [0, 1, 2]
    assert frame["train_accuracy"].tolist() == [98.5, 99.5, 100.5]
    assert frame["validation_accuracy"].isna().all()
    assert {str(frame[name].dtype) for name in COLUMNS} == {"int64", "float64"}
    held_out = with_validation(record).to_frame()
    assert held_out["validation_accuracy"].tolist() == [97.0, 98.0, 99.0]
    assert held_out.dtypes.equals(frame.dtypes)


def test_a_run_without_an_epoch_has_the_columns(tmp_path: Path) -> None:
    frame = begun(tmp_path / "run").record().to_frame()
    assert len(frame) == 0
    assert list(frame.columns) == COLUMNS


def test_without_pandas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = finished(tmp_path / "run").record()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pandas is not installed; pip install pandas"):
        record.to_frame()
