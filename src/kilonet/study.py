"""Steps × seeds: what a study is, run, and what it comes to."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kilonet.atomic import is_aside, write_atomically
from kilonet.data import Dataset, load_dataset
from kilonet.errors import KilonetError, SpecError, StoreError, StudyError
from kilonet.lock import LOCK, locked
from kilonet.record import RunRecord
from kilonet.run import Images, Observer, folder_name
from kilonet.spec import Rung, Study, load_study, to_toml
from kilonet.store import RunFolder, is_file
from kilonet.summary import check_budget, check_epochs
from kilonet.tasks import Failure, Task, describe_engines, make_plan, run_at_once, run_in_turn

SPEC = "study.toml"

_OURS = frozenset({LOCK, SPEC, "runs", "report.md", "report.html", "figures"})
"""What may stand in a study's folder that has lost its spec, for the study to go on in it."""


@dataclass(frozen=True, kw_only=True)
class RungResult:
    """A rung with what its seeds came to.

    Attributes:
        rung: number, step and run.
        parameters: trained parameters of the rung's network.
        records: one a seed, in the order of the seeds, each finished.
    """

    rung: Rung
    parameters: int
    records: tuple[RunRecord, ...]


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """A study that has run.

    Attributes:
        study: the spec.
        path: its folder.
        rungs: in order.
    """

    study: Study
    path: Path
    rungs: tuple[RungResult, ...]


class IncompleteStudyError(StudyError):
    """Some runs failed.

    Attributes:
        result: the rungs of which every seed is finished. Not those that lack some: the seeds that
            fail are not any seeds, and the others would flatter the rung.
        failures: in the order of the ladder, :class:`kilonet.tasks.Failure` each.
    """

    def __init__(self, result: StudyResult, failures: Sequence[Failure]) -> None:
        super().__init__(failures)
        self.result = result


class StudyObserver:
    """Told what happens in a study. The base shows nothing; override what is of interest.

    Several tasks may be under way at once, and end in another order than they began. All is told in
    the process and thread that called :func:`run_study`.
    """

    def wait(self, line: str) -> None:
        """Another process is at work in the folder and is waited for; ``line`` says so."""

    def begin_study(self, *, engine: str, tasks: Sequence[Task], num_jobs: int) -> None:
        """There are ``tasks`` to train, ``num_jobs`` at once, and what computes them.

        Not called where all are finished.
        """

    def begin_task(self, task: Task) -> Observer | None:
        """A task begins; what is returned is told of its steps and epochs."""

    def end_task(self, task: Task, record: RunRecord) -> None:
        """A task is done, or was found done."""

    def fail_task(self, failure: Failure) -> None:
        """A task could not be done; the others go on."""

    def end_rung(self, so_far: StudyResult) -> None:
        """All seeds of the last rung of ``so_far`` are done, and all rungs before it have ended."""


def default_folder(study: Study) -> Path:
    """Where a study goes unless told otherwise."""
    return Path("kilonet-studies") / study.name


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
    load: Callable[[str], Dataset] = load_dataset,
) -> StudyResult:
    """Train every rung with every seed and keep the runs in the study's folder.

    Runs that are finished are not trained again, unfinished ones resume: a run's folder is named by
    its content, so a changed step is a new run and an unchanged one is found.

    Several runs train at once, each in a process of its own, begun in order. What comes out is the
    same, to the bit, as of one after another. PyTorch's sums depend on its threads: with it each
    run has as many as there are for each of ``jobs``, and an unfinished one as many as before.

    A run that fails does not stop the others.

    Args:
        study: what to run.
        folder: where to; default ``kilonet-studies/NAME``.
        engine: as in :func:`kilonet.run.train`.
        device: likewise.
        threads: at most, of all runs together; default one for each processor that may be used.
        jobs: at most so many runs at once; default as many as threads. 1: all in this process.
        wait: where another process runs a study in the folder, wait for its end.
        observer: told of every task.
        load: name or path → data set; each is loaded once in each process, so with several at once
            it must be something that joblib can pickle.

    Raises:
        BudgetError: before anything is trained, if a rung is over the budget.
        DataError: likewise, if a rung does not fit its images.
        EngineError: likewise, if there is no engine for it.
        IncompleteStudyError: at the end, if runs failed; running the study again tries them again.
        StoreError: if the folder holds something else, or another process is at work in it.
    """
    for rung in study.rungs:
        where = f"step {rung.number} '{rung.step.name}'"
        check_budget(rung.run.net, parameters=study.budget.parameters, where=where)
        check_epochs(rung.run.train, epochs=study.budget.epochs, where=where)
    path = default_folder(study) if folder is None else Path(folder)
    observer = StudyObserver() if observer is None else observer
    datasets = {name: load(name) for name in {rung.run.data.name for rung in study.rungs}}
    for rung in study.rungs:
        # A later rung that does not fit its images is better told now than after hours.
        Images.check(rung.run, datasets[rung.run.data.name])
    _refuse_others(path, study)
    patience, hint = (math.inf if wait else 0.0), "stop it, or add --wait to go on after it"
    with locked(path, patience=patience, waiting=observer.wait, hint=hint):
        _refuse_others(path, study)
        write_atomically(path / SPEC, to_toml(study))
        tasks = _tasks(study, path)
        unfinished = [task for task in tasks if not _finished(task)]
        plan = make_plan(
            tasks, unfinished, engine=engine, device=device, threads=threads, jobs=jobs
        )
        if unfinished:
            described = describe_engines(unfinished, plan=plan, engine=engine, device=device)
            observer.begin_study(
                engine=" and ".join(described), tasks=unfinished, num_jobs=plan.jobs
            )
        ladder = _Ladder(study, path, observer)

        first = {task.folder: task for task in reversed(unfinished)}
        at_once = [task for task in unfinished if first[task.folder] is task and plan.jobs > 1]
        finished = [task for task in tasks if task.folder not in first]
        begun = [id(task) for task in (*finished, *at_once)]
        for some, run in (
            (finished, run_in_turn),
            (at_once, run_at_once),
            # Equal runs share a folder: by now the first of them has filled it.
            ([task for task in tasks if id(task) not in begun], run_in_turn),
        ):
            run(
                some,
                plan=plan,
                engine=engine,
                device=device,
                load=load if run is run_at_once else datasets.__getitem__,
                begin=observer.begin_task,
                end=ladder.end_task,
            )
        return ladder.result()


