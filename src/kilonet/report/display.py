"""What a study shows while it runs, at the foot of a terminal: bars, the ladder, the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from statistics import fmean

from rich.console import Console, Group, RenderableType
from rich.live import Live as RichLive
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TaskProgressColumn,
)
from rich.progress import Task as RichTask
from rich.table import Column
from rich.table import Table as RichTable
from rich.text import Text

from kilonet.record import EpochRow, RunRecord
from kilonet.spec import Run, Study
from kilonet.summary import summarise
from kilonet.tasks import Task

_RATE_SECONDS = 5.0
"""Of training before it is told how long the rest will take."""

_BAR = 10
"""Columns that a bar has at least: what is written beside it gives way."""

_WIDE = 100
"""Columns from which on there is room for the loss, and for a name of any usual length."""

_NARROW = 72
"""Columns from which on there is room for an accuracy."""

_BESIDE = 45
"""Columns of the ladder beside its names: number, seeds and mean, and what is between them."""

_HINT = "Ctrl-C stops; the same command goes on"


class Display:
    """Of a study, on a console that is a terminal; elsewhere it shows nothing.

    A bar for each training under way, from its first epoch to its last; the ladder with the seeds
    that are done so far; and the time left, from the multiply-adds that were trained and those that
    are left to.
    """

    def __init__(self, study: Study, console: Console) -> None:
        self._study = study
        self._console = console
        self._progress = Progress(
            _Name(console),
            BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=_BAR)),
            TaskProgressColumn(),
            _State(console),
            console=console,
            auto_refresh=False,
            expand=True,
        )
        self._records: dict[int, list[RunRecord]] = {rung.number: [] for rung in study.rungs}
        self._failed: dict[int, int] = {rung.number: 0 for rung in study.rungs}
        self._work = TimeLeft({})
        self._live: RichLive | None = None
        if console.is_terminal or console.is_jupyter:
            self._live = RichLive(
                console=console,
                get_renderable=self.render,
                refresh_per_second=5,
                transient=True,
                vertical_overflow="crop",
            )

    @property
    def shown(self) -> bool:
        """Whether there is a screen to show it on."""
        return self._live is not None

    def start(self) -> None:
        """Show it from now on."""
        if self._live is not None:
            self._live.start()

    def stop(self) -> None:
        """Take it away."""
        if self._live is not None:
            self._live.stop()

    def begin_study(self, tasks: Sequence[Task]) -> None:
        """These tasks are to be trained; the time left is theirs."""
        macs = {rung.number: summarise(rung.run.net).macs for rung in self._study.rungs}
        self._work = TimeLeft(
            {task.folder: macs[task.rung.number] * task.rung.run.train.epochs for task in tasks}
        )

    def bar(self, task: Task, *, begun: Callable[[str], None]) -> TaskBar:
        """An observer of one training: a bar; ``begun`` is told what trains where, on one line."""
        return TaskBar(task, progress=self._progress, work=self._work, begun=begun)

    def end_task(self, task: Task, record: RunRecord | None) -> None:
        """A task is done, or has failed (None)."""
        if record is None:
            self._failed[task.rung.number] += 1
        else:
            self._records[task.rung.number].append(record)
        self._work.end(task.folder)

    def render(self) -> RenderableType:
        """What stands at the foot of the terminal now."""
        parts: list[RenderableType] = [self._progress] if self._progress.tasks else []
        left = self._work.seconds()
        about = "" if left is None else f"about {timedelta(seconds=round(left))} left. "
        # The last line is short and always there: the terminal writes its ^C behind it, and at the
        # end of a full line that would begin another, which nobody takes away.
        return Group(self._ladder(), *parts, Text(about + _HINT, style="dim", no_wrap=True))

    def _ladder(self) -> RichTable:
        table = RichTable(box=None, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("", justify="right")
        table.add_column("Rung", no_wrap=True)
        table.add_column("Seeds done", justify="right", no_wrap=True)
        table.add_column("Mean final accuracy", justify="right", no_wrap=True)
        rungs = self._study.rungs
        # Bars want their room, and what is printed above them half of the screen.
        height = self._console.height
        room = max(3, min(height // 2, height - len(self._progress.tasks) - 4))
        first = 0
        if len(rungs) > room:
            open_ = (i for i, rung in enumerate(rungs) if not self._is_done(rung.number))
            first = min(max(0, next(open_, 0) - 1), len(rungs) - room)
        for rung in rungs[first : first + room]:
            records, failed = self._records[rung.number], self._failed[rung.number]
            done = f"{len(records)} of {self._study.seeds}"
            mean = fmean(record.final_test_accuracy for record in records) if records else None
            table.add_row(
                str(rung.number),
                Text(_cut(rung.step.name, self._console.width - _BESIDE)),
                f"{done}, {failed} failed" if failed else done,
                # Of some of the seeds it says little.
                "" if mean is None else f"{mean:.2f}%",
                style="" if len(records) == self._study.seeds else "dim",
            )
        return table

    def _is_done(self, number: int) -> bool:
        return len(self._records[number]) + self._failed[number] == self._study.seeds


class _Name(ProgressColumn):
    """Which training a bar is of, in a third of a narrow terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        super().__init__(Column(no_wrap=True))

    def render(self, task: RichTask) -> Text:
        """The rung's name is cut, its number and the seed are not."""
        number, name, seed = (task.fields[key] for key in ("number", "name", "seed"))
        begin, end = f"{number}. ", f", seed {seed}"
        share = 0.45 if self._console.width >= _WIDE else 0.36
        room = int(share * self._console.width) - len(begin) - len(end)
        return Text(begin + _cut(name, room) + end)


