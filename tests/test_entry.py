"""From the shell to a command: signals, streams, errors in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kilonet.entry import run_command
from kilonet.spec import Run, Study, to_toml


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_error_shows_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["compare", "\x1b[31mred", "b"]) == 1
    assert "\u241b[31mred: holds no study" in capsys.readouterr().err


def test_ctrl_c_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kilonet.training.train", interrupted)
    assert run_command(["train", "interim", "--out", "run"]) == 130
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    [
        "summary interim",
        "train run.toml --out made",
        "train run.toml --seeds 2 --out made",
        "study study.toml --out made --jobs 1",
    ],
)
def test_a_pipe_that_closes_early(command: str, small_run: Run, tmp_path: Path) -> None:
    """As `kilonet summary interim | head -1`: nothing is said, and what trains goes on."""
    run = small_run.replace({"train.epochs": 2})
    (tmp_path / "run.toml").write_text(to_toml(run))
    study = Study.from_dict({**run.to_dict(), "name": "small", "target": 50.0})
    (tmp_path / "study.toml").write_text(to_toml(study))
    process = subprocess.Popen(
        [sys.executable, "-m", "kilonet", *command.split()],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr as stream:
        assert stream.read() == ""
    assert process.wait() == 0
    if "--out" in command:
        assert list((tmp_path / "made").rglob("predictions.npz"))
    if command.startswith("study"):
        assert (tmp_path / "made" / "report.html").is_file()


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed(closed: str, small_run: Run, tmp_path: Path) -> None:
    """As some schedulers begin a process: it trains all the same, its workers too."""
    stage = {"name": "One", "change": {"train.epochs": 1}}
    study = {**small_run.to_dict(), "name": "small", "target": 50.0, "seeds": 2, "stage": [stage]}
    (tmp_path / "study.toml").write_text(to_toml(Study.from_dict(study)))
    command = f"{sys.executable} -m kilonet study study.toml --out made --threads 2 {closed}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, check=False)
    assert done.returncode == 0
    assert (tmp_path / "made" / "report.html").exists()


def test_a_screen_that_cannot_show_every_sign() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(
        [sys.executable, "-m", "kilonet", "summary", "interim"],
        env=environment,
        capture_output=True,
        check=True,
    )
    assert b"Channels: 1 ? 8 ? 16" in done.stdout
    assert done.stderr == b""
