"""Where a study stands: what is missing, which rung is highest; and what a lone run can be told."""

from __future__ import annotations

from kilonet.analysis import RungAnalysis, StudyAnalysis
from kilonet.analysis.words import percent
from kilonet.report.tables import ResultLine, result_lines
from kilonet.study import RungResult, StudyResult

BEST_NOTE = (
    "The rung with the highest mean final test accuracy: picked by test accuracy, so what is shown "
    "of it is a little optimistic."
)
"""What must stand where one rung is shown more closely than the others."""


def best_rung(analysis: StudyAnalysis) -> int:
    """Position of the rung with the highest mean final test accuracy; of equals the first."""
    means = [rung.final.mean for rung in analysis.rungs]
    return means.index(max(means))


def unfinished(result: StudyResult) -> str:
    """What is not there yet, as a sentence; "" where all is."""
    here = {ran.rung.number for ran in result.rungs}
    missing = [rung for rung in result.study.rungs if rung.number not in here]
    if missing:
        names = ", ".join(f"{rung.number} ({rung.step.name})" for rung in missing)
        return f"Not every seed is finished, and so left out: rung {names}."
    for ran in result.rungs:
        for record in ran.records:
            if not record.finished:
                epochs = record.run.train.epochs
                return f"Not finished: {len(record.rows)} of {epochs} epochs are done."
    return ""


def lone_sentences(rung: RungAnalysis) -> list[str]:
    """The findings of a run that belongs to no study: none that is held against a target."""
    return [
        finding.sentence
        for finding in rung.findings
        if finding.kind != "target" and "target" not in finding.figures
    ]


def lone_result(ran: RungResult, rung: RungAnalysis) -> list[ResultLine]:
    """Its Result, likewise."""
    of_target = percent(rung.target)
    return [line for line in result_lines(ran, rung) if of_target not in line.label]
