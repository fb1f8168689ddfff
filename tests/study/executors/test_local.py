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
from kilonet.spec import Run
from kilonet.storage.lock import LOCK, locked
from kilonet.study import Trial
from kilonet.study.executors.base import (
    Begun,
    Done,
    EpochBegun,
    EpochDone,
    Event,
    Failed,
    Resources,
    StepDone,
)
from kilonet.study.executors.local import LocalExecutor, Worker, serve
from kilonet.training.loop import train
from small_studies import trial_of

ONE_THREAD = Resources(engine="auto", device="auto", threads=1)


def events_of(worker: Worker) -> list[Event]:
    """The events of a worker's trial, to its last one."""
    events: list[Event] = []
    deadline = time.monotonic() + 60
    while not events or not isinstance(events[-1], Done | Failed):
        assert time.monotonic() < deadline, "the worker sends nothing"
        worker.connection.poll(1)
        events += worker.events()
    return events


def events_to_the_end(executor: LocalExecutor, trial: Trial) -> list[Event]:
    """Train a trial; all its events."""
    events: list[Event] = []
    assert executor.submit(trial, ONE_THREAD)
    while not events or not isinstance(events[-1], Done | Failed):
        executor.poll(lambda _, event: events.append(event))
    return events


def test_workers_load_a_data_set_once_and_send_few_steps(small_run: Run, tmp_path: Path) -> None:
    loaded = tmp_path / "loaded"

    def load(name: str) -> Dataset:
        with loaded.open("a") as file:
            file.write(f"{os.getpid()} ")
        return load_dataset(name)

    executor = LocalExecutor(load)
    for name in ("one", "two"):
        events = events_to_the_end(executor, trial_of(small_run, tmp_path / name))
        # At most a few per second: an epoch of ten steps takes less than that.
        assert 1 <= len([event for event in events if isinstance(event, StepDone)]) <= 15
    executor.shutdown(wait=True)
    [process] = loaded.read_text().split()
    assert int(process) != os.getpid()


def test_a_worker_that_died_while_it_was_idle_is_replaced(small_run: Run, tmp_path: Path) -> None:
    executor = LocalExecutor(load_dataset)
    for name in ("one", "two"):
        events = events_to_the_end(executor, trial_of(small_run, tmp_path / name))
        assert events[-1] == Done()
        [worker] = executor._idle
        pid = worker._process.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        worker._process.join(10)
    executor.shutdown(wait=True)


def test_the_trial_of_a_dead_worker_is_trained_again(small_run: Run, tmp_path: Path) -> None:
    """From its checkpoint, after the study has said that no more trials come."""
    train(small_run.replace({"train.epochs": 200}), folder=tmp_path / "here")
    trial = trial_of(small_run.replace({"train.epochs": 200}), tmp_path / "run")
    executor = LocalExecutor(load_dataset)
    assert executor.submit(trial, ONE_THREAD)
    executor.shutdown(wait=False)
    events: list[Event] = []
    killed = False
    while not events or not isinstance(events[-1], Done | Failed):
        executor.poll(lambda _, event: events.append(event))
        if not killed and any(isinstance(event, EpochDone) for event in events):
            killed = True
            os.kill(process_of(trial.folder), signal.SIGKILL)
    executor.shutdown(wait=True)
    assert events[-1] == Done()
    assert len(executor._workers) == 2
    for name in ("weights.safetensors", "steps.npz", "predictions.npz", "run.toml"):
        assert (trial.folder / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    assert [type(event) for event in events].count(Begun) == 1
    begun = [event.epoch for event in events if isinstance(event, EpochBegun)]
    steps = [event.step for event in events if isinstance(event, StepDone)]
    assert begun == sorted(set(begun))
    assert steps == sorted(set(steps))


def test_a_trial_that_kills_two_workers_has_failed(small_run: Run, tmp_path: Path) -> None:
    loaded = tmp_path / "loaded"

    def load(name: str) -> Dataset:
        with loaded.open("a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
        return load_dataset(name)

    executor = LocalExecutor(load)
    [failed] = events_to_the_end(executor, trial_of(small_run, tmp_path / "run"))
    executor.shutdown(wait=True)
    assert isinstance(failed, Failed)
    assert "was killed (SIGKILL)" in failed.reason
    assert loaded.read_text() == "xx"


@pytest.mark.timeout(60)
def test_shutdown_never_blocks_on_a_busy_worker(small_run: Run, tmp_path: Path) -> None:
    """A worker that trains reads nothing, so repeated messages would fill its pipe."""
    executor = LocalExecutor(load_dataset)
    assert executor.submit(trial_of(small_run, tmp_path / "run"), ONE_THREAD)
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
    worker.submit(trial_of(small_run, tmp_path), ONE_THREAD)
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
    worker.submit(trial_of(small_run, tmp_path / "run"), ONE_THREAD)
    [failed] = events_of(worker)
    assert isinstance(failed, Failed)
    assert reason in failed.reason
    worker.join()
    assert not worker.is_alive


def test_a_training_is_stopped_between_two_steps(small_run: Run, tmp_path: Path) -> None:
    """Not at the end of an epoch, and not while a file is written."""
    worker = Worker(load_dataset)
    endless = small_run.replace({"train.epochs": 10_000})
    worker.submit(trial_of(endless, tmp_path / "run"), ONE_THREAD)
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
    worker.submit(trial_of(endless, tmp_path / "run"), ONE_THREAD)
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
