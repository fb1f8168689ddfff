"""Worker processes: what they load, what they tell, and that they end with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest

import kilonet.pool
import kilonet.run
from kilonet.data import Dataset, load_dataset
from kilonet.lock import LOCK, locked
from kilonet.pool import Job, Outcome, Worker, serve
from kilonet.record import EpochRow
from kilonet.run import Silent, train
from kilonet.spec import Run


def job(run: Run, folder: Path, *, threads: int | None = 1, engine: str = "auto") -> Job:
    return Job(run=run, folder=folder, engine=engine, device="auto", threads=threads)


class Heard(Silent):
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.rows: list[EpochRow] = []

    def begin(self, run: Run, *, engine: str, folder: Path, epochs_done: int) -> None:
        self.calls.append(f"begin {folder.name} seed {run.train.seed} from {epochs_done}")

    def begin_epoch(self, epoch: int, *, num_steps: int) -> None:
        self.calls.append(f"epoch {epoch} of {num_steps} steps")

    def step(self, *, batch: int, loss: float, accuracy: float) -> None:
        assert np.isfinite(loss)
        assert 0 <= accuracy <= 100
        self.calls.append("step")

    def end_epoch(self, row: EpochRow, *, correct: int, count: int) -> None:
        self.rows.append(row)
        assert row.test_accuracy == 100 * correct / count


def outcome_of(worker: Worker, observer: Silent) -> Outcome:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        worker.connection.poll(1)
        outcome = worker.hear(observer)
        if outcome is not None:
            return outcome
    raise AssertionError("the worker says nothing")


def test_a_worker_trains_and_tells_as_an_observer_is_told(small_run: Run, tmp_path: Path) -> None:
    """Two jobs, the second one's error a line, and then the end by itself."""
    loaded = tmp_path / "loaded"

    def load(name: str) -> Dataset:
        with loaded.open("a") as file:
            file.write(f"{os.getpid()} ")
        return load_dataset(name)

    worker, heard = Worker(load), Heard()
    worker.give(job(small_run, tmp_path / "at once"))
    assert outcome_of(worker, heard) == Outcome()
    record = train(small_run, folder=tmp_path / "here")
    for ours, theirs in zip(record.rows, heard.rows, strict=True):
        assert ours.test_loss == theirs.test_loss
    assert heard.calls[0] == "begin at once seed 1 from 0"
    assert [call for call in heard.calls if call.startswith("epoch")] == [
        f"epoch {epoch} of 10 steps" for epoch in range(3)
    ]
    # A few a second: these epochs of ten steps take less than that.
    assert 1 <= heard.calls.count("step") <= 15
    wild = small_run.replace({"train.optimizer.lr": 1e30})
    worker.give(job(wild, tmp_path / "wild"))
    failure = outcome_of(worker, Silent()).failure
    assert failure is not None
    assert failure.startswith("epoch 0, step ")
    assert "lower train.optimizer.lr" in failure
    worker.dismiss()
    worker.join()
    assert not worker.alive
    [process] = loaded.read_text().split()
    assert int(process) != os.getpid()


def test_an_error_of_kilonets_own_keeps_its_traceback(small_run: Run, tmp_path: Path) -> None:
    def load(name: str) -> Dataset:
        raise ZeroDivisionError(f"no {Path(name).name}")

    worker = Worker(load)
    worker.give(job(small_run, tmp_path))
    with pytest.raises(RuntimeError, match=r"(?s)in a worker:.*ZeroDivisionError: no small.npz"):
        outcome_of(worker, Silent())
    worker.stop()
    worker.join()
    assert not worker.alive


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGKILL, "was killed (SIGKILL), as the system does when memory runs out"),
        (signal.SIGTERM, "was stopped (SIGTERM); run the same command again"),
    ],
)
def test_a_worker_that_is_killed(
    small_run: Run, tmp_path: Path, number: signal.Signals, said: str
) -> None:
    def load(name: str) -> Dataset:
        os.kill(os.getpid(), number)
        time.sleep(60)
        return load_dataset(name)

    worker = Worker(load)
    worker.give(job(small_run, tmp_path / "run"))
    failure = outcome_of(worker, Silent()).failure
    assert failure is not None
    assert said in failure
    worker.join()
    assert not worker.alive


def test_stopping_interrupts_a_training(small_run: Run, tmp_path: Path) -> None:
    """At once, not at the end of an epoch, and never in the middle of a file."""
    worker = Worker(load_dataset)
    worker.give(job(small_run.replace({"train.epochs": 10_000}), tmp_path / "run"))
    while not (tmp_path / "run" / "checkpoint.safetensors").exists():
        time.sleep(0.05)
    worker.stop()
    worker.join()
    assert not worker.alive
    # By itself: one that trains on until time is up ends with 1, one that is killed with -9.
    assert worker._process.exitcode == 0
    assert not [path.name for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]


def test_a_worker_that_hangs_is_killed(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that no longer runs at all, and so does not even see that it is to end."""
    worker = Worker(load_dataset)
    worker.give(job(small_run.replace({"train.epochs": 10_000}), tmp_path / "run"))
    while not (tmp_path / "run" / "checkpoint.safetensors").exists():
        time.sleep(0.05)
    os.kill(process_of(tmp_path / "run"), signal.SIGSTOP)
    monkeypatch.setattr("kilonet.pool._STOP_SECONDS", 0.0)
    worker.stop()
    worker.join()
    assert not worker.alive
    with locked(tmp_path / "run"):  # which the system took back
        pass


def test_a_run_waits_for_as_long_as_a_killed_studys_worker_may_take() -> None:
    """Else the same command, run again at once, fails where it would go on."""
    assert kilonet.run._PATIENCE >= kilonet.pool._STOP_SECONDS + 1


def process_of(folder: Path) -> int:
    """The process that is at work in a folder, as its lock tells."""
    return int((folder / LOCK).read_text().split()[0])


# Serves one job in this process, and prints what it took.
SERVE = """
import sys
from multiprocessing import Pipe
from pathlib import Path
from kilonet.data import load_dataset
from kilonet.pool import Job, serve
from kilonet.spec import load_run
ours, theirs = Pipe()
run = load_run("interim", settings=[f"data.name={sys.argv[1]!r}", "train.epochs=1"])
job = Job(run=run, folder=Path(sys.argv[2]), engine="native", device="auto", threads=1)
ours.send(job)
ours.send(None)
serve(theirs, load_dataset)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.native
def test_a_native_worker_loads_nothing_that_shows_results(
    small_mnist: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", SERVE, str(small_mnist), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"kilonet", "numpy"} <= loaded
    assert not loaded & {"torch", "scipy", "matplotlib", "rich", "typer", "jinja2", "pandas"}
    assert (tmp_path / "run" / "predictions.npz").exists()


def test_a_parent_that_is_gone_ends_the_serving() -> None:
    ours, theirs = Pipe()
    ours.close()
    serve(theirs, load_dataset)
