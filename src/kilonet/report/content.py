"""The content of a report of a study, or of one run, for every format."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from kilonet.analysis import StageAnalysis, StudyAnalysis, Suggestion
from kilonet.formatting import count, percent
from kilonet.report import tables
from kilonet.report.tables import ResultLine
from kilonet.study import StageResult, StudyResult

NUM_SUGGESTIONS = 3
"""Suggestions that people are shown for a stage; the JSON has all."""


@dataclass(frozen=True, kw_only=True)
class StageContent:
    """A stage of a report; ``next_stage`` is the name of the study's next one, or ""."""

    result: StageResult
    analysis: StageAnalysis
    next_stage: str
    budget: int | None
    has_target: bool

    @property
    def change(self) -> str:
        """The stage's change as a line of TOML; "" of a run outside a study."""
        return tables.change_line(self.result) if self.has_target else ""

    @property
    def result_lines(self) -> list[ResultLine]:
        """The lines of its Result."""
        return tables.result_lines(
            self.result, self.analysis, budget=self.budget, has_target=self.has_target
        )

    @property
    def sentences(self) -> tuple[str, ...]:
        """Its findings; without a target, those that do not depend on one."""
        if self.has_target:
            return self.analysis.sentences
        return tuple(
            finding.sentence
            for finding in self.analysis.findings
            if finding.kind != "target" and "target" not in finding.figures
        )

    @property
    def suggestions(self) -> tuple[Suggestion, ...]:
        """The most promising changes; none of a run outside a study."""
        return self.analysis.suggestions[:NUM_SUGGESTIONS] if self.has_target else ()

    @property
    def suggestions_note(self) -> str:
        """Which images the suggestions are read from."""
        return tables.SUGGESTIONS_NOTES[self.analysis.judged_on]


@dataclass(frozen=True, kw_only=True)
class Content:
    """A report.

    Attributes:
        result: a study, or the part of it that is complete; or one run as a study of one stage.
        analysis: of the same stages.
        has_target: False of a run outside a study: it has no target to be compared with.
    """

    result: StudyResult
    analysis: StudyAnalysis
    has_target: bool = True

    @cached_property
    def stages(self) -> tuple[StageContent, ...]:
        """The complete stages, in order."""
        names = [stage.name for stage in self.result.study.stages]
        return tuple(
            StageContent(
                result=result,
                analysis=analysis,
                next_stage=names[analysis.number] if analysis.number < len(names) else "",
                budget=self.result.study.budget.parameters,
                has_target=self.has_target,
            )
            for result, analysis in zip(self.result.stages, self.analysis.stages, strict=True)
        )

    @property
    def best(self) -> StageContent:
        """The stage with the highest mean final test accuracy; the first of equal ones."""
        return max(self.stages, key=lambda stage: stage.analysis.final.mean)

    @property
    def target(self) -> str:
        """The target in percent; "" without one."""
        return percent(self.analysis.target) if self.has_target else ""

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
