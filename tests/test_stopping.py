"""A study that is stopped from outside: its workers end, and the same command resumes it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kilonet.spec import Run, Study, to_toml
from kilonet.storage.lock import LOCK
from kilonet.storage.run_folder import RunFolder
from kilonet.study import run_study
from small_studies import STAGES, contents, study_of


def begun(study: Study, folder: Path) -> subprocess.Popen[str]:
    """`kilonet study` in its own session, two runs at once, both after their first epoch."""
    spec = folder.parent / "study.toml"
    spec.write_text(to_toml(study))
    process = subprocess.Popen(
        [sys.executable, "-m", "kilonet", "study", spec, "--out", folder, "--threads", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    names = "checkpoint.safetensors", LOCK
    while not all(len(list(folder.glob(f"runs/*/{name}"))) == 2 for name in names):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def in_session(leader: int) -> list[int]:
    """The living processes of a session, without zombies."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = path.read_text().rpartition(") ")[2].split()[:4]
        except OSError:
            continue
        if int(session) == leader and state not in "ZX":
            found.append(int(path.parent.name))
    return found


def epochs_done(run: Path) -> int:
    return len(RunFolder(run).record().rows)


def assert_all_end(session: int) -> None:
    deadline = time.monotonic() + 30
    while in_session(session):
        assert time.monotonic() < deadline, "workers that still train"
        time.sleep(0.05)


HAS_PROC = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
ENDLESS = 100_000


@pytest.mark.native
@HAS_PROC
def test_ctrl_c_and_a_killed_parent_leave_nothing_running(small_run: Run, tmp_path: Path) -> None:
    study = study_of(small_run, stages=STAGES[:1]).replace({"train.epochs": ENDLESS})
    folder = tmp_path / "s"
    process = begun(study, folder)
    command = [sys.executable, "-m", "kilonet", "study", tmp_path / "study.toml", "--out", folder]
    second = subprocess.run(command, capture_output=True, text=True)
    assert second.returncode == 1
    assert second.stderr == (
        f"kilonet: {folder}: process {process.pid} is using it; "
        "stop it, or add --wait to wait for it\n"
    )
    # To all of them, as a terminal does.
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "kilonet: stopped; any finished epoch is kept, and the same command resumes\n"
    assert_all_end(process.pid)  # joblib's own processes take a moment
    assert not list(folder.rglob(".*"))
    assert all(epochs_done(path) for path in folder.glob("runs/*"))

    process = begun(study, folder)
    process.kill()
    process.communicate()
    assert_all_end(process.pid)


@pytest.mark.native
@pytest.mark.slow
@HAS_PROC
def test_a_stopped_study_and_one_that_waits_end_with_the_same_bits(
    small_run: Run, tmp_path: Path
) -> None:
    study = study_of(small_run, stages=STAGES[:1]).replace({"train.epochs": 150})
    folder = tmp_path / "s"
    process = begun(study, folder)
    run = next(folder.glob("runs/*"))
    train = [sys.executable, "-m", "kilonet", "train", run, "--resume"]
    second = subprocess.run(train, capture_output=True, text=True)
    assert second.returncode == 1
    assert second.stderr.startswith(f"kilonet: {run}: process ")
    assert second.stderr.endswith(" is using it; wait until it ends, or stop it\n")
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130

    process = begun(study, folder)
    command = [sys.executable, "-m", "kilonet", "study", tmp_path / "study.toml", "--out", folder]
    waiting = subprocess.Popen(
        [*command, "--wait", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert waiting.stderr is not None
    assert f"process {process.pid} is using it; waiting" in waiting.stderr.readline()
    process.kill()
    process.communicate()
    assert_all_end(process.pid)
    out, err = waiting.communicate()
    assert waiting.returncode == 0, err
    assert [seed["seed"] for seed in json.loads(out)["stages"][0]["seeds"]] == [1, 2]
    assert not (folder / LOCK).exists()

    run_study(study, folder=tmp_path / "complete", jobs=1)
    assert contents(folder) == contents(tmp_path / "complete")


@pytest.mark.native
@HAS_PROC
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("kill", [os.kill, os.killpg], ids=["alone", "all"])
def test_a_scheduler_and_a_terminal_that_closes_stop_it_as_ctrl_c_does(
    small_run: Run, tmp_path: Path, number: signal.Signals, kill: Callable[[int, int], None]
) -> None:
    """Whether the signal is sent to its process alone, or to its workers too."""
    study = study_of(small_run, stages=STAGES[:1]).replace({"train.epochs": ENDLESS})
    process = begun(study, tmp_path / "s")
    kill(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert err == "kilonet: stopped; any finished epoch is kept, and the same command resumes\n"
    assert_all_end(process.pid)
    assert all(epochs_done(path) for path in tmp_path.glob("s/runs/*"))


@pytest.mark.native
@HAS_PROC
def test_a_background_process_is_not_ended_by_a_signal_that_it_ignores(
    small_run: Run, tmp_path: Path
) -> None:
    """As with `nohup`: the study continues when the terminal closes."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = begun(
            study_of(small_run, stages=STAGES[:1]).replace({"train.epochs": ENDLESS}),
            tmp_path / "s",
        )
    finally:
        signal.signal(signal.SIGHUP, before)
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM


@pytest.mark.native
@HAS_PROC
def test_ctrl_c_again_and_again(small_run: Run, tmp_path: Path) -> None:
    """It changes nothing: one line, the same exit code, and no process left."""
    study = study_of(small_run, stages=STAGES[:1]).replace({"train.epochs": ENDLESS})
    process = begun(study, tmp_path / "s")
    for _ in range(10):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.02)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "kilonet: stopped; any finished epoch is kept, and the same command resumes\n"
    assert_all_end(process.pid)
