"""What holds for every command: help, options that do not go together, what is written where."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kilonet import __version__
from kilonet.entry import run_command


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"kilonet {__version__}"


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["study"],
        ["train"],
        ["report"],
        ["compare"],
        ["summary"],
        ["show"],
        ["data"],
        ["bench"],
    ],
)
def test_help_has_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([*command, "--help"]) == 0
    out = capsys.readouterr().out
    assert "Usage: kilonet" in out
    if command:
        assert f"Example: kilonet {command[0]} " in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--find-lr", "--out", "made"], "--find-lr"),
        (["--find-lr", "--resume"], "--find-lr"),
        (["--picture", "curve.png"], "--picture"),
    ],
)
def test_options_that_do_not_go_together(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["train", "interim", *options]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["train", "--epochs", "3", "--set", "train.epochs=5"], "--epochs 3 and --set train.epo"),
        (["study", "--epochs", "3", "--set", "train.epochs=5"], "--epochs 3 and --set train.epo"),
        (["study", "--seeds", "3", "--set", "seeds=5"], "--seeds 3 and --set seeds=5 disagree"),
        (["train", "--data", "a", "--set", "data.name=b"], "--data a and --set data.name=b"),
        (["train", "--seed", "3", "--set", "train.seed=5"], "--seed 3 and --set train.seed"),
        (["train", "--seed", "3", "--seeds", "2"], "--seeds trains seeds 1 to 2"),
        (["train", "--seeds", "2", "--find-lr"], "--find-lr sweeps one run: leave out --seeds"),
        (["train", "--epochs", "0"], "--epochs"),
        (["study", "--seeds", "x"], "--seeds"),
        (["study", "--set", "train.seed=3"], "a study trains seeds 1 to `seeds`"),
        (["study", "interim"], "interim: target is missing; a study needs one"),
    ],
)  # fmt: skip
def test_short_options_that_do_not_hold(
    command: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(command) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not list(Path().iterdir())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the cache is elsewhere")
def test_commands_write_into_the_folder_and_the_cache_alone(
    small_mnist: Path, tmp_path: Path
) -> None:
    """Nor does a library say anything on standard error."""
    home, work, temporary = (tmp_path / name for name in ("home", "work", "tmp"))
    for folder in (home, work, temporary):
        folder.mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "MPL", "KILONET_"))}
    settings = [f"data.name={small_mnist}", "data.mean=[0.1307]", "data.std=[0.3081]"]
    images = [part for setting in (*settings, "train.epochs=1") for part in ("--set", setting)]
    for arguments in (
        ["train", "interim", *images, "--out", "run"],
        ["train", "interim", *images, "--find-lr", "--picture", "curve.png"],
        ["study", "mnist-8k", *images, "--set", "seeds=1", "--out", "study", "--quiet"],
        ["report", "study"],
        ["compare", "study", "run"],
        ["data", str(small_mnist), "--picture", "samples.png"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "kilonet", *arguments],
            cwd=work,
            env={**kept, "HOME": str(home), "TMPDIR": str(temporary)},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, ""), arguments
    found = {path.relative_to(home).parts[:2] for path in home.rglob("*") if path.is_file()}
    assert found == {(".cache", "kilonet")}
    assert not any(temporary.iterdir())
    assert {path.name for path in work.iterdir()} == {"run", "study", "curve.png", "samples.png"}
