"""The last lines of a terminal while runs train: what a study's and a search's have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import timedelta

from rich.console import Console, RenderableType
from rich.live import Live as RichLive
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn
from rich.table import Column
from rich.text import Text

from kilonet.training.observer import Observer

NARROW = 72
"""Columns of a terminal with room for an accuracy next to a bar."""

RATE_SECONDS = 5.0
"""Seconds of training before the time left is estimated."""

_BAR = 10
"""The least columns of a bar; the text next to it is shortened."""

_HINT = "Ctrl-C stops; the same command continues"


class Live(ABC):
    """Lines that are drawn again five times a second, with a bar for each run.

    Only on a terminal; on other consoles, and ``quiet``, nothing is shown.

    Attributes:
        terminal: whether the console is a terminal or a notebook.
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.fields[name]}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=_BAR)),
            TaskProgressColumn(),
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            console=console,
            auto_refresh=False,
            expand=True,
        )
        self._quiet = quiet
        self._live: RichLive | None = None
        self.terminal = console.is_terminal or console.is_jupyter

    def start(self) -> None:
        """Start showing it."""
        if self.terminal and not self._quiet:
            self._live = RichLive(
                console=self._console,
                get_renderable=self.render,
                refresh_per_second=5,
                transient=True,
                vertical_overflow="crop",
            )
            self._live.start()

    def stop(self) -> None:
        """Remove it."""
        if self._live is not None:
            self._live.stop()

    @abstractmethod
    def render(self) -> RenderableType:
        """What is shown now."""


def last_line(seconds_left: float | None) -> Text:
    """The time left and how to stop.

    It is short: the terminal prints ^C behind it, and a full line would wrap into one that is not
    removed.
    """
    about = ""
    if seconds_left is not None:
        about = f"about {timedelta(seconds=round(seconds_left))} left. "
    return Text(about + _HINT, style="dim", no_wrap=True)


class RunBar(Observer):
    """Shows one training as a bar over its epochs; ``engine`` is None until it starts."""

    def __init__(self, progress: Progress) -> None:
        self.engine: str | None = None
        self._progress = progress
        self._bar: TaskID | None = None
        self._epoch = 0
        self._num_steps = 1

    def begin_epoch(self, epoch: int, *, num_steps: int) -> None:
        """Note the epoch and its steps."""
        self._epoch, self._num_steps = epoch, num_steps

    def end(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._progress.remove_task(self._bar)
            self._bar = None

    @property
    def _width(self) -> int:
        return self._progress.console.width

    def _move(self, epochs: float, state: str) -> None:
        if self._bar is not None:
            self._progress.update(self._bar, completed=epochs, description=state)
