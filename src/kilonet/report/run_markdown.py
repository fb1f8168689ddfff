"""``report.md`` of one run: result, analysis, log, environment."""

from __future__ import annotations

from pathlib import Path

from kilonet.analysis import StudyAnalysis
from kilonet.atomic import write_atomically
from kilonet.report import standing
from kilonet.report.provenance import environment_lines
from kilonet.study import StudyResult


def write_run_report(result: StudyResult, analysis: StudyAnalysis, path: Path) -> None:
    """Write the report of the one run in ``result``; a run has no target to be held against.

    Raises:
        StoreError: if the file cannot be written.
    """
    (ran,), (rung,) = result.rungs, analysis.rungs
    (record,) = ran.records
    lines = [f"# {result.study.name}", ""]
    unfinished = standing.unfinished(result)
    lines += [unfinished, ""] if unfinished else []
    lines += ["## Result", ""]
    lines += [
        f"- {line.label}: **{line.value}**{f' ({line.note})' if line.note else ''}"
        for line in standing.lone_result(ran, rung)
    ]
    lines += ["", "## Analysis", ""]
    lines += [f"- {sentence}" for sentence in standing.lone_sentences(rung)]
    lines += ["", "## Log", ""]
    lines += [f"Seed {record.run.train.seed}; train accuracy and loss are the epoch's means while "]
    lines[-1] += "it trained."
    lines += ["", record.log_table.to_markdown(), "", "## Environment", ""]
    lines += [f"- {label}: {value}" for label, value in environment_lines(result)]
    write_atomically(path, "\n".join(lines) + "\n")
