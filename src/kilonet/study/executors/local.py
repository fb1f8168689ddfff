"""The executor that trains in processes on this machine, one trial at a time in each.

A worker is a loky process, as joblib starts them: a new interpreter that does not run the main
program again. Two pipes connect it to its parent. One carries trials to the worker and events back.
The other carries nothing: when the parent closes it or dies, the worker ends.
"""

from __future__ import annotations

import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from kilonet.data import Dataset
from kilonet.study.executors.base import (
    Crash,
    Done,
    Event,
    EventObserver,
    Failed,
    Load,
    NewEvents,
    Receive,
    Resources,
    train_trial,
)
from kilonet.study.trial import AnyTrial

_STEP_SECONDS = 0.2
"""Between two messages about steps: more would not make a progress bar look smoother."""

_STOP_SECONDS = 3.0
"""For a worker to finish a step, or to finish writing its files."""

# A worker's engine has its own threads; these would compete with them.
_SINGLE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def can_start_processes() -> bool:
    """Whether this process can start workers: not on Windows, nor in a daemonic process."""
    return hasattr(signal, "pthread_sigmask") and not multiprocessing.current_process().daemon


class LocalExecutor:
    """Trains each submitted trial in a process of its own; processes are used again.

    If a process dies, its trial is trained again in a new one, from its checkpoint; if that dies
    too, the trial has failed.

    Args:
        load: name or path → data set; each worker loads each data set once. joblib must be able to
            pickle it.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self._workers: list[Worker] = []
        self._busy: list[Worker] = []
        self._idle: list[Worker] = []
        self._is_new: dict[Path, NewEvents] = {}
        self._retried: set[Path] = set()
        self._closed = False

    def submit(self, trial: AnyTrial, resources: Resources) -> bool:
        """Begin a trial; False if the system starts no more processes."""
        try:
            # An idle worker may have died since its last trial.
            self._idle = [worker for worker in self._idle if worker.is_alive]
            worker = self._idle.pop() if self._idle else self._new_worker()
        except OSError:
            return False
        self._is_new.setdefault(trial.folder, NewEvents())
        worker.submit(trial, resources)
        self._busy.append(worker)
        if self._closed:
            worker.finish()
        return True

    def poll(self, receive: Receive) -> None:
        """See :class:`kilonet.study.executors.base.Executor`."""
        multiprocessing.connection.wait([worker.connection for worker in self._busy])
        for worker in list(self._busy):
            trial = worker.trial
            for event in worker.events():
                if isinstance(event, Done | Failed):
                    self._busy.remove(worker)
                    if worker.died and self._retry(worker):
                        continue
                    if worker.is_alive:
                        self._idle.append(worker)
                    del self._is_new[trial.folder]
                    receive(trial, event)
                elif self._is_new[trial.folder](event):
                    receive(trial, event)

    def cancel(self) -> None:
        """Stop all workers between two steps; :meth:`shutdown` waits for them."""
        for worker in self._workers:
            worker.stop()

    def shutdown(self, *, wait: bool) -> None:
        """Let the workers end; with ``wait`` one that does not end by itself is killed."""
        self._closed = True
        for worker in self._workers:
            worker.finish()
        self._idle.clear()
        if wait:
            for worker in self._workers:
                worker.join()

    def _retry(self, worker: Worker) -> bool:
        """Train a dead worker's trial again, once."""
        if worker.trial.folder in self._retried:
            return False
        self._retried.add(worker.trial.folder)
        return self.submit(worker.trial, worker.resources)

    def _new_worker(self) -> Worker:
        worker = Worker(self._load)
        self._workers.append(worker)
        return worker


