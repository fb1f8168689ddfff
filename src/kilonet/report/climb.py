"""A study as it climbs: each rung's heading, training, log tables and findings, then the ladder."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.text import Text

from kilonet.analysis import StudyAnalysis, analyse, read_errors
from kilonet.errors import DataError
from kilonet.record import RunRecord
from kilonet.report.live import Live
from kilonet.report.markdown import write_report
from kilonet.report.records import study_json
from kilonet.report.terminal import ladder_table, rung_panel
from kilonet.run import Observer
from kilonet.spec import Net, Study
from kilonet.study import StudyObserver, StudyResult, Task
from kilonet.summary import summarise

REPORT = "report.md"


def _analyse(result: StudyResult) -> StudyAnalysis:
    data = result.rungs[0].records[0].environment["data"]
    try:
        errors = read_errors(result)
    except DataError:
        # The records outlive the images: without these the rows alone are analysed.
        errors = ()
    return analyse(result, test_images=data["test_images"], errors=errors)


class Climb(StudyObserver):
    """An observer of studies that shows them on a console and writes ``report.md``.

    Use it in a ``with`` block. The report is written anew after every rung, so that a study that is
    stopped leaves one of what it has come to.
    """

    def __init__(self, study: Study, console: Console | None = None) -> None:
        self.study = study
        self.live = Live(console)
        self.console = self.live.console
        self._net: Net | None = None
        self._runs_before = 0

    def __enter__(self) -> Self:
        self.live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.live.__exit__(kind, error, trace)

    def begin_study(self, *, engine: str, num_tasks: int) -> None:
        """What computes, on the first line."""
        self.say(f"{engine}: {num_tasks} {'run' if num_tasks == 1 else 'runs'} to train")

    def begin_task(self, task: Task) -> Observer:
        """A heading before a rung's first seed; the bars and lines of the training."""
        rung = task.rung
        if task.seed == self.study.seed_numbers()[0]:
            heading = f"Rung {rung.number} of {len(self.study.step)}: {rung.step.name}"
            self.console.print()
            self.console.rule(Text(heading, style="bold"), align="left")
            self._show_network(rung.run.net)
        self._runs_before = self.live.runs_begun
        return self.live

    def end_task(self, task: Task, record: RunRecord) -> None:
        """The notebook's log table."""
        how = "" if self.live.runs_begun > self._runs_before else ", trained before"
        self.say(f"\nSeed {task.seed}{how}: {record.path}\n{record.log_table}")

    def end_rung(self, so_far: StudyResult) -> None:
        """Target, Result and Analysis of the rung, and the report as far as it goes."""
        analysis = self._report(so_far)
        number = len(so_far.rungs)
        steps = self.study.step
        panel = rung_panel(
            so_far.rungs[-1],
            analysis.rungs[-1],
            budget=self.study.budget.parameters,
            next_rung=steps[number].name if number < len(steps) else None,
        )
        self.console.print(panel)

    def conclude(self, result: StudyResult) -> dict[str, Any]:
        """The ladder at the end; returns what ``--json`` prints."""
        analysis = _analyse(result)
        self.console.print()
        self.console.print(ladder_table(result, analysis))
        self.say(f"Report: {result.path / REPORT}")
        return study_json(result, analysis)

    def say(self, text: str) -> None:
        """Print text as it is."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _show_network(self, net: Net) -> None:
        summary = summarise(net)
        if self._net is None:
            on_screen = self.console.is_terminal
            text = summary.to_text(width=self.console.width) if on_screen else str(summary)
            self.say(f"{text}\n")
        elif net != self._net:
            self.say(f"{summary.layer_table}\n")
        else:
            self.say(f"The network of the rung before: {summary.parameters:,} parameters.")
        self._net = net

    def _report(self, result: StudyResult) -> StudyAnalysis:
        analysis = _analyse(result)
        write_report(result, analysis, result.path / REPORT)
        return analysis
