"""The content of a report of a study, or of one run, for every format."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kilonet.analysis import StageAnalysis, StudyAnalysis, Suggestion
from kilonet.formatting import count, percent
from kilonet.report import tables
from kilonet.report.tables import ResultLine
from kilonet.study import StageResult, StudyResult

NUM_SUGGESTIONS = 3
"""Suggestions that people are shown for a stage; the JSON has all."""


@dataclass(frozen=True, kw_only=True)
class StageContent:
    """A stage of a report.

    Attributes:
        folder: the report's.
        result: its runs.
        analysis: of them.
        judged: the same as the study's ``judged_on`` shows it: what stages are compared by.
        next_stage: the name of the study's next one, or "".
        budget: the most parameters allowed; None without a limit.
    """

    folder: Path
    result: StageResult
    analysis: StageAnalysis
    judged: StageAnalysis
    next_stage: str
    budget: int | None

    @property
    def change(self) -> str:
        """The stage's change as a line of TOML; "" of a baseline or a run outside a study."""
        return tables.change_line(self.result, folder=self.folder) if self.has_target else ""

    @property
    def has_target(self) -> bool:
        """Whether it is a stage of a study: a run outside one has no target."""
        return self.analysis.target is not None

    @property
    def result_lines(self) -> list[ResultLine]:
        """The lines of its Result."""
        return tables.result_lines(self.result, self.analysis, budget=self.budget)

    @property
    def sentences(self) -> tuple[str, ...]:
        """Its findings."""
        return self.analysis.sentences

    @property
    def suggestions(self) -> tuple[Suggestion, ...]:
        """The most promising changes."""
        return self.analysis.suggestions[:NUM_SUGGESTIONS]

    @property
    def suggestions_note(self) -> str:
        """Which images the suggestions are read from."""
        return tables.SUGGESTIONS_NOTES[self.analysis.judged_on]


@dataclass(frozen=True, kw_only=True)
class Content:
    """A report.

    Attributes:
        result: a study, or the part of it that is complete; or one run as a study of one stage.
        analysis: of the same stages; of one run without a target.
    """

    result: StudyResult
    analysis: StudyAnalysis

    @property
    def has_target(self) -> bool:
        """Whether it is a study: a run outside one has no target to be compared with."""
        return self.analysis.target is not None

    @cached_property
    def stages(self) -> tuple[StageContent, ...]:
        """The complete stages, in order."""
        names = [stage.name for stage in self.result.study.stages]
        return tuple(
            StageContent(
                folder=self.result.path,
                result=result,
                analysis=analysis,
                judged=judged,
                next_stage=names[analysis.number] if analysis.number < len(names) else "",
                budget=self.result.study.budget.parameters,
            )
            for result, analysis, judged in zip(
                self.result.stages, self.analysis.stages, self.analysis.judged, strict=True
            )
        )

    @property
    def best(self) -> StageContent:
        """The stage with the highest mean final accuracy; the first of equal ones.

        Of the validation accuracy, where the study is judged on it, so that the test set picks
        nothing.
        """
        return max(self.stages, key=lambda stage: stage.judged.final.mean)

    @property
    def picked_by_validation(self) -> bool:
        """Whether stages are compared and picked by validation accuracy."""
        return any(stage.judged is not stage.analysis for stage in self.stages)

    @property
    def target(self) -> str:
        """The target in percent; "" without one."""
        return "" if self.analysis.target is None else percent(self.analysis.target)

    @property
    def limits(self) -> str:
        """The budget in words; "" without one."""
        budget = self.result.study.budget
        limits = ((budget.parameters, "parameter"), (budget.epochs, "epoch"))
        words = [count(limit, noun) for limit, noun in limits if limit is not None]
        return f"at most {' and '.join(words)}" if words else ""

    @property
    def seeds(self) -> str:
        """Seeds of a stage, in words."""
        return count(min(stage.analysis.seeds for stage in self.stages), "seed")

    @property
    def unfinished(self) -> str:
        """A sentence about what is missing; "" where nothing is."""
        missing = missing_stages(self.result)
        if missing:
            return missing
        for stage in self.stages:
            for record in stage.result.records:
                if not record.finished:
                    epochs = record.run.train.epochs
                    return f"Not finished: {len(record.rows)} of {epochs} epochs are done."
        return ""


def missing_stages(result: StudyResult) -> str:
    """A sentence that names the stages without all their seeds; "" without any."""
    complete = {stage.stage.number for stage in result.stages}
    missing = [stage for stage in result.study.stages if stage.number not in complete]
    if not missing:
        return ""
    names = ", ".join(f"{stage.number} ({stage.name})" for stage in missing)
    return f"Left out, because not every seed is finished: stage {names}."
