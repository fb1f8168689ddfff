"""Where the command line reads and writes: any spelling of a path, folders that cannot be written,
runs that failed, runs that are finished."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import kilonet
from kilonet.entry import run_command
from kilonet.errors import StorageError
from kilonet.spec import Run, load_run, to_toml
from kilonet.storage.lock import LOCK
from kilonet.storage.run_folder import RunFolder
from kilonet.study import read_study
from kilonet.training.loop import train
from kilonet.training.observer import Observer

LAYERS = ["conv 4 stride=2", "conv 4 stride=2", "gap", "pointwise 10 bare"]


@pytest.fixture(autouse=True)
def project(
    small_mnist: Path, small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The current folder: images, a run and a study that name them relative to their files."""
    folder = tmp_path / "pröject"
    folder.mkdir()
    shutil.copy(small_mnist, folder / "x.npz")
    run = small_run.replace({"net.layers": LAYERS, "train.epochs": 2, "data.name": "x.npz"})
    (folder / "run.toml").write_text(to_toml(run))
    study = 'name = "s"\ntarget = 50\n[[stage]]\nname = "a"\nchange = { "train.epochs" = 1 }\n'
    head, stage = study.split("[[", maxsplit=1)
    (folder / "s.toml").write_text(f"{head}{to_toml(run)}\n[[{stage}")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    return folder


