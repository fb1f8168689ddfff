"""Studies on Dask schedulers and workers that are processes, and die or hang."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from dask_clusters import Processes, processes
from kilonet.data import Dataset
from kilonet.spec import Run, Study, to_toml
from kilonet.study import IncompleteStudyError, StudyObserver, Trial, run_study
from kilonet.study.executors.dask_worker import Version
from small_studies import STAGES, Lines, contents, study_of

pytestmark = pytest.mark.native


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path / "cluster", workers=2) as found:
        yield found


OTHER = """
import kilonet
kilonet.__version__ = "0.0.9"
from distributed.cli.dask_worker import main
main()
"""
DEADLY = """
import os
from kilonet.study.executors import dask_worker
dask_worker.train_trial = lambda *_, **__: os._exit(1)
from distributed.cli.dask_worker import main
main()
"""


@pytest.mark.slow
def test_a_worker_of_another_version(small_run: Run, tmp_path: Path, cluster: Processes) -> None:
    cluster.add_worker(program=["-c", OTHER])
    cluster.wait_for(3)
    spec = tmp_path / "small.toml"
    spec.write_text(to_toml(study_of(small_run)))
    command = [sys.executable, "-m", "kilonet", "study", str(spec), "--out", str(tmp_path / "s")]
    done = subprocess.run([*command, "--on", cluster.on], capture_output=True, text=True)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"kilonet: {cluster.on}: worker tcp://127.0.0.1:")
    assert "has kilonet 0.0.9 (source " in line
    assert f"this process has {Version.of_this()}; install the same in both" in line
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
def test_a_trial_that_kills_each_worker_fails(small_run: Run, tmp_path: Path) -> None:
    with processes(tmp_path / "cluster", workers=0) as cluster:
        for _ in range(5):
            cluster.add_worker(program=["-c", DEADLY])
        cluster.wait_for(5)
        study = study_of(small_run, stages=STAGES[:1], seeds=1)
        with pytest.raises(IncompleteStudyError, match="each worker that trained it died"):
            run_study(study, folder=tmp_path / "s", on=cluster.on)


@pytest.mark.slow
def test_a_worker_that_hangs_for_ever(
    small_run: Run,
    alone: dict[str, object],
    tmp_path: Path,
    cluster: Processes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kilonet.study.executors.dask_cluster.SILENT_SECONDS", 3.0)

    class StopOne(Lines):
        def begin_study(self, **_: object) -> None:
            os.kill(cluster.workers[0].pid, signal.SIGSTOP)

    seen = StopOne()
    run_study(study_of(small_run), folder=tmp_path / "s", on=cluster.on, observer=seen)
    assert contents(tmp_path / "s") == alone
    [line] = seen.lines
    assert "no sign of life from worker tcp://127.0.0.1:" in line
    # The next study begins without it.
    again = Lines()
    run_study(study_of(small_run), folder=tmp_path / "t", on=cluster.on, observer=again)
    assert contents(tmp_path / "t") == alone
    assert any("no answer from worker tcp://127.0.0.1:" in line for line in again.lines)


@pytest.mark.slow
@pytest.mark.parametrize("worker", ["dies", "hangs"])
def test_sent_data_survive_their_worker(
    small_run: Run,
    tmp_path: Path,
    cluster: Processes,
    worker: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kilonet.study.executors.dask_cluster.SILENT_SECONDS", 3.0)
    images = np.random.default_rng(0).integers(0, 256, (640, 28, 28), np.uint8)
    noise = Dataset(
        name="noise",
        train_images=images,
        train_labels=np.arange(640) % 10,
        test_images=images[:200],
        test_labels=np.arange(200) % 10,
    )
    study = study_of(small_run.replace({"data.name": "noise"})).replace({"train.epochs": 30})
    run_study(study, folder=tmp_path / "here", jobs=1, load=lambda _: noise)
    number = signal.SIGKILL if worker == "dies" else signal.SIGSTOP

    class AfterOne(StudyObserver):
        def end_trial(self, trial: Trial, record: object) -> None:
            if cluster.workers[0].poll() is None:
                os.kill(cluster.workers[0].pid, number)

    run_study(
        study, folder=tmp_path / "s", on=cluster.on, load=lambda _: noise, observer=AfterOne()
    )
    assert contents(tmp_path / "s") == contents(tmp_path / "here")


def started(study: Study, folder: Path, *options: str) -> subprocess.Popen[str]:
    """`kilonet study`, which has finished an epoch."""
    spec = folder.with_suffix(".toml")
    spec.write_text(to_toml(study))
    command = [sys.executable, "-m", "kilonet", "study", str(spec), "--out", str(folder), *options]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    wait_until(lambda: any(folder.glob("runs/*/checkpoint.safetensors")), process)
    return process


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_scheduler_that_dies(small_run: Run, tmp_path: Path, cluster: Processes) -> None:
    endless = study_of(small_run).replace({"train.epochs": 2000})
    process = started(endless, tmp_path / "s", "--on", cluster.on)
    os.kill(cluster.scheduler.pid, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err == (
        f"kilonet: {cluster.on}: the connection to the scheduler is lost; finished epochs are "
        "kept, and the same command resumes\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("on", ["dask", "cluster"])
def test_ctrl_c(small_run: Run, tmp_path: Path, on: str, cluster: Processes) -> None:
    """As on this machine: one line, 130, and the cluster is free again."""
    endless = study_of(small_run).replace({"train.epochs": 2000})
    place = cluster.on if on == "cluster" else on
    process = started(endless, tmp_path / "s", "--on", place)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "kilonet: stopped; any finished epoch is kept, and the same command resumes\n"
    if on == "cluster":
        distributed = pytest.importorskip("distributed")
        with distributed.Client(cluster.address, set_as_default=False) as client:
            deadline = time.monotonic() + 20
            while any(client.processing().values()):
                assert time.monotonic() < deadline, "the workers still train"
                time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_study_with_everything_that_can_die(small_run: Run, tmp_path: Path) -> None:
    """Four workers: one is killed, one stopped for 30 seconds; the client is killed and started
    again. The runs' bytes are those of the local executor."""
    stages = [
        *STAGES,
        {"name": "Dropout", "change": {"net.block": ["conv", "relu", "batchnorm", "dropout 0.1"]}},
        {"name": "Rotation", "change": {"data.augment": [{"name": "rotation", "degrees": 7}]}},
    ]
    study = study_of(small_run, stages=stages, seeds=3).replace({"train.epochs": 40})
    run_study(study, folder=tmp_path / "here", threads=2)
    with processes(tmp_path / "cluster", workers=4) as cluster:
        first = started(study, tmp_path / "s", "--on", cluster.on)
        os.kill(cluster.workers[0].pid, signal.SIGKILL)
        os.kill(cluster.workers[1].pid, signal.SIGSTOP)
        stopped = time.monotonic()
        time.sleep(3)
        first.kill()
        first.communicate()
        second = started(study, tmp_path / "s", "--on", cluster.on)
        while time.monotonic() < stopped + 30 and second.poll() is None:
            time.sleep(0.1)
        os.kill(cluster.workers[1].pid, signal.SIGCONT)
        _, err = second.communicate(timeout=600)
        assert second.returncode == 0, err
        assert err == ""
    found = contents(tmp_path / "s")
    assert len(found) == 12 * 6
    assert found == contents(tmp_path / "here")
