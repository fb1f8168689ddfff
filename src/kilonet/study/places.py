"""Where trials train: in processes of this machine, or on a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from kilonet.data import Dataset
from kilonet.storage.environment import usable_processors
from kilonet.storage.record import RunRecord
from kilonet.study.executors.base import Executor, Load
from kilonet.study.executors.dask import DaskExecutor
from kilonet.study.executors.dask_cluster import Cluster, connect
from kilonet.study.executors.local import LocalExecutor, can_start_processes
from kilonet.study.executors.serial import SerialExecutor
from kilonet.study.scheduler import (
    Begin,
    End,
    Feed,
    Plan,
    PlannedTrial,
    Scheduler,
    describe_engines,
    make_plan,
    plan_trial,
)
from kilonet.study.trial import AnyTrial, TrialT
from kilonet.training.resume import resuming_engine, resuming_threads

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True, kw_only=True)
class Options:
    """What trials are to train with; arguments of :func:`kilonet.study.run_study`."""

    engine: str
    device: str
    threads: int | None
    jobs: int | None


class Place(Protocol):
    """Trains trials."""

    @property
    def num_jobs(self) -> int:
        """How many trials train at once."""
        ...

    def plan(self, trial: TrialT, resumed: RunRecord | None) -> PlannedTrial[TrialT]:
        """Decide what a trial's bits depend on; ``resumed`` is its record if it resumes.

        Raises:
            EngineError: no engine can train the network there.
            StorageError: the run's engine is not one of kilonet's.
        """
        ...

    def describe(self, planned: Sequence[PlannedTrial[Any]]) -> str:
        """What trains the trials, each engine once.

        Raises:
            EngineError: no engine can train one of them there.
        """
        ...

    def train(
        self,
        planned: Sequence[PlannedTrial[TrialT]],
        *,
        begin: Begin[TrialT],
        end: End[TrialT],
        feed: Feed[TrialT] | None = None,
    ) -> None:
        """Train the trials, begun in order; ``begin``, ``end``, ``feed`` as of the scheduler."""
        ...


@contextmanager
def open_place(
    on: str | Client,
    trials: Sequence[AnyTrial],
    *,
    options: Options,
    num_trials: int,
    load: Load,
    datasets: Mapping[str, Dataset],
    tell: Callable[[str], None],
    fed: bool = False,
) -> Iterator[Place]:
    """The place that ``on`` names, while the block runs.

    Args:
        on: as for :func:`kilonet.study.run_study`. Without trials no cluster is needed.
        trials: that are to train; with a feed examples, as many as could run at once.
        options: what with.
        num_trials: of the study, including finished ones.
        load: name or path → data set, in a process on this machine.
        datasets: the trials' data sets, in this process.
        tell: called with a line about workers that are waited for.
        fed: whether trials come from a feed, so that a cluster gets only as many as it has room
            for.

    Raises:
        ClusterError: see :func:`kilonet.study.executors.dask_cluster.connect`.
    """
    if on == "local" or not trials:
        yield _ThisMachine(
            trials, options=options, num_trials=num_trials, load=load, datasets=datasets
        )
        return
    threads = options.threads or 1
    jobs = min(options.jobs or len(trials), len(trials))
    num_workers = min(jobs, options.jobs or max(1, usable_processors() // threads))
    with connect(on, num_workers=num_workers, tell=tell) as cluster:
        if fed:
            # Each trial is drawn from the results before it: none waits in a queue.
            jobs = min(jobs, cluster.slots)
        # All trials at once: the cluster queues them.
        plan = Plan(threads=threads * jobs, jobs=jobs, fixed_threads=threads)
        yield _OnCluster(cluster, plan=plan, options=options, datasets=datasets, tell=tell)


class _ThisMachine:
    """In processes of this machine, or one after another in this one."""

    def __init__(
        self,
        trials: Sequence[AnyTrial],
        *,
        options: Options,
        num_trials: int,
        load: Load,
        datasets: Mapping[str, Dataset],
    ) -> None:
        self._options = options
        self._load = load
        self._datasets = datasets
        self._plan = make_plan(
            [trial.run.net for trial in trials],
            num_trials=num_trials,
            engine=options.engine,
            device=options.device,
            threads=options.threads,
            jobs=options.jobs,
            one_at_a_time=not can_start_processes(),
        )

    @property
    def num_jobs(self) -> int:
        return self._plan.jobs

    def plan(self, trial: TrialT, resumed: RunRecord | None) -> PlannedTrial[TrialT]:
        engine, device = self._options.engine, self._options.device
        return plan_trial(trial, resumed, plan=self._plan, engine=engine, device=device)

    def describe(self, planned: Sequence[PlannedTrial[Any]]) -> str:
        return describe_engines(planned, plan=self._plan, device=self._options.device)

    def train(
        self,
        planned: Sequence[PlannedTrial[TrialT]],
        *,
        begin: Begin[TrialT],
        end: End[TrialT],
        feed: Feed[TrialT] | None = None,
    ) -> None:
        waiting = planned
        if self._plan.jobs > 1:
            waiting = self._run(LocalExecutor(self._load), self._plan, waiting, begin, end, feed)
        # One at a time; or no process could be started.
        serial = SerialExecutor(self._datasets.__getitem__)
        self._run(serial, replace(self._plan, jobs=1), waiting, begin, end, feed)

    def _run(
        self,
        executor: Executor,
        plan: Plan,
        planned: Sequence[PlannedTrial[TrialT]],
        begin: Begin[TrialT],
        end: End[TrialT],
        feed: Feed[TrialT] | None,
    ) -> list[PlannedTrial[TrialT]]:
        device = self._options.device
        scheduler = Scheduler(executor, plan=plan, device=device, begin=begin, end=end, feed=feed)
        return scheduler.run(planned)


class _OnCluster:
    """On the workers of a Dask cluster."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        plan: Plan,
        options: Options,
        datasets: Mapping[str, Dataset],
        tell: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._plan = plan
        self._options = options
        self._datasets = datasets
        self._tell = tell

    @property
    def num_jobs(self) -> int:
        return min(self._plan.jobs, self._cluster.slots)

    def plan(self, trial: TrialT, resumed: RunRecord | None) -> PlannedTrial[TrialT]:
        # The worker chooses the engine that `auto` means.
        engine = self._options.engine
        name = engine if resumed is None else resuming_engine(resumed, engine)
        before = None if resumed is None else resuming_threads(resumed, name)
        return PlannedTrial(trial=trial, engine=name, threads=before or self._plan.fixed_threads)

    def describe(self, planned: Sequence[PlannedTrial[Any]]) -> str:
        return self._cluster.describe(planned, device=self._options.device)

    def train(
        self,
        planned: Sequence[PlannedTrial[TrialT]],
        *,
        begin: Begin[TrialT],
        end: End[TrialT],
        feed: Feed[TrialT] | None = None,
    ) -> None:
        executor = DaskExecutor(self._cluster, self._datasets.__getitem__, tell=self._tell)
        device, plan = self._options.device, self._plan
        scheduler = Scheduler(executor, plan=plan, device=device, begin=begin, end=end, feed=feed)
        scheduler.run(planned)
