"""The local executor's workers: what they load and send, and that they end with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from multiprocessing import Pipe
from pathlib import Path

import pytest

import kilonet.study.executors.local
import kilonet.training.loop
from kilonet.data import Dataset, load_dataset
from kilonet.spec import Run, Study
from kilonet.storage.lock import LOCK, locked
from kilonet.study import Trial
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
from kilonet.study.executors.local import LocalExecutor, Worker, serve
from kilonet.study.executors.serial import SerialExecutor
from kilonet.training.loop import train
from small_studies import study_of

ONE_THREAD = Resources(engine="auto", device="auto", threads=1)


def trial(run: Run, folder: Path) -> Trial:
    """A trial with this run and seed 1."""
    base = study_of(run).to_dict() | {"net": run.net, "data": run.data, "train": run.train}
    stages = [{"name": "Same", "change": {"train.epochs": run.train.epochs}}]
    study = Study.from_dict(base | {"stage": stages})
    return Trial(stage=study.stages[0], seed=1, folder=folder)


def events_of(worker: Worker) -> list[Event]:
    """The events of a worker's trial, to its last one."""
    events: list[Event] = []
    deadline = time.monotonic() + 60
    while not events or not isinstance(events[-1], Done | Failed):
        assert time.monotonic() < deadline, "the worker sends nothing"
        worker.connection.poll(1)
        events += worker.events()
    return events


@pytest.mark.parametrize("kind", [SerialExecutor, LocalExecutor])
def test_an_executor_trains_and_sends_events(
    kind: type[SerialExecutor | LocalExecutor], small_run: Run, tmp_path: Path
) -> None:
    """Each trial's in order: a trial that is finished, and one that fails with a reason."""
    loaded = tmp_path / "loaded"

    def load(name: str) -> Dataset:
        with loaded.open("a") as file:
            file.write(f"{os.getpid()} ")
        return load_dataset(name)

    good = trial(small_run, tmp_path / "good")
    wild = trial(small_run.replace({"train.optimizer.lr": 1e30}), tmp_path / "wild")
    executor: Executor = kind(load)
    received: dict[Path, list[Event]] = {good.folder: [], wild.folder: []}
    for each in (good, wild):
        assert executor.submit(each, ONE_THREAD)
        events = received[each.folder]
        while not events or not isinstance(events[-1], Done | Failed):
            executor.poll(lambda trial, event: received[trial.folder].append(event))
    executor.shutdown(wait=True)

    begun, *events, done = received[good.folder]
    assert isinstance(begun, Begun)
    assert begun.epochs_done == 0
    assert done == Done()
    epochs = [EpochBegun(epoch=epoch, num_steps=10) for epoch in range(3)]
    assert [event for event in events if isinstance(event, EpochBegun)] == epochs
    record = train(small_run, folder=tmp_path / "here")
    rows = [event.row for event in events if isinstance(event, EpochDone)]
    for row, expected in zip(rows, record.rows, strict=True):
        assert row.test_loss == expected.test_loss
    steps = [event for event in events if isinstance(event, StepDone)]
    if kind is SerialExecutor:
        assert len(steps) == 30
    else:
        # At most a few per second: an epoch of ten steps takes less than that.
        assert 1 <= len(steps) <= 15
        [process] = loaded.read_text().split()
        assert int(process) != os.getpid()

    failed = received[wild.folder][-1]
    assert isinstance(failed, Failed)
    assert failed.reason.startswith("epoch 0, step ")
    assert "lower train.optimizer.lr" in failed.reason


@pytest.mark.timeout(60)
def test_shutdown_never_blocks_on_a_busy_worker(small_run: Run, tmp_path: Path) -> None:
    """A worker that trains reads nothing, so repeated messages would fill its pipe."""
    executor = LocalExecutor(load_dataset)
    assert executor.submit(trial(small_run, tmp_path / "run"), ONE_THREAD)
    [worker] = executor._workers
    pid = worker._process.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    for _ in range(20_000):
        executor.shutdown(wait=False)
    os.kill(pid, signal.SIGCONT)
    received: list[Event] = []
    while not received or not isinstance(received[-1], Done | Failed):
        executor.poll(lambda _, event: received.append(event))
    executor.shutdown(wait=True)
    assert received[-1] == Done()


