"""The observer of a run: receives its events while it trains."""

from __future__ import annotations

from pathlib import Path

from kilonet.spec import Run
from kilonet.storage.record import EpochRow


class Observer:
    """Receives a run's events. Every method does nothing; override those of interest."""

    def begin(self, run: Run, *, engine: str, folder: Path, epochs_done: int) -> None:
        """Training begins, or resumes after ``epochs_done`` epochs, with the engine described."""

    def begin_epoch(self, epoch: int, *, num_steps: int) -> None:
        """An epoch of ``num_steps`` steps begins."""

    def step(self, *, batch: int, loss: float, accuracy: float) -> None:
        """A step is done.

        Args:
            batch: its number in the epoch, from 0.
            loss: its mean loss, nats.
            accuracy: of the epoch so far, percent.
        """

    def end_epoch(self, row: EpochRow, *, correct: int, count: int) -> None:
        """An epoch is done and saved; it classified ``correct`` of ``count`` test images right."""
