"""What a run measured: a row an epoch, and the run as its folder tells it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from kilonet.spec import Run
from kilonet.table import Table


@dataclass(frozen=True, kw_only=True)
class EpochRow:
    """One epoch's measurements: a line of ``epochs.jsonl``.

    Attributes:
        epoch: from 0, as the notebook counts.
        train_accuracy: percent, over the epoch's batches as they were trained on.
        train_loss: mean over the epoch's images, nats; with dropout, augmentation and smoothing.
        test_accuracy: percent.
        test_loss: mean over the test images, nats.
        lr: learning rate of the epoch's last step.
        seconds: training and evaluation together.
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
    """A run as its folder tells it.

    Attributes:
        path: the folder.
        run: the spec.
        rows: an :class:`EpochRow` for each finished epoch, in order.
        environment: versions, CPU, engine, source revision.
    """

    path: Path
    run: Run
    rows: tuple[EpochRow, ...]
    environment: dict[str, Any]

    @cached_property
    def finished(self) -> bool:
        """Whether every epoch is there."""
        return len(self.rows) == self.run.train.epochs

    @property
    def final_test_accuracy(self) -> float:
        """Percent, after the last epoch: the headline."""
        return self.rows[-1].test_accuracy

    @property
    def best_test_accuracy(self) -> float:
        """Percent, of the best epoch: chosen on the test set, so optimistic."""
        return max(row.test_accuracy for row in self.rows)

    @property
    def best_train_accuracy(self) -> float:
        """Percent, of the best epoch."""
        return max(row.train_accuracy for row in self.rows)

    def reached(self, target: float) -> bool:
        """Whether each of the last three epochs' test accuracies is at least ``target`` percent."""
        last = self.rows[-3:]
        return len(last) == 3 and all(row.test_accuracy >= target for row in last)

    @property
    def log_table(self) -> Table:
        """The notebook's six columns, an epoch a row."""
        return Table(
            columns=(
                "Epoch",
                "Training Accuracy",
                "Test Accuracy",
                "Diff",
                "Training Loss",
                "Test Loss",
            ),
            rows=tuple(
                (
                    str(row.epoch),
                    f"{row.train_accuracy:.2f}%",
                    f"{row.test_accuracy:.2f}%",
                    f"{row.gap:.2f}",
                    f"{row.train_loss:.4f}",
                    f"{row.test_loss:.4f}",
                )
                for row in self.rows
            ),
        )

    def _repr_html_(self) -> str:
        return self.log_table.to_html()
