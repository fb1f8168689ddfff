"""Runs a study: every stage with every seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kilonet.data import Dataset, RunData, load_dataset, warn_of_oddities
from kilonet.data.in_memory import GivenData, with_data
from kilonet.errors import KilonetError, StorageError
from kilonet.paths import expand
from kilonet.spec import Study
from kilonet.storage.lock import locked, remove_abandoned
from kilonet.storage.record import RunRecord
from kilonet.storage.run_folder import RunFolder
from kilonet.storage.trained import with_digests
from kilonet.study.executors.base import Load
from kilonet.study.executors.dask_cluster import check_place
from kilonet.study.observer import GuardedStudyObserver, StudyObserver
from kilonet.study.places import Options, open_place
from kilonet.study.result import (
    IncompleteStudyError,
    StageResult,
    StudyResult,
    changes,
    check_folder,
    default_folder,
    study_trials,
    write_spec,
)
from kilonet.study.scheduler import PlannedTrial
from kilonet.study.trial import Failure, Trial
from kilonet.summary import check_budget, check_epochs
from kilonet.training.resume import check_same_data, check_same_run

if TYPE_CHECKING:
    from distributed import Client


def run_study(
    study: Study,
    *,
    folder: Path | str | None = None,
    on: str | Client = "local",
    engine: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    jobs: int | None = None,
    wait: bool = False,
    data: GivenData | None = None,
    observer: StudyObserver | None = None,
    load: Load = load_dataset,
) -> StudyResult:
    """Train every stage with every seed; the runs are kept in the study's folder.

    Finished runs are skipped; unfinished runs resume. A run's folder is named by its content hash,
    so a new stage is a new run, and an unchanged one is found. Only seeds, stages at the end and
    words may differ from the study in the folder, if that has a finished epoch.

    Several runs train at once, each in its own process. The results are the same, to the bit, as
    one after another. PyTorch's sums depend on the number of its threads: with it each run has its
    share of the threads among ``jobs``, and a resumed run as many as before.

    A failed run does not stop the others.

    No report is written: ``result.report()`` does, and so does a
    :class:`kilonet.report.terminal.study_progress.StudyProgress` as observer, after each stage.

    Args:
        study: the spec.
        folder: the study's folder; default ``kilonet-studies/NAME``.
        on: where runs train: ``local``, in processes of this machine; ``dask``, in Dask workers
            that are started for the study; ``dask://HOST:PORT``, on the cluster whose scheduler is
            there; or a ``distributed.Client``. The folder is written by this process alone.
        engine: as in :func:`kilonet.training.loop.train`.
        device: as there.
        threads: at most, of all runs together; default one per processor that may be used. With
            Dask: of each run; default 1.
        jobs: at most, runs at once; default as many as threads. 1: all in this process. With
            ``dask``: the number of workers.
        wait: whether to wait for another process that runs a study in the folder.
        data: as there; in place of the base run's, and of that of every stage that does not state
            its own.
        observer: receives the study's events.
        load: name or path → data set; each process loads each data set once. For several runs at
            once joblib must be able to pickle it.

    Raises:
        BudgetError: before training, if a stage is over the budget.
        ClusterError: the cluster cannot be reached, has no workers or other versions of kilonet; or
            the connection to it is lost.
        DataError: before training, if a stage does not fit its images.
        EngineError: before training, if no engine can train a stage.
        IncompleteStudyError: at the end, if runs failed; the next call tries them again.
        StorageError: the folder holds another study, or a file that would be replaced and is not
            kilonet's; or another process uses it.
    """
    check_place(on)
    study, load = with_data(study, data, load=load)
    study = with_digests(study)
    for stage in study.stages:
        where = f"stage {stage.number} '{stage.name}'"
        check_budget(stage.run.net, parameters=study.budget.parameters, where=where)
        check_epochs(stage.run.train, epochs=study.budget.epochs, where=where)
    path = default_folder(study) if folder is None else expand(folder)
    observer = GuardedStudyObserver(observer)
    datasets = {name: load(name) for name in {stage.run.data.name for stage in study.stages}}
    if not any(stage.run.data.test for stage in study.stages):
        datasets = {name: dataset.without_test() for name, dataset in datasets.items()}
    for stage in study.stages:
        # Now, because a later stage's error should not come after hours of training.
        RunData.check(stage.run, datasets[stage.run.data.name])
    for dataset in datasets.values():
        warn_of_oddities(dataset)
    if check_folder(path, study) == study:
        # A finished study needs no lock, so it can be read where nothing can be written.
        results = _Results(study, path, observer, load)
        ended, unfinished = _read_folders(results.trials, datasets)
        if not unfinished and _tell_if_finished(ended, path, observer):
            remove_abandoned(path)
            results.end_before_training(ended)
            return results.result()
    timeout, hint = (math.inf if wait else 0.0), "stop it, or add --wait to wait for it"
    with locked(path, timeout=timeout, waiting=observer.wait, hint=hint):
        found = check_folder(path, study)
        if found is not None and (how := changes(found, study)):
            observer.note(f"Continues the study in {path} with {how}; finished runs are kept.")
        results = _Results(study, path, observer, load)
        ended, unfinished = _read_folders(results.trials, datasets)
        place = open_place(
            on,
            [trial for trial, _ in unfinished],
            options=Options(engine=engine, device=device, threads=threads, jobs=jobs),
            num_trials=len(results.trials),
            load=load,
            datasets=datasets,
            tell=observer.wait,
        )
        with place as opened:
            waiting: list[PlannedTrial[Trial]] = []
            for trial, resumed in unfinished:
                try:
                    waiting.append(opened.plan(trial, resumed))
                except StorageError as error:
                    ended[trial.folder] = str(error)
            engines = opened.describe(waiting) if waiting else ""
            # Only now: a study that cannot begin leaves no folder.
            if found != study:
                write_spec(path, study)
            if waiting:
                trials = [planned.trial for planned in waiting]
                observer.begin_study(engine=engines, trials=trials, num_jobs=opened.num_jobs)
            else:
                _tell_if_finished(ended, path, observer)
            results.end_before_training(ended)
            opened.train(waiting, begin=observer.begin_trial, end=results.end_training)
        return results.result()


def _tell_if_finished(
    ended: Mapping[Path, RunRecord | str], path: Path, observer: GuardedStudyObserver
) -> bool:
    """Whether all runs were finished before, which is said."""
    finished = all(isinstance(outcome, RunRecord) for outcome in ended.values())
    if finished:
        runs = f"All {len(ended)} runs were" if len(ended) > 1 else "The run was"
        observer.note(f"{runs} finished before; read from {path}.")
    return finished


def _read_folders(
    trials: Mapping[Path, Sequence[Trial]], datasets: Mapping[str, Dataset]
) -> tuple[dict[Path, RunRecord | str], list[tuple[Trial, RunRecord | None]]]:
    """Read each run folder once.

    Returns:
        The record of each finished folder, or the reason why one cannot be used; and the trials to
        train, each with its record if it resumes from a checkpoint.
    """
    ended: dict[Path, RunRecord | str] = {}
    unfinished: list[tuple[Trial, RunRecord | None]] = []
    for folder, (trial, *_) in trials.items():
        try:
            state = RunFolder(folder).read()
            check_same_run(state, trial.run)
            check_same_data(state, datasets[trial.run.data.name])
        except KilonetError as error:
            ended[folder] = str(error)
            continue
        if state is not None and state.finished:
            remove_abandoned(folder)
            ended[folder] = state.record
        else:
            resumes = state is not None and state.checkpoint is not None
            unfinished.append((trial, state.record if state is not None and resumes else None))
    return ended, unfinished


class _Results:
    """The results of a study so far, which it passes on to the observer by stage.

    Attributes:
        trials: folder → trials, in order; trials with equal runs share a folder.
    """

    def __init__(
        self, study: Study, path: Path, observer: GuardedStudyObserver, load: Load
    ) -> None:
        self.trials: dict[Path, list[Trial]] = {}
        for trial in study_trials(study, path):
            self.trials.setdefault(trial.folder, []).append(trial)
        self._study = study
        self._path = path
        self._observer = observer
        self._load = load
        self._records: dict[tuple[int, int], RunRecord] = {}
        self._failures: dict[tuple[int, int], Failure] = {}
        self._complete: list[StageResult] = []
        self._num_ended = 0

    def end_before_training(self, ended: Mapping[Path, RunRecord | str]) -> None:
        """Folders of which nothing is to train: a record, or the reason of the failure."""
        for folder, (first, *_) in self.trials.items():
            if folder in ended:
                self._observer.begin_trial(first).close()
                self._end_folder(folder, ended[folder])

    def end_training(self, trial: Trial, reason: str | None) -> None:
        """A trial has ended; with a reason if it failed."""
        outcome: RunRecord | str
        try:
            outcome = RunFolder(trial.folder).record() if reason is None else reason
        except KilonetError as error:  # damaged or removed since
            outcome = str(error)
        self._end_folder(trial.folder, outcome)

    def result(self) -> StudyResult:
        """The results at the end; IncompleteStudyError if trials failed."""
        if self._failures:
            failures = [self._failures[key] for key in sorted(self._failures)]
            raise IncompleteStudyError(self._so_far(), failures)
        return self._so_far()

    def _end_folder(self, folder: Path, outcome: RunRecord | str) -> None:
        """All trials of a folder have ended: with a record, or the reason of their failure."""
        first, *equal = self.trials[folder]
        self._end_trial(first, outcome)
        for trial in equal:
            self._observer.begin_trial(trial).close()
            self._end_trial(trial, outcome)

    def _end_trial(self, trial: Trial, outcome: RunRecord | str) -> None:
        key = (trial.stage.number, trial.seed)
        if isinstance(outcome, RunRecord):
            self._records[key] = outcome
            self._observer.end_trial(trial, outcome)
        else:
            self._failures[key] = Failure(trial=trial, reason=outcome)
            self._observer.fail_trial(self._failures[key])
        while self._num_ended < len(self._study.stages) and self._end_stage():
            self._num_ended += 1

    def _end_stage(self) -> bool:
        """Whether all trials of the first open stage have ended; if all are finished, report it."""
        stage = self._study.stages[self._num_ended]
        keys = [(stage.number, seed) for seed in self._study.seed_numbers()]
        if not all(key in self._records or key in self._failures for key in keys):
            return False
        if all(key in self._records for key in keys):
            self._complete.append(StageResult.of(stage, [self._records[key] for key in keys]))
            self._observer.end_stage(self._so_far())
        return True

    def _so_far(self) -> StudyResult:
        return StudyResult(
            study=self._study, path=self._path, stages=tuple(self._complete), load=self._load
        )
