"""The executor that trains on a Dask cluster.

Dask queues the tasks, places them, and runs a dead worker's again. A task is a piece of a trial
(:mod:`kilonet.study.executors.dask_worker`): checkpoint in, checkpoint out. This process alone
writes the run folders, one piece after the other, so a worker that dies or hangs costs the time of
a piece, whatever it still does is ignored, and a killed study resumes from its folder.
"""

from __future__ import annotations

import pickle
import queue
import time
import uuid
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kilonet.data import Dataset
from kilonet.errors import ClusterError, KilonetError
from kilonet.spec import Run, data_path
from kilonet.spec.data_paths import DATASET_NAMES
from kilonet.storage.lock import locked
from kilonet.storage.run_folder import RunFolder
from kilonet.storage.run_transfer import read_files, write_files
from kilonet.study.executors.base import (
    Begun,
    Crash,
    EpochBegun,
    Event,
    Failed,
    Load,
    NewEvents,
    Receive,
    Resources,
    StepDone,
)
from kilonet.study.executors.dask_cluster import SILENT_SECONDS, Cluster, Workers, other_version
from kilonet.study.executors.dask_worker import (
    DataKey,
    NeedsData,
    OtherVersion,
    Piece,
    Task,
    Version,
    train_piece,
)
from kilonet.study.trial import AnyTrial

if TYPE_CHECKING:
    from distributed import Future

_WATCH_SECONDS = 1.0
"""Time between two checks of the workers."""

_FETCH_SECONDS = 15.0
"""Limit for a piece's files to arrive from the worker that trained it."""

_LOCK_SECONDS = 6.0
"""Limit for the worker of a killed study on this machine to leave the run folder."""


@dataclass(kw_only=True)
class _Job:
    """A submitted trial.

    Attributes:
        trial: the trial.
        resources: what it trains with.
        order: its position among the submitted trials; Dask prefers the pieces of earlier ones.
        files: the content of its run folder, by name.
        epochs: the number of epochs saved in that folder.
        is_new: tells whether an event is still to be passed on.
        send_data: whether the data set is sent, as a worker could not load it.
        limited: addresses of the workers that may train its piece; None for all.
        future: the result of its piece.
    """

    trial: AnyTrial
    resources: Resources
    order: int
    files: Mapping[str, bytes] = field(default_factory=dict)
    epochs: int = 0
    is_new: NewEvents = field(default_factory=NewEvents)
    send_data: bool = False
    limited: list[str] | None = None
    future: Future[Piece] | None = None

    @property
    def sent(self) -> Run:
        """The run as workers get it: without the path of its images on this machine.

        A worker would write that path relative to its own folder, and read from there.
        """
        run = self.trial.run
        if not data_path(run.data.name):
            return run
        # A copy, not replace(): nothing else of the run may depend on the name.
        data = run.data.model_copy(update={"name": DATASET_NAMES[0]})
        return run.model_copy(update={"data": data})