class Worker:
    """A process that trains trials, as its parent sees it.

    Args:
        load: name or path → data set.

    Attributes:
        connection: to the process.
        died: whether it ended before its trial.
        trial, resources: of the last :meth:`submit`.

    Raises:
        OSError: the system cannot start another process.
    """

    def __init__(self, load: Load) -> None:
        from joblib.externals.loky.backend import get_context

        context = get_context("loky")
        self._finishing = False
        self.died = False
        self.connection, worker_connection = context.Pipe()
        worker_end, self._parent_pipe = context.Pipe(duplex=False)
        self._process: BaseProcess = context.Process(
            target=_work,
            args=(worker_connection, worker_end, load),
            env=_SINGLE_THREAD,
            daemon=True,
        )
        try:
            with sigint_blocked():
                self._process.start()
        except BaseException:
            self.connection.close()
            self._parent_pipe.close()
            raise
        finally:
            worker_connection.close()
            worker_end.close()

    def submit(self, trial: AnyTrial, resources: Resources) -> None:
        """Begin a trial; only after the last event of the previous one."""
        self.trial, self.resources = trial, resources
        with suppress(OSError):  # if it is dead, events() reports that
            self.connection.send((trial, resources))

    def events(self) -> Iterator[Event]:
        """The trial's events that have arrived, up to its last one.

        Raises:
            RuntimeError: with the worker's traceback, for an error that is a bug in kilonet.
        """
        while True:
            try:
                if not self.connection.poll():
                    return
                message: Event | Crash = self.connection.recv()
            except (EOFError, OSError):
                self.died = True
                self._process.join(_STOP_SECONDS)
                message = Failed(reason=f"its process {_exit_reason(self._process.exitcode)}")
            match message:
                case Crash(traceback=traceback):
                    raise RuntimeError(f"in a worker:\n{traceback}")
                case Done() | Failed():
                    yield message
                    return
                case _:
                    yield message

    @property
    def is_alive(self) -> bool:
        """Whether it can train another trial."""
        return self._process.is_alive()

    def finish(self) -> None:
        """Let it end after its trial."""
        # Once: a busy worker does not read, and a full pipe would block its parent.
        if not self._finishing:
            self._finishing = True
            with suppress(OSError):
                self.connection.send(None)

    def stop(self) -> None:
        """Stop it between two steps; :meth:`join` waits for that."""
        self._parent_pipe.close()
        self.connection.close()

    def join(self) -> None:
        """Wait until it ends; kill it if it does not."""
        self._process.join(_STOP_SECONDS + 1.0)
        pid = self._process.pid
        if pid is not None and self._process.is_alive():
            # loky's processes have no kill(). This one is not waited for yet, so no other process
            # can have its id.
            os.kill(pid, signal.SIGKILL)
            self._process.join()
        self._parent_pipe.close()
        self.connection.close()


def serve(connection: Connection, load: Load, stopping: threading.Event | None = None) -> None:
    """Train the trials that arrive, until None arrives or the other end is closed.

    The worker's side of :class:`Worker`.

    Args:
        connection: the other end of :attr:`Worker.connection`.
        load: name or path → data set; each is loaded once.
        stopping: set by another thread to stop a training between two steps.
    """
    datasets: dict[str, Dataset] = {}

    def load_once(name: str) -> Dataset:
        if name not in datasets:
            datasets[name] = load(name)
        return datasets[name]

    stopping = threading.Event() if stopping is None else stopping
    while (message := _next(connection)) is not None:
        trial, resources = message
        result: Done | Failed | Crash
        observer = _WorkerObserver(connection, stopping)
        try:
            result = train_trial(
                trial.run, resources, folder=trial.folder, load=load_once, observer=observer
            )
        except Exception:
            import traceback

            result = Crash(traceback=traceback.format_exc())
        _send(connection, result)


class _StopError(BaseException):
    """The parent is dead, or stops this worker."""


class _WorkerObserver(EventObserver):
    """Sends a training's events through the pipe, and stops the training."""

    def __init__(self, connection: Connection, stopping: threading.Event) -> None:
        super().__init__(lambda event: _send(connection, event), step_seconds=_STEP_SECONDS)
        self._stopping = stopping

    def step(self, *, step: int, batch: int, loss: float, accuracy: float, lr: float) -> None:
        if self._stopping.is_set():
            raise _StopError
        super().step(step=step, batch=batch, loss=loss, accuracy=accuracy, lr=lr)


def _work(connection: Connection, parent_pipe: Connection, load: Load) -> None:
    """A worker process, from its start to its end."""
    stopping = threading.Event()
    threading.Thread(target=_watch_parent, args=(parent_pipe, stopping), daemon=True).start()
    with suppress(_StopError):
        serve(connection, load, stopping)


def _watch_parent(parent_pipe: Connection, stopping: threading.Event) -> None:
    """Wait until the parent closes its pipe or dies, then end this process."""
    with suppress(EOFError, OSError):
        parent_pipe.recv()
    # Between two steps, so that no file is left half written.
    stopping.set()
    time.sleep(_STOP_SECONDS)
    os._exit(1)


def _next(connection: Connection) -> tuple[AnyTrial, Resources] | None:
    try:
        message: tuple[AnyTrial, Resources] | None = connection.recv()
    except (EOFError, OSError):
        return None
    return message


def _send(connection: Connection, message: object) -> None:
    try:
        connection.send(message)
    except OSError:
        raise _StopError from None


@contextmanager
def sigint_blocked() -> Iterator[None]:
    """Block SIGINT, also in the processes that are started meanwhile: Ctrl-C is their parent's."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    from joblib.externals.loky.backend import resource_tracker as loky_tracker

    # These would otherwise start with the first process, and unblock the signal.
    resource_tracker.ensure_running()
    loky_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _exit_reason(exitcode: int | None) -> str:
    """The end of a sentence about a dead process: how it ended, and what to do."""
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
