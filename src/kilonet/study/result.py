"""A study's results, and its folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kilonet.errors import SpecError, StorageError, StudyError
from kilonet.spec import ResolvedStage, Study, load_study
from kilonet.storage.atomic import is_temporary
from kilonet.storage.lock import LOCK
from kilonet.storage.record import RunRecord
from kilonet.storage.run_folder import RunFolder, is_file
from kilonet.study.trial import Failure, Trial
from kilonet.training.resume import run_folders

SPEC = "study.toml"

_FILES = frozenset({LOCK, SPEC, "runs", "report.md", "report.html", "figures"})
"""The names that a study folder without its spec may contain."""


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
        parameters = stage.run.net.num_parameters
        return cls(stage=stage, parameters=parameters, records=tuple(records))


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """A study's results.

    Attributes:
        study: the spec.
        path: its folder.
        stages: in order.
    """

    study: Study
    path: Path
    stages: tuple[StageResult, ...]


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
    folders = run_folders(path / "runs", [stage.seeded(seed) for stage, seed in seeded])
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
    path = Path(folder)
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


def refuse_other_folder(path: Path, study: Study) -> None:
    """Raise StorageError if the folder holds something else than this study."""
    if is_file(path / SPEC):
        found = _read_spec(path)
        if found.name != study.name:
            raise StorageError(f"{path}: holds the study {found.name!r}; name another folder")
        return
    try:
        names = sorted(entry.name for entry in path.iterdir())
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise StorageError(f"{path}: is not a folder; name another") from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from None
    others = [name for name in names if name not in _FILES and not is_temporary(name)]
    if others:
        raise StorageError(
            f"{path}: contains {others[0]!r}, which is not a study's; name another folder"
        )


def _read_spec(path: Path) -> Study:
    """The spec of a study folder; StorageError if it is damaged."""
    try:
        return load_study(str(path / SPEC))
    except SpecError as error:
        reason = str(error).removeprefix(f"{path / SPEC}: ").partition(";")[0]
        raise StorageError(
            f"{path / SPEC}: not a complete study ({reason}); restore it from a copy, or remove "
            f"it: 'kilonet study STUDY --out {path}' then writes it again, and keeps the runs"
        ) from None