def kilonet_in(
    folder: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    path = str(Path(kilonet.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-m", "kilonet", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    err = capsys.readouterr().err
    assert "Traceback" not in err
    return err.splitlines()[-1]


# Paths ---------------------------------------------------------------------------------------


def test_every_spelling_of_a_home_folder(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = [
        ["train", "~/pröject/run.toml", "--out", "~/öut/run"],
        ["study", "~/pröject/s.toml", "--out", "~/öut/study", "--jobs", "1"],
        ["train", "interim", "--set", "data.name=~/pröject/x.npz", "--set", "train.epochs=1",
         "--out", "~/öut/other"],
        ["train", "~/öut/run"],
        ["summary", "~/öut/run"],
        ["report", "~/öut/run"],
        ["compare", "~/öut/study", "~/öut/run"],
        ["data", "~/pröject/x.npz", "--picture", "~/öut/x.png"],
    ]  # fmt: skip
    for command in commands:
        assert run_command(command) == 0, command
    assert sorted(p.name for p in (tmp_path / "öut").iterdir()) == [
        "other", "run", "study", "x.png",
    ]  # fmt: skip
    assert not (project / "~").exists()
    # From Python too.
    run = load_run("run.toml")
    assert train(run, folder="~/öut/run").path == tmp_path / "öut" / "run"
    assert read_study("~/öut/study").path == tmp_path / "öut" / "study"
    monkeypatch.setenv("KILONET_CACHE", "~/cäche")
    kilonet.load_dataset("mnist")
    assert len(list((tmp_path / "cäche").iterdir())) == 1


def test_a_cache_of_nobody(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("KILONET_CACHE", "~nobody-here/cache")
    assert run_command(["data", "mnist"]) == 2
    assert "KILONET_CACHE: ~nobody-here/cache: the home folder" in last_line(capsys)


@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "HOME"])
def test_a_relative_home_makes_no_folder_here(
    variable: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KILONET_CACHE", raising=False)
    monkeypatch.setenv(variable, "relative")
    before = sorted(project.iterdir())
    assert run_command(["data", "mnist", "--json"]) == 0
    assert sorted(project.iterdir()) == before


def test_one_run_whatever_the_start_folder(project: Path, tmp_path: Path, monkeypatch) -> None:
    assert run_command(["train", "run.toml", "--out", "made"]) == 0
    stated = (project / "made" / "run.toml").read_text("utf-8")
    assert 'name = "../x.npz"' in stated
    environment = json.loads((project / "made" / "environment.json").read_text("utf-8"))
    assert environment["data"]["path"] == str(project / "x.npz")
    monkeypatch.chdir(tmp_path)
    weights = (project / "made" / "weights.safetensors").stat().st_mtime_ns
    assert run_command(["train", "pröject/run.toml", "--out", "pröject/made"]) == 0
    assert (project / "made" / "weights.safetensors").stat().st_mtime_ns == weights
    assert run_command(["report", "pröject/made"]) == 0
    for report in ("report.md", "report.html"):
        text = (project / "made" / report).read_text("utf-8")
        assert str(tmp_path) not in text
        assert "Not shown" not in text


def test_python_paths_are_relative_to_the_current_folder(project: Path, monkeypatch) -> None:
    run = load_run("run.toml")
    spelled = run.replace({"data.name": "./x.npz"})
    record = train(spelled)
    assert record.run == run
    (project / "deeper").mkdir()
    monkeypatch.chdir("deeper")
    assert train(spelled.replace({"data.name": "../x.npz"}), folder=project / record.path) == (
        RunFolder(project / record.path).record()
    )


def test_a_run_of_a_moved_project_is_found(project: Path, tmp_path: Path, monkeypatch) -> None:
    assert run_command(["train", "run.toml"]) == 0
    [made] = Path("kilonet-runs").iterdir()
    project.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    assert train(load_run("run.toml")).path == made
    assert [run.name for run in Path("kilonet-runs").iterdir()] == [made.name]


def test_a_moved_run_resumes_as_in_the_same_environment(
    project: Path, tmp_path: Path, monkeypatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(load_run("run.toml"), folder="made", observer=Stop(1))
    project.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    record = train(load_run("run.toml"), folder="made", resume=True)
    assert record.finished
    assert record.provenance.resumed == ()
    assert RunFolder("made").record().provenance.data.path == str(tmp_path / "moved" / "x.npz")


# Folders that cannot be written --------------------------------------------------------------

READ_ONLY = pytest.mark.skipif(
    not Path("/proc/self").is_dir(), reason="no folder here that root cannot write to"
)


@READ_ONLY
def test_a_container_where_only_out_can_be_written(project: Path, tmp_path: Path) -> None:
    nowhere = dict.fromkeys(("HOME", "KILONET_CACHE", "XDG_CACHE_HOME", "TMPDIR"), "/proc/none")
    made = tmp_path / "made"
    commands = {
        "study": ["study", str(project / "s.toml"), "--out", str(made)],
        "sweep": ["train", str(project / "run.toml"), "--find-lr"],
        "data": ["data", str(project / "x.npz")],
    }
    for name, command in commands.items():
        done = kilonet_in(Path("/proc"), *command, **nowhere)
        assert (done.returncode, done.stderr) == (0, ""), name
        expected = {"study": "Final test accuracy", "sweep": "Suggestion:", "data": "Checksums"}
        assert expected[name] in done.stdout
    assert (made / "report.html").is_file()


def test_a_container_without_shared_memory(project: Path, tmp_path: Path) -> None:
    """joblib would warn that it works serially, in the command and in each worker."""
    (tmp_path / "sitecustomize.py").write_text(
        "import _multiprocessing\n\n"
        "class SemLock(_multiprocessing.SemLock):\n"
        "    def __new__(cls, *arguments, **options):\n"
        "        raise OSError(30, 'Read-only file system')\n\n"
        "_multiprocessing.SemLock = SemLock\n"
    )
    path = os.pathsep.join([str(tmp_path), str(Path(kilonet.__file__).parents[1])])
    command = ["study", "s.toml", "--set", "seeds=2", "--jobs", "2", "--threads", "2"]
    done = kilonet_in(project, *command, PYTHONPATH=path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 runs to train, 2 at a time" in done.stdout


@READ_ONLY
def test_a_picture_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quick result is printed all the same, and before a long computation it is checked."""
    assert run_command(["data", "x.npz", "--picture", "/proc/x.png"]) == 1
    captured = capsys.readouterr()
    assert "Checksums" in captured.out
    assert captured.err.startswith("kilonet: /proc/x.png: cannot be written")
    assert captured.err.count("\n") == 1
    assert run_command(["data", "x.npz", "--picture", "/proc/x.png", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["picture"] is None

    images = Path("x.npz").read_bytes()
    assert run_command(["data", "x.npz", "--picture", "x.npz"]) == 1
    assert last_line(capsys).startswith("kilonet: x.npz: is not a PNG, and would be replaced")
    assert Path("x.npz").read_bytes() == images

    def never(*arguments: object, **options: object) -> None:
        raise AssertionError

    monkeypatch.setattr("kilonet.training.range_test.find_lr", never)
    monkeypatch.setattr("kilonet.bench.bench", never)
    for command in (
        ["train", "run.toml", "--find-lr", "--picture", "/proc/x.png"],
        ["bench", "--figure", "/proc/x.png"],
    ):
        assert run_command(command) == 1
        assert last_line(capsys).startswith("kilonet: /proc/x.png: cannot be written")


def test_a_sweep_whose_picture_fails_at_its_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise StorageError("curve.png: cannot be written: No space left on device")

    monkeypatch.setattr("kilonet.report.figures.range_test.range_figure", full)
    command = ["train", "run.toml", "--find-lr", "--picture", "curve.png"]
    assert run_command(command) == 1
    captured = capsys.readouterr()
    assert "Suggestion:" in captured.out
    assert captured.err.endswith("curve.png: cannot be written: No space left on device\n")
    assert run_command([*command, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["picture"] is None
    assert found["points"]


def test_no_picture_that_nobody_asked_for(project: Path) -> None:
    before = sorted(project.iterdir())
    assert run_command(["data", "x.npz"]) == 0
    assert run_command(["train", "run.toml", "--find-lr"]) == 0
    assert sorted(project.iterdir()) == before


@READ_ONLY
@pytest.mark.parametrize("command", ["train run.toml", "study s.toml"])
def test_an_out_that_cannot_be_written(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([*command.split(), "--out", "/proc/none"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("kilonet: /proc/none: cannot be written")


def test_a_current_folder_that_is_gone(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = project / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    for command in (
        ["train", "../run.toml"],
        ["train", "interim"],
        ["study"],
        ["data", "x.npz"],
        ["report", "."],
    ):
        assert run_command(command) in (1, 2), command
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1
        assert captured.out == ""


# Runs that failed, and runs that are finished --------------------------------------------------


class Stop(Observer):
    """Stops in the given epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def step(self, **step: object) -> None:
        if self.epoch == 0:
            raise KeyboardInterrupt

    def end_epoch(self, *row: object, **counts: object) -> None:
        self.epoch -= 1


def test_a_training_without_an_epoch_is_in_nobodys_way(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["train", "run.toml", "--out", "made"]
    assert run_command([*command, "--set", "train.optimizer.lr=1e30"]) == 1
    assert "diverged" in last_line(capsys)
    assert run_command(["report", "made"]) == 1
    assert last_line(capsys).endswith("no epoch is finished yet; 'kilonet train made' trains it")
    assert run_command([*command, "--set", "train.optimizer.lr=0.02"]) == 0
    assert RunFolder("made").record().run.train.optimizer.lr == 0.02
    capsys.readouterr()
    # Now there is something to keep.
    assert run_command(command) == 1
    assert last_line(capsys) == (
        "kilonet: made: holds another run (finished, with train.optimizer.lr = 0.02, not 0.01); "
        "name another folder"
    )


def test_epochs_of_another_run_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    run = load_run("run.toml")
    with pytest.raises(KeyboardInterrupt):
        train(run, folder="made", observer=Stop(1))
    assert run_command(["train", "run.toml", "--out", "made"]) == 1
    assert "a run stopped here after 1 of 2 epochs; add --resume" in last_line(capsys)
    for options in (["--set", "train.epochs=5"], ["--set", "train.epochs=5", "--resume"]):
        assert run_command(["train", "run.toml", "--out", "made", *options]) == 1
        line = last_line(capsys)
        assert "(stopped after 1 of 2 epochs, with train.epochs = 2, not 5)" in line
    assert len(RunFolder("made").record().rows) == 1


def test_an_attempt_that_ended_before_run_toml(project: Path) -> None:
    """``environment.json`` is written first."""
    with pytest.raises(KeyboardInterrupt):
        train(load_run("run.toml"), folder="made", observer=Stop(0))
    (project / "made" / "run.toml").unlink()
    assert [path.name for path in (project / "made").iterdir()] == ["environment.json"]
    assert run_command(["train", "run.toml", "--out", "made"]) == 0


def test_a_finished_run_says_so_first(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "run.toml", "--out", "made"]
    assert run_command(command) == 0
    assert "Finished before" not in capsys.readouterr().out
    for again in (command, [*command, "--resume"], ["train", "made"]):
        assert run_command(again) == 0
        assert capsys.readouterr().out.splitlines()[0] == "Finished before; read from made."
    assert run_command([*command, "--json"]) == 0
    captured = capsys.readouterr()
    assert len(json.loads(captured.out)["epochs"]) == 2
    assert captured.err == "Finished before; read from made.\n"


def test_a_finished_study_says_so_first(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["study", "s.toml", "--out", "made", "--jobs", "1"]
    assert run_command([*command, "--set", "seeds=2"]) == 0
    assert "finished before" not in capsys.readouterr().out
    assert run_command([*command, "--set", "seeds=2"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "All 2 runs were finished before; read from made."
    assert run_command([*command, "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["study"] == "s"
    assert "The run was finished before; read from made." in captured.err


def test_a_finished_study_where_nothing_can_be_written(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read without its lock; the report that cannot be written is one line."""
    command = ["study", "s.toml", "--out", "made", "--jobs", "1", "--quiet"]
    assert run_command(command) == 0
    result = capsys.readouterr().out
    (project / "made" / LOCK).touch()  # of a killed process
    with monkeypatch.context() as read_only:
        for opened in ("lock._try_lock_in", "atomic._open_temporary"):
            read_only.setattr(f"kilonet.storage.{opened}", refuse)
        assert run_command(command) == 1
        captured = capsys.readouterr()
        assert result.startswith(captured.out.rstrip())
        assert "Final test accuracy" in captured.out
        assert captured.err.startswith("kilonet: made/report.html: cannot be written: Read-only")
        assert captured.err.count("\n") == 1
        # Another seed is to be trained, and that is refused.
        assert run_command([*command, "--seeds", "2"]) == 1
        assert capsys.readouterr().err == "kilonet: made: cannot be written: Read-only\n"
    assert run_command(command) == 0
    assert not (project / "made" / LOCK).exists()


def refuse(*arguments: object) -> None:
    raise OSError(errno.EROFS, "Read-only")


def test_a_run_that_was_killed_while_its_results_were_written(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report says what completes it."""
    assert run_command(["train", "run.toml", "--out", "made"]) == 0
    (project / "made" / "predictions.npz").unlink()
    assert run_command(["report", "made"]) == 1
    assert last_line(capsys) == (
        "kilonet: made/predictions.npz: missing; the run is unfinished or damaged: "
        "'kilonet train made --resume' completes it"
    )
    assert run_command(["train", "made", "--resume"]) == 0
    assert run_command(["report", "made"]) == 0


def test_nothing_to_resume(capsys: pytest.CaptureFixture[str]) -> None:
    """As with other values than before, whose default folder is another one."""
    assert run_command(["train", "run.toml"]) == 0
    capsys.readouterr()
    assert run_command(["train", "run.toml", "--resume", "--set", "train.epochs=3"]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    [folder] = [f for f in Path("kilonet-runs").iterdir() if len(RunFolder(f).record().rows) == 3]
    assert first == f"Nothing to resume in {folder}: training begins anew."
    assert second.startswith("Training with ")
    with pytest.raises(KeyboardInterrupt):
        train(load_run("run.toml"), folder="made", observer=Stop(1))
    assert run_command(["train", "run.toml", "--resume", "--out", "made"]) == 0
    assert "Nothing to resume" not in capsys.readouterr().out


def test_a_users_own_run_toml_is_kept(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (project / "run.toml").read_bytes()
    assert run_command(["train", "run.toml", "--out", "."]) == 1
    assert "run.toml: is not kilonet's" in last_line(capsys)
    assert (project / "run.toml").read_bytes() == before
