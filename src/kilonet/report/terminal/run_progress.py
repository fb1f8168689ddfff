"""A training on a console: the notebook's progress bar and test line for each epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from kilonet.report.terminal.text import DisplayConsole, print_text
from kilonet.spec import Run
from kilonet.storage.record import EpochRow
from kilonet.training.observer import Observer


class RunProgress(Observer):
    """An observer that shows a run on a console; use it in a ``with`` block.

    On a terminal each epoch has a bar with loss, batch and running accuracy. Other consoles get a
    line at the start and a test line for each epoch.

    Args:
        console: default standard output.
        resume: whether a run was to be resumed, so that a new beginning is said.
        quiet: whether none of it is shown.

    Attributes:
        begun: the folders of the runs that train or have trained; a run that was finished before
            does not.
    """

    def __init__(
        self, console: Console | None = None, *, resume: bool = False, quiet: bool = False
    ) -> None:
        self.begun: set[Path] = set()
        self._resume = resume
        self.console = console or DisplayConsole(highlight=False)
        self._quiet = quiet
        self._progress = Progress(
            TextColumn("[dim]epoch[/dim] {task.fields[epoch]}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=self.console,
            disable=quiet or not (self.console.is_terminal or self.console.is_jupyter),
            transient=True,
            refresh_per_second=10,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end_bar()
        self._progress.stop()

    def begin(self, run: Run, *, engine: str, folder: Path, epochs_done: int) -> None:
        """Print the engine, the folder and the epoch to resume from."""
        self.begun.add(folder)
        if self._resume and not epochs_done:
            self._print(f"Nothing to resume in {folder}: training begins anew.")
        resumes = f", resumes after epoch {epochs_done - 1}" if epochs_done else ""
        self._print(f"Training with {engine}: seed {run.train.seed}, folder {folder}{resumes}")

    def begin_epoch(self, epoch: int, *, num_steps: int) -> None:
        """Start a new bar."""
        self._end_bar()
        self._task = self._progress.add_task("", total=num_steps, epoch=epoch)

    def step(self, *, step: int, batch: int, loss: float, accuracy: float, lr: float) -> None:  # noqa: ARG002
        """Update the bar with the notebook's description."""
        if self._task is not None:
            text = f"Loss={loss:.4f} Batch_id={batch} Accuracy={accuracy:.2f}"
            self._progress.update(self._task, advance=1, description=text)

    def end_epoch(self, row: EpochRow, *, correct: int, count: int) -> None:
        """Print the notebook's test line."""
        self._end_bar()
        trained = f"train {row.train_accuracy:.2f}%"
        split, loss, accuracy = "Test set", row.test_loss, row.test_accuracy
        if accuracy is None:
            split, loss = "Validation split", row.validation_loss
            accuracy = row.validation_accuracy
        elif row.validation_accuracy is not None:
            trained += f", validation {row.validation_accuracy:.2f}%"
        self._print(
            f"Epoch {row.epoch}: {trained}. {split}: Average loss: "
            f"{loss or 0:.4f}, Accuracy: {correct}/{count} ({accuracy or 0:.2f}%)"
        )

    def _end_bar(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None

    def _print(self, line: str) -> None:
        if not self._quiet:
            print_text(self.console, line, wrapped=self.console.is_terminal)
