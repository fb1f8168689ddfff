"""The reports of a study's or a run's folder, from its records alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from kilonet.analysis import StudyAnalysis, analyze, read_errors
from kilonet.errors import DataError, StorageError
from kilonet.report.content import Content
from kilonet.report.html import write_html
from kilonet.report.json.records import run_json, study_json
from kilonet.report.markdown import write_markdown
from kilonet.spec import Study
from kilonet.storage.record import RunRecord
from kilonet.storage.run_folder import RunFolder, is_file
from kilonet.study import StageResult, StudyResult, read_study

MARKDOWN_REPORT = "report.md"
HTML_REPORT = "report.html"

_NO_TARGET = 100.0  # a study needs one; nothing of a run outside a study is compared with it


def rebuild(folder: Path | str) -> tuple[tuple[Path, Path], dict[str, Any]]:
    """Write ``report.md`` and ``report.html`` of a study or a run into its folder.

    An unfinished study is reported up to its complete stages, a run up to its last epoch.

    Returns:
        The reports, and the data of ``study --json``, or of a run that of ``train --json``.

    Raises:
        StorageError: if the folder holds neither, has no complete stage or epoch yet, or is
            damaged; or if a report cannot be written.
    """
    path = Path(folder)
    if is_file(path / "study.toml"):
        result = read_study(path, unfinished=True)
        content = Content(result=result, analysis=analyze_records(result))
        return write_reports(content), study_json(result, content.analysis)
    record = read_run(path)
    result = as_study(record)
    content = Content(result=result, analysis=analyze_records(result), has_target=False)
    return write_reports(content), run_json(record)


def read_run(path: Path) -> RunRecord:
    """The record of a run's folder, up to its last finished epoch.

    Raises:
        StorageError: if there is no run, or no epoch is finished.
    """
    folder = RunFolder(path)
    if not folder.exists():
        raise StorageError(
            f"{path}: holds no study and no run: it has neither study.toml nor run.toml"
        )
    record = folder.record()
    if not record.rows:
        raise StorageError(
            f"{path}: no epoch is finished yet; 'kilonet train {path} --resume' continues it"
        )
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
    stage = StageResult(stage=study.stages[0], parameters=run.net.num_parameters, records=(record,))
    return StudyResult(study=study, path=record.path, stages=(stage,))


def analyze_records(result: StudyResult) -> StudyAnalysis:
    """The analysis; of an unfinished run, and without the images, of the rows alone.

    Raises:
        StorageError: if the records lack the number of test images, or are damaged.
    """
    test_images = result.stages[0].records[0].provenance.data.test_images
    if test_images is None:
        raise StorageError(f"{result.path}: its records lack the number of test images")
    finished = all(record.finished for stage in result.stages for record in stage.records)
    try:
        errors = read_errors(result) if finished else ()
    except DataError:
        errors = ()
    return analyze(result, test_images=test_images, errors=errors)


def write_reports(content: Content) -> tuple[Path, Path]:
    """Write both reports into the folder of the study or the run.

    Raises:
        StorageError: if one cannot be written.
    """
    markdown, html = content.result.path / MARKDOWN_REPORT, content.result.path / HTML_REPORT
    write_markdown(content, markdown)
    write_html(content, html)
    return markdown, html
