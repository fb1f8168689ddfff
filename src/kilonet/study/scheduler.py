"""Which trials train when, how many at once, and on how many threads each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from kilonet.engine import choose_engine, describe_engine, engine_device
from kilonet.spec import Net
from kilonet.storage.environment import usable_processors
from kilonet.storage.record import RunRecord
from kilonet.study.executors.base import (
    Begun,
    Done,
    EpochBegun,
    EpochDone,
    Event,
    Executor,
    Failed,
    Resources,
    StepDone,
)
from kilonet.study.trial import AnyTrial, TrialT
from kilonet.training.observer import GuardedObserver
from kilonet.training.resume import resuming_engine, resuming_threads

Begin = Callable[[TrialT], GuardedObserver]
"""Called when a trial is submitted; returns the observer of its events."""

End = Callable[[TrialT, str | None], None]
"""Called when a trial has ended: with the reason if it failed, else None."""

_NEARLY_DONE = 0.8
"""Fraction of a training after which its threads count as free for a trial that would otherwise get
fewer than its share. Without this rule, three equal trials on two cores leave a core idle for a
third of the time, and are slower than one after another on both."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a study's trials share the machine.

    Attributes:
        threads: of all trials together.
        jobs: the largest number of trials at once.
        fixed_threads: of each trial whose engine's bits depend on them, so that they do not depend
            on which other trials run.
    """

    threads: int
    jobs: int
    fixed_threads: int

    def share(self, *, free: int, running: int, waiting: int) -> int:
        """Threads for the next trial of an engine whose bits do not depend on them.

        Args:
            free: threads that no trial needs for long.
            running: number of trials that need theirs for long.
            waiting: number of trials that wait, including this one.
        """
        return max(1, free // max(1, min(waiting, self.jobs - running)))


@dataclass(frozen=True, kw_only=True)
class PlannedTrial(Generic[TrialT]):
    """A trial with what its bits depend on.

    Attributes:
        trial: the trial.
        engine: ``auto`` or an engine's name; the previous one if the run resumes.
        threads: if the bits depend on them, else None.
    """

    trial: TrialT
    engine: str
    threads: int | None


Feed = Callable[[], PlannedTrial[TrialT] | None]
"""The next trial of a search, which is drawn only when there is room for it; None while there is
none. It is asked again whenever a trial has ended."""


def make_plan(
    nets: Sequence[Net],
    *,
    num_trials: int,
    engine: str,
    device: str,
    threads: int | None,
    jobs: int | None,
    one_at_a_time: bool = False,
) -> Plan:
    """As many trials at once as there are processors, or fewer with more threads each.

    Processors are those that the process may use: by its affinity and its container's quota. On a
    GPU trials run one at a time, because several would share its memory.

    Args:
        nets: the network of each trial that is to train.
        num_trials: of the study, including finished ones.
        engine: ``auto`` or an engine's name.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        threads: at most, of all trials together; default one per processor.
        jobs: at most, trials at once; default one per thread.
        one_at_a_time: whether only one trial can run at once.
    """
    total = usable_processors() if threads is None else threads
    most = min(total, total if jobs is None else jobs)
    devices = {
        engine_device(net, engine=engine, device=device)
        for net in {net.content_hash: net for net in nets}.values()
    }
    if one_at_a_time or devices - {"cpu"}:
        most = 1
    return Plan(
        threads=total,
        jobs=max(1, min(most, len(nets))),
        fixed_threads=max(1, total // max(1, min(most, num_trials))),
    )


def plan_trial(
    trial: TrialT, resumed: RunRecord | None, *, plan: Plan, engine: str, device: str
) -> PlannedTrial[TrialT]:
    """Decide a trial's engine, and its threads if the bits depend on them.

    Args:
        trial: the trial.
        resumed: its record if it resumes from a checkpoint.
        plan: how trials share the machine.
        engine: ``auto`` or an engine's name.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Raises:
        EngineError: no engine can train the network here.
        StorageError: the run's engine is not one of kilonet's.
    """
    name = engine if resumed is None else resuming_engine(resumed, engine)
    if choose_engine(trial.run.net, engine=name, device=device).engine == "native":
        return PlannedTrial(trial=trial, engine=name, threads=None)
    before = None if resumed is None else resuming_threads(resumed, "torch")
    return PlannedTrial(trial=trial, engine=name, threads=before or plan.fixed_threads)


def describe_engines(planned: Sequence[PlannedTrial[Any]], *, plan: Plan, device: str) -> str:
    """What trains the trials, each engine once; raises as creating them would."""
    share = plan.share(free=plan.threads, running=0, waiting=len(planned))
    descriptions = [
        describe_engine(
            each.trial.run.net,
            engine=each.engine,
            device=device,
            threads=share if each.threads is None else each.threads,
        )
        for each in planned
    ]
    return " and ".join(dict.fromkeys(descriptions))


class Scheduler(Generic[TrialT]):
    """Submits trials to an executor while there is room, and passes their events on.

    Args:
        executor: trains them.
        plan: how they share the machine.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        begin: called when a trial is submitted; its observer is closed at the trial's end.
        end: called when a trial has ended.
        feed: of trials that follow those of :meth:`run`; None if there are no others.

    None of them raises more than what ends the study, such as KeyboardInterrupt.
    """

    def __init__(
        self,
        executor: Executor,
        *,
        plan: Plan,
        device: str,
        begin: Begin[TrialT],
        end: End[TrialT],
        feed: Feed[TrialT] | None = None,
    ) -> None:
        self._executor = executor
        self._plan = plan
        self._device = device
        self._begin = begin
        self._end = end
        self._feed = feed
        self._waiting: deque[PlannedTrial[TrialT]] = deque()
        self._slots: list[_Slot[TrialT]] = []
        self._observers: list[GuardedObserver] = []
        self._closed = False

    def run(self, planned: Sequence[PlannedTrial[TrialT]]) -> list[PlannedTrial[TrialT]]:
        """Train the trials, begun in order; no two have the same folder.

        Whatever ends this early (Ctrl-C, an error in ``begin`` or ``end``) cancels those that run.

        Returns:
            The trials for which the executor had no worker.
        """
        self._waiting.extend(planned)
        try:
            self._submit()
            while self._slots:
                self._executor.poll(self._receive)
                self._end_trials()
        except BaseException:
            self._executor.cancel()
            raise
        finally:
            try:
                self._executor.shutdown(wait=True)
            finally:
                for observer in self._observers:
                    observer.close()
        return list(self._waiting)

    def _submit(self) -> None:
        """Submit trials while there is room for the next one."""
        while len(self._slots) < self._plan.jobs and self._has_next():
            planned = self._waiting[0]
            threads = self._threads_for(planned)
            if threads is None:
                break
            resources = Resources(engine=planned.engine, device=self._device, threads=threads)
            if not self._executor.submit(planned.trial, resources):
                break  # the trials that run go on
            self._waiting.popleft()
            observer = self._begin(planned.trial)
            self._observers.append(observer)
            self._slots.append(_Slot(planned.trial, threads, observer))
        if not self._waiting and not self._closed and self._feed is None:
            self._closed = True
            self._executor.shutdown(wait=False)

    def _has_next(self) -> bool:
        """Whether a trial waits; the feed is asked for one only when none does."""
        if not self._waiting and self._feed is not None and (planned := self._feed()) is not None:
            self._waiting.append(planned)
        return bool(self._waiting)

    def _threads_for(self, planned: PlannedTrial[TrialT]) -> int | None:
        """Threads for the next trial, or None while there is no room for it."""
        staying = [slot for slot in self._slots if slot.progress < _NEARLY_DONE]
        free = self._plan.threads - sum(slot.threads for slot in staying)
        need = planned.threads
        if need is None:
            # How many trials a feed holds is unknown: each gets its share of the machine.
            waiting = len(self._waiting) if self._feed is None else self._plan.jobs
            need = self._plan.share(free=free, running=len(staying), waiting=waiting)
        return need if need <= free or not staying else None

    def _receive(self, trial: AnyTrial, event: Event) -> None:
        next(slot for slot in self._slots if slot.trial is trial).receive(event)

    def _end_trials(self) -> None:
        ended = [slot for slot in self._slots if slot.ended]
        self._slots = [slot for slot in self._slots if not slot.ended]
        if self._plan.jobs > 1 and self._feed is None:
            # First keep the processors busy: whoever is called at the end may draw figures. A feed
            # decides by what has ended, so it comes after.
            self._submit()
        for slot in ended:
            slot.observer.close()
            self._end(slot.trial, slot.failure)
        self._submit()


class _Slot(Generic[TrialT]):
    """One of the trials that run at once."""

    def __init__(self, trial: TrialT, threads: int, observer: GuardedObserver) -> None:
        self.trial = trial
        self.threads = threads
        self.progress = 0.0
        self.ended = False
        self.failure: str | None = None
        self.observer = observer
        self._epochs = trial.run.train.epochs
        self._epoch = 0
        self._steps = 1

    def receive(self, event: Event) -> None:
        """Follow the trial's progress, and call its observer."""
        match event:
            case Begun(engine=engine, epochs_done=done):
                self.progress = done / self._epochs
                self.observer.begin(
                    self.trial.run, engine=engine, folder=self.trial.folder, epochs_done=done
                )
            case EpochBegun(epoch=epoch, num_steps=steps):
                self._epoch, self._steps = epoch, steps
                self.observer.begin_epoch(epoch, num_steps=steps)
            case StepDone(step=step, batch=batch, loss=loss, accuracy=accuracy, lr=lr):
                self.progress = (self._epoch + (batch + 1) / self._steps) / self._epochs
                self.observer.step(step=step, batch=batch, loss=loss, accuracy=accuracy, lr=lr)
            case EpochDone(row=row, correct=correct, count=count):
                self.progress = (row.epoch + 1) / self._epochs
                self.observer.end_epoch(row, correct=correct, count=count)
            case Failed(reason=reason):
                self.ended, self.failure = True, reason
            case Done():
                self.ended = True
