"""Steps × seeds: what a study is, run, and what it comes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kilonet.atomic import is_aside, write_atomically
from kilonet.data import Dataset, load_dataset
from kilonet.engine import describe_engine
from kilonet.errors import StoreError
from kilonet.record import RunRecord
from kilonet.run import Images, Observer, engine_to_resume, folder_name, train
from kilonet.spec import Rung, Study, load_study, to_toml
from kilonet.store import RunFolder, is_file
from kilonet.summary import check_budget, check_epochs


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


@dataclass(frozen=True, kw_only=True)
class Task:
    """One training of a study.

    Attributes:
        rung: which rung it belongs to.
        seed: its seed.
        folder: where its run is kept.
    """

    rung: Rung
    seed: int
    folder: Path


class StudyObserver:
    """Told what happens in a study. The base shows nothing; override what is of interest."""

    def begin_study(self, *, engine: str, num_tasks: int) -> None:
        """There are tasks to train, and what computes them; not called where all are finished."""

    def begin_task(self, task: Task) -> Observer | None:
        """A task begins; what is returned is told of its steps and epochs."""

    def end_task(self, task: Task, record: RunRecord) -> None:
        """A task is done, or was found done."""

    def end_rung(self, so_far: StudyResult) -> None:
        """All seeds of the last rung of ``so_far`` are done."""


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
    observer: StudyObserver | None = None,
    load: Callable[[str], Dataset] = load_dataset,
) -> StudyResult:
    """Train every rung with every seed, in order, and keep the runs in the study's folder.

    Runs that are finished are not trained again, unfinished ones resume: a run's folder is named by
    its content, so a changed step is a new run and an unchanged one is found.

    Args:
        study: what to run.
        folder: where to; default ``kilonet-studies/NAME``.
        engine: as in :func:`kilonet.run.train`.
        device: likewise.
        threads: likewise.
        observer: told of every task.
        load: name or path → data set; each is loaded once.

    Raises:
        BudgetError: before anything is trained, if a rung is over the budget.
        DataError: likewise, if a rung does not fit its images.
        KilonetError: as :func:`kilonet.run.train`.
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
    tasks = _tasks(study, path)
    unfinished = [task for task in tasks if not RunFolder(task.folder).finished()]
    if unfinished:
        described = {
            describe_engine(
                task.rung.run.net,
                engine=_engine(task, engine),
                device=device,
                threads=threads,
            ): None
            for task in unfinished
        }
        observer.begin_study(engine=" and ".join(described), num_tasks=len(unfinished))
    _claim(path, study)
    results: list[RungResult] = []
    for rung in study.rungs:
        records = []
        for task in (task for task in tasks if task.rung is rung):
            record = train(
                task.rung.seeded(task.seed),
                folder=task.folder,
                engine=engine,
                device=device,
                threads=threads,
                resume=True,
                dataset=datasets[rung.run.data.name],
                observer=observer.begin_task(task),
            )
            observer.end_task(task, record)
            records.append(record)
        results.append(_result(rung, records))
        observer.end_rung(StudyResult(study=study, path=path, rungs=tuple(results)))
    return StudyResult(study=study, path=path, rungs=tuple(results))


def read_study(folder: Path | str) -> StudyResult:
    """A study that has run, from its records alone.

    Raises:
        StoreError: if the folder holds no study, or one that is not finished.
    """
    path = Path(folder)
    if not is_file(path / "study.toml"):
        raise StoreError(f"{path}: holds no study: it has no study.toml")
    study = load_study(str(path / "study.toml"))
    results, tasks = [], _tasks(study, path)
    for rung in study.rungs:
        folders = [RunFolder(task.folder) for task in tasks if task.rung is rung]
        missing = next((f.path for f in folders if not f.finished()), None)
        if missing is not None:
            raise StoreError(
                f"{missing}: not finished; 'kilonet study {path / 'study.toml'} --out {path}' "
                "goes on with it"
            )
        results.append(_result(rung, [f.record() for f in folders]))
    return StudyResult(study=study, path=path, rungs=tuple(results))


def _tasks(study: Study, path: Path) -> list[Task]:
    """Every training of a study: rung by rung, seed by seed."""
    return [
        Task(rung=rung, seed=seed, folder=path / "runs" / folder_name(rung.seeded(seed)))
        for rung in study.rungs
        for seed in study.seed_numbers()
    ]


def _engine(task: Task, engine: str) -> str:
    """What trains a task: an unfinished run goes on with the engine it has."""
    store = RunFolder(task.folder)
    return engine_to_resume(store, engine) if store.checkpoint() is not None else engine


def _result(rung: Rung, records: list[RunRecord]) -> RungResult:
    parameters = rung.run.net.num_parameters
    return RungResult(rung=rung, parameters=parameters, records=tuple(records))


def _claim(path: Path, study: Study) -> None:
    """Make the folder this study's; refuse one that holds something else."""
    spec = path / "study.toml"
    if is_file(spec):
        found = load_study(str(spec))
        if found.name != study.name:
            raise StoreError(f"{path}: holds the study {found.name!r}; name another folder")
    elif path.exists():
        if not path.is_dir():
            raise StoreError(f"{path}: is not a folder; name another")
        try:
            names = sorted(entry.name for entry in path.iterdir())
        except OSError as error:
            raise StoreError(f"{path}: cannot be read: {error.strerror}") from None
        strangers = [name for name in names if name != "runs" and not is_aside(name)]
        if strangers:
            raise StoreError(f"{path}: holds {strangers[0]!r}, no study; name another folder")
    write_atomically(spec, to_toml(study))
