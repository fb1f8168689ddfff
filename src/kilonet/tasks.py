"""A study's trainings: which are to be done, how many at once, on how many threads each."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

from kilonet.data import Dataset
from kilonet.engine import choose_engine, describe_engine
from kilonet.errors import KilonetError, StoreError, is_out_of_memory
from kilonet.pool import OUT_OF_MEMORY, Job, Worker
from kilonet.record import EpochRow
from kilonet.run import Observer, Silent, engine_to_resume, train
from kilonet.spec import Run, Rung
from kilonet.store import RunFolder

Load = Callable[[str], Dataset]
Begin = Callable[["Task"], Observer | None]
End = Callable[["Task", str | None], None]

_NEARLY_DONE = 0.8
"""Of a training: from here on its threads count as free for a task that would else begin with
fewer than its share. Without that, three equal tasks on two cores leave a core idle for a third of
the time, and are slower than one after another on both."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One training of a study.

    Attributes:
        rung: which rung it belongs to.
        seed: its seed.
        folder: where its run is kept; tasks with equal runs share one.
    """

    rung: Rung
    seed: int
    folder: Path


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A task that could not be done; ``str()`` is the line that says so.

    Attributes:
        task: which.
        reason: what is wrong and what to do.
    """

    task: Task
    reason: str

    def __str__(self) -> str:
        rung = self.task.rung
        where = f"step {rung.number} '{rung.step.name}', seed {self.task.seed}"
        # Most reasons that concern the folder name it themselves.
        folder = "" if str(self.task.folder) in self.reason else f" ({self.task.folder})"
        return f"{where}{folder}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a study's tasks share the machine.

    Attributes:
        threads: of all tasks together.
        jobs: most tasks at once.
        fixed: threads of each task with an engine whose bits depend on them: not to be decided by
            what else happens to run.
    """

    threads: int
    jobs: int
    fixed: int

    def share(self, *, free: int, running: int, waiting: int) -> int:
        """Threads for the next task of an engine whose bits do not depend on them.

        Args:
            free: threads that no task has for long.
            running: tasks that have theirs for long.
            waiting: tasks that wait, this one among them.
        """
        return max(1, free // max(1, min(waiting, self.jobs - running)))


def make_plan(
    tasks: Sequence[Task],
    unfinished: Sequence[Task],
    *,
    engine: str,
    device: str,
    threads: int | None,
    jobs: int | None,
) -> Plan:
    """As many tasks at once as there are processors to use, or fewer and more threads for each.

    Processors are those that the process may use: by affinity and by the quota of its container.
    On a GPU, and where processes cannot be started, tasks run one after another.

    Args:
        tasks: of the study.
        unfinished: those among them that are to be trained.
        engine: ``auto`` or an engine's name.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        threads: at most, of all tasks together; default one a processor.
        jobs: at most so many tasks at once; default one a thread.
    """
    import joblib

    total = joblib.cpu_count() if threads is None else threads
    most = min(total, total if jobs is None else jobs)
    if not _processes_can_start() or _on_gpu(unfinished, engine=engine, device=device):
        most = 1
    folders, to_train = ({task.folder for task in some} for some in (tasks, unfinished))
    return Plan(
        threads=total,
        jobs=max(1, min(most, len(to_train))),
        fixed=max(1, total // max(1, min(most, len(folders)))),
    )


def describe_engines(
    tasks: Sequence[Task], *, plan: Plan, engine: str, device: str
) -> tuple[str, ...]:
    """What is to train ``tasks``, each engine once; raises as making them would."""
    share = plan.share(free=plan.threads, running=0, waiting=len({t.folder for t in tasks}))
    found: dict[str, None] = {}
    for task in tasks:
        try:
            kind = _engine(task, engine)
            fixed = _fixed_threads(task, plan=plan, engine=engine, device=device)
        except StoreError:
            continue  # training it says the same, of the one task
        threads = share if fixed is None else fixed
        net = task.rung.run.net
        found[describe_engine(net, engine=kind, device=device, threads=threads)] = None
    return tuple(found)


def run_in_turn(
    tasks: Sequence[Task],
    *,
    plan: Plan,
    engine: str,
    device: str,
    load: Load,
    begin: Begin,
    end: End,
) -> None:
    """Train tasks one after another, in this process.

    Args:
        tasks: in order; finished ones are read back.
        plan: what threads there are.
        engine: ``auto`` or an engine's name.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        load: name or path → data set; asked for every task.
        begin: told of each task that begins; what it returns is told of the training.
        end: told how each ended: why it could not be done, or None.
    """
    for task in tasks:
        observer = begin(task)
        reason = None
        try:
            threads = None
            if not RunFolder(task.folder).finished():
                fixed = _fixed_threads(task, plan=plan, engine=engine, device=device)
                threads = plan.threads if fixed is None else fixed
            train(
                task.rung.seeded(task.seed),
                folder=task.folder,
                engine=engine,
                device=device,
                threads=threads,
                resume=True,
                dataset=load(task.rung.run.data.name),
                observer=observer,
            )
        except KilonetError as error:
            reason = str(error)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            reason = OUT_OF_MEMORY
        end(task, reason)


def run_at_once(
    tasks: Sequence[Task],
    *,
    plan: Plan,
    engine: str,
    device: str,
    load: Load,
    begin: Begin,
    end: End,
) -> None:
    """Train tasks in ``plan.jobs`` processes at once, begun in order; else as :func:`run_in_turn`.

    Whatever ends this early (Ctrl-C, an error in ``begin`` or ``end``) stops the processes.

    Args:
        tasks: in order, none finished and no two with one folder.
        plan: how they share the machine.
        engine: ``auto`` or an engine's name.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        load: name or path → data set; in each process each is loaded once.
        begin: told of each task that begins; what it returns is told of the training.
        end: told how each ended: why it could not be done, or None.
    """
    crew = _Crew(tasks, plan, engine=engine, device=device, load=load, begin=begin, end=end)
    left = crew.run()
    run_in_turn(left, plan=plan, engine=engine, device=device, load=load, begin=begin, end=end)


class _Place:
    """One of the tasks that run at once, and the process that trains it."""

    def __init__(self, worker: Worker, task: Task, threads: int, observer: Observer | None) -> None:
        self.worker = worker
        self.task = task
        self.threads = threads
        self.follower = _Follower(observer or Silent())


class _Crew:
    """The processes, and who is to do what."""

    def __init__(
        self,
        tasks: Sequence[Task],
        plan: Plan,
        *,
        engine: str,
        device: str,
        load: Load,
        begin: Begin,
        end: End,
    ) -> None:
        self.waiting = deque(tasks)
        self.plan = plan
        self.engine = engine
        self.device = device
        self.load = load
        self.begin = begin
        self.end = end
        self.busy: list[_Place] = []
        self.idle: list[Worker] = []
        self.workers: list[Worker] = []

    def run(self) -> Sequence[Task]:
        """Train all tasks; returns those for which no process could be started."""
        try:
            self.hand_out()
            while self.busy:
                self.attend()
        except BaseException:
            for worker in self.workers:
                worker.stop()
            raise
        finally:
            for worker in self.workers:
                worker.join()
        return self.waiting

    def attend(self) -> None:
        """Wait until something is heard, and see to it."""
        wait([place.worker.connection for place in self.busy])
        over = []
        for place in list(self.busy):
            outcome = place.worker.hear(place.follower)
            if outcome is not None:
                over.append((place.task, outcome))
                self.busy.remove(place)
                if place.worker.alive:
                    self.idle.append(place.worker)
        # First what keeps the processors busy: whoever is told of the end may draw figures.
        self.hand_out()
        for task, outcome in over:
            self.end(task, outcome.failure)

    def hand_out(self) -> None:
        """Begin tasks while there is room for the next one."""
        while self.waiting and len(self.busy) < self.plan.jobs:
            task = self.waiting[0]
            try:
                threads = self.threads_for(task)
            except KilonetError as error:
                self.waiting.popleft()
                self.begin(task)
                self.end(task, str(error))
                continue
            if threads is None:
                break
            try:
                worker = self.idle.pop() if self.idle else self.new_worker()
            except OSError:
                break  # those that are there go on; without one, the caller's process does it
            self.waiting.popleft()
            self.busy.append(_Place(worker, task, threads, self.begin(task)))
            worker.give(
                Job(
                    run=task.rung.seeded(task.seed),
                    folder=task.folder,
                    engine=self.engine,
                    device=self.device,
                    threads=threads,
                )
            )
        if not self.waiting:
            for worker in self.idle:
                worker.dismiss()
            self.idle.clear()

    def threads_for(self, task: Task) -> int | None:
        """Threads for the next task, or None while there is no room for it."""
        staying = [place for place in self.busy if place.follower.share_done < _NEARLY_DONE]
        free = self.plan.threads - sum(place.threads for place in staying)
        need = _fixed_threads(task, plan=self.plan, engine=self.engine, device=self.device)
        if need is None:
            need = self.plan.share(free=free, running=len(staying), waiting=len(self.waiting))
        return need if need <= free or not staying else None

    def new_worker(self) -> Worker:
        worker = Worker(self.load)
        self.workers.append(worker)
        return worker


class _Follower:
    """Passes on what an observer is told, and keeps count of how far the training is."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._epochs = 1
        self._steps = 1
        self.share_done = 0.0

    def begin(self, run: Run, *, engine: str, folder: Path, epochs_done: int) -> None:
        self._epochs = run.train.epochs
        self.share_done = epochs_done / self._epochs
        self._observer.begin(run, engine=engine, folder=folder, epochs_done=epochs_done)

    def begin_epoch(self, epoch: int, *, num_steps: int) -> None:
        self._steps = num_steps
        self._epoch = epoch
        self._observer.begin_epoch(epoch, num_steps=num_steps)

    def step(self, *, batch: int, loss: float, accuracy: float) -> None:
        self.share_done = (self._epoch + (batch + 1) / self._steps) / self._epochs
        self._observer.step(batch=batch, loss=loss, accuracy=accuracy)

    def end_epoch(self, row: EpochRow, *, correct: int, count: int) -> None:
        self.share_done = (row.epoch + 1) / self._epochs
        self._observer.end_epoch(row, correct=correct, count=count)


