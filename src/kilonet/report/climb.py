"""A study as it climbs: each rung's heading, seeds, log table and findings, then the ladder.

The terminal says what is to be read while it climbs; each seed's own log, the layers of every
network and what else could be tried are in the report.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.text import Text

from kilonet.analysis import StudyAnalysis
from kilonet.analysis.words import count, percent
from kilonet.errors import KilonetError
from kilonet.record import RunRecord
from kilonet.report import tables
from kilonet.report.display import Display, TaskBar
from kilonet.report.rebuild import HTML_REPORT, analyse_records, write_reports
from kilonet.report.records import study_json
from kilonet.report.terminal import ladder_table, rung_panel
from kilonet.run import Observer
from kilonet.spec import Net, Study
from kilonet.study import StudyObserver, StudyResult
from kilonet.summary import summarise
from kilonet.tasks import Failure, Task

_Page = tuple[int, int]
"""A rung's number and a seed; or, in the seed's place, the rung's verdict."""
_VERDICT = 0


class Climb(StudyObserver):
    """An observer of studies that shows them on a console and writes its reports.

    Use it in a ``with`` block. The reports are written anew after every rung, so that a study that
    is stopped leaves those of what it has come to.

    Attributes:
        unreported: why the last reports could not be made, in a line; None where they were. A disk
            that is full is no reason to train no further.
    """

    def __init__(self, study: Study, console: Console | None = None) -> None:
        self.study = study
        self.console = console or Console(highlight=False)
        self._display = Display(study, self.console)
        self._bars: dict[_Page, TaskBar] = {}
        self._net: Net | None = None
        # What is printed reads as if one task had come after the other: a task's lines wait until
        # all before it have ended, and a rung's verdict stands after its tasks.
        self._pages: deque[_Page] = deque(
            (rung.number, page)
            for rung in study.rungs
            for page in (*study.seed_numbers(), _VERDICT)
        )
        self._lines: defaultdict[_Page, list[str]] = defaultdict(list)
        self._ended: set[_Page] = set()
        self._headings = 0
        self._engine = ""
        self._drawn: set[int] = set()
        self.unreported: str | None = None

    def __enter__(self) -> Self:
        self._display.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._display.stop()

    def wait(self, line: str) -> None:
        """Whom the study waits for."""
        self.say(line)

    def begin_study(self, *, engine: str, tasks: Sequence[Task], num_jobs: int) -> None:
        """What computes, on the first line."""
        self._engine = engine
        at_once = f", {num_jobs} at a time" if num_jobs > 1 else ""
        self.say(f"{engine}: {count(len(tasks), 'run')} to train{at_once}")
        self._display.begin_study(tasks)

    def begin_task(self, task: Task) -> Observer:
        """The bar of a training; where there are no bars, a line that says that it has begun."""
        page = (task.rung.number, task.seed)

        def begun(line: str) -> None:
            # All but one engine would be told again and again.
            line = line.replace(f" with {self._engine}:", ":", 1)
            self._write(page, "" if self._display.shown else line)

        bar = self._display.bar(task, begun=begun)
        self._bars[page] = bar
        return bar

    def end_task(self, task: Task, record: RunRecord) -> None:
        """What it came to, and where it is kept."""
        page = (task.rung.number, task.seed)
        how = "" if self._bars[page].begun else ", trained before"
        final = f"final test accuracy {percent(record.final_test_accuracy)}"
        self._write(page, f"Seed {task.seed}{how}: {final}, {record.path}")
        self._end(task, record)

    def fail_task(self, failure: Failure) -> None:
        """Why, in the place of its accuracy."""
        page = (failure.task.rung.number, failure.task.seed)
        self._write(page, f"Seed {failure.task.seed} failed: {failure.reason}")
        self._ended.add((failure.task.rung.number, _VERDICT))
        self._end(failure.task, None)

    def end_rung(self, so_far: StudyResult) -> None:
        """The notebook's log table, Target, Result and Analysis; the reports as far as they go."""
        analysis = self._report(so_far)
        ran = so_far.rungs[-1]
        number = ran.rung.number
        steps = self.study.step
        self.say("")
        if len(ran.records) > 1:
            self.say(f"Mean of {len(ran.records)} seeds (each seed's log is in the report):")
        log = tables.mean_log(ran.records)
        self.say(log.to_text(width=self.console.width) if self._display.shown else str(log))
        if analysis is not None:
            next_rung = steps[number].name if number < len(steps) else None
            panel = rung_panel(
                ran,
                analysis.rungs[-1],
                budget=self.study.budget.parameters,
                next_rung=next_rung,
                # Which way to go is asked at the end of the ladder.
                suggest=next_rung is None,
            )
            self._show(panel)
        if self.unreported is not None:
            self.say(f"No report yet: {self.unreported}")
        self._ended.add((number, _VERDICT))
        self._turn_pages()

    def conclude(self, result: StudyResult) -> dict[str, Any]:
        """The ladder of the rungs that are complete; returns what ``--json`` prints."""
        self._display.stop()
        self.console.print()
        missing = [r for r in self.study.rungs if r not in [ran.rung for ran in result.rungs]]
        if missing:
            names = ", ".join(f"{rung.number} ({rung.step.name})" for rung in missing)
            self.say(f"Not every seed is finished, and so left out: rung {names}.")
        nothing = {"study": self.study.name, "target": self.study.target, "steps": []}
        if not result.rungs:
            return nothing
        # Once more where it failed: what was in its way may be gone.
        analysis = self._analyse(result) if self.unreported is None else self._report(result)
        if analysis is None:
            return nothing
        self._show(ladder_table(result, analysis))
        if self.unreported is None:
            self.say(f"Report: {result.path / HTML_REPORT}")
        return study_json(result, analysis)

    def say(self, text: str) -> None:
        """Print text as it is."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _show(self, renderable: RenderableType) -> None:
        """Print what is laid out for the console's width; in a file without spaces at line ends."""
        if self._display.shown:
            self.console.print(renderable)
            return
        with self.console.capture() as capture:
            self.console.print(renderable)
        self.say("\n".join(line.rstrip() for line in capture.get().splitlines()))

    def _end(self, task: Task, record: RunRecord | None) -> None:
        page = (task.rung.number, task.seed)
        self._bars.pop(page).end()
        self._display.end_task(task, record)
        self._ended.add(page)
        self._turn_pages()

    def _write(self, page: _Page, line: str) -> None:
        """Print a task's line now, or once it is its turn."""
        if page != self._pages[0]:
            self._lines[page].append(line)
            return
        rung = self.study.rungs[page[0] - 1]
        if rung.number > self._headings:
            self._headings = rung.number
            heading = f"Rung {rung.number} of {len(self.study.step)}: {rung.step.name}"
            self.console.print()
            self.console.rule(Text(heading, style="bold"), align="left")
            self._show_network(rung.run.net)
        if line:
            self.say(line)

    def _turn_pages(self) -> None:
        """Print what has waited for the tasks that have ended."""
        while self._pages and self._pages[0] in self._ended:
            self._pages.popleft()
            if self._pages:
                for line in self._lines.pop(self._pages[0], []):
                    self._write(self._pages[0], line)

    def _show_network(self, net: Net) -> None:
        summary = summarise(net)
        if self._net is None:
            on_screen = self._display.shown
            text = summary.to_text(width=self.console.width) if on_screen else str(summary)
            self.say(f"{text}\n")
        else:
            same = "The network of the rung before" if net == self._net else "Another network"
            counts = f"{summary.parameters:,} parameters, {summary.macs:,} multiply-adds an image"
            self.say(f"{same}: {counts}.")
        self._net = net

    def _report(self, result: StudyResult) -> StudyAnalysis | None:
        """Write the reports; the analysis, or None where there can be none."""
        analysis = self._analyse(result)
        if analysis is None:
            return None
        again = f"finished runs are kept, and 'kilonet report {result.path}' writes it"
        try:
            write_reports(result, analysis, drawn=self._drawn)
            self._drawn = {ran.rung.number for ran in result.rungs}
        except KilonetError as error:
            self.unreported = f"{error}; {again}"
        except MemoryError:
            self.unreported = f"{result.path / HTML_REPORT}: out of memory; {again}"
        return analysis

    def _analyse(self, result: StudyResult) -> StudyAnalysis | None:
        """The analysis, or None where what a run has left for it cannot be read."""
        self.unreported = None
        try:
            return analyse_records(result)
        except KilonetError as error:
            self.unreported = str(error)
            return None
