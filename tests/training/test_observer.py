"""Observers of a run: what they receive, and that nothing they do touches the training."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from kilonet.errors import DataError, StorageError, UsageError
from kilonet.spec import Run, to_toml
from kilonet.storage.record import EpochRow
from kilonet.storage.run_folder import RunFolder
from kilonet.training.loop import train
from kilonet.training.observer import METHODS, Guard, GuardedObserver, Observer
from kilonet.training.range_test import find_lr

ERRORS = [
    OSError("disk"),
    ConnectionError("refused"),
    BrokenPipeError(32, "Broken pipe"),
    StorageError("two\nlines"),
    MemoryError(),
    StopIteration(),
    AttributeError("no attribute"),
]


class Recorder(Observer):
    """Notes each call; raises in one method."""

    def __init__(self, failing: str = "", error: BaseException | None = None) -> None:
        self.calls: list[str] = []
        self.steps: list[dict[str, Any]] = []
        self.failing, self.error = failing, error

    def note(self, method: str) -> None:
        self.calls.append(method)
        if method == self.failing and self.error is not None:
            # A new one: a traceback would keep the engine of a parametrized test's training.
            raise type(self.error)(*self.error.args)

    def begin(self, run: Run, *, engine: str, folder: Path, epochs_done: int) -> None:
        self.note("begin")

    def begin_epoch(self, epoch: int, *, num_steps: int) -> None:
        self.note("begin_epoch")

    def step(self, **values: Any) -> None:
        self.steps.append(values)
        self.note("step")

    def end_epoch(self, row: EpochRow, *, correct: int, count: int) -> None:
        self.note("end_epoch")

    def close(self) -> None:
        self.note("close")


@pytest.fixture
def run(small_run: Run) -> Run:
    """Two epochs of ten steps, with a rate that changes at each step."""
    schedule = {"name": "cosine"}
    return small_run.replace({"train.epochs": 2, "train.schedule": schedule, "data.augment": []})


def weights(folder: Path) -> bytes:
    return (folder / "weights.safetensors").read_bytes()


def test_a_step_has_its_number_in_the_run_and_its_learning_rate(run: Run, tmp_path: Path) -> None:
    seen = Recorder()
    record = train(run, folder=tmp_path, observer=seen)
    assert [step["step"] for step in seen.steps] == list(range(20))
    assert [step["batch"] for step in seen.steps] == [*range(10), *range(10)]
    assert seen.steps[0]["lr"] == run.train.optimizer.lr
    assert [seen.steps[9]["lr"], seen.steps[19]["lr"]] == [row.lr for row in record.rows]
    log = RunFolder(tmp_path)._read_arrays("steps.npz", ("loss",))
    assert [step["loss"] for step in seen.steps] == log["loss"].tolist()
    epoch = ["begin_epoch", *["step"] * 10, "end_epoch"]
    assert seen.calls == ["begin", *epoch, *epoch, "close"]


@pytest.mark.parametrize("method", METHODS)
def test_an_error_is_told_once_and_the_training_goes_on(
    run: Run, tmp_path: Path, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    train(run, folder=tmp_path / "alone")
    for number, error in enumerate(ERRORS):
        seen = Recorder(method, error)
        record = train(run, folder=tmp_path / str(number), observer=seen)
        assert record.finished
        assert weights(tmp_path / str(number)) == weights(tmp_path / "alone")
        # The last call, once, whatever happened before.
        assert seen.calls.count(method) == 1
        assert seen.calls[-1] == "close"
        assert seen.calls.count("close") == 1
        out, err = capsys.readouterr()
        assert out == ""
        [line] = err.splitlines()
        assert line.startswith(f"kilonet: observer Recorder failed in {method}: ")
        assert type(error).__name__ in line
        assert "test_observer.py, line " in line
        assert line.endswith("; it receives no more events, training goes on")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_what_is_no_exception_stops_the_training(
    run: Run, tmp_path: Path, error: BaseException
) -> None:
    seen = Recorder("step", error)
    with pytest.raises(type(error)):
        train(run, folder=tmp_path, observer=seen)
    assert seen.calls == ["begin", "begin_epoch", "step", "close"]


def test_close_is_called_once_however_a_training_ends(run: Run, tmp_path: Path) -> None:
    failed = Recorder()
    with pytest.raises(Exception, match="lower train"):
        train(run.replace({"train.optimizer.lr": 1e30}), folder=tmp_path / "a", observer=failed)
    assert failed.calls[0] == "begin"
    assert failed.calls[-1] == "close"
    assert failed.calls.count("close") == 1
    train(run, folder=tmp_path / "b")
    finished = Recorder()
    train(run, folder=tmp_path / "b", observer=finished)
    assert finished.calls == ["close"]
    for name, error in (("/nowhere.npz", DataError), (3, UsageError)):
        early = Recorder()
        with pytest.raises(error):
            train(run, folder=tmp_path / "c", data=name, observer=early)  # type: ignore[arg-type]
        assert early.calls == ["close"]
    refused = Recorder()
    with pytest.raises(StorageError, match="holds another run"):
        train(run.replace({"train.seed": 9}), folder=tmp_path / "b", observer=refused)
    assert refused.calls == ["close"]


def test_an_object_with_two_of_the_methods_is_an_observer(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Two:
        accuracies: ClassVar[list[float]] = []

        def begin_epoch(self, epoch: int, *, num_steps: int) -> None:
            assert num_steps == 10

        def end_epoch(self, row: EpochRow, *, correct: int, count: int) -> None:
            self.accuracies.append(row.test_accuracy)

    record = train(run, folder=tmp_path, observer=Two())
    assert Two.accuracies == [row.test_accuracy for row in record.rows]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("observer", "line"),
    [
        ("text", "observer str is no observer: it has none of begin, begin_epoch, "),
        (Recorder, "the class Recorder, which should be an object, failed in begin: TypeError"),
    ],
)
def test_what_is_no_observer_is_told(
    run: Run, tmp_path: Path, observer: Any, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(run, folder=tmp_path, observer=observer).finished
    assert f"kilonet: {line}" in capsys.readouterr().err


def test_an_observer_of_an_older_signature_is_told(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Old:
        def step(self, *, batch: int, loss: float, accuracy: float) -> None:
            raise AssertionError("never called")

    assert train(run, folder=tmp_path, observer=Old()).finished
    assert "Old failed in step: TypeError: " in capsys.readouterr().err


@pytest.mark.parametrize("closed", ["stdout", "stderr", "both", "none"])
def test_an_observer_that_prints_to_a_closed_stream(
    run: Run, tmp_path: Path, closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Prints(Observer):
        def end_epoch(self, row: EpochRow, *, correct: int, count: int) -> None:
            print(row.test_accuracy, file=sys.stdout if closed != "stderr" else sys.stderr)

    streams = ("stdout", "stderr") if closed in ("both", "none") else (closed,)
    for name in streams:
        stream = None
        if closed != "none":
            stream = (tmp_path / name).open("w")
            stream.close()
        monkeypatch.setattr(sys, name, stream)
    assert train(run, folder=tmp_path / "run", observer=Prints()).finished


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are others there")
@pytest.mark.parametrize("show", ["print(flush=True)", "Console().print()"])
def test_a_training_whose_output_nobody_reads_any_more(run: Run, tmp_path: Path, show: str) -> None:
    """As `python train.py | head -1`; Rich ends the process then."""
    (tmp_path / "run.toml").write_text(to_toml(run))
    script = f"""
