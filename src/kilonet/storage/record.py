"""A run's measurements: one row per epoch, and the record of a run as read from its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kilonet.errors import UsageError
from kilonet.spec import Run
from kilonet.storage.provenance import Provenance
from kilonet.table import Table

if TYPE_CHECKING:
    from pandas import DataFrame

    from kilonet.training.model import Model


@dataclass(frozen=True, kw_only=True)
class EpochRow:
    """One epoch's measurements: a line of ``epochs.jsonl``.

    Attributes:
        epoch: from 0, as in the notebook.
        train_accuracy: percent, over the epoch's batches, each before its update.
        train_loss: mean over the epoch's images, nats; with dropout, augmentation and smoothing.
        test_accuracy: percent.
        test_loss: mean over the test images, nats.
        lr: learning rate of the epoch's last step.
        seconds: training and evaluation.
        validation_accuracy, validation_loss: on the validation split; None without one.
    """

    epoch: int
    train_accuracy: float
    train_loss: float
    test_accuracy: float
    test_loss: float
    lr: float
    seconds: float
    validation_accuracy: float | None = None
    validation_loss: float | None = None

    @property
    def gap(self) -> float:
        """Train minus test accuracy, percentage points: the notebook's ``Diff``."""
        return self.train_accuracy - self.test_accuracy


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run, read from its folder.

    Attributes:
        path: the folder.
        run: the spec.
        rows: an :class:`EpochRow` for each finished epoch, in order.
        provenance: engine, data, versions, machine and source.
    """

    path: Path
    run: Run
    rows: tuple[EpochRow, ...]
    provenance: Provenance

    @cached_property
    def finished(self) -> bool:
        """Whether every epoch is finished."""
        return len(self.rows) == self.run.train.epochs

    @property
    def resume_command(self) -> str:
        """What continues it: a command, or the call in Python if it is of a module of your own."""
        if self.run.module is not None:
            return f"kilonet.train(…, folder={str(self.path)!r}, module=…, resume=True)"
        return f"'kilonet train {self.path} --resume'"

    @property
    def final_test_accuracy(self) -> float:
        """Percent, after the last epoch: the headline."""
        return self.rows[-1].test_accuracy

    @property
    def final_validation_accuracy(self) -> float | None:
        """Percent, after the last epoch: what to choose by; None without a validation split."""
        return self.rows[-1].validation_accuracy

    @property
    def best_test_accuracy(self) -> float:
        """Percent, of the best epoch; chosen on the test set, therefore optimistic."""
        return max(row.test_accuracy for row in self.rows)

    @property
    def best_train_accuracy(self) -> float:
        """Percent, of the best epoch."""
        return max(row.train_accuracy for row in self.rows)

    def reached(self, target: float) -> bool:
        """Whether each of the last three epochs' test accuracies is at least ``target`` percent."""
        last = self.rows[-3:]
        return len(last) == 3 and all(row.test_accuracy >= target for row in last)

    def report(self) -> tuple[Path, Path]:
        """Write ``report.md`` and ``report.html`` into the run's folder; returns their paths.

        Raises:
            StorageError: if one cannot be written, or no epoch is finished.
        """
        from kilonet.report.rebuild import report_run

        return report_run(self)

    @property
    def log_table(self) -> Table:
        """The notebook's six columns, one row per epoch; with a split its accuracy too."""
        held_out = any(row.validation_accuracy is not None for row in self.rows)
        return Table(
            columns=(
                "Epoch",
                "Training Accuracy",
                *(["Validation Accuracy"] if held_out else []),
                "Test Accuracy",
                "Diff",
                "Training Loss",
                "Test Loss",
            ),
            rows=tuple(
                (
                    str(row.epoch),
                    f"{row.train_accuracy:.2f}%",
                    *([_percent(row.validation_accuracy)] if held_out else []),
                    f"{row.test_accuracy:.2f}%",
                    f"{row.gap:.2f}",
                    f"{row.train_loss:.4f}",
                    f"{row.test_loss:.4f}",
                )
                for row in self.rows
            ),
        )

    def to_frame(self) -> DataFrame:
        """A pandas data frame with a row an epoch and the columns of :class:`EpochRow`.

        Validation columns are NaN without a validation split.

        Raises:
            UsageError: pandas is not installed.
        """
        names = [field.name for field in fields(EpochRow)]
        frame = data_frame([asdict(row) for row in self.rows], columns=names)
        return frame.astype({name: int if name == "epoch" else float for name in names})

    def model(self, *, module: Any = None) -> Model:
        """The trained network; arguments and errors as :func:`kilonet.training.model.load`."""
        from kilonet.training.model import load

        return load(self.path, module=module)

    def _repr_html_(self) -> str:
        return self.log_table.to_html()


def _percent(accuracy: float | None) -> str:
    return "" if accuracy is None else f"{accuracy:.2f}%"


class Split(StrEnum):
    """Images that accuracies are measured on."""

    TEST = "test"
    VALIDATION = "validation"

    def accuracies(self, record: RunRecord) -> list[float]:
        """Of each epoch, percent.

        Raises:
            ValueError: if an epoch has no accuracy of this split.
        """
        if self is Split.TEST:
            return [row.test_accuracy for row in record.rows]
        accuracies = [row.validation_accuracy for row in record.rows]
        if None in accuracies:
            raise ValueError(f"{record.path}: epochs without a validation accuracy")
        return [accuracy for accuracy in accuracies if accuracy is not None]

    def num_images(self, record: RunRecord, *, default: int) -> int:
        """How many there are; ``default`` where the record does not say."""
        data, amount = record.provenance.data, record.run.data.validation
        if self is Split.TEST:
            return data.test_images or default
        if isinstance(amount, int):
            return amount
        # As kilonet.data.validation_split counts them.
        return default if data.train_images is None else round(amount * data.train_images)

    def fingerprint(self, record: RunRecord) -> tuple[str, float, int]:
        """Equal where two runs are measured on the same images."""
        sha256, data = record.provenance.data.sha256, record.run.data
        if self is Split.TEST:
            return sha256, 0, 0
        return sha256, data.validation, data.validation_seed


def choosing_split(records: Sequence[RunRecord]) -> Split:
    """What choices are read from: validation, where every epoch of every run has it; else test."""
    held_out = all(row.validation_accuracy is not None for record in records for row in record.rows)
    return Split.VALIDATION if held_out else Split.TEST


def data_frame(rows: Sequence[Mapping[str, Any]], *, columns: Sequence[str]) -> DataFrame:
    """Rows of named values as a pandas data frame.

    Raises:
        UsageError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ModuleNotFoundError as error:
        if error.name != "pandas":
            raise
        raise UsageError("pandas is not installed; pip install pandas") from None
    return pd.DataFrame(list(rows), columns=list(columns))
