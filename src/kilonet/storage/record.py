"""A run's measurements: one row per epoch, and the record of a run as read from its folder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kilonet.errors import UsageError
from kilonet.formatting import count
from kilonet.spec import Run
from kilonet.spec.stopping import Stopping
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
        test_accuracy: percent; None if the run does not use the test set (``data.test = false``).
        test_loss: mean over the test images, nats; None likewise.
        lr: learning rate of the epoch's last step.
        seconds: training and evaluation.
        train_seconds: of these, from the first batch to the last, without evaluation; None in runs
            of earlier versions.
        validation_accuracy, validation_loss: on the validation split; None without one.
    """

    epoch: int
    train_accuracy: float
    train_loss: float
    test_accuracy: float | None = None
    test_loss: float | None = None
    lr: float
    seconds: float
    validation_accuracy: float | None = None
    validation_loss: float | None = None
    train_seconds: float | None = None

    @property
    def gap(self) -> float:
        """Train minus test accuracy, percentage points: the notebook's ``Diff``.

        Without a test accuracy: minus validation accuracy.
        """
        evaluated = self.validation_accuracy if self.test_accuracy is None else self.test_accuracy
        return math.nan if evaluated is None else self.train_accuracy - evaluated


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
        """Whether it is trained to its end: its last epoch, or where early stopping ended it."""
        return len(self.rows) == self.run.train.epochs or self.stopped_early

    @cached_property
    def stopping(self) -> Stopping | None:
        """What early stopping makes of the epochs; None without it, and before the first epoch."""
        return stopping(self.run, self.rows)

    @property
    def stopped_early(self) -> bool:
        """Whether early stopping ended it before its last epoch."""
        return (
            self.stopping is not None
            and self.stopping.stopped
            and len(self.rows) < self.run.train.epochs
        )

    @property
    def final(self) -> EpochRow:
        """The epoch whose weights are the final ones, which headlines are of.

        It is the last one; with early stopping that restores the best weights, of a finished run
        the one with the best validation split.
        """
        rule = self.run.train.early_stopping
        if self.stopping is None or rule is None or not rule.restore_best or not self.finished:
            return self.rows[-1]
        return self.rows[self.stopping.best]

    @property
    def ending(self) -> str:
        """A sentence on why it ended and whose weights are final; "" without early stopping."""
        found, rule = self.stopping, self.run.train.early_stopping
        if found is None or rule is None or not self.finished:
            return ""
        value = f"{found.value:.4f}"
        if rule.metric == "accuracy":
            value = f"{found.value:.2f}%"
        final = f"the final weights are those of epoch {self.final.epoch}"
        best = f"best validation {rule.metric} is epoch {found.best}'s, {value}"
        if not self.stopped_early:
            return f"Not stopped early; its {best}; {final}."
        epochs = count(self.run.train.epochs, "epoch")
        return (
            f"Stopped early after {len(self.rows)} of {epochs}: its {best}, and "
            f"{count(rule.patience, 'epoch')} brought no improvement; {final}."
        )

    @property
    def resume_command(self) -> str:
        """What continues it: a command, or the call in Python if it is of a module of your own."""
        if self.run.module is not None:
            return f"kilonet.train(…, folder={str(self.path)!r}, module=…, resume=True)"
        return f"'kilonet train {self.path} --resume'"

    @property
    def final_test_accuracy(self) -> float:
        """Percent, of the final weights (:attr:`final`): the headline."""
        return Split.TEST.final(self)

    @property
    def final_validation_accuracy(self) -> float | None:
        """Percent, of the final weights: what to choose by; None without a validation split."""
        return self.final.validation_accuracy

    @property
    def best_test_accuracy(self) -> float:
        """Percent, of the best epoch; chosen on the test set, therefore optimistic."""
        return max(self._test_accuracies)

    @property
    def best_train_accuracy(self) -> float:
        """Percent, of the best epoch."""
        return max(row.train_accuracy for row in self.rows)

    def reached(self, target: float) -> bool:
        """Whether each of the last three epochs' test accuracies is at least ``target`` percent.

        And that of :attr:`final`, where early stopping makes it an earlier epoch.
        """
        last = self._test_accuracies[-3:]
        return len(last) == 3 and min(*last, self.final_test_accuracy) >= target

    @property
    def tested(self) -> bool:
        """Whether it is evaluated on the test set: ``data.test``."""
        return self.run.data.test

    @property
    def _test_accuracies(self) -> list[float]:
        return Split.TEST.accuracies(self)

    def report(self) -> tuple[Path, Path]:
        """Write ``report.md`` and ``report.html`` into the run's folder; returns their paths.

        Raises:
            StorageError: if one cannot be written, or no epoch is finished.
        """
        from kilonet.report.rebuild import report_run

        return report_run(self)

    @property
    def log_table(self) -> Table:
        """The notebook's six columns, one row per epoch; with a split its accuracy too.

        Of a run that does not use the test set, validation takes its place.
        """
        tested = self.tested
        held_out = any(row.validation_accuracy is not None for row in self.rows)
        return Table(
            columns=(
                "Epoch",
                "Training Accuracy",
                *(["Validation Accuracy"] if held_out else []),
                *(["Test Accuracy"] if tested else []),
                "Diff",
                "Training Loss",
                "Test Loss" if tested else "Validation Loss",
            ),
            rows=tuple(
                (
                    str(row.epoch),
                    f"{row.train_accuracy:.2f}%",
                    *([_percent(row.validation_accuracy)] if held_out else []),
                    *([_percent(row.test_accuracy)] if tested else []),
                    f"{row.gap:.2f}",
                    f"{row.train_loss:.4f}",
                    _loss(row.test_loss if tested else row.validation_loss),
                )
                for row in self.rows
            ),
        )

    def to_frame(self) -> DataFrame:
        """A pandas data frame with a row an epoch and the columns of :class:`EpochRow`.

        Validation columns are NaN without a validation split, test columns with
        ``data.test = false``.

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


def stopping(run: Run, rows: Sequence[EpochRow]) -> Stopping | None:
    """What the run's early stopping makes of its epochs so far; None without it or without one."""
    rule = run.train.early_stopping
    if rule is None:
        return None
    values = [
        row.validation_loss if rule.metric == "loss" else row.validation_accuracy for row in rows
    ]
    return rule.after([value for value in values if value is not None])


def _percent(accuracy: float | None) -> str:
    return "" if accuracy is None else f"{accuracy:.2f}%"


def _loss(loss: float | None) -> str:
    return "" if loss is None else f"{loss:.4f}"


class Split(StrEnum):
    """Images that accuracies are measured on."""

    TEST = "test"
    VALIDATION = "validation"

    def accuracies(self, record: RunRecord) -> list[float]:
        """Of each epoch, percent.

        Raises:
            UsageError: the run does not use the test set, and this is its accuracy.
            ValueError: if an epoch has no validation accuracy, and this is it.
        """
        measured = (
            row.test_accuracy if self is Split.TEST else row.validation_accuracy
            for row in record.rows
        )
        accuracies = [accuracy for accuracy in measured if accuracy is not None]
        if len(accuracies) == len(record.rows):
            return accuracies
        if self is Split.TEST:
            raise UsageError(
                f"{record.path}: has no test accuracy, as its run does not use the test set "
                "(data.test = false); read its validation accuracy"
            )
        raise ValueError(f"{record.path}: epochs without a validation accuracy")

    def final(self, record: RunRecord) -> float:
        """Of the final weights, percent; raises as :meth:`accuracies`."""
        return self.accuracies(record)[record.rows.index(record.final)]

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