import kilonet as kn
from rich.console import Console
class Shows(kn.Observer):
    def end_epoch(self, row, *, correct, count):
        for _ in range(100):
            {show}
kn.train(kn.load_run("run.toml"), folder="run", observer=Shows())
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    process.stderr.close()
    process.wait()
    assert RunFolder(tmp_path / "run").weights()
    assert "kilonet: observer Shows failed in end_epoch: BrokenPipeError: " in err
    assert err.count("kilonet: ") == 1


class StrangeError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


class Odd:
    """Its attributes raise, and so does the text of its error."""

    @property
    def begin(self) -> Callable[..., None]:
        raise StrangeError


def test_an_observer_whose_attributes_raise(capsys: pytest.CaptureFixture[str]) -> None:
    guarded = GuardedObserver(Odd())
    guarded.begin_epoch(0, num_steps=1)
    guarded.begin(None, engine="", folder=Path(), epochs_done=0)  # type: ignore[arg-type]
    assert "observer Odd failed in begin: StrangeError (test_observer.py" in capsys.readouterr().err


class Proxy:
    """Every attribute that it lacks raises, as where a remote object is gone."""

    def __getattr__(self, name: str) -> object:
        raise ConnectionError(name)


def test_an_observer_without_any_attribute(capsys: pytest.CaptureFixture[str]) -> None:
    guarded = GuardedObserver(Proxy())
    guarded.begin_epoch(0, num_steps=1)
    guarded.close()
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith("kilonet: observer Proxy failed in begin_epoch: ConnectionError")


def test_equal_errors_of_several_observers_are_told_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told: set[str] = set()
    for number in range(3):
        guard = Guard(Recorder("step", OSError(number)), methods=METHODS, told=told)
        assert guard.call("step") is None
    assert capsys.readouterr().err.count("failed in step") == 1


def test_a_range_tests_callback(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    calls = []

    def show(number: int, point: object) -> None:
        calls.append(number)
        raise ConnectionError("refused")

    found = find_lr(run, num_steps=12, progress=show)
    assert calls == [0]
    assert len(found.points) == 12
    assert "kilonet: callback " in (err := capsys.readouterr().err)
    assert err.count("\n") == 1
    with pytest.raises(KeyboardInterrupt):
        find_lr(run, num_steps=12, progress=lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
