"""What a worker of a Dask cluster runs: a piece of a trial, from files to files.

A piece is as many epochs as fit into :data:`PIECE_SECONDS`, at least one. It begins with the files
of a checkpoint and ends with those of another, in a temporary folder of its own: the worker needs
no file of the study's, and nothing that it does can damage one.
"""

from __future__ import annotations

import pickle
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from kilonet.data import Dataset, load_dataset
from kilonet.engine import describe_engine
from kilonet.errors import KilonetError
from kilonet.spec import Net, Run
from kilonet.spec.lineage import INIT, TEACHER
from kilonet.storage.environment import source_revision
from kilonet.storage.record import EpochRow
from kilonet.storage.run_folder import RunFolder
from kilonet.storage.run_transfer import read_files, write_files
from kilonet.study.executors.base import (
    Crash,
    Done,
    EpochDone,
    Failed,
    Resources,
    StepDone,
    train_trial,
)
from kilonet.training.observer import Observer

PIECE_SECONDS = 2.0
"""A piece ends with the first epoch that ends after this time: a dead worker costs that much work,
or an epoch."""

_MESSAGE_SECONDS = 1.0
"""Time between two messages about steps: they pass through the scheduler, which keeps them."""

_CHECK_SECONDS = 0.2
"""Time between two checks whether the piece was canceled."""

_KEPT_DATASETS = 4


@dataclass(frozen=True, kw_only=True)
class Version:
    """The kilonet of a process.

    Attributes:
        kilonet: its version.
        source: SHA-256 of the package's files, in hex.
    """

    kilonet: str
    source: str

    @classmethod
    def of_this(cls) -> Self:
        """Of this process."""
        version = sys.modules["kilonet"].__version__
        return cls(kilonet=version, source=source_revision()["sha256"])

    def __str__(self) -> str:
        return f"kilonet {self.kilonet} (source {self.source[:12]})"


@dataclass(frozen=True, kw_only=True)
class DataKey:
    """What identifies a data set: all of it that a run's files depend on.

    Attributes:
        path: name or path, as the run's spec has it.
        name, classes, fingerprint: see :class:`kilonet.data.Dataset`.
    """

    path: str
    name: str
    classes: tuple[str, ...]
    fingerprint: str

    @classmethod
    def of(cls, path: str, dataset: Dataset) -> Self:
        """Of a data set that was loaded from ``path``."""
        return cls(
            path=path,
            name=dataset.name,
            classes=tuple(dataset.classes),
            fingerprint=dataset.fingerprint,
        )


@dataclass(frozen=True, kw_only=True)
class Task:
    """A piece to train.

    Attributes:
        run: the trial's run, whose data set's path means nothing here.
        resources: what it trains with.
        data: its data set.
        files: of the run so far, by name; empty for a new run.
        topic: of the messages about steps.
    """

    run: Run
    resources: Resources
    data: DataKey
    files: Mapping[str, bytes]
    topic: str


@dataclass(frozen=True, kw_only=True)
class NeedsData:
    """The worker cannot load the data set, or loads another one; it has to be sent."""


@dataclass(frozen=True, kw_only=True)
class OtherVersion:
    """The worker has another kilonet than the client."""

    version: Version


@dataclass(frozen=True, kw_only=True)
class Piece:
    """The result of a task.

    Attributes:
        worker: address of the worker that trained it.
        end: why it ended; None if more epochs are to be trained.
        engine: description of the engine; "" if the training did not begin.
        epochs: the last step and the end of each epoch that it trained, in order.
        files: of the run, by name.
    """

    worker: str
    end: Done | Failed | NeedsData | OtherVersion | Crash | None
    engine: str = ""
    epochs: tuple[tuple[StepDone, EpochDone], ...] = ()
    files: Mapping[str, bytes] | None = None


def train_piece(version: Version, task: bytes, dataset: Dataset | None) -> Piece:
    """Train a piece on a worker.

    Args:
        version: the client's kilonet.
        task: a pickled :class:`Task`; it is unpickled by an equal kilonet alone.
        dataset: its data set, if the worker cannot load it.
    """
    from distributed import get_worker

    worker = get_worker()
    key = str(worker.get_current_task())
    if version != Version.of_this():
        return Piece(worker=worker.address, end=OtherVersion(version=Version.of_this()))
    unpickled: Task = pickle.loads(task)  # noqa: S301  by the client, as Dask does with each task

    # A worker that is shutting down may refuse both.
    def is_canceled() -> bool:
        with suppress(Exception):
            state = worker.state.tasks.get(key)
            return state is None or state.state == "cancelled"
        return False

    def send(message: dict[str, Any]) -> None:
        with suppress(Exception):
            worker.log_event(unpickled.topic, {"key": key, **message})

    with tempfile.TemporaryDirectory(prefix="kilonet-", dir=worker.local_directory) as scratch:
        observer = _PieceObserver(unpickled.run.train.epochs, send, is_canceled)
        end: Failed | Crash
        try:
            return _train(unpickled, dataset, observer, Path(scratch), worker.address)
        except (KilonetError, OSError) as error:  # of the temporary folder
            end = Failed(reason=f"on worker {worker.address}: {error}")
        except MemoryError:
            end = Failed(reason=f"on worker {worker.address}: out of memory")
        except Exception:
            import traceback

            end = Crash(traceback=traceback.format_exc())
        return Piece(worker=worker.address, end=end)


