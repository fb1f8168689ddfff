"""What a stopped run resumes with; threads and kills change no bit of the native engine's runs."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from kilonet.errors import EngineError, StorageError
from kilonet.report.provenance import environment_lines
from kilonet.spec import Run, load_run, load_study, to_toml
from kilonet.storage.checksums import json_from_bytes, json_to_bytes
from kilonet.storage.provenance import EngineInfo
from kilonet.storage.run_folder import RunFolder
from kilonet.study import StudyObserver, Trial, run_study
from kilonet.training.loop import folder_name, train
from kilonet.training.observer import Observer


class Stop(Observer):
    """Ctrl-C after some steps; records the engine."""

    def __init__(self, after: int = 10**9) -> None:
        self.left = after
        self.engines: list[str] = []

    def begin(self, run: Run, *, engine: str, folder: Path, epochs_done: int) -> None:
        self.engines.append(engine)

    def step(self, *, step: int, batch: int, loss: float, accuracy: float, lr: float) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def stopped(run: Run, folder: Path, *, engine: str = "auto", after: int = 12) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(run, folder=folder, engine=engine, observer=Stop(after))


@pytest.mark.native
@pytest.mark.parametrize(("begun", "other"), [("native", "torch"), ("torch", "native")])
def test_auto_resumes_with_the_engine_of_the_last_epoch(
    small_run: Run, tmp_path: Path, begun: str, other: str
) -> None:
    pytest.importorskip("torch")
    stopped(small_run, tmp_path, engine=begun)
    stopped(small_run, tmp_path / "x", engine=begun)
    observer = Stop()
    record = train(small_run, folder=tmp_path, resume=True, observer=observer)
    assert record.provenance.engine.name == begun
    assert not record.provenance.resumed
    assert observer.engines[0].startswith(f"{begun} ")
    # Another engine that is requested by name continues it, and `auto` stays with that one.
    folder = tmp_path / "x"
    with pytest.raises(KeyboardInterrupt):
        train(small_run, folder=folder, engine=other, resume=True, observer=Stop(12))
    observer = Stop()
    record = train(small_run, folder=folder, resume=True, observer=observer)
    assert observer.engines[0].startswith(f"{other} ")
    [resumed] = record.provenance.resumed
    assert (resumed.after_epoch, resumed.engine.name) == (0, other)


@pytest.mark.native
def test_resuming_without_the_engine_of_the_last_epoch(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(small_run, tmp_path, engine="native")
    monkeypatch.delattr("kilonet.engine._native", raising=False)
    monkeypatch.setitem(sys.modules, "kilonet.engine._native", None)
    with pytest.raises(EngineError, match="native engine was not built"):
        train(small_run, folder=tmp_path, resume=True)


@pytest.mark.native
def test_a_device_that_the_engine_does_not_have(small_run: Run, tmp_path: Path) -> None:
    stopped(small_run, tmp_path, engine="native")
    with pytest.raises(EngineError, match="device 'cuda': the native engine runs on the CPU"):
        train(small_run, folder=tmp_path, resume=True, device="cuda")


def test_an_engine_that_kilonet_does_not_have(small_run: Run, tmp_path: Path) -> None:
    stopped(small_run, tmp_path)
    path = tmp_path / "environment.json"
    environment = json_from_bytes(path.read_bytes())
    environment["engine"]["name"] = "mine"
    path.write_bytes(json_to_bytes(environment))
    with pytest.raises(
        StorageError, match="by the engine 'mine', which kilonet does not have; name"
    ):
        train(small_run, folder=tmp_path, resume=True)


@pytest.mark.native
def test_a_study_that_another_engine_continues(small_run: Run, tmp_path: Path) -> None:
    """Finished runs are kept, an unfinished one keeps its engine; the report names both."""
    pytest.importorskip("torch")
    study = load_study("mnist-8k").replace(
        {"data.name": small_run.data.name, "train.epochs": 2, "seeds": 1}
    )
    stages = study.to_dict()["stage"]
    study = study.replace({"stage": stages[:3]})
    run_study(study.replace({"stage": stages[:1]}), folder=tmp_path, engine="torch", threads=1)
    second = study.stages[1].run
    stopped(second, tmp_path / "runs" / folder_name(second), engine="torch", after=7)

    class Line(StudyObserver):
        def begin_study(self, *, engine: str, trials: Sequence[Trial], num_jobs: int) -> None:
            self.line = f"{engine}: {len(trials)}"

    observer = Line()
    result = run_study(study, folder=tmp_path, threads=1, observer=observer)
    assert re.fullmatch(r"torch .* and native [\d.]+ on cpu \(\w+\), 1 thread: 2", observer.line)
    names = [stage.records[0].provenance.engine.name for stage in result.stages]
    assert names == ["torch", "torch", "native"]
    engine = dict(environment_lines(result))["Engine"]
    assert re.fullmatch(
        r"torch .* on cpu, 1 thread \(2 runs\); native .*, 1 thread \(1 run\)", engine
    )
    # Both engines of one run.
    record = result.stages[2].records[0]
    torch = EngineInfo(name="torch", description="torch 9")
    resumption = dataclasses.replace(record.provenance, engine=torch, after_epoch=0)
    provenance = dataclasses.replace(record.provenance, resumed=(resumption,))
    mixed = dataclasses.replace(record, provenance=provenance)
    stage = dataclasses.replace(result.stages[2], records=(mixed,))
    continued = dataclasses.replace(result, stages=(stage,))
    assert dict(environment_lines(continued))["Engine"].endswith(", 1 thread then torch 9")


# Trains argv[1] in argv[2] on argv[3] threads, and dies at step argv[4].
TRAINING = """
import os, signal, sys
from kilonet.training.loop import train
from kilonet.training.observer import Observer
from kilonet.spec import load_run

