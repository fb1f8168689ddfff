"""How far a study has come, and which of its rungs stands highest."""

from __future__ import annotations

from kilonet.analysis import StudyAnalysis
from kilonet.analysis.words import count
from kilonet.study import StudyResult

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
    """What the study still lacks, as a sentence; "" where every run is finished."""
    expected = len(result.study.step) * result.study.seeds
    done = sum(len(ran.records) for ran in result.rungs)
    if done >= expected:
        return ""
    return (
        f"Not finished: {done} of {count(expected, 'run')} are done, and this report tells of "
        "these alone."
    )
