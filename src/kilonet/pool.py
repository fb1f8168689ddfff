"""Processes that train runs, one run at a time each, and tell of it as they go.

A worker is a loky process, as joblib starts them: a fresh interpreter that does not run the main
program again. Between it and its parent are two pipes. Over the first go runs to train, and back
come the calls to an :class:`~kilonet.run.Observer`, then how it ended. The second carries nothing:
it ends when the parent closes it or is gone, and with it the worker.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from kilonet.data import Dataset
from kilonet.errors import KilonetError, is_out_of_memory
from kilonet.record import EpochRow
from kilonet.run import Observer, train
from kilonet.spec import Run

OUT_OF_MEMORY = (
    "out of memory; a smaller network, a smaller train.batch_size or --jobs 1 needs less"
)
"""Why a training ended, where the engine did not say it of a step."""

_STEP_SECONDS = 0.2
"""Between two messages about steps: a bar looks no smoother with more."""

_STOP_SECONDS = 3.0
"""For a worker to come to the end of a step, or of writing its files."""

# A worker's engine has threads of its own; these would be threads beside them.
_SINGLE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run for a worker to train; the arguments of :func:`kilonet.run.train`.

    Attributes:
        run: what to train.
        folder: where to.
        engine: ``auto`` or an engine's name.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        threads: of the engine; None for its own choice, or as many as before on resuming.
    """

    run: Run
    folder: Path
    engine: str
    device: str
    threads: int | None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a job ended.

    Attributes:
        failure: why it could not be done, in a line; None where it is done.
    """

    failure: str | None = None


class Worker:
    """A process that trains jobs, as its parent sees it.

    Args:
        load: name or path → data set; in the worker each is loaded once.

    Raises:
        OSError: if the system has no process left to give.
    """

    def __init__(self, load: Callable[[str], Dataset]) -> None:
        from joblib.externals.loky.backend import get_context

        context = get_context("loky")
        self.connection, theirs = context.Pipe()
        ends, self._lifeline = context.Pipe(duplex=False)
        self._process: BaseProcess = context.Process(
            target=_work, args=(theirs, ends, load), env=_SINGLE, daemon=True
        )
        try:
            with _undisturbed():
                self._process.start()
        except BaseException:
            self.connection.close()
            self._lifeline.close()
            raise
        finally:
            theirs.close()
            ends.close()

    def give(self, job: Job) -> None:
        """Have it train a job; only once the one before has ended."""
        with suppress(OSError):  # it is gone: the next hear() tells
            self.connection.send(job)

    def hear(self, observer: Observer) -> Outcome | None:
        """Pass on what has come from the worker; how its job ended, once it has.

        Raises:
            RuntimeError: with the worker's traceback, for an error that kilonet does not raise on
                purpose.
        """
        try:
            while self.connection.poll():
                match self.connection.recv():
                    case Outcome() as outcome:
                        return outcome
                    case _Crash(traceback=traceback):
                        raise RuntimeError(f"in a worker:\n{traceback}")
                    case _Told() as told:
                        told.to(observer)
        except (EOFError, OSError):
            self._process.join(_STOP_SECONDS)
            return Outcome(failure=f"its process {_cause_of_death(self._process.exitcode)}")
        return None

    @property
    def alive(self) -> bool:
        """Whether it can take another job."""
        return self._process.is_alive()

    def dismiss(self) -> None:
        """Let it end by itself: there is nothing left for it to do."""
        with suppress(OSError):
            self.connection.send(None)

    def stop(self) -> None:
        """Have it stop at once; :meth:`join` waits for that."""
        self._lifeline.close()
        self.connection.close()

    def join(self) -> None:
        """Wait for its end; one that does not come to it by itself is killed."""
        self._process.join(_STOP_SECONDS + 1.0)
        pid = self._process.pid
        if pid is not None and self._process.is_alive():
            # loky's processes have no kill(). Not yet waited for, its number is nobody else's.
            os.kill(pid, signal.SIGKILL)
            self._process.join()
        self._lifeline.close()
        self.connection.close()


def serve(
    connection: Connection,
    load: Callable[[str], Dataset],
    stopping: threading.Event | None = None,
) -> None:
    """Train what comes over ``connection``, job by job, until None comes or the other end is gone.

    The worker's side of :class:`Worker`.

    Args:
        connection: the other end of :attr:`Worker.connection`.
        load: name or path → data set; each is loaded once.
        stopping: set by another thread to end a training between two steps.
    """
    stopping = threading.Event() if stopping is None else stopping
    datasets: dict[str, Dataset] = {}
    while (job := _next(connection)) is not None:
        outcome: Outcome | _Crash = Outcome()
        try:
            name = job.run.data.name
            if name not in datasets:
                datasets[name] = load(name)
            train(
                job.run,
                folder=job.folder,
                engine=job.engine,
                device=job.device,
                threads=job.threads,
                resume=True,
                dataset=datasets[name],
                observer=_Teller(connection, stopping),
            )
        except KilonetError as error:
            outcome = Outcome(failure=str(error))
        except Exception as error:
            if is_out_of_memory(error):
                outcome = Outcome(failure=OUT_OF_MEMORY)
            else:
                import traceback

                outcome = _Crash(traceback=traceback.format_exc())
        _send(connection, outcome)


class _Stop(BaseException):
    """The parent is gone, or wants this worker to end."""


class _Teller:
    """An observer that sends what it is told through a pipe: all but most of the steps."""

    def __init__(self, connection: Connection, stopping: threading.Event) -> None:
        self._connection = connection
        self._stopping = stopping
        self._next = 0.0

    def begin(self, run: Run, *, engine: str, folder: Path, epochs_done: int) -> None:
        self._tell("begin", run, engine=engine, folder=folder, epochs_done=epochs_done)

    def begin_epoch(self, epoch: int, *, num_steps: int) -> None:
        self._tell("begin_epoch", epoch, num_steps=num_steps)

    def step(self, *, batch: int, loss: float, accuracy: float) -> None:
        if self._stopping.is_set():
            raise _Stop
        now = time.perf_counter()
        if now >= self._next:
            self._next = now + _STEP_SECONDS
            self._tell("step", batch=batch, loss=loss, accuracy=accuracy)

    def end_epoch(self, row: EpochRow, *, correct: int, count: int) -> None:
        self._tell("end_epoch", row, correct=correct, count=count)

    def _tell(self, name: str, *values: Any, **named: Any) -> None:
        _send(self._connection, _Told(name=name, values=values, named=named))


@dataclass(frozen=True, kw_only=True)
class _Told:
    """A call to an observer's method, on its way to the parent."""

    name: str
    values: tuple[Any, ...]
    named: dict[str, Any]

    def to(self, observer: Observer) -> None:
        getattr(observer, self.name)(*self.values, **self.named)


