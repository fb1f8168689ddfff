"""A run as it trains: the notebook's bar and test line, epoch by epoch."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
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

from kilonet.record import EpochRow
from kilonet.spec import Run


class Live:
    """An observer of runs that shows them on a console; use it in a ``with`` block.

    On a terminal each epoch has a bar with loss, batch and running accuracy. Elsewhere the bar is
    silent and the lines remain: what trains where, and each epoch's test line.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._progress = Progress(
            TextColumn("[dim]epoch[/dim] {task.fields[epoch]}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=self.console,
            disable=not (self.console.is_terminal or self.console.is_jupyter),
            transient=True,
            refresh_per_second=10,
        )
        self._task: TaskID | None = None
        self.runs_begun = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end_bar()
        self._progress.stop()

    def begin(self, run: Run, *, engine: str, folder: Path, epochs_done: int) -> None:
        """Say where the run goes, and from which epoch it goes on."""
        self.runs_begun += 1
        self._say(begin_line(run, engine=engine, folder=folder, epochs_done=epochs_done))

    def begin_epoch(self, epoch: int, *, num_steps: int) -> None:
        """A new bar."""
        self._end_bar()
        self._task = self._progress.add_task("", total=num_steps, epoch=epoch)

    def step(self, *, batch: int, loss: float, accuracy: float) -> None:
        """The notebook's description of the bar."""
        if self._task is not None:
            text = f"Loss={loss:.4f} Batch_id={batch} Accuracy={accuracy:.2f}"
            self._progress.update(self._task, advance=1, description=text)

    def end_epoch(self, row: EpochRow, *, correct: int, count: int) -> None:
        """The notebook's test line."""
        self._end_bar()
        self._say(test_line(row, correct=correct, count=count))

    def _end_bar(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None

    def _say(self, line: str) -> None:
        whole = not self.console.is_terminal
        self.console.print(line, markup=False, highlight=False, soft_wrap=whole)


def begin_line(run: Run, *, engine: str, folder: Path, epochs_done: int) -> str:
    """What trains, where, and from which epoch it goes on."""
    going_on = f", going on after epoch {epochs_done - 1}" if epochs_done else ""
    return f"Training with {engine}: seed {run.train.seed}, folder {folder}{going_on}"


def test_line(row: EpochRow, *, correct: int, count: int) -> str:
    """The notebook's line on the test set, after an epoch."""
    return (
        f"Epoch {row.epoch}: train {row.train_accuracy:.2f}%. Test set: Average loss: "
        f"{row.test_loss:.4f}, Accuracy: {correct}/{count} ({row.test_accuracy:.2f}%)"
    )