def test_a_bug_in_a_worker_keeps_its_traceback(small_run: Run, tmp_path: Path) -> None:
    def load(name: str) -> Dataset:
        raise ZeroDivisionError(f"no {Path(name).name}")

    worker = Worker(load)
    worker.submit(trial(small_run, tmp_path), ONE_THREAD)
    with pytest.raises(RuntimeError, match=r"(?s)in a worker:.*ZeroDivisionError: no small.npz"):
        events_of(worker)
    worker.stop()
    worker.join()
    assert not worker.is_alive


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (signal.SIGKILL, "was killed (SIGKILL), as the system does when memory runs out"),
        (signal.SIGTERM, "was stopped (SIGTERM); run the same command again"),
    ],
)
def test_a_worker_that_is_killed(
    small_run: Run, tmp_path: Path, number: signal.Signals, reason: str
) -> None:
    def load(name: str) -> Dataset:
        os.kill(os.getpid(), number)
        time.sleep(60)
        return load_dataset(name)

    worker = Worker(load)
    worker.submit(trial(small_run, tmp_path / "run"), ONE_THREAD)
    [failed] = events_of(worker)
    assert isinstance(failed, Failed)
    assert reason in failed.reason
    worker.join()
    assert not worker.is_alive


def test_a_training_is_stopped_between_two_steps(small_run: Run, tmp_path: Path) -> None:
    """Not at the end of an epoch, and not while a file is written."""
    worker = Worker(load_dataset)
    endless = small_run.replace({"train.epochs": 10_000})
    worker.submit(trial(endless, tmp_path / "run"), ONE_THREAD)
    while not (tmp_path / "run" / "checkpoint.safetensors").exists():
        time.sleep(0.05)
    worker.stop()
    worker.join()
    assert not worker.is_alive
    # By itself: its exit code is 1 if it trains until the time is up, and -9 if it is killed.
    assert worker._process.exitcode == 0
    assert not [path.name for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]


def test_a_worker_that_hangs_is_killed(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped process does not see that it should end."""
    worker = Worker(load_dataset)
    endless = small_run.replace({"train.epochs": 10_000})
    worker.submit(trial(endless, tmp_path / "run"), ONE_THREAD)
    while not (tmp_path / "run" / "checkpoint.safetensors").exists():
        time.sleep(0.05)
    os.kill(process_of(tmp_path / "run"), signal.SIGSTOP)
    monkeypatch.setattr("kilonet.study.executors.local._STOP_SECONDS", 0.0)
    worker.stop()
    worker.join()
    assert not worker.is_alive
    with locked(tmp_path / "run"):  # the system released it
        pass


def test_a_run_waits_until_the_worker_of_a_killed_study_has_ended() -> None:
    """Otherwise the same command fails if it is run again at once."""
    assert kilonet.training.loop._LOCK_TIMEOUT >= kilonet.study.executors.local._STOP_SECONDS + 1


def process_of(folder: Path) -> int:
    """The process that holds the lock on a folder."""
    return int((folder / LOCK).read_text().split()[0])


# Serves one trial in this process, and prints the packages that it imported.
SERVE = """
import sys
from multiprocessing import Pipe
from pathlib import Path
from kilonet.data import load_dataset
from kilonet.study import Trial
from kilonet.study.executors.base import Resources
from kilonet.study.executors.local import serve
from kilonet.spec import load_study
ours, theirs = Pipe()
settings = [f"data.name={sys.argv[1]!r}", "train.epochs=1"]
stage = load_study("mnist-8k", settings=settings).stages[0]
trial = Trial(stage=stage, seed=1, folder=Path(sys.argv[2]))
ours.send((trial, Resources(engine="native", device="auto", threads=1)))
ours.send(None)
serve(theirs, load_dataset)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.native
def test_a_native_worker_imports_nothing_that_shows_results(
    small_mnist: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", SERVE, str(small_mnist), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"kilonet", "numpy"} <= loaded
    assert not loaded & {"torch", "scipy", "matplotlib", "rich", "typer", "jinja2", "pandas"}
    assert (tmp_path / "run" / "predictions.npz").exists()


def test_a_closed_pipe_ends_a_worker() -> None:
    ours, theirs = Pipe()
    ours.close()
    serve(theirs, load_dataset)
