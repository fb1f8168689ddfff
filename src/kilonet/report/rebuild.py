"""The reports of a study's folder, or of one run's, made from its records alone."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kilonet.analysis import StudyAnalysis, analyse, read_errors
from kilonet.errors import DataError, StoreError
from kilonet.record import RunRecord
from kilonet.report import markdown, run_markdown
from kilonet.report.html import write_html
from kilonet.report.records import run_json, study_json
from kilonet.spec import Study
from kilonet.store import RunFolder, is_file
from kilonet.study import RungResult, StudyResult, read_study

MARKDOWN_REPORT = "report.md"
HTML_REPORT = "report.html"

_NO_TARGET = 100.0  # a study needs one; a lone run has none, and nothing is held against this


@dataclass(frozen=True, kw_only=True)
class Rebuilt:
    """What :func:`rebuild` made.

    Attributes:
        files: the reports.
        data: what ``--json`` prints: of a study that of ``study --json``, of a run that of
            ``train --json``.
    """

    files: tuple[Path, ...]
    data: dict[str, Any]


def rebuild(folder: Path | str) -> Rebuilt:
    """Write ``report.md`` and ``report.html`` of a study or a run into its folder.

    Of a study that is not finished the rungs that are; of a run as many epochs as are done.

    Raises:
        StoreError: if the folder holds neither, nothing in it is done yet, or what it holds is
            damaged; or if a report cannot be written.
    """
    path = Path(folder)
    if is_file(path / "study.toml"):
        result = read_study(path, unfinished=True)
        analysis = analyse_records(result)
        files = write_reports(result, analysis)
        return Rebuilt(files=files, data=study_json(result, analysis))
    record = read_run(path)
    result = as_study(record)
    analysis = analyse_records(result)
    files = (path / MARKDOWN_REPORT, path / HTML_REPORT)
    run_markdown.write_run_report(result, analysis, files[0])
    write_html(result, analysis, files[1], has_target=False)
    return Rebuilt(files=files, data=run_json(record))


def read_run(path: Path) -> RunRecord:
    """The record of a run's folder, as far as the run has come.

    Raises:
        StoreError: if there is no run, or no epoch of it is done.
    """
    store = RunFolder(path)
    if not store.exists():
        raise StoreError(
            f"{path}: holds no study and no run: it has neither study.toml nor run.toml"
        )
    record = store.record()
    if not record.rows:
        raise StoreError(
            f"{path}: no epoch is finished yet; 'kilonet train {path} --resume' goes on"
        )
    return record


def as_study(record: RunRecord) -> StudyResult:
    """One run as a study of one rung and one seed, so that all that reads studies reads it."""
    run = record.run
    # What a study's name may be: the folder's, as far as it is one.
    name = re.sub(r"[^A-Za-z0-9._-]+|^[^A-Za-z0-9]+", "-", record.path.resolve().name).strip("-._")
    study = Study(
        name=name[:100] or "run",
        target=_NO_TARGET,
        net=run.net,
        data=run.data,
        train=run.train,
        step=[{"name": "Training", "change": {"train.epochs": run.train.epochs}}],
    )
    ran = RungResult(rung=study.rungs[0], parameters=run.net.num_parameters, records=(record,))
    return StudyResult(study=study, path=record.path, rungs=(ran,))


def analyse_records(result: StudyResult) -> StudyAnalysis:
    """The analysis, of as many test images as the records tell.

    The records outlive the images: without these, and of a run that is not finished, the rows alone
    are analysed.
    """
    data = result.rungs[0].records[0].environment["data"]
    finished = all(record.finished for ran in result.rungs for record in ran.records)
    try:
        errors = read_errors(result) if finished else ()
    except DataError:
        errors = ()
    return analyse(result, test_images=data["test_images"], errors=errors)


def write_reports(
    result: StudyResult, analysis: StudyAnalysis, *, drawn: Collection[int] = ()
) -> tuple[Path, Path]:
    """Both reports of a study, in its folder; ``drawn`` as :func:`markdown.write_report` has it."""
    path = result.path
    markdown.write_report(result, analysis, path / MARKDOWN_REPORT, drawn=drawn)
    write_html(result, analysis, path / HTML_REPORT)
    return path / MARKDOWN_REPORT, path / HTML_REPORT