def _engine(task: Task, engine: str) -> str:
    """What trains a task: an unfinished run goes on with the engine it has."""
    store = RunFolder(task.folder)
    return engine_to_resume(store, engine) if store.checkpoint() is not None else engine


def _fixed_threads(task: Task, *, plan: Plan, engine: str, device: str) -> int | None:
    """Threads on which a task's bits depend: as many as before; None where they do not."""
    name = _engine(task, engine)
    if choose_engine(task.rung.run.net, engine=name, device=device).engine == "native":
        return None
    store = RunFolder(task.folder)
    before = store.last_engine() if store.checkpoint() is not None else {}
    threads = before.get("threads") if before.get("name") == "torch" else None
    return threads if isinstance(threads, int) else plan.fixed


def _processes_can_start() -> bool:
    """Whether worker processes can be had: not on Windows, nor in a process that may have none."""
    return hasattr(signal, "pthread_sigmask") and not multiprocessing.current_process().daemon


def _on_gpu(tasks: Sequence[Task], *, engine: str, device: str) -> bool:
    """Whether one of the tasks would train on a GPU: several at once would share its memory."""
    for net in {task.rung.run.net.content_hash: task.rung.run.net for task in tasks}.values():
        choice = choose_engine(net, engine=engine, device=device)
        if choice.engine == "torch":
            # Its description names the device that "auto" stands for.
            return " on cpu" not in describe_engine(net, engine="torch", device=device)
    return False
