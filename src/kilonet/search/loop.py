"""Runs a search: trials over rungs, then confirmations with fresh seeds."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kilonet.data import Dataset, RunData, load_dataset, warn_of_oddities
from kilonet.data.in_memory import GivenData, with_data
from kilonet.errors import UsageError
from kilonet.paths import expand
from kilonet.search.files import DEFAULT, load_space
from kilonet.search.folder import (
    DATABASE,
    check_folder,
    default_folder,
    write_space,
)
from kilonet.search.observer import GuardedSearchObserver, SearchObserver
from kilonet.search.result import SearchResult
from kilonet.search.sample import import_optuna
from kilonet.search.space import Space
from kilonet.search.storage import TrialStore
from kilonet.search.trials import Trials, run_in
from kilonet.spec import Run
from kilonet.storage.lock import locked
from kilonet.study.executors.base import Load
from kilonet.study.executors.dask_cluster import check_place
from kilonet.study.places import Options, open_place

if TYPE_CHECKING:
    from distributed import Client


def search(
    space: Space | Path | str = DEFAULT,
    *,
    trials: int = 100,
    budget: int | None = None,
    confirm: int = 5,
    seeds: int = 5,
    seed: int = 0,
    folder: Path | str | None = None,
    storage: str | None = None,
    on: str | Client = "local",
    engine: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    jobs: int | None = None,
    wait: bool = False,
    data: GivenData | None = None,
    observer: SearchObserver | None = None,
    load: Load = load_dataset,
) -> SearchResult:
    """Search for the best network within a budget, on the validation split alone.

    Candidates come from Optuna's TPE sampler. One over the budget, or whose shapes do not fit, is
    rejected before training, which the sampler learns from; one that is equal to an earlier one has
    its values. Neither counts as a trial. A trial trains on the space's rungs, from short to full;
    only the best go on from each. The best networks are then trained with fresh seeds at full
    length, and the best mean wins.

    What was finished is kept: the same call goes on after a stop or a crash, with the trials that
    ran from their checkpoints. More ``trials`` continue a finished search. With one job the trials
    are the same however often it was stopped; with several they depend on which ends first.

    Args:
        space: the space, its file, or a bundled one's name.
        trials: how many are trained, in all, with those of earlier calls and of other processes
            that share the storage.
        budget: most parameters, in place of the space's.
        confirm: how many networks are confirmed; 0 for none.
        seeds: fresh seeds of each confirmation.
        seed: of the draws of candidates.
        folder: the search's; default ``kilonet-searches/NAME-PARAMETERS``.
        storage: URL of an Optuna storage that several processes or machines share; default: SQLite
            in the folder. Each process has a folder of its own.
        on: where runs train, as in :func:`kilonet.study.run_study`; likewise the rest.
        engine: as there.
        device: as there.
        threads: as there.
        jobs: as there; with a cluster the most runs at once.
        wait: whether to wait for another process that searches in the folder.
        data: in place of the space's.
        observer: receives the search's events.
        load: name or path → data set.

    Raises:
        BudgetError: no network of the space is within the budget.
        ClusterError, DataError, EngineError: as there.
        SpecError: the space is invalid.
        StorageError: the folder holds something else, or the storage cannot be used.
        StudyError: no trial could be trained.
        UsageError: Optuna is not installed, or an argument is wrong.
    """
    import_optuna()
    check_place(on)
    for name, number, least in (
        ("trials", trials, 1),
        ("seeds", seeds, 1),
        ("confirm", confirm, 0),
    ):
        if number < least:
            raise UsageError(f"{name}={number}: should be {least} or more")
    space = space if isinstance(space, Space) else load_space(space)
    if budget is not None:
        space = space.replace({"budget.parameters": budget})
    space.check_budget()
    space, loader = _with_data(space, data, load=load)
    without_test = WithoutTest(loader)
    example = _example(space)
    dataset = without_test(example.data.name)
    RunData.check(example, dataset)
    warn_of_oddities(dataset)
    path = default_folder(space) if folder is None else expand(folder)
    observer = GuardedSearchObserver(observer)
    check_folder(path, space)
    timeout, hint = (math.inf if wait else 0.0), "stop it, or add --wait to wait for it"
    with locked(path, timeout=timeout, waiting=observer.wait, hint=hint):
        found = check_folder(path, space)
        if not found:
            write_space(path, space)
        store = TrialStore(storage or f"sqlite:///{path.absolute() / DATABASE}", space)
        try:
            running = Trials(
                space,
                path,
                store=store,
                dataset=dataset,
                num_trials=trials,
                seed=seed,
                shared=storage is not None,
                observer=observer,
            )
            place = open_place(
                on,
                [run_in(path, example)] * max(2, min(trials, 1000)),
                options=Options(engine=engine, device=device, threads=threads, jobs=jobs),
                num_trials=trials,
                load=without_test,
                datasets={example.data.name: dataset},
                tell=observer.wait,
                fed=True,
            )
            with place as opened:
                running.train(opened, example)
                running.confirm(opened, number=confirm, seeds=seeds)
            return running.end(seeds=seeds)
        finally:
            store.close()


def _with_data(
    space: Space, data: GivenData | None, *, load: Load
) -> tuple[Space, Callable[[str], Dataset]]:
    run, loader = with_data(_example(space), data, load=load)
    if run.data.name != space.data.get("name", "mnist"):
        space = space.replace({"data.name": run.data.name})
    return space, loader


def _example(space: Space) -> Run:
    """A run of the space, to check its data and the engine with."""
    rng = random.Random(0)  # noqa: S311  nothing secret
    while True:  # check_budget has seen one
        drawn = space.draw(rng)
        if drawn.run is not None and not drawn.problem:
            return drawn.run


@dataclass(frozen=True)
class WithoutTest:
    """Loads data sets, and drops their test images: in every process, before anything trains.

    Attributes:
        load: name or path → data set.
    """

    load: Load

    def __call__(self, name: str) -> Dataset:
        """The data set, of the same fingerprint."""
        return self.load(name).without_test()
