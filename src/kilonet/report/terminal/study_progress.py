"""A study on a console: for each stage its seeds and its analysis, then the ladder.

The terminal shows what is worth reading while the study runs; logs, layers, all findings and all
suggestions are in the report.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any, Self

from rich.console import Console

from kilonet.errors import KilonetError, UsageError
from kilonet.formatting import count
from kilonet.report.content import Content, missing_stages
from kilonet.report.json.records import study_json
from kilonet.report.rebuild import analyze_records, fault, write_reports
from kilonet.report.terminal.ladder import ladder_table
from kilonet.report.terminal.live_display import LiveDisplay, TrialBar
from kilonet.report.terminal.seeds import finals_text
from kilonet.report.terminal.stage import stage_panel
from kilonet.report.terminal.text import DisplayConsole, line_of, print_text, show
from kilonet.spec import Net, ResolvedStage, Study
from kilonet.storage.record import RunRecord
from kilonet.storage.reports import HTML_REPORT
from kilonet.study import Failure, StudyObserver, StudyResult, Trial
from kilonet.summary import summarize
from kilonet.training.observer import Observer

_Page = tuple[int, int]
"""A stage's number and a seed; or 0 in place of the seed: the stage's analysis."""
_ANALYSIS = 0


class StudyProgress(StudyObserver):
    """An observer that shows a study on a console and writes its reports.

    Use it in a ``with`` block. The reports are written after every stage, so a stopped study has
    those of its complete stages.

    Args:
        study: the study that runs.
        console: default standard output.
        quiet: nothing but the ladder and the report's path, at the end.

    Attributes:
        report_error: why the last reports were not written, in a line; None if they were. The
            training continues all the same: the disk may be full.
    """

    def __init__(
        self, study: Study, console: Console | None = None, *, quiet: bool = False
    ) -> None:
        self.study = study
        self.console = console or DisplayConsole(highlight=False)
        self._quiet = quiet
        untested = [stage for stage in study.stages if not stage.run.data.test]
        if untested:
            raise UsageError(
                f"stage {untested[0].number} '{untested[0].name}' does not use the test set "
                "(data.test = false), which a study reports; remove it, or train the runs with "
                "'kilonet train' and compare them with 'kilonet compare'"
            )
        self._display = LiveDisplay(study, self.console, quiet=quiet)
        self._bars: dict[_Page, TrialBar] = {}
        self._net: Net | None = None
        # Output is in the order of the ladder: the lines of a trial wait until all trials before it
        # have ended, and a stage's analysis follows its trials.
        self._pages: deque[_Page] = deque(
            (stage.number, page)
            for stage in study.stages
            for page in (*study.seed_numbers(), _ANALYSIS)
        )
        self._lines: defaultdict[_Page, list[str]] = defaultdict(list)
        self._ended: set[_Page] = set()
        self._headings = 0
        self._engine = ""
        self._num_reported = 0
        self.report_error: str | None = None

    def __enter__(self) -> Self:
        self._display.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._display.stop()

    def wait(self, line: str) -> None:
        """Print which process the study waits for."""
        self._print(line)

    def note(self, line: str) -> None:
        """Print what the study does with runs that exist."""
        self._print(line)

    def begin_study(self, *, engine: str, trials: Sequence[Trial], num_jobs: int) -> None:
        """Print the engine and the number of runs."""
        self._engine = engine
        at_once = f", {num_jobs} at a time" if num_jobs > 1 else ""
        self._print(f"{engine}: {count(len(trials), 'run')} to train{at_once}")
        self._display.begin_study(trials)

    def begin_trial(self, trial: Trial) -> Observer:
        """Add a bar, and print the stage's heading when it is its turn."""
        page = (trial.stage.number, trial.seed)
        self._bars[page] = self._display.bar(trial, begun=lambda: self._write(page, ""))
        return self._bars[page]

    def end_trial(self, trial: Trial, record: RunRecord) -> None:
        """Print the final accuracy and the folder within the study's."""
        page = (trial.stage.number, trial.seed)
        how = self._how(self._bars[page])
        folder = f"{record.path.parent.name}/{record.path.name}"
        self._write(page, f"Seed {trial.seed}{how}: {finals_text(record)}, {folder}")
        self._end(trial, record)

    def _how(self, bar: TrialBar) -> str:
        """How a run was trained, where that is not obvious."""
        if bar.engine is None:
            return ", trained before"
        # The study's engine is on its first line; the native engine's bits depend on no threads.
        same = _without_threads(bar.engine) == _without_threads(self._engine)
        engine = "" if same else f", with {bar.engine}"
        resumed = f", resumed after epoch {bar.epochs_before - 1}" if bar.epochs_before else ""
        return engine + resumed

    def fail_trial(self, failure: Failure) -> None:
        """Print the reason."""
        page = (failure.trial.stage.number, failure.trial.seed)
        self._write(page, f"Seed {failure.trial.seed} failed: {failure.reason}")
        self._ended.add((failure.trial.stage.number, _ANALYSIS))
        self._end(failure.trial, None)

    def end_stage(self, so_far: StudyResult) -> None:
        """Print the stage's analysis and write the reports of the complete stages."""
        told = self.report_error
        content = self._report(so_far)
        if content is not None and not self._quiet:
            width, terminal = self.console.width, self._display.terminal
            panel = stage_panel(content.stages[-1], width=width, terminal=terminal)
            show(self.console, panel, terminal=terminal)
        if self.report_error is not None:
            if self.report_error != told:
                self._print(f"No report yet: {self.report_error}")
        elif len(so_far.stages) == 1 < len(self.study.stages):
            self._print(f"Report: {so_far.path / HTML_REPORT}, written after each stage")
        self._ended.add((so_far.stages[-1].stage.number, _ANALYSIS))
        self._turn_pages()

    def finish(self, result: StudyResult) -> dict[str, Any]:
        """Print the ladder of the complete stages; return the data for ``--json``."""
        self._display.stop()
        content = None
        if result.stages:
            # A report that failed is tried once more: the disk may have room again. One is missing
            # if this observer failed meanwhile, so that it received no more events. Before all
            # else, because nothing may be left to print on.
            is_written = self.report_error is None and self._num_reported == len(result.stages)
            content = self._analyze(result) if is_written else self._report(result)
        self._print("")
        missing = missing_stages(result)
        if missing:
            print_text(self.console, missing)
        if content is None:
            return {"study": self.study.name, "target": self.study.target, "stages": []}
        width, terminal = self.console.width, self._display.terminal
        ladder = ladder_table(content, width=width, terminal=terminal, brief=self._quiet)
        show(self.console, ladder, terminal=terminal)
        if self.report_error is None:
            print_text(self.console, f"Report: {result.path / HTML_REPORT}")
        return study_json(result, content.analysis)

    def _print(self, text: str) -> None:
        """Print text as it is: no markup, no wrapping."""
        if not self._quiet:
            print_text(self.console, text)

    def _end(self, trial: Trial, record: RunRecord | None) -> None:
        page = (trial.stage.number, trial.seed)
        self._bars.pop(page).end()
        self._display.end_trial(trial, record)
        self._ended.add(page)
        self._turn_pages()

    def _write(self, page: _Page, line: str) -> None:
        """Print a trial's line, now or when it is the trial's turn."""
        if page != self._pages[0]:
            self._lines[page].append(line)
            return
        stage = self.study.stages[page[0] - 1]
        if stage.number > self._headings:
            self._headings = stage.number
            self._print_heading(stage)
        if line:
            self._print(line)

    def _turn_pages(self) -> None:
        """Print the lines that waited for trials that have now ended."""
        while self._pages and self._pages[0] in self._ended:
            self._pages.popleft()
            if self._pages:
                for line in self._lines.pop(self._pages[0], []):
                    self._write(self._pages[0], line)

    def _print_heading(self, stage: ResolvedStage) -> None:
        if self._quiet:
            return
        heading = f"Stage {stage.number} of {len(self.study.stages)}: {stage.name}"
        self.console.print()
        self.console.rule(line_of(heading, "bold"), align="left")
        net = stage.run.net
        if net == self._net:
            return
        self._net = net
        summary = summarize(net)
        most = self.study.budget.parameters
        limit = "" if most is None else f" (at most {most:,})"
        layers = f"{summary.parameters:,} parameters{limit}, {summary.macs:,} multiply-adds"
        self._print(f"Network: {layers}")

    def _report(self, result: StudyResult) -> Content | None:
        """Analyze and write the reports; None without an analysis."""
        content = self._analyze(result)
        if content is None:
            return None
        self._num_reported = len(result.stages)
        later = f"the runs are kept; write it later with 'kilonet report {result.path}'"
        try:
            write_reports(content)
        except KilonetError as error:
            self.report_error = f"{error}; {later}"
        except MemoryError:
            self.report_error = f"{result.path / HTML_REPORT}: out of memory; {later}"
        except Exception as error:  # a fault of the report's must not end hours of training
            self.report_error = f"{result.path / HTML_REPORT}: {fault(error)}; {later}"
        return content

    def _analyze(self, result: StudyResult) -> Content | None:
        """The study and its analysis; None if a run's files cannot be read."""
        self.report_error = None
        try:
            return Content(result=result, analysis=analyze_records(result))
        except KilonetError as error:
            self.report_error = str(error)
        except Exception as error:  # as above
            self.report_error = f"{result.path}: {fault(error)}; the runs are kept"
        return None


def _without_threads(engine: str) -> str:
    """The description of a native engine without the number of its threads."""
    return re.sub(r", \d+ threads?$", "", engine) if engine.startswith("native ") else engine