@dataclass(frozen=True, kw_only=True)
class _Crash:
    """An error that kilonet does not raise on purpose, as its traceback."""

    traceback: str


def _work(connection: Connection, lifeline: Connection, load: Callable[[str], Dataset]) -> None:
    """The whole life of a worker process."""
    stopping = threading.Event()
    threading.Thread(target=_watch, args=(lifeline, stopping), daemon=True).start()
    with suppress(_Stop):
        serve(connection, load, stopping)


def _watch(lifeline: Connection, stopping: threading.Event) -> None:
    """Wait until the parent lets go or is gone, in whatever way; then leave no worker behind."""
    with suppress(EOFError, OSError):
        lifeline.recv()
    # Between two steps, so that no file is left half written.
    stopping.set()
    time.sleep(_STOP_SECONDS)
    os._exit(1)


def _next(connection: Connection) -> Job | None:
    try:
        job: Job | None = connection.recv()
    except (EOFError, OSError):
        return None
    return job


def _send(connection: Connection, message: object) -> None:
    try:
        connection.send(message)
    except OSError:
        raise _Stop from None


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold back Ctrl-C; processes started meanwhile never see one: it is their parent's to tell."""
    from joblib.externals.loky.backend import resource_tracker as loky_tracker

    # Begun with the first process, they would take the hold away.
    resource_tracker.ensure_running()
    loky_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _cause_of_death(exitcode: int | None) -> str:
    """The end of a sentence about a process that is gone."""
    if exitcode is None or exitcode >= 0:
        return (
            f"ended early (exit code {exitcode}); run the same command again, with --jobs 1 if "
            "memory is short"
        )
    name = signal.Signals(-exitcode).name
    if -exitcode == signal.SIGKILL:
        return (
            f"was killed ({name}), as the system does when memory runs out; run the same command "
            "again, with --jobs 1 if memory is short"
        )
    return f"was stopped ({name}); run the same command again"