def _cut(name: str, room: int) -> str:
    room = max(room, 4)
    return name if len(name) <= room else f"{name[: room - 1]}…"


class _State(ProgressColumn):
    """How far a training is, and how well it does; the loss where there is room for it."""

    max_refresh = None

    def __init__(self, console: Console) -> None:
        self._console = console
        super().__init__(Column(no_wrap=True))

    def render(self, task: RichTask) -> Text:
        """What the training said last."""
        if self._console.width >= _WIDE:
            return Text(task.fields["state"])
        brief: str = task.fields["brief"]
        return Text(brief if self._console.width >= _NARROW else brief.partition(",")[0])


class TaskBar:
    """An observer that shows one training of several: a bar over all its epochs."""

    def __init__(
        self, task: Task, *, progress: Progress, work: TimeLeft, begun: Callable[[str], None]
    ) -> None:
        self.begun = False
        self._task = task
        self._progress = progress
        self._work = work
        self._say_begun = begun
        self._bar: TaskID | None = None
        self._epochs = 1
        self._epoch = 0
        self._num_steps = 1

    def begin(self, run: Run, *, engine: str, folder: Path, epochs_done: int) -> None:
        """Say where the run goes, and from which epoch it goes on."""
        self.begun = True
        self._epochs = run.train.epochs
        going_on = f", going on after epoch {epochs_done - 1}" if epochs_done else ""
        self._say_begun(f"Seed {run.train.seed} trains with {engine}: folder {folder}{going_on}")
        self._work.begin(self._task.folder, epochs_done / self._epochs)
        self._bar = self._progress.add_task(
            "",
            total=self._epochs,
            completed=epochs_done,
            number=self._task.rung.number,
            name=self._task.rung.step.name,
            seed=run.train.seed,
            state="",
            brief="",
        )

    def begin_epoch(self, epoch: int, *, num_steps: int) -> None:
        """The bar goes on."""
        self._epoch, self._num_steps = epoch, num_steps

    def step(self, *, batch: int, loss: float, accuracy: float) -> None:
        """How far, and how well."""
        epoch = f"epoch {self._epoch} of {self._epochs}"
        self._move(
            self._epoch + (batch + 1) / self._num_steps,
            f"{epoch}, loss {loss:.4f}, accuracy {accuracy:.2f}%",
            brief=f"{epoch}, train {accuracy:.2f}%",
        )

    def end_epoch(self, row: EpochRow, *, correct: int, count: int) -> None:  # noqa: ARG002
        """The test accuracy, until the next epoch's first step."""
        done = f"epoch {row.epoch} done, test {row.test_accuracy:.2f}%"
        self._move(row.epoch + 1, done, brief=done)

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._progress.remove_task(self._bar)
            self._bar = None

    def _move(self, epochs: float, state: str, *, brief: str) -> None:
        self._work.tell(self._task.folder, epochs / self._epochs)
        if self._bar is not None:
            self._progress.update(self._bar, completed=epochs, state=state, brief=brief)


class TimeLeft:
    """How long trainings will take, from how long what is done of them took.

    Args:
        work: the whole of each training, in any one unit.
    """

    def __init__(self, work: dict[Path, float]) -> None:
        self._work = work
        self._begun_at: float | None = None
        self._before = dict.fromkeys(work, 0.0)
        self._done = dict.fromkeys(work, 0.0)

    def begin(self, folder: Path, share: float) -> None:
        """A training goes on from ``share`` of its whole: that much took none of our time."""
        if self._begun_at is None:
            self._begun_at = time.perf_counter()
        self._before[folder] = self._done[folder] = share

    def tell(self, folder: Path, share: float) -> None:
        """So much of a training is done."""
        self._done[folder] = share

    def end(self, folder: Path) -> None:
        """A training has ended: what of it was not done, where it failed, took none of our time."""
        self._before[folder] = self._before.get(folder, 0.0) + 1 - self._done.get(folder, 0.0)
        self._done[folder] = 1.0

    def seconds(self) -> float | None:
        """Until all is done; None while that cannot be told, and once it is."""
        if self._begun_at is None:
            return None
        passed = time.perf_counter() - self._begun_at
        done = sum(w * (self._done[f] - self._before[f]) for f, w in self._work.items())
        left = sum(w * (1 - self._done[f]) for f, w in self._work.items())
        return passed * left / done if passed > _RATE_SECONDS and done > 0 and left > 0 else None