class DaskExecutor:
    """Trains trials on a cluster, as many at once as it has room for.

    Args:
        cluster: the cluster.
        load: name or path → data set, in this process.
        tell: called with a line about workers that hang, or if none is left.
    """

    def __init__(self, cluster: Cluster, load: Load, *, tell: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._client = cluster.client
        self._load = load
        self._tell = tell
        self._topic = f"kilonet-{uuid.uuid4().hex}"
        self._version = Version.of_this()
        self._num_submitted = 0
        self._jobs: dict[str, _Job] = {}  # key of the present piece → its job
        self._failed: list[tuple[AnyTrial, str]] = []  # by the submission itself
        self._sent: dict[DataKey, Future[Dataset]] = {}
        # Dask's threads put what arrives; poll(), in the study's thread, takes it.
        self._arrived: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._workers = Workers()
        self._next_watch = 0.0
        self._closed = False
        self._client.subscribe_topic(self._topic, self._receive_message)

    def submit(self, trial: AnyTrial, resources: Resources) -> bool:
        """See :class:`kilonet.study.executors.base.Executor`; Dask queues any number of trials."""
        job = _Job(trial=trial, resources=resources, order=self._num_submitted)
        self._num_submitted += 1
        folder = RunFolder(trial.folder)
        try:
            with locked(trial.folder, timeout=_LOCK_SECONDS):
                state = folder.read()
                if state is not None and state.checkpoint is not None:
                    # In an unchanged environment: it rewrites an older format.
                    provenance = state.record.provenance
                    folder.resume(state, (*provenance.resumed, provenance)[-1])
                    job.epochs = state.checkpoint.epochs
                    job.is_new = NewEvents(
                        epochs=job.epochs, steps=len(state.checkpoint.steps.loss)
                    )
                job.files = read_files(folder, run=job.sent)
        except KilonetError as error:
            self._failed.append((trial, str(error)))
            return True
        self._submit_piece(job)
        return True

    def poll(self, receive: Receive) -> None:
        """See :class:`kilonet.study.executors.base.Executor`; may pass on nothing."""
        try:
            self._poll(receive)
        except KilonetError:
            raise
        except Exception:
            if self._client.status == "running":
                raise
            raise self._lost() from None  # Dask raises many errors then

    def _poll(self, receive: Receive) -> None:
        while self._failed:
            trial, reason = self._failed.pop()
            receive(trial, Failed(reason=reason))
            if not self._jobs:
                return
        with suppress(queue.Empty):
            key, message = self._arrived.get(timeout=_WATCH_SECONDS)
            while True:
                if (job := self._jobs.get(key)) is not None:  # else it is of an abandoned piece
                    self._handle(job, key, message, receive)
                key, message = self._arrived.get_nowait()
        if self._jobs and time.monotonic() >= self._next_watch:
            self._watch()
            self._next_watch = time.monotonic() + _WATCH_SECONDS

    def cancel(self) -> None:
        """Abandon all pieces; workers stop between two steps."""
        for job in self._jobs.values():
            if job.future is not None:
                with suppress(Exception):
                    job.future.release()
        self._jobs.clear()

    def shutdown(self, *, wait: bool) -> None:
        """With ``wait`` the client receives nothing more; the cluster is its owner's to close."""
        if not wait or self._closed:
            return
        self._closed = True
        self.cancel()
        with suppress(Exception):  # of a scheduler that is dead
            for future in self._sent.values():
                future.release()
            self._client.unsubscribe_topic(self._topic)
        self._sent.clear()

    def _receive_message(self, event: tuple[float, dict[str, Any]]) -> None:
        _, message = event
        self._arrived.put((message["key"], message))

    def _submit_piece(self, job: _Job) -> None:
        data = DataKey.of(job.trial.run.data.name, self._load(job.trial.run.data.name))
        task = Task(
            run=job.sent,
            resources=job.resources,
            data=data,
            files=job.files,
            topic=self._topic,
        )
        key = f"kilonet-{job.trial.folder.name}-{uuid.uuid4().hex}"
        future = self._client.submit(
            train_piece,
            self._version,
            pickle.dumps(task),
            self._data(data) if job.send_data else None,
            key=key,
            pure=False,
            priority=-job.order,
            workers=job.limited,
        )
        job.future = future
        self._jobs[key] = job
        future.add_done_callback(lambda _: self._arrived.put((key, None)))

    def _data(self, key: DataKey) -> Future[Dataset]:
        """A data set on the cluster. The scheduler has its bytes, so it survives any worker."""
        if key not in self._sent:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
                self._sent[key] = self._client.submit(
                    pickle.loads,
                    pickle.dumps(self._load(key.path)),
                    key=f"kilonet-data-{uuid.uuid4().hex}",
                    pure=False,
                )
        return self._sent[key]

    def _handle(
        self, job: _Job, key: str, message: dict[str, Any] | None, receive: Receive
    ) -> None:
        """Handle a message about a step; None: the piece has ended."""
        if message is not None:
            for event in _live_events(job, message):
                receive(job.trial, event)
            return
        piece = self._result(job, key)
        if piece is None:
            return
        if isinstance(piece, Failed):
            receive(job.trial, piece)
        else:
            self._end_piece(job, piece, receive)

    def _end_piece(self, job: _Job, piece: Piece, receive: Receive) -> None:
        """Save a piece, submit the next one, and pass on the events."""
        end = piece.end
        if isinstance(end, OtherVersion):
            raise other_version(self._cluster.name, piece.worker, end.version)
        if isinstance(end, Crash):
            raise RuntimeError(f"on worker {piece.worker}:\n{end.traceback}")  # noqa: TRY004
        if isinstance(end, NeedsData):
            job.send_data = True
            self._submit_piece(job)
            return
        try:
            if piece.files:
                self._write(job, piece.files)
        except KilonetError as error:
            end = Failed(reason=str(error))
        else:
            events = _events(job, piece)
            if end is None:
                # First keep the cluster busy: the observer of the events may draw figures.
                self._submit_piece(job)
            for event in events:
                receive(job.trial, event)
        if end is not None:
            receive(job.trial, end)

    def _result(self, job: _Job, key: str) -> Piece | Failed | None:
        """The piece that has ended, or why it failed; None if it is trained again."""
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        future = job.future
        assert future is not None
        if future.status in ("cancelled", "lost"):
            raise self._lost()
        try:
            piece: Piece = future.result(timeout=_FETCH_SECONDS)
        except TimeoutError:
            self._move(job, key)  # the worker that has it hangs
            return None
        except KilledWorker:
            del self._jobs[key]
            return Failed(
                reason="each worker that trained it died, as one does when memory runs out; run "
                "the same command again, or use a cluster with more memory"
            )
        except (FutureCancelledError, OSError):
            raise self._lost() from None
        except (ImportError, AttributeError, TypeError) as error:
            raise ClusterError(
                f"{self._cluster.name}: a worker cannot run kilonet's tasks "
                f"({type(error).__name__}: {error}); install {self._version} on every worker"
            ) from None
        del self._jobs[key]
        future.release()
        job.limited = None
        return piece

    def _lost(self) -> ClusterError:
        return ClusterError(
            f"{self._cluster.name}: the connection to the scheduler is lost; finished epochs are "
            "kept, and the same command resumes"
        )

    def _write(self, job: _Job, files: Mapping[str, bytes]) -> None:
        """Continue the run in its folder.

        Raises:
            StorageError: it cannot be written, or somebody else continued it meanwhile.
        """
        folder = RunFolder(job.trial.folder)
        with locked(folder.path):
            if read_files(folder, run=job.sent) != job.files:
                raise ClusterError(
                    f"{folder.path}: another process changed the run meanwhile; run the same "
                    "command again"
                )
            write_files(folder, files, run=job.trial.run, before=job.files)
        job.files = files

    def _watch(self) -> None:
        """Train the pieces of workers that hang elsewhere."""
        info = self._ask(lambda: self._client.scheduler.identity(n_workers=-1))
        if info is None:
            return
        found = self._workers.update(info["workers"])
        if found:
            self._tell(f"{self._cluster.name}: {found}")
        silent, alive = self._workers.silent, self._workers.alive
        if not alive:
            return
        stuck: set[str] = set()
        if silent:
            processing = self._ask(lambda: self._client.scheduler.processing(workers=[*silent]))
            stuck = {key for keys in (processing or {}).values() for key in keys}
        for key, job in list(self._jobs.items()):
            lost = job.limited is not None and alive.isdisjoint(job.limited)
            if key in stuck or lost:
                self._move(job, key)

    def _ask(self, question: Callable[[], Any]) -> Any:
        """The scheduler's answer; None if it does not answer in time, as when it is busy."""

        async def ask() -> Any:
            return await question()

        with suppress(TimeoutError, OSError):
            return self._client.sync(ask, callback_timeout=SILENT_SECONDS)
        return None

    def _move(self, job: _Job, key: str) -> None:
        """Abandon a piece and train it again, by a worker that does not hang."""
        del self._jobs[key]
        if job.future is not None:
            job.future.release()
        job.limited = sorted(self._workers.alive) or None
        # The worker that hangs may have the only copy.
        self._sent.clear()
        self._submit_piece(job)


def _live_events(job: _Job, message: Mapping[str, Any]) -> list[Event]:
    """The new events of a worker's message about a step.

    Only messages about the first epoch that is not saved count. So events stay in order, though the
    epochs of a piece are saved together.
    """
    if message["epoch"] != job.epochs:
        return []
    step = StepDone(
        step=message["step"],
        batch=message["batch"],
        loss=message["loss"],
        accuracy=message["accuracy"],
        lr=message["lr"],
    )
    if not job.is_new(step):
        return []
    before: list[Event] = [
        Begun(engine=message["engine"], epochs_done=job.epochs),
        EpochBegun(epoch=job.epochs, num_steps=message["num_steps"]),
    ]
    return [*filter(job.is_new, before), step]


def _events(job: _Job, piece: Piece) -> list[Event]:
    """The new events of a saved piece."""
    events: list[Event] = []
    if piece.engine:
        events.append(Begun(engine=piece.engine, epochs_done=job.epochs))
    for step, done in piece.epochs:
        events += [EpochBegun(epoch=done.row.epoch, num_steps=step.batch + 1), step, done]
        job.epochs = done.row.epoch + 1
    return list(filter(job.is_new, events))
