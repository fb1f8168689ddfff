"""The last lines of a terminal while a study runs: the ladder, progress bars, the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

from rich.console import Console, Group, RenderableType
from rich.progress import Progress
from rich.table import Table as RichTable
from rich.text import Text

from kilonet.report.terminal.live import NARROW, RATE_SECONDS, Live, RunBar, last_line
from kilonet.report.terminal.text import shortened
from kilonet.spec import Run, Study
from kilonet.storage.record import EpochRow, RunRecord
from kilonet.study import Trial
from kilonet.summary import summarize

_WIDE = 100
"""Columns of a terminal with room for the loss and for usual names."""

_NUMBERS = 45
"""Columns of the ladder without its names: number, seeds, mean and the space between them."""


class LiveDisplay(Live):
    """Shows a study's progress on a terminal; on other consoles, and ``quiet``, nothing.

    A bar for each training over its epochs, the ladder with the seeds that are done, and the time
    left, estimated from multiply-adds.

    Attributes:
        terminal: whether the console is a terminal or a notebook.
    """

    def __init__(self, study: Study, console: Console, *, quiet: bool = False) -> None:
        super().__init__(console, quiet=quiet)
        self._study = study
        self._records: dict[int, list[RunRecord]] = {stage.number: [] for stage in study.stages}
        self._failed: dict[int, int] = {stage.number: 0 for stage in study.stages}
        self._time_left = TimeLeft({})

    def begin_study(self, trials: Sequence[Trial]) -> None:
        """Start estimating the time that these trials take."""
        macs = {stage.number: summarize(stage.run.net).macs for stage in self._study.stages}
        work: dict[Path, float] = {
            t.folder: macs[t.stage.number] * t.stage.run.train.epochs for t in trials
        }
        self._time_left = TimeLeft(work)

    def bar(self, trial: Trial, *, begun: Callable[[], None]) -> TrialBar:
        """An observer with a bar for one training; ``begun`` is called when it starts."""
        return TrialBar(trial, self._progress, time_left=self._time_left, begun=begun)

    def end_trial(self, trial: Trial, record: RunRecord | None) -> None:
        """A trial is done, or has failed (None)."""
        if record is None:
            self._failed[trial.stage.number] += 1
        else:
            self._records[trial.stage.number].append(record)
        self._time_left.end(trial.folder)

    def render(self) -> RenderableType:
        """The ladder, the bars and the time left."""
        parts: list[RenderableType] = [self._progress] if self._progress.tasks else []
        left = self._time_left.seconds()
        return Group(self._ladder(), *parts, last_line(left))

    def _ladder(self) -> RichTable:
        table = RichTable(box=None, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("", justify="right")
        table.add_column("Stage", no_wrap=True)
        table.add_column("Seeds done", justify="right", no_wrap=True)
        table.add_column("Mean final accuracy", justify="right", no_wrap=True)
        stages = self._study.stages
        # At most half of the screen, less what the bars need.
        height = self._console.height
        room = max(3, min(height // 2, height - len(self._progress.tasks) - 4))
        first = 0
        if len(stages) > room:
            open_ = (i for i, stage in enumerate(stages) if not self._is_done(stage.number))
            first = min(max(0, next(open_, 0) - 1), len(stages) - room)
        for stage in stages[first : first + room]:
            records, failed = self._records[stage.number], self._failed[stage.number]
            done = f"{len(records)} of {self._study.seeds}"
            # Validation accuracy where there is one, as the ladder picks by it.
            finals = [
                record.final_test_accuracy
                if record.final_validation_accuracy is None
                else record.final_validation_accuracy
                for record in records
            ]
            mean = fmean(finals) if finals else None
            table.add_row(
                str(stage.number),
                Text(shortened(stage.name, columns=self._console.width - _NUMBERS)),
                f"{done}, {failed} failed" if failed else done,
                "" if mean is None else f"{mean:.2f}%",
                style="" if len(records) == self._study.seeds else "dim",
            )
        return table

    def _is_done(self, number: int) -> bool:
        return len(self._records[number]) + self._failed[number] == self._study.seeds


class TrialBar(RunBar):
    """Shows one training as a bar over all its epochs; ``engine`` is None until it starts."""

    def __init__(
        self, trial: Trial, progress: Progress, *, time_left: TimeLeft, begun: Callable[[], None]
    ) -> None:
        super().__init__(progress)
        self.epochs_before = 0
        self._trial = trial
        self._time_left = time_left
        self._report_start = begun
        self._epochs = 1

    def begin(self, run: Run, *, engine: str, folder: Path, epochs_done: int) -> None:  # noqa: ARG002
        """Add the bar."""
        self.engine, self.epochs_before = engine, epochs_done
        self._epochs = run.train.epochs
        self._report_start()
        self._time_left.begin(self._trial.folder, epochs_done / self._epochs)
        # A name that would take more than its share of the terminal is cut, a number is not.
        number, seed = f"{self._trial.stage.number}. ", f", seed {run.train.seed}"
        share = 0.45 if self._width >= _WIDE else 0.36
        room = int(share * self._width) - len(number) - len(seed)
        name = f"{number}{shortened(self._trial.stage.name, columns=room)}{seed}"
        self._bar = self._progress.add_task(
            "", total=self._epochs, completed=epochs_done, name=name
        )

    def step(self, *, step: int, batch: int, loss: float, accuracy: float, lr: float) -> None:  # noqa: ARG002
        """Move the bar; the loss and the accuracy are the epoch's so far."""
        state = f"epoch {self._epoch} of {self._epochs}"
        if self._width >= _WIDE:
            state += f", loss {loss:.4f}, accuracy {accuracy:.2f}%"
        elif self._width >= NARROW:
            state += f", train {accuracy:.2f}%"
        self._move(self._epoch + (batch + 1) / self._num_steps, state)

    def end_epoch(self, row: EpochRow, *, correct: int, count: int) -> None:  # noqa: ARG002
        """Show the test accuracy, or else the validation accuracy, until the next step."""
        split, accuracy = "test", row.test_accuracy
        if accuracy is None:
            split, accuracy = "validation", row.validation_accuracy
        found = f", {split} {accuracy:.2f}%" if self._width >= NARROW else ""
        self._move(row.epoch + 1, f"epoch {row.epoch} done{found}")

    def _move(self, epochs: float, state: str) -> None:
        self._time_left.update(self._trial.folder, epochs / self._epochs)
        super()._move(epochs, state)


