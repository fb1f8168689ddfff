"""A search on a console: a line for each trial that ends, then the best networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from rich.console import Console

from kilonet.errors import KilonetError
from kilonet.formatting import count, percent
from kilonet.report.json.search import search_json
from kilonet.report.rebuild import fault
from kilonet.report.search_report import report_search
from kilonet.report.terminal.search_display import SearchBar, SearchDisplay, run_name
from kilonet.report.terminal.search_summary import search_summary, training_commands
from kilonet.report.terminal.text import DisplayConsole, print_text, show
from kilonet.search.observer import SearchObserver, SearchRun
from kilonet.search.result import SearchResult, SearchTrial, State
from kilonet.search.space import Space
from kilonet.storage.record import RunRecord
from kilonet.storage.reports import HTML_REPORT


class SearchProgress(SearchObserver):
    """An observer that shows a search on a console, and writes its reports at the end.

    Use it in a ``with`` block. Lines are of the trials that this process trains; the counts and the
    front are of all, also of those that other processes train in a shared storage.

    Args:
        console: default standard output.
        quiet: nothing but the best networks and the report's path, at the end.

    Attributes:
        report_error: why the reports were not written, in a line; None if they were, or before
            :meth:`finish`.
    """

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self.console = console or DisplayConsole(highlight=False)
        self._quiet = quiet
        self._display = SearchDisplay(self.console, quiet=quiet)
        self._bars: dict[Path, SearchBar] = {}
        self._own: set[int] = set()
        self._shown: set[int] = set()
        self._best: float | None = None
        self.report_error: str | None = None

    def __enter__(self) -> Self:
        self._display.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._display.stop()

    def wait(self, line: str) -> None:
        """Print which process the search waits for."""
        self._print(line)

    def note(self, line: str) -> None:
        """Print what the search does with trials that exist."""
        self._print(line)

    def begin_search(
        self, space: Space, *, folder: Path, engine: str, num_trials: int, num_jobs: int
    ) -> None:
        """Print the engine, the budget and the number of trials."""
        at_once = f", {num_jobs} at a time" if num_jobs > 1 else ""
        most = space.budget.parameters
        within = "" if most is None else f", at most {most:,} parameters"
        self._print(f"{engine}: {space.name}, {count(num_trials, 'trial')}{within}{at_once}")
        self._print(f"Folder: {folder}")

    def begin_confirmation(self, runs: list[SearchRun]) -> None:
        """Print how many networks are confirmed."""
        self._display.confirm()
        networks = count(len({run.number for run in runs}), "network")
        self._print(f"Confirming {networks} with fresh seeds: {count(len(runs), 'run')}")

    def begin_run(self, run: SearchRun) -> SearchBar:
        """Add a bar."""
        self._own.add(run.number)
        self._bars[run.folder] = self._display.bar(run)
        return self._bars[run.folder]

    def end_run(self, run: SearchRun, record: RunRecord) -> None:
        """Print a confirmation's accuracy; a trial's line comes when all of it has ended."""
        trained = self._end(run)
        accuracy = record.final_validation_accuracy
        if run.confirms and accuracy is not None:
            how = "" if trained else ", trained before"
            self._print(f"{run_name(run)}{how}: validation accuracy {percent(accuracy)}")

    def fail_run(self, run: SearchRun, reason: str) -> None:
        """Print the reason."""
        self._end(run)
        self._print(f"{run_name(run)} failed: {reason}")

    def update(self, so_far: SearchResult) -> None:
        """Print a line for each trial that has ended."""
        self._display.update(so_far)
        for trial in so_far.trials:
            ended = trial.state in (State.COMPLETE, State.PRUNED, State.FAILED)
            if ended and trial.number not in self._shown:
                self._shown.add(trial.number)
                self._show(trial)

    def finish(self, result: SearchResult) -> dict[str, Any]:
        """Write the reports and print the best networks; return the data for ``--json``.

        Of a search without a finished trial there is no report, and no error.
        """
        self._display.stop()
        reported = any(trial.rungs for trial in result.trials)
        if reported:
            self._report(result)
        self._print("")
        width, terminal = self.console.width, self._display.terminal
        summary = search_summary(result, width=width, terminal=terminal, brief=self._quiet)
        show(self.console, summary, terminal=terminal)
        for line in training_commands(result):
            print_text(self.console, line)
        if reported and self.report_error is None:
            print_text(self.console, f"Report: {result.path / HTML_REPORT}")
        return search_json(result)

    def _report(self, result: SearchResult) -> None:
        later = f"the runs are kept; write it later with 'kilonet report {result.path}'"
        try:
            report_search(result)
        except KilonetError as error:
            self.report_error = f"{error}; {later}"
        except MemoryError:
            self.report_error = f"{result.path / HTML_REPORT}: out of memory; {later}"
        except Exception as error:  # a fault of the report's must not hide hours of training
            self.report_error = f"{result.path / HTML_REPORT}: {fault(error)}; {later}"

    def _show(self, trial: SearchTrial) -> None:
        """A trial's line; its best accuracy so far is marked."""
        is_best = False
        if trial.state is State.COMPLETE and trial.accuracy is not None:
            is_best = self._best is None or trial.accuracy > self._best
            self._best = trial.accuracy if is_best else self._best
        if trial.number not in self._own or trial.state is State.FAILED:
            return  # another process's, or one of before; a failure has its line already
        epochs = count(trial.rungs[-1].epochs, "epoch")
        accuracy = percent(trial.rungs[-1].accuracy)
        if trial.state is State.PRUNED:
            if not self._display.terminal:  # on a terminal the counts show them
                self._print(f"Trial {trial.number}: {accuracy}, stopped after {epochs}")
            return
        best = ", the best so far" if is_best else ""
        size = f"{trial.parameters:,} parameters"
        self._print(f"Trial {trial.number}: {accuracy} after {epochs}, {size}{best}")

    def _end(self, run: SearchRun) -> bool:
        """Remove a run's bar; whether it was trained here and now."""
        bar = self._bars.pop(run.folder, None)
        if bar is not None:
            bar.end()
        return bar is not None and bar.engine is not None

    def _print(self, text: str) -> None:
        """Print text as it is: no markup, no wrapping."""
        if not self._quiet:
            print_text(self.console, text)