def read_study(folder: Path | str, *, unfinished: bool = False) -> StudyResult:
    """A study that has run, from its records alone.

    Args:
        folder: the study's.
        unfinished: whether rungs that lack a seed are left out, as while a study runs, rather than
            refused.

    Raises:
        StoreError: if the folder holds no study, or one that is not finished; with ``unfinished``,
            one of which no rung is.
    """
    path = Path(folder)
    if not is_file(path / SPEC):
        raise StoreError(f"{path}: holds no study: it has no {SPEC}")
    study = _spec(path)
    results, tasks = [], _tasks(study, path)
    for rung in study.rungs:
        folders = [RunFolder(task.folder) for task in tasks if task.rung is rung]
        missing = next((f.path for f in folders if not f.finished()), None)
        if missing is not None and unfinished:
            continue
        if missing is not None:
            raise StoreError(
                f"{missing}: not finished; 'kilonet study {path / SPEC} --out {path}' "
                "goes on with it"
            )
        results.append(_result(rung, [f.record() for f in folders]))
    if not results:
        raise StoreError(
            f"{path}: no rung is finished yet; 'kilonet study {path / SPEC} --out {path}' "
            "goes on with it"
        )
    return StudyResult(study=study, path=path, rungs=tuple(results))


def _tasks(study: Study, path: Path) -> list[Task]:
    """Every training of a study: rung by rung, seed by seed."""
    return [
        Task(rung=rung, seed=seed, folder=path / "runs" / folder_name(rung.seeded(seed)))
        for rung in study.rungs
        for seed in study.seed_numbers()
    ]


def _finished(task: Task) -> bool:
    try:
        return RunFolder(task.folder).finished()
    except KilonetError:
        return False  # training it says what is wrong, of the one task


class _Ladder:
    """What has come of a study's tasks so far, told on in the order of the ladder."""

    def __init__(self, study: Study, path: Path, observer: StudyObserver) -> None:
        self.study = study
        self.path = path
        self.observer = observer
        self.records: dict[tuple[int, int], RunRecord] = {}
        self.failures: dict[tuple[int, int], Failure] = {}
        self.complete: list[RungResult] = []
        self.num_ended = 0

    def end_task(self, task: Task, reason: str | None) -> None:
        """A task has ended: ``reason`` says why it could not be done, else it is in its folder."""
        key = (task.rung.number, task.seed)
        if reason is None:
            try:
                self.records[key] = RunFolder(task.folder).record()
            except KilonetError as error:  # damaged, or removed, since
                reason = str(error)
        if reason is None:
            self.observer.end_task(task, self.records[key])
        else:
            self.failures[key] = Failure(task=task, reason=reason)
            self.observer.fail_task(self.failures[key])
        while self.num_ended < len(self.study.rungs) and self.end_rung():
            self.num_ended += 1

    def end_rung(self) -> bool:
        """Whether all tasks of the first rung that had not ended now have; tells of it if so."""
        rung = self.study.rungs[self.num_ended]
        keys = [(rung.number, seed) for seed in self.study.seed_numbers()]
        if not all(key in self.records or key in self.failures for key in keys):
            return False
        if all(key in self.records for key in keys):
            self.complete.append(_result(rung, [self.records[key] for key in keys]))
            self.observer.end_rung(self.so_far())
        return True

    def so_far(self) -> StudyResult:
        return StudyResult(study=self.study, path=self.path, rungs=tuple(self.complete))

    def result(self) -> StudyResult:
        """At the end."""
        if self.failures:
            failures = [self.failures[key] for key in sorted(self.failures)]
            raise IncompleteStudyError(self.so_far(), failures)
        return self.so_far()


def _result(rung: Rung, records: list[RunRecord]) -> RungResult:
    parameters = rung.run.net.num_parameters
    return RungResult(rung=rung, parameters=parameters, records=tuple(records))


def _spec(path: Path) -> Study:
    """The study that a folder holds; StoreError where its spec is damaged."""
    try:
        return load_study(str(path / SPEC))
    except SpecError as error:
        reason = str(error).removeprefix(f"{path / SPEC}: ").partition(";")[0]
        raise StoreError(
            f"{path / SPEC}: no whole study ({reason}); restore it from a copy, or remove it: "
            f"'kilonet study STUDY --out {path}' then writes it again, and keeps the runs"
        ) from None


def _refuse_others(path: Path, study: Study) -> None:
    """Refuse a folder that holds something else than this study."""
    if is_file(path / SPEC):
        found = _spec(path)
        if found.name != study.name:
            raise StoreError(f"{path}: holds the study {found.name!r}; name another folder")
        return
    try:
        names = sorted(entry.name for entry in path.iterdir())
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise StoreError(f"{path}: is not a folder; name another") from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from None
    strangers = [name for name in names if name not in _OURS and not is_aside(name)]
    if strangers:
        raise StoreError(f"{path}: holds {strangers[0]!r}, no study; name another folder")