class Kill(Observer):
    left = int(sys.argv[4])
    def step(self, *, step, batch, loss, accuracy, lr):
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)

threads = int(sys.argv[3])
train(
    load_run(sys.argv[1]),
    folder=sys.argv[2],
    engine="native",
    threads=threads,
    resume=True,
    observer=Kill(),
)
"""
NEVER = 10**9


def trained(spec: Path, folder: Path, *, threads: int, killed_at: int = NEVER) -> str:
    """SHA-256 of the weights file, after a training in a process of its own."""
    command = [sys.executable, "-c", TRAINING, spec, folder, str(threads), str(killed_at)]
    done = subprocess.run(command, check=False, capture_output=True)
    if killed_at != NEVER:
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        assert not (folder / "predictions.npz").exists()
        return ""
    assert done.returncode == 0, done.stderr.decode()
    return hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()


def assert_threads_and_kills_change_no_bit(
    run: Run, folder: Path, *, threads: list[int], killed_at: list[tuple[int, int]]
) -> None:
    spec = folder / "run.toml"
    spec.write_text(to_toml(run))
    digests = [trained(spec, folder / f"{i}", threads=count) for i, count in enumerate(threads)]
    assert len(set(digests)) == 1
    for count, step in killed_at:
        trained(spec, folder / "killed", threads=count, killed_at=step)
    assert trained(spec, folder / "killed", threads=threads[0]) == digests[0]


@pytest.mark.native
def test_weights_files_of_any_number_of_threads_and_after_a_kill(
    small_run: Run, tmp_path: Path
) -> None:
    assert_threads_and_kills_change_no_bit(
        small_run.replace({"train.average": {"name": "ema", "decay": 0.9}}),
        tmp_path,
        threads=[1, 3],
        killed_at=[(2, 14), (5, 4)],
    )
    last = RunFolder(tmp_path / "killed").record().provenance.resumed[-1]
    assert last.engine.description.endswith(", 1 thread")


@pytest.mark.native
@pytest.mark.slow
def test_weights_files_of_the_bundled_network_on_real_digits(tmp_path: Path) -> None:
    """An epoch with 1, 2, 3 and 5 threads, twice each."""
    assert_threads_and_kills_change_no_bit(
        load_run("interim", settings=["train.epochs=1"]),
        tmp_path,
        threads=[1, 2, 3, 5, 1, 2, 3, 5],
        killed_at=[],
    )


@pytest.mark.native
@pytest.mark.slow
def test_kills_in_the_middle_of_epochs_of_the_bundled_network(tmp_path: Path) -> None:
    """469 steps an epoch: killed in the second, again in it, and in the third."""
    assert_threads_and_kills_change_no_bit(
        load_run("interim", settings=["train.epochs=3"]),
        tmp_path,
        threads=[2],
        killed_at=[(1, 700), (3, 200), (5, 600)],
    )
