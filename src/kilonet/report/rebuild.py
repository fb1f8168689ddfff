"""The reports of a study's, a search's or a run's folder, from its records alone."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from kilonet.analysis import Errors, StudyAnalysis, analyze, read_errors
from kilonet.errors import DataError, StorageError
from kilonet.formatting import percent
from kilonet.paths import expand
from kilonet.report import tables
from kilonet.report.content import Content
from kilonet.report.html import write_html
from kilonet.report.json.records import run_json, study_json
from kilonet.report.json.search import search_json
from kilonet.report.markdown import write_markdown
from kilonet.report.search_report import report_search
from kilonet.search.files import is_search
from kilonet.search.folder import read_search
from kilonet.spec import Study
from kilonet.storage.files import is_file
from kilonet.storage.record import RunRecord
from kilonet.storage.reports import HTML_REPORT, MARKDOWN_REPORT, check_reports
from kilonet.storage.run_folder import RunFolder
from kilonet.study import StageResult, StudyResult, read_study
from kilonet.table import Table

_NO_TARGET = 100.0  # a study needs one; analyze_records is told that a run has none


def rebuild(folder: Path | str) -> tuple[tuple[Path, Path], dict[str, Any]]:
    """Write ``report.md`` and ``report.html`` of a study, a search or a run into its folder.

    An unfinished study is reported up to its complete stages, a search as far as it is, a run up to
    its last epoch.

    Returns:
        The reports, and the data of ``study --json``, ``search --json`` or ``train --json``.

    Raises:
        StorageError: if the folder holds none of these, has no complete stage, trial or epoch yet,
            or is damaged; or if a report cannot be written.
    """
    path = expand(folder)
    if is_search(path):
        found = read_search(path)
        return report_search(found), search_json(found)
    if is_file(path / "study.toml"):
        result = read_study(path, unfinished=True)
        content = study_content(result)
        return write_reports(content), study_json(result, content.analysis)
    record = read_run(path)
    return report_run(record), run_json(record)


def report_study(result: StudyResult) -> tuple[Path, Path]:
    """Write the reports of a study's complete stages; as :func:`rebuild`."""
    return write_reports(study_content(result))


def report_run(record: RunRecord) -> tuple[Path, Path]:
    """Write the reports of a run up to its last epoch; as :func:`rebuild`."""
    if not record.rows:
        raise StorageError(f"{record.path}: no epoch is finished, so there is nothing to report")
    result = as_study(record)
    return write_reports(Content(result=result, analysis=analyze_records(result, has_target=False)))


def study_content(result: StudyResult) -> Content:
    """A study and its analysis; raises as :func:`analyze_records`."""
    return Content(result=result, analysis=analyze_records(result))


def ladder_of(result: StudyResult) -> Table:
    """The ladder at a glance, with the study's name, its target and its folder above.

    Without a finished stage it has no rows.
    """
    title = f"{result.study.name}: target {percent(result.study.target)}, {result.path}"
    if not result.stages:
        return Table(columns=("Stage",), rows=(), title=f"{title}: no stage is finished")
    table = tables.ladder(result, study_content(result).analysis)
    return replace(table, title=title)


def read_run(path: Path) -> RunRecord:
    """The record of a run's folder, up to its last finished epoch.

    Raises:
        StorageError: if there is no run, or no epoch is finished.
    """
    folder = RunFolder(path)
    if not folder.exists():
        raise StorageError(
            f"{path}: holds no study, search or run: it has no study.toml, space.toml or run.toml"
        )
    record = folder.record()
    if not record.rows:
        raise StorageError(f"{path}: no epoch is finished yet; 'kilonet train {path}' trains it")
    return record


def as_study(record: RunRecord) -> StudyResult:
    """One run as a study of one stage and one seed."""
    run = record.run
    # A study's name has fewer characters to choose from than a folder's.
    name = re.sub(r"[^A-Za-z0-9._-]+|^[^A-Za-z0-9]+", "-", record.path.resolve().name).strip("-._")
    study = Study(
        name=name[:100] or "run",
        target=_NO_TARGET,
        net=run.net,
        data=run.data,
        train=run.train,
        stage=[{"name": "Training", "change": {"train.epochs": run.train.epochs}}],
    )
    # A study's runs have no module of the user's own; this one may.
    stage = replace(study.stages[0], run=run)
    result = StageResult(stage=stage, parameters=run.num_parameters, records=(record,))
    return StudyResult(study=study, path=record.path, stages=(result,))


def analyze_records(result: StudyResult, *, has_target: bool = True) -> StudyAnalysis:
    """The analysis; of an unfinished run, and without the images, of the rows alone.

    ``has_target`` is False of one run as a study: its target is none that anybody stated.

    Raises:
        StorageError: if no stage is finished, or the records lack the number of test images, or are
            damaged.
    """
    if not result.stages:
        raise StorageError(f"{result.path}: no stage is finished, so there is nothing to report")
    untested = [r for stage in result.stages for r in stage.records if not r.tested]
    if untested:
        raise StorageError(
            f"{untested[0].path}: does not use the test set (data.test = false), which a report is "
            "about; its record and 'kilonet compare' have its validation accuracy"
        )
    test_images = result.stages[0].records[0].provenance.data.test_images
    if test_images is None:
        raise StorageError(f"{result.path}: its records lack the number of test images")
    finished = all(record.finished for stage in result.stages for record in stage.records)
    errors, without_images = tuple[Errors, ...](), False
    if finished:
        try:
            errors = read_errors(result, load=result.load)
        except DataError:
            without_images = True
    return analyze(
        result,
        test_images=test_images,
        errors=errors,
        without_images=without_images,
        has_target=has_target,
    )


def write_reports(content: Content) -> tuple[Path, Path]:
    """Write both reports into the folder of the study or the run; one, where the other fails.

    Raises:
        StorageError: if one cannot be written, or would replace a file that is not kilonet's.
    """
    check_reports(content.result.path)
    markdown, html = content.result.path / MARKDOWN_REPORT, content.result.path / HTML_REPORT
    try:
        write_markdown(content, markdown)
    finally:
        write_html(content, html, load=content.result.load)
    return markdown, html


def fault(error: Exception) -> str:
    """A fault of kilonet's own, in a line."""
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"a fault of kilonet's ({' '.join(reason.split())}), please report it"
