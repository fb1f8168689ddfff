"""The executor protocol: where trials train, and the events that come from there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kilonet.data import Dataset
from kilonet.data.in_memory import DatasetLoader
from kilonet.errors import KilonetError, is_out_of_memory
from kilonet.spec import Run
from kilonet.storage.record import EpochRow
from kilonet.study.trial import AnyTrial
from kilonet.training.loop import train
from kilonet.training.observer import Observer

OUT_OF_MEMORY = (
    "out of memory; a smaller network, a smaller train.batch_size or --jobs 1 needs less"
)

Load = Callable[[str], Dataset]
"""Name or path → data set."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a trial trains with; arguments of :func:`kilonet.training.loop.train`.

    Attributes:
        engine: ``auto`` or an engine's name.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        threads: of the engine.
    """

    engine: str
    device: str
    threads: int


@dataclass(frozen=True, kw_only=True)
class Begun:
    """The trial trains, with the engine described, after ``epochs_done`` earlier epochs."""

    engine: str
    epochs_done: int


@dataclass(frozen=True, kw_only=True)
class EpochBegun:
    """An epoch of ``num_steps`` steps begins."""

    epoch: int
    num_steps: int


@dataclass(frozen=True, kw_only=True)
class StepDone:
    """A step is done; arguments of :meth:`kilonet.training.observer.Observer.step`."""

    step: int
    batch: int
    loss: float
    accuracy: float
    lr: float


@dataclass(frozen=True, kw_only=True)
class EpochDone:
    """An epoch is saved; arguments of :meth:`kilonet.training.observer.Observer.end_epoch`."""

    row: EpochRow
    correct: int
    count: int


@dataclass(frozen=True, kw_only=True)
class Done:
    """The trial is finished; its results are in its folder. Its last event."""


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The trial failed, for a reason in one line. Its last event."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Crash:
    """An error that is a bug in kilonet, as a worker's traceback. Executors raise it."""

    traceback: str


Event = Begun | EpochBegun | StepDone | EpochDone | Done | Failed

Receive = Callable[[AnyTrial, Event], None]


class Executor(Protocol):
    """Trains trials somewhere: in this process, in others, on a cluster."""

    def submit(self, trial: AnyTrial, resources: Resources) -> bool:
        """Begin a trial, whose folder no other submitted trial has; False if nothing can run it."""
        ...

    def poll(self, receive: Receive) -> None:
        """Wait until a submitted trial has events, and pass them on, each trial's in order.

        A trial's last event is :class:`Done` or :class:`Failed`. An executor trains the trial of a
        dead worker again, from its checkpoint, and repeats no event. It may leave out steps, but
        not the last one of an epoch; and other events of a trial whose worker died. ``receive``
        raises nothing but what ends the study, such as KeyboardInterrupt: then the only calls are
        :meth:`cancel` and :meth:`shutdown`.

        Raises:
            RuntimeError: with a worker's traceback, for an error that is a bug in kilonet.
        """
        ...

    def cancel(self) -> None:
        """Stop all trials between two steps; they keep their finished epochs."""
        ...

    def shutdown(self, *, wait: bool) -> None:
        """Accept no more trials; workers end after those that they have. ``wait``: until then.

        May be called several times, and never blocks without ``wait``.
        """
        ...


class NewEvents:
    """Which events of a trial are new: a worker that takes over repeats some of a dead one's.

    Args:
        epochs: that were finished before the trial.
        steps: likewise.
    """

    def __init__(self, *, epochs: int = 0, steps: int = 0) -> None:
        self._begun = False
        self._epochs = epochs
        self._steps = steps

    def __call__(self, event: Event) -> bool:
        """Whether the event is new; it then is no longer."""
        new = True
        match event:
            case Begun():
                new, self._begun = not self._begun, True
            case EpochBegun(epoch=epoch):
                new, self._epochs = epoch >= self._epochs, max(self._epochs, epoch + 1)
            case StepDone(step=step):
                new, self._steps = step >= self._steps, max(self._steps, step + 1)
        return new


class EventObserver(Observer):
    """An observer of a training that sends its events.

    Args:
        send: receives each event.
        step_seconds: the shortest time between two :class:`StepDone`; others are left out, but for
            the last one of an epoch: an epoch's end belongs to that.
    """

    def __init__(self, send: Callable[[Event], None], *, step_seconds: float = 0.0) -> None:
        self._send = send
        self._step_seconds = step_seconds
        self._next_step = 0.0
        self._last_batch = 0

    def begin(self, run: Run, *, engine: str, folder: Path, epochs_done: int) -> None:  # noqa: ARG002
        """Send :class:`Begun`."""
        self._send(Begun(engine=engine, epochs_done=epochs_done))

    def begin_epoch(self, epoch: int, *, num_steps: int) -> None:
        """Send :class:`EpochBegun`."""
        self._last_batch = num_steps - 1
        self._send(EpochBegun(epoch=epoch, num_steps=num_steps))

    def step(self, *, step: int, batch: int, loss: float, accuracy: float, lr: float) -> None:
        """Send :class:`StepDone`, unless the last one was a moment ago."""
        now = time.perf_counter()
        if now >= self._next_step or batch == self._last_batch:
            self._next_step = now + self._step_seconds
            self._send(StepDone(step=step, batch=batch, loss=loss, accuracy=accuracy, lr=lr))

    def end_epoch(self, row: EpochRow, *, correct: int, count: int) -> None:
        """Send :class:`EpochDone`."""
        self._send(EpochDone(row=row, correct=correct, count=count))


def train_trial(
    run: Run, resources: Resources, *, folder: Path, load: Load, observer: Observer
) -> Done | Failed:
    """Train a trial's run in this process; errors that are not kilonet's own are raised."""
    try:
        train(
            run,
            folder=folder,
            engine=resources.engine,
            device=resources.device,
            threads=resources.threads,
            resume=True,
            data=DatasetLoader(load=load),
            observer=observer,
        )
    except KilonetError as error:
        return Failed(reason=str(error))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return Failed(reason=OUT_OF_MEMORY)
    return Done()
