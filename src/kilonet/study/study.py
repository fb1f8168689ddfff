"""Runs a study: every stage with every seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from kilonet.data import Dataset, RunData, load_dataset
from kilonet.errors import KilonetError, StorageError
from kilonet.spec import Study, to_toml
from kilonet.storage.atomic import write_atomically
from kilonet.storage.lock import locked, remove_abandoned
from kilonet.storage.record import RunRecord
from kilonet.storage.run_folder import RunFolder
from kilonet.study.executors.base import Executor, Load
from kilonet.study.executors.local import LocalExecutor, can_start_processes
from kilonet.study.executors.serial import SerialExecutor
from kilonet.study.result import (
    SPEC,
    IncompleteStudyError,
    StageResult,
    StudyResult,
    default_folder,
    refuse_other_folder,
    study_trials,
)
from kilonet.study.scheduler import (
    Plan,
    PlannedTrial,
    Scheduler,
    describe_engines,
    make_plan,
    plan_trial,
)
from kilonet.study.trial import Failure, Trial
from kilonet.summary import check_budget, check_epochs
from kilonet.training.observer import Observer
from kilonet.training.resume import check_same_data, check_same_run


class StudyObserver:
    """Receives a study's events. Every method does nothing; override those of interest.

    Several trials may run at once, and may end in another order than they began. All methods are
    called in the process and thread that called :func:`run_study`.
    """

    def wait(self, line: str) -> None:
        """The study waits for another process that uses the folder; ``line`` names it."""

    def begin_study(self, *, engine: str, trials: Sequence[Trial], num_jobs: int) -> None:
        """``trials`` are to train, ``num_jobs`` at once; ``engine`` describes the engines.

        Not called if all are finished.
        """

    def begin_trial(self, trial: Trial) -> Observer | None:
        """A trial begins; the observer that is returned receives its steps and epochs."""

    def end_trial(self, trial: Trial, record: RunRecord) -> None:
        """A trial is finished, now or before."""

    def fail_trial(self, failure: Failure) -> None:
        """A trial failed; the others continue."""

    def end_stage(self, so_far: StudyResult) -> None:
        """All seeds of the last stage of ``so_far`` are finished; every earlier stage has ended."""


def run_study(
    study: Study,
    *,
    folder: Path | str | None = None,
    engine: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    jobs: int | None = None,
    wait: bool = False,
    observer: StudyObserver | None = None,
    load: Load = load_dataset,
) -> StudyResult:
    """Train every stage with every seed; the runs are kept in the study's folder.

    Finished runs are skipped; unfinished runs resume. A run's folder is named by its content hash,
    so a changed stage is a new run, and an unchanged one is found.

    Several runs train at once, each in its own process. The results are the same, to the bit, as
    one after another. PyTorch's sums depend on the number of its threads: with it each run has its
    share of the threads among ``jobs``, and a resumed run as many as before.

    A failed run does not stop the others.

    Args:
        study: the spec.
        folder: the study's folder; default ``kilonet-studies/NAME``.
        engine: as in :func:`kilonet.training.loop.train`.
        device: as there.
        threads: at most, of all runs together; default one per processor that may be used.
        jobs: at most, runs at once; default as many as threads. 1: all in this process.
        wait: whether to wait for another process that runs a study in the folder.
        observer: receives the study's events.
        load: name or path → data set; each process loads each data set once. For several runs at
            once joblib must be able to pickle it.

    Raises:
        BudgetError: before training, if a stage is over the budget.
        DataError: before training, if a stage does not fit its images.
        EngineError: before training, if no engine can train a stage.
        IncompleteStudyError: at the end, if runs failed; the next call tries them again.
        StorageError: the folder holds something else, or another process uses it.
    """
    for stage in study.stages:
        where = f"stage {stage.number} '{stage.name}'"
        check_budget(stage.run.net, parameters=study.budget.parameters, where=where)
        check_epochs(stage.run.train, epochs=study.budget.epochs, where=where)
    path = default_folder(study) if folder is None else Path(folder)
    observer = StudyObserver() if observer is None else observer
    datasets = {name: load(name) for name in {stage.run.data.name for stage in study.stages}}
    for stage in study.stages:
        # Now, because a later stage's error should not come after hours of training.
        RunData.check(stage.run, datasets[stage.run.data.name])
    refuse_other_folder(path, study)
    timeout, hint = (math.inf if wait else 0.0), "stop it, or add --wait to wait for it"
    with locked(path, timeout=timeout, waiting=observer.wait, hint=hint):
        refuse_other_folder(path, study)
        write_atomically(path / SPEC, to_toml(study))
        results = _Results(study, path, observer)
        ended, unfinished = _read_folders(results.trials, datasets)
        plan = make_plan(
            [trial.run.net for trial, _ in unfinished],
            num_trials=len(results.trials),
            engine=engine,
            device=device,
            threads=threads,
            jobs=jobs,
            one_at_a_time=not can_start_processes(),
        )
        waiting: list[PlannedTrial] = []
        for trial, resumed in unfinished:
            try:
                planned = plan_trial(trial, resumed, plan=plan, engine=engine, device=device)
            except StorageError as error:
                ended[trial.folder] = str(error)
            else:
                waiting.append(planned)
        if waiting:
            observer.begin_study(
                engine=describe_engines(waiting, plan=plan, device=device),
                trials=[planned.trial for planned in waiting],
                num_jobs=plan.jobs,
            )
        for folder, (first, *_) in results.trials.items():
            if folder in ended:
                observer.begin_trial(first)
                results.end_folder(folder, ended[folder])
        if plan.jobs > 1:
            waiting = results.train(LocalExecutor(load), waiting, plan=plan, device=device)
        # One at a time; or no process could be started.
        serial = SerialExecutor(datasets.__getitem__)
        results.train(serial, waiting, plan=replace(plan, jobs=1), device=device)
        return results.result()


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

    def __init__(self, study: Study, path: Path, observer: StudyObserver) -> None:
        self.trials: dict[Path, list[Trial]] = {}
        for trial in study_trials(study, path):
            self.trials.setdefault(trial.folder, []).append(trial)
        self._study = study
        self._path = path
        self._observer = observer
        self._records: dict[tuple[int, int], RunRecord] = {}
        self._failures: dict[tuple[int, int], Failure] = {}
        self._complete: list[StageResult] = []
        self._num_ended = 0

    def train(
        self, executor: Executor, waiting: Sequence[PlannedTrial], *, plan: Plan, device: str
    ) -> list[PlannedTrial]:
        """Train trials with an executor; returns those for which it had no worker."""
        scheduler = Scheduler(
            executor,
            plan=plan,
            device=device,
            begin=self._observer.begin_trial,
            end=self._end_training,
        )
        return scheduler.run(waiting)

    def end_folder(self, folder: Path, outcome: RunRecord | str) -> None:
        """All trials of a folder have ended: with a record, or the reason of their failure."""
        first, *equal = self.trials[folder]
        self._end_trial(first, outcome)
        for trial in equal:
            self._observer.begin_trial(trial)
            self._end_trial(trial, outcome)

    def result(self) -> StudyResult:
        """The results at the end; IncompleteStudyError if trials failed."""
        if self._failures:
            failures = [self._failures[key] for key in sorted(self._failures)]
            raise IncompleteStudyError(self._so_far(), failures)
        return self._so_far()

    def _end_training(self, trial: Trial, reason: str | None) -> None:
        outcome: RunRecord | str
        try:
            outcome = RunFolder(trial.folder).record() if reason is None else reason
        except KilonetError as error:  # damaged or removed since
            outcome = str(error)
        self.end_folder(trial.folder, outcome)

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
        return StudyResult(study=self._study, path=self._path, stages=tuple(self._complete))