class TimeLeft:
    """Estimates the time left from the time that the work so far took.

    Args:
        work: folder of each training → its whole work, in any one unit.
    """

    def __init__(self, work: dict[Path, float]) -> None:
        self._work = work
        self._started: float | None = None
        self._before = dict.fromkeys(work, 0.0)
        self._done = dict.fromkeys(work, 0.0)

    def begin(self, folder: Path, share: float) -> None:
        """A training starts; ``share`` of it was done before, so took no time now."""
        if self._started is None:
            self._started = time.perf_counter()
        self._before[folder] = self._done[folder] = share

    def update(self, folder: Path, share: float) -> None:
        """``share`` of a training is done."""
        self._done[folder] = share

    def end(self, folder: Path) -> None:
        """A training has ended; what a failed one left undone took no time."""
        self._before[folder] = self._before.get(folder, 0.0) + 1 - self._done.get(folder, 0.0)
        self._done[folder] = 1.0

    def seconds(self) -> float | None:
        """The estimate; None while it is too early, and at the end."""
        if self._started is None:
            return None
        passed = time.perf_counter() - self._started
        done = sum(w * (self._done[f] - self._before[f]) for f, w in self._work.items())
        left = sum(w * (1 - self._done[f]) for f, w in self._work.items())
        return passed * left / done if passed > RATE_SECONDS and done > 0 and left > 0 else None