def worker_version() -> Version:
    """The kilonet of a worker."""
    return Version.of_this()


def describe(trained: Sequence[tuple[Net, str, int | None]], *, device: str) -> list[str] | str:
    """Describe the engines on a worker that would train networks.

    Args:
        trained: networks, each with its engine's name and threads.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Returns:
        The different descriptions; or the reason why a network cannot be trained.
    """
    try:
        found = [
            describe_engine(net, engine=engine, device=device, threads=threads)
            for net, engine, threads in trained
        ]
    except KilonetError as error:
        return str(error)
    return list(dict.fromkeys(found))


def _train(
    task: Task, sent: Dataset | None, observer: _PieceObserver, scratch: Path, worker: str
) -> Piece:
    dataset = _dataset(task.data, sent)
    if dataset is None:
        return Piece(worker=worker, end=NeedsData())
    folder = RunFolder(scratch / "run")
    if task.files:
        write_files(folder, task.files, run=task.run)
    end: Done | Failed | None = None
    with suppress(_PieceEndError):
        end = train_trial(
            task.run,
            task.resources,
            folder=folder.path,
            load=lambda _: dataset,
            observer=observer,
        )
    # The folder of a teacher or of initial weights has to be on the worker's disk.
    places = (str(scratch), TEACHER, INIT)
    if isinstance(end, Failed) and any(place in end.reason for place in places):
        end = Failed(reason=f"on worker {worker}: {end.reason}")
    return Piece(
        worker=worker,
        end=end,
        engine=observer.engine,
        epochs=tuple(observer.epochs),
        files=read_files(folder, run=task.run),
    )


class _PieceEndError(BaseException):
    """The piece ends here: its time is up, or it was canceled."""


class _PieceObserver(Observer):
    """Sends messages about steps, notes the epochs, and ends the piece."""

    def __init__(
        self,
        epochs: int,
        send: Callable[[dict[str, Any]], None],
        is_canceled: Callable[[], bool],
    ) -> None:
        self.engine = ""
        self.num_steps = 0
        self.epochs: list[tuple[StepDone, EpochDone]] = []
        self._all_epochs = epochs
        self._send = send
        self._is_canceled = is_canceled
        self._epoch = 0
        self._end = time.monotonic() + PIECE_SECONDS
        self._next_message = self._next_check = 0.0

    def begin(self, run: Run, *, engine: str, folder: Path, epochs_done: int) -> None:  # noqa: ARG002
        self.engine = engine

    def begin_epoch(self, epoch: int, *, num_steps: int) -> None:
        self._epoch, self.num_steps = epoch, num_steps

    def step(self, *, step: int, batch: int, loss: float, accuracy: float, lr: float) -> None:
        if batch == self.num_steps - 1:
            self._last_step = StepDone(step=step, batch=batch, loss=loss, accuracy=accuracy, lr=lr)
        now = time.monotonic()
        if now >= self._next_check:
            self._next_check = now + _CHECK_SECONDS
            if self._is_canceled():
                raise _PieceEndError
        if now >= self._next_message:
            self._next_message = now + _MESSAGE_SECONDS
            self._send(
                {
                    "engine": self.engine,
                    "epoch": self._epoch,
                    "num_steps": self.num_steps,
                    "step": step,
                    "batch": batch,
                    "loss": loss,
                    "accuracy": accuracy,
                    "lr": lr,
                }
            )

    def end_epoch(self, row: EpochRow, *, correct: int, count: int) -> None:
        done = EpochDone(row=row, correct=correct, count=count)
        self.epochs.append((self._last_step, done))
        # After the last epoch the training writes its results.
        if row.epoch + 1 < self._all_epochs and time.monotonic() >= self._end:
            raise _PieceEndError


_datasets: dict[DataKey, Dataset] = {}
_loading = threading.Lock()


def _dataset(key: DataKey, sent: Dataset | None) -> Dataset | None:
    """The data set, which a process loads once; None if this worker cannot load it."""
    with _loading:
        if key not in _datasets:
            found = sent
            if found is None:
                with suppress(KilonetError):
                    found = load_dataset(key.path)
            if found is None or DataKey.of(key.path, found) != key:
                return None
            if len(_datasets) == _KEPT_DATASETS:
                del _datasets[next(iter(_datasets))]
            _datasets[key] = found
        return _datasets[key]
