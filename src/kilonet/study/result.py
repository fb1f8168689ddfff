"""A study's results, and its folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kilonet.data import Dataset
from kilonet.data.in_memory import load_to_report
from kilonet.errors import KilonetError, SpecError, StorageError, StudyError
from kilonet.formatting import count, listed
from kilonet.paths import expand
from kilonet.spec import Budget, ResolvedStage, Study, is_canonical, load_study, to_toml
from kilonet.spec.inline_toml import inline
from kilonet.storage.atomic import is_temporary, write_atomically
from kilonet.storage.files import is_file, names_in
from kilonet.storage.lock import LOCK
from kilonet.storage.record import RunRecord, data_frame
from kilonet.storage.reports import HTML_REPORT, MARKDOWN_REPORT, check_reports
from kilonet.storage.run_folder import RunFolder
from kilonet.study.trial import Failure, Trial
from kilonet.training.resume import difference, run_folders

if TYPE_CHECKING:
    from pandas import DataFrame

SPEC = "study.toml"
_RUNS = "runs"

_FILES = frozenset({LOCK, SPEC, _RUNS, MARKDOWN_REPORT, HTML_REPORT, "figures"})
"""The names that a study folder without its spec may contain."""


_COLUMNS = (
    "stage",
    "name",
    "seed",
    "parameters",
    "final_test_accuracy",
    "best_test_accuracy",
    "final_validation_accuracy",
    "reached",
    "seconds",
    "folder",
)


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """A stage with the results of its seeds.

    Attributes:
        stage: its number, change and run.
        parameters: trained parameters of the stage's network.
        records: one per seed, in the order of the seeds, all finished.
    """

    stage: ResolvedStage
    parameters: int
    records: tuple[RunRecord, ...]

    @classmethod
    def of(cls, stage: ResolvedStage, records: Iterable[RunRecord]) -> StageResult:
        """Of the records of all its seeds."""
        parameters = stage.run.num_parameters
        return cls(stage=stage, parameters=parameters, records=tuple(records))


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """A study's results; ``print`` shows the ladder, a notebook shows it as HTML.

    Attributes:
        study: the spec.
        path: its folder.
        stages: in order.
        load: name or path → data set, for reports: also of data sets that were given from Python.
    """

    study: Study
    path: Path
    stages: tuple[StageResult, ...]
    load: Callable[[str], Dataset] = field(default=load_to_report, repr=False, compare=False)

    def to_frame(self) -> DataFrame:
        """A pandas data frame with a row a run.

        ``stage`` is its number, from 1; accuracies are in percent, that of the validation split is
        NaN without one, those of the test set with ``data.test = false``; ``reached`` refers to the
        study's target, which no run reaches that does not use the test set.

        Raises:
            UsageError: pandas is not installed.
        """
        rows = [
            {
                "stage": stage.stage.number,
                "name": stage.stage.name,
                "seed": record.run.train.seed,
                "parameters": stage.parameters,
                "final_test_accuracy": record.final_test_accuracy if record.tested else math.nan,
                "best_test_accuracy": record.best_test_accuracy if record.tested else math.nan,
                "final_validation_accuracy": record.final_validation_accuracy,
                "reached": record.tested and record.reached(self.study.target),
                "seconds": sum(row.seconds for row in record.rows),
                "folder": str(record.path),
            }
            for stage in self.stages
            for record in stage.records
        ]
        frame = data_frame(rows, columns=_COLUMNS)
        return frame.astype({"final_validation_accuracy": float})

    def report(self) -> tuple[Path, Path]:
        """Write ``report.md`` and ``report.html`` into the study's folder; returns their paths.

        Raises:
            StorageError: if one cannot be written, or no stage is finished.
        """
        from kilonet.report.rebuild import report_study

        return report_study(self)

    def __str__(self) -> str:
        from kilonet.report.rebuild import ladder_of

        return str(ladder_of(self))

    def _repr_html_(self) -> str:
        from kilonet.report.rebuild import ladder_of

        return ladder_of(self).to_html()


class IncompleteStudyError(StudyError):
    """Some runs failed.

    Attributes:
        result: the stages of which every seed is finished. The others are left out: the seeds that
            fail are not a random choice, so the rest would be biased.
        failures: :class:`kilonet.study.trial.Failure`, by stage and seed.
    """

    def __init__(self, result: StudyResult, failures: Sequence[Failure]) -> None:
        super().__init__(failures)
        self.result = result


def default_folder(study: Study) -> Path:
    """``kilonet-studies/NAME``."""
    return Path("kilonet-studies") / study.name


def study_trials(study: Study, path: Path) -> list[Trial]:
    """Every trial of a study, by stage and seed."""
    seeded = [(stage, seed) for stage in study.stages for seed in study.seed_numbers()]
    folders = run_folders(path / _RUNS, [stage.seeded(seed) for stage, seed in seeded])
    return [
        Trial(stage=stage, seed=seed, folder=folder)
        for (stage, seed), folder in zip(seeded, folders, strict=True)
    ]


def read_study(folder: Path | str, *, unfinished: bool = False) -> StudyResult:
    """A study's results, from its folder.

    Args:
        folder: the study's.
        unfinished: whether stages that lack a seed are left out, as while a study runs, instead of
            raising.

    Raises:
        StorageError: the folder holds no study, or an unfinished one; with ``unfinished``, one
            without a finished stage.
    """
    path = expand(folder)
    if not is_file(path / SPEC):
        raise StorageError(f"{path}: holds no study: it has no {SPEC}")
    study = _read_spec(path)
    resume = f"'kilonet study {path / SPEC} --out {path}' continues it"
    trials = study_trials(study, path)
    stages: list[StageResult] = []
    for stage in study.stages:
        records = []
        for trial in trials:
            if trial.stage is not stage:
                continue
            state = RunFolder(trial.folder).read()
            if state is not None and state.finished:
                records.append(state.record)
            elif not unfinished:
                raise StorageError(f"{trial.folder}: not finished; {resume}")
        if len(records) == study.seeds:
            stages.append(StageResult.of(stage, records))
    if not stages:
        raise StorageError(f"{path}: no stage is finished yet; {resume}")
    return StudyResult(study=study, path=path, stages=tuple(stages))


def check_folder(path: Path, study: Study) -> Study | None:
    """The study in the folder, which may differ from ``study`` as :func:`changes` says; else None.

    Raises:
        StorageError: the folder holds something else, or a file that would be replaced and is not
            kilonet's.
    """
    check_reports(path)
    if not is_file(path / SPEC):
        _refuse_other_files(path)
        return None
    found = _read_spec(path)
    canonical = is_canonical((path / SPEC).read_text("utf-8-sig"))
    if canonical and found == study:
        return found
    if not canonical or not (path / _RUNS).is_dir():
        raise StorageError(
            f"{path / SPEC}: is not kilonet's, and would be replaced; name another folder with "
            "--out"
        )
    reason = _other_study(found, study)
    if not reason:
        return found
    if not any(_has_epochs(run) for run in _folders_in(path / _RUNS)):
        return None  # a failed attempt, with nothing to keep
    raise StorageError(
        f"{path}: holds another study: {reason}; name another folder with --out, or remove "
        f"{path / SPEC}, which keeps the runs"
    )


def write_spec(path: Path, study: Study) -> None:
    """Write ``study.toml`` into a study's folder; StorageError if it cannot be written.

    The folder ``runs`` comes first: with it the file is kilonet's, see :func:`check_folder`.
    """
    try:
        (path / _RUNS).mkdir(exist_ok=True)
    except OSError as error:
        raise StorageError(f"{path / _RUNS}: cannot be written: {error.strerror}") from None
    write_atomically(path / SPEC, to_toml(study, folder=path))


def changes(found: Study, study: Study) -> str:
    """How ``study`` continues the study in its folder, in words; "" if they are equal."""
    if found == study:
        return ""
    words = []
    if found.seeds != study.seeds:
        words.append(f"{count(study.seeds, 'seed')} (before: {found.seeds})")
    more = len(study.stages) - len(found.stages)
    if more:
        words.append(count(more, "more stage"))
    return listed(words or ["a new wording"])


def _other_study(found: Study, study: Study) -> str:
    """Why it is another study than ``found``; "" if only seeds, later stages or words differ.

    Runs, target and budget decide: conclusions that were drawn about them must not change unseen.
    """
    for name in ("name", "target", "budget"):
        before, now = getattr(found, name), getattr(study, name)
        if before != now:
            return f"its {name} is {_shown(before)}, not {_shown(now)}"
    for before_stage, stage in zip(found.stages, study.stages, strict=False):
        before_run, run = before_stage.seeded(1), stage.seeded(1)
        if before_run != run:
            return f"its stage {stage.number} has {difference(before_run, run)}"
    if len(study.stages) < len(found.stages):
        return f"it has {len(found.stages)} stages, not {len(study.stages)}"
    return ""


def _shown(value: object) -> str:
    return inline(value.to_dict() if isinstance(value, Budget) else value)


def _folders_in(path: Path) -> list[Path]:
    try:
        return sorted(path.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from None


def _has_epochs(folder: Path) -> bool:
    """Whether a run's folder has finished epochs; one that is damaged may have."""
    try:
        state = RunFolder(folder).read()
    except KilonetError:
        return True
    return state is not None and not state.empty


def _refuse_other_files(path: Path) -> None:
    """Raise StorageError if a folder without a study contains something else."""
    names = names_in(path)
    # Charts belong to a report.
    known = _FILES if MARKDOWN_REPORT in names else _FILES - {"figures"}
    others = [name for name in names if name not in known and not is_temporary(name)]
    if others:
        raise StorageError(
            f"{path}: contains {others[0]!r}, which is not a study's; name another folder"
        )


def _read_spec(path: Path) -> Study:
    """The spec of a study folder; StorageError if it is damaged."""
    try:
        study = load_study(str(path / SPEC))
    except SpecError as error:
        reason = str(error).removeprefix(f"{path / SPEC}: ").partition(";")[0]
        raise _damaged(path, reason) from None
    if "stage" not in study.model_fields_set:  # kilonet writes it, if only as an empty list
        raise _damaged(path, "stage is missing")
    return study


def _damaged(path: Path, reason: str) -> StorageError:
    return StorageError(
        f"{path / SPEC}: not a complete study ({reason}); restore it from a copy, or remove "
        f"it: 'kilonet study STUDY --out {path}' then writes it again, and keeps the runs"
    )
