"""The last lines of a terminal while a search runs: counts, the front so far, progress bars."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.progress import Progress
from rich.table import Table as RichTable
from rich.text import Text

from kilonet.formatting import count, interval, percent
from kilonet.report.terminal.live import NARROW, RATE_SECONDS, Live, RunBar, last_line
from kilonet.report.terminal.text import shortened
from kilonet.search.observer import SearchRun
from kilonet.search.result import Candidate, SearchResult, State
from kilonet.spec import Run
from kilonet.storage.record import EpochRow

_RATE_TRIALS = 3
"""Trials before the time left is estimated."""

_OTHER_LINES = 5
"""Lines of the display that are neither bars nor the front's: counts, a heading, the last one."""

_REJECTED = (State.DUPLICATE, State.OVER_BUDGET, State.INVALID)


class SearchDisplay(Live):
    """Shows a search's progress on a terminal; on other consoles, and ``quiet``, nothing.

    Attributes:
        terminal: whether the console is a terminal or a notebook.
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        super().__init__(console, quiet=quiet)
        self._result: SearchResult | None = None
        self._confirming = False
        self._began = time.perf_counter()
        self._ended_before: int | None = None

    def update(self, so_far: SearchResult) -> None:
        """The counts and the front as of now."""
        if self._ended_before is None:
            # What was there before this session took no time of it.
            self._ended_before = _num_ended(so_far) - 1
            self._began = time.perf_counter()
        self._result = so_far

    def confirm(self) -> None:
        """The trials have ended; the best are confirmed."""
        self._confirming = True

    def bar(self, run: SearchRun) -> SearchBar:
        """An observer with a bar for one training."""
        return SearchBar(run, self._progress)

    def render(self) -> RenderableType:
        """The counts, the front, the bars and the time left, on a screen at most."""
        parts: list[RenderableType] = []
        num_bars = len(self._progress.tasks)
        if self._result is not None:
            parts.append(Text(self._counts(self._result), no_wrap=True, overflow="ellipsis"))
            room = max(2, self._console.height - num_bars - _OTHER_LINES)
            if self._result.front:
                parts.append(self._front(self._result, rows=min(room, self._console.height // 2)))
        if num_bars:
            parts.append(self._progress)
        left = self._seconds_left()
        return Group(*parts, last_line(left))

    def _counts(self, result: SearchResult) -> str:
        counts = result.counts
        name = shortened(result.space.name, columns=self._console.width // 3)
        text = f"{name}: {_num_ended(result)} of {count(result.num_trials, 'trial')}"
        words = [f"{counts[state]} {state.value}" for state in (State.COMPLETE, State.PRUNED)]
        if counts[State.FAILED]:
            words.append(f"{counts[State.FAILED]} failed")
        rejected = sum(counts[state] for state in _REJECTED)
        if rejected:
            words.append(f"{rejected} not trained")
        confirming = "; confirming the best" if self._confirming else ""
        return f"{text}, {', '.join(words)}{confirming}"

    def _front(self, result: SearchResult, *, rows: int) -> RichTable:
        """The front; where it has more rows than there is room, its most accurate networks."""
        table = front_table(wide=self._console.width >= NARROW)
        shown = result.front[-rows:]
        best = result.best
        for each in shown:
            is_best = best is not None and each.trial.number == best.trial.number
            wide = self._console.width >= NARROW
            style = "bold" if is_best else ""
            table.add_row(*front_cells(each, wide=wide), style=style)
        return table

    def _seconds_left(self) -> float | None:
        """By the trials that ended in this session; without the confirmation."""
        if self._result is None or self._ended_before is None or self._confirming:
            return None
        ended = _num_ended(self._result)
        done, left = ended - self._ended_before - 1, self._result.num_trials - ended
        passed = time.perf_counter() - self._began
        enough = passed > RATE_SECONDS and done >= _RATE_TRIALS
        return passed * left / done if enough and left > 0 else None


class SearchBar(RunBar):
    """Shows one training of a search as a bar over its epochs; ``engine`` is None until then."""

    def __init__(self, run: SearchRun, progress: Progress) -> None:
        super().__init__(progress)
        self._run = run

    def begin(self, run: Run, *, engine: str, folder: Path, epochs_done: int) -> None:  # noqa: ARG002
        """Add the bar."""
        self.engine = engine
        if self._bar is None:
            epochs, name = run.train.epochs, run_name(self._run)
            self._bar = self._progress.add_task("", total=epochs, completed=epochs_done, name=name)

    def step(self, *, step: int, batch: int, loss: float, accuracy: float, lr: float) -> None:  # noqa: ARG002
        """Move the bar; the accuracy is the epoch's so far."""
        state = f"epoch {self._epoch} of {self._run.run.train.epochs}"
        if self._width >= NARROW:
            state += f", train {accuracy:.2f}%"
        self._move(self._epoch + (batch + 1) / self._num_steps, state)

    def end_epoch(self, row: EpochRow, *, correct: int, count: int) -> None:  # noqa: ARG002
        """Show the validation accuracy until the next step."""
        state = f"epoch {row.epoch} done"
        if self._width >= NARROW and row.validation_accuracy is not None:
            state += f", validation {row.validation_accuracy:.2f}%"
        self._move(row.epoch + 1, state)


def run_name(run: SearchRun) -> str:
    """``Trial 12, rung 1 of 3``, or of a confirmation ``Trial 12, seed 1001``."""
    if run.confirms:
        return f"Trial {run.number}, seed {run.run.train.seed}"
    rung = f", rung {run.rung + 1} of {run.num_rungs}" if run.num_rungs > 1 else ""
    return f"Trial {run.number}{rung}"


def front_table(*, wide: bool) -> RichTable:
    """The heading of the front's table; ``wide``: with multiply-adds."""
    table = RichTable(box=None, padding=(0, 2, 0, 0), header_style="dim")
    names = ("Trial", "Parameters", *(["Multiply-adds"] if wide else []), "Validation accuracy")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Of", no_wrap=True)
    return table


def front_cells(each: Candidate, *, wide: bool) -> tuple[Text, ...]:
    """A network's row in :func:`front_table`."""
    accuracy = percent(each.validation_accuracy)
    if each.ci95 is not None:
        accuracy += f" {interval(*each.ci95)}"
    seeds = 0 if each.confirmed is None else len(each.confirmed.seeds)
    cells = (
        str(each.trial.number),
        f"{each.parameters:,}",
        *([f"{each.macs:,}"] if wide else []),
        accuracy,
        count(seeds, "fresh seed") if seeds else "a single run",
    )
    return tuple(map(Text, cells))


def _num_ended(result: SearchResult) -> int:
    return result.trained - result.counts[State.RUNNING]
