"""What every executor keeps: serial, local processes, and Dask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from kilonet.data import load_dataset
from kilonet.spec import Run
from kilonet.storage.lock import locked
from kilonet.storage.run_folder import RunFolder
from kilonet.study import Trial, run_study
from kilonet.study.executors.base import (
    Begun,
    Done,
    EpochBegun,
    EpochDone,
    Event,
    Executor,
    Failed,
    Receive,
    Resources,
    StepDone,
)
from kilonet.study.executors.dask import DaskExecutor
from kilonet.study.executors.dask_cluster import connect
from kilonet.study.executors.local import LocalExecutor
from kilonet.study.executors.serial import SerialExecutor
from kilonet.training.loop import train
from small_studies import contents, study_of, trial_of

pytestmark = pytest.mark.native

ONE_THREAD = Resources(engine="auto", device="auto", threads=1)
Make = Callable[[], AbstractContextManager[Executor]]


@contextmanager
def serial() -> Iterator[Executor]:
    yield SerialExecutor(load_dataset)


@contextmanager
def local() -> Iterator[Executor]:
    yield LocalExecutor(load_dataset)


@pytest.fixture(params=["serial", "local", "dask"])
def make(request: pytest.FixtureRequest) -> Make:
    if request.param != "dask":
        return {"serial": serial, "local": local}[request.param]
    client = request.getfixturevalue("dask_client")

    @contextmanager
    def dask() -> Iterator[Executor]:
        with connect(client, num_workers=1, tell=print) as cluster:
            yield DaskExecutor(cluster, load_dataset, tell=print)

    return dask


def run_to_the_end(executor: Executor, trials: list[Trial]) -> dict[Path, list[Event]]:
    """Submit trials and receive all their events."""
    events: dict[Path, list[Event]] = {trial.folder: [] for trial in trials}
    for trial in trials:
        assert executor.submit(trial, ONE_THREAD)
    receive: Receive = lambda trial, event: events[trial.folder].append(event)  # noqa: E731
    while not all(some and isinstance(some[-1], Done | Failed) for some in events.values()):
        executor.poll(receive)
    executor.shutdown(wait=False)
    executor.shutdown(wait=True)
    executor.shutdown(wait=True)
    return events


def test_events_come_in_order_and_the_results_are_in_the_folder(
    make: Make, small_run: Run, tmp_path: Path
) -> None:
    good = trial_of(small_run, tmp_path / "good")
    wild = trial_of(small_run.replace({"train.optimizer.lr": 1e30}), tmp_path / "wild")
    with make() as executor:
        events = run_to_the_end(executor, [good, wild])
    begun, *between, done = events[good.folder]
    assert isinstance(begun, Begun)
    assert begun.epochs_done == 0
    assert begun.engine.startswith("native ")
    assert done == Done()
    epochs = [event for event in between if isinstance(event, EpochBegun | EpochDone)]
    assert epochs[::2] == [EpochBegun(epoch=epoch, num_steps=10) for epoch in range(3)]
    expected = train(small_run, folder=tmp_path / "here")
    record = RunFolder(good.folder).record()
    for ended, row, same in zip(epochs[1::2], record.rows, expected.rows, strict=True):
        assert isinstance(ended, EpochDone)
        assert ended.row == row
        assert row.test_loss == same.test_loss
        assert 100 * ended.correct / ended.count == row.test_accuracy
    steps = [event for event in between if isinstance(event, StepDone)]
    assert [step.step for step in steps] == sorted({step.step for step in steps})
    assert all(step.step % 10 == step.batch for step in steps)
    # A tracker that writes a line an epoch writes the epoch's last step.
    before = [step for step, event in pairwise(between) if isinstance(event, EpochDone)]
    assert [step.step for step in before if isinstance(step, StepDone)] == [9, 19, 29]
    assert {step.lr for step in steps} <= {small_run.train.optimizer.lr}

    failed = events[wild.folder][-1]
    assert isinstance(failed, Failed)
    assert failed.reason.startswith("epoch 0, step ")
    assert "lower train.optimizer.lr" in failed.reason


def test_a_trial_that_does_not_use_the_test_set(make: Make, small_run: Run, tmp_path: Path) -> None:
    run = small_run.replace({"data.validation": 100, "data.test": False, "data.subset": 200})
    trial = trial_of(run, tmp_path / "trial")
    with make() as executor:
        *_, last, done = run_to_the_end(executor, [trial])[trial.folder]
    assert done == Done()
    expected = train(run, folder=tmp_path / "here")
    record = RunFolder(trial.folder).record()
    for row, same in zip(record.rows, expected.rows, strict=True):
        assert row.test_accuracy is None
        assert row.validation_loss == same.validation_loss
    assert isinstance(last, EpochDone)
    assert last.count == 100
    assert 100 * last.correct / last.count == record.final_validation_accuracy
    logits = [RunFolder(folder).validation_logits() for folder in (trial.folder, expected.path)]
    assert logits[0].tobytes() == logits[1].tobytes()


class _StopError(BaseException):
    """As KeyboardInterrupt, which pytest would take for its own."""


def run_until(executor: Executor, kind: type[Event], trial: Trial) -> Event:
    """Train a trial, and stop it at its first event of a kind, as Ctrl-C does."""
    found: list[Event] = []

    def interrupt(_: Trial, event: Event) -> None:
        if isinstance(event, kind):
            found.append(event)
            raise _StopError

    assert executor.submit(trial, ONE_THREAD)
    with suppress(_StopError):
        while True:
            executor.poll(interrupt)
    executor.cancel()
    executor.shutdown(wait=True)
    return found[0]


def test_a_stopped_trial_resumes(make: Make, small_run: Run, tmp_path: Path) -> None:
    long = trial_of(small_run.replace({"train.epochs": 400}), tmp_path / "run")
    with make() as executor:
        run_until(executor, EpochDone, long)
    with locked(long.folder, timeout=10):
        done = len(RunFolder(long.folder).record().rows)
    assert 1 <= done < 400
    with make() as executor:
        begun = run_until(executor, Begun, long)
    assert isinstance(begun, Begun)
    assert begun.epochs_done == done
    assert not [path for path in long.folder.iterdir() if path.name.endswith(".tmp")]


def test_a_run_that_another_process_trains_fails_alone(
    make: Make, small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if make is local:
        pytest.skip("its workers have their own timeout")
    monkeypatch.setattr("kilonet.training.loop._LOCK_TIMEOUT", 0.0)
    monkeypatch.setattr("kilonet.study.executors.dask._LOCK_SECONDS", 0.0)
    used, free = (trial_of(small_run, tmp_path / name) for name in ("used", "free"))
    with locked(used.folder), make() as executor:
        events = run_to_the_end(executor, [used, free])
    [failed] = events[used.folder]
    assert isinstance(failed, Failed)
    assert "is using it" in failed.reason
    assert events[free.folder][-1] == Done()


def test_a_study_has_the_same_bytes_anywhere(
    small_run: Run, alone: dict[str, object], tmp_path: Path, dask_client: Any
) -> None:
    result = run_study(study_of(small_run), folder=tmp_path / "s", on=dask_client)
    assert len(result.stages) == 2
    assert contents(tmp_path / "s") == alone
    for stage in result.stages:
        for record in stage.records:
            assert record.provenance.resumed == ()
