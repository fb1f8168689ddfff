"""``kilonet train``: one run, several seeds, a learning-rate range test."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from kilonet.engine import choose_engine
from kilonet.entry import run_command
from kilonet.spec import Run, Study, to_toml

SMALL_NET = 'input = [1, 28, 28]\nlayers = ["conv 4", "maxpool 2", "gap", "pointwise 10 bare"]\n'


def test_train_json_then_again_then_summary_of_the_folder(
    small_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.toml").write_text(to_toml(small_run))
    command = ["train", "run.toml", "--out", "made", "--json"]
    assert run_command(command) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["run"] == "made"
    assert found["engine"] == choose_engine(small_run.net).engine
    assert found["parameters"] == 7864
    assert len(found["epochs"]) == 3
    needed = {
        "epoch",
        "train_accuracy",
        "train_loss",
        "test_accuracy",
        "test_loss",
        "lr",
        "seconds",
        "train_seconds",
    }
    assert all(needed <= set(epoch) for epoch in found["epochs"])
    assert "Test set: Average loss:" in captured.err
    assert run_command(command) == 0
    assert json.loads(capsys.readouterr().out) == found
    assert run_command(["train", "made"]) == 0
    out = capsys.readouterr().out
    assert (
        "| Epoch | Training Accuracy | Test Accuracy |  Diff | Training Loss | Test Loss |" in out
    )
    assert run_command(["summary", "made", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parameters"] == 7864


def test_quiet_prints_the_result_alone(
    small_run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = small_run.replace({"train.epochs": 1})
    (tmp_path / "run.toml").write_text(to_toml(run))
    assert run_command(["train", "run.toml", "--out", "made", "-q"]) == 0
    out, err = capfd.readouterr()
    assert [line.partition(":")[0] for line in out.splitlines()] == [
        "Final test accuracy",
        "Run folder",
    ]
    assert err == ""
    assert run_command(["train", "run.toml", "--out", "made", "-q", "--json"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["run"] == "made"
    assert err == ""
    held_out = ["--set", "data.validation=0.25", "-q"]
    assert run_command(["train", "run.toml", "--out", "held", *held_out]) == 0
    assert run_command(["train", "run.toml", "--out", "two", *held_out, "--seeds", "2"]) == 0
    out, err = capfd.readouterr()
    beginnings = [line.partition(" accuracy")[0].partition("/")[0] for line in out.splitlines()]
    assert beginnings == [
        "Final validation", "Final test", "Run folder: held", "Seed 1: final validation",
        "Seed 2: final validation", "Mean final validation", "Mean final test",
    ]  # fmt: skip
    assert err == ""
    stage = {"name": "$A$ :smile: [red]", "change": {"train.label_smoothing": 0.1}}
    spec = {**run.to_dict(), "name": "s", "target": 50.0, "seeds": 1, "stage": [stage]}
    (tmp_path / "study.toml").write_text(to_toml(Study.from_dict(spec)))
    assert run_command(["study", "study.toml", "--out", "s", "--quiet"]) == 0
    out, err = capfd.readouterr()
    assert out.startswith("s: target 50.00%")
    assert stage["name"] in out
    assert out.endswith(f"Report: {Path('s', 'report.html')}\n")
    assert len(out.splitlines()) < 8
    assert err == ""
    # An error is told all the same.
    assert run_command(["train", "run.toml", "--set", "train.epochs=0", "-q"]) == 2
    assert capfd.readouterr().err.count("\n") == 1


def test_a_folder_named_like_a_bundled_run_stays_as_it_is(
    small_mnist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "interim").mkdir()
    (tmp_path / "interim" / "notes.txt").write_text("mine")
    settings = ["--set", f"data.name={str(small_mnist)!r}", "--set", "train.epochs=1"]
    assert run_command(["train", "interim", *settings]) == 0
    assert [path.name for path in (tmp_path / "interim").iterdir()] == ["notes.txt"]
    assert run_command(["train", "interim", "--out", "interim"]) == 1
    assert "contains 'notes.txt'" in capsys.readouterr().err


@pytest.mark.native
def test_training_without_pytorch(small_mnist: Path) -> None:
    """In a process of its own, where an import of PyTorch would fail."""
    code = "import sys; sys.modules['torch'] = None\nfrom kilonet.entry import main; main()"
    settings = ["--set", f"data.name={str(small_mnist)!r}", "--set", "train.epochs=1"]
    done = subprocess.run(
        [sys.executable, "-c", code, "train", *settings, "--out", "run", "--json"],
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout)["engine"] == "native"


def test_a_file_with_seeds_and_without_stages_is_taken_by_train_and_study(
    small_mnist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.toml").write_text(f"seeds = 2\ntarget = 50.0\n[net]\n{SMALL_NET}")
    options = ["--data", str(small_mnist), "--epochs", "1"]
    assert run_command(["train", "mine.toml", *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[-3:]] == [
        "Seed 1", "Seed 2", "Mean final test accuracy",
    ]  # fmt: skip
    assert run_command(["train", "mine.toml", *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == [
        "Seed 1, trained before", "Seed 2, trained before",
    ]  # fmt: skip
    assert run_command(["train", "mine.toml", *options, "--json"]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert [run["seed"] for run in runs] == [1, 2]
    assert [len(run["epochs"]) for run in runs] == [1, 1]
    assert run_command(["study", "mine.toml", *options, "--jobs", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["study"] == "mine"
    # The study's folder states its seeds too; its runs are not written over.
    assert run_command(["train", "kilonet-studies/mine", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)["runs"]
    assert [run["run"] for run in again] == [run["run"] for run in runs]
    [stage] = found["stages"]
    assert (stage["name"], stage["change"]) == ("Baseline", {})
    finals = [seed["final_test_accuracy"] for seed in stage["seeds"]]
    assert finals == [run["final_test_accuracy"] for run in runs]
    assert "The base run, unchanged." in Path("kilonet-studies/mine/report.md").read_text()


def test_seeds_say_what_is_read_and_what_begins_anew(
    small_mnist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.toml").write_text(f"[net]\n{SMALL_NET}")
    options = ["--data", str(small_mnist), "--epochs", "1", "--out", "made"]
    assert run_command(["train", "mine.toml", *options, "--seeds", "2", "--json"]) == 0
    capsys.readouterr()
    again = ["train", "mine.toml", *options, "--resume"]
    assert run_command([*again, "--seeds", "3", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert [line.partition(":")[0] for line in captured.out.splitlines()] == [
        "Seed 1, trained before", "Seed 2, trained before", "Seed 3", "Mean final test accuracy",
    ]  # fmt: skip
    assert run_command([*again, "--seeds", "4"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "Nothing to resume in made/seed-4: training begins anew."


def test_train_with_seeds_and_with_a_seed(
    small_mnist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.toml").write_text(f"[net]\n{SMALL_NET}")
    options = ["--data", str(small_mnist), "--epochs", "1", "--json"]
    assert run_command(["train", "mine.toml", *options, "--seeds", "2", "--out", "made"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [run["run"] for run in found["runs"]] == ["made/seed-1", "made/seed-2"]
    too_high = ["--data", str(small_mnist), "--set", "train.optimizer.lr=1e30", "-q"]
    assert run_command(["train", "mine.toml", *too_high, "--seeds", "2"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert [line[:16] for line in err.splitlines()] == ["kilonet: seed 1:", "kilonet: seed 2:"]
    assert run_command(["train", "mine.toml", *options, "--seed", "2"]) == 0
    one = json.loads(capsys.readouterr().out)
    assert (one["seed"], one["final_test_accuracy"]) == (
        2, found["runs"][1]["final_test_accuracy"],
    )  # fmt: skip


def test_find_lr_json_and_nothing_but_a_picture(
    small_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.toml").write_text(to_toml(small_run))
    assert run_command(["train", "run.toml", "--find-lr", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["picture"] is None
    assert {path.name for path in tmp_path.iterdir()} == {"run.toml"}
    assert found["steepest"] < found["minimum"]
    mean = math.sqrt(found["steepest"] * found["minimum"] / 10)
    assert found["suggestion"] == pytest.approx(mean, rel=0.05)  # two digits; batch norm, no limit
    assert found["validation_images"] == 64
    rates = [point["lr"] for point in found["points"]]
    assert rates == sorted(rates)
    assert "validation_loss" in found["points"][0]
    assert "validation_loss" not in found["points"][1]
    # The line is one that a study takes.
    change = tomllib.loads(found["change"])["change"]
    assert small_run.replace(change).train.optimizer.lr == found["suggestion"]
    assert run_command(["train", "run.toml", "--find-lr", "--picture", "curve.png"]) == 0
    assert f"--set train.optimizer.lr={found['suggestion']:g}" in capsys.readouterr().out
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_extend_a_finished_run(
    small_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the command line: the bits of a run from the start; refused with the reason."""
    short = small_run.replace({"net.layers": ["conv 4", "gap", "pointwise 10 bare"]})
    (tmp_path / "run.toml").write_text(to_toml(short))
    assert run_command(["train", "run.toml", "--out", "short"]) == 0
    extend = ["train", "short", "--epochs", "5", "--extend"]
    assert run_command([*extend, "--out", "long", "--json"]) == 0
    capsys.readouterr()
    assert run_command(["train", "run.toml", "--epochs", "5", "--out", "whole", "-q"]) == 0
    for name in ("weights.safetensors", "predictions.npz", "steps.npz"):
        assert (tmp_path / "long" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert len((tmp_path / "short" / "epochs.jsonl").read_text().splitlines()) == 3
    assert run_command(["train", "long"]) == 0
    for arguments, code, problem in (
        ([*extend, "--set", "train.schedule=onecycle"], 1, "train from the start"),
        (["train", "short", "--extend", "--out", "x"], 1, "set train.epochs to more than that"),
        (["train", "run.toml", "--epochs", "5", "--extend"], 2, "name its folder, not run.toml"),
        ([*extend, "--seeds", "2"], 2, "leave out --seeds"),
    ):
        capsys.readouterr()
        assert run_command(arguments) == code
        err = capsys.readouterr().err
        assert problem in err
        assert len(err.splitlines()) == 1
    assert not (tmp_path / "x").exists()


def test_a_teacher_from_the_command_line(
    small_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = small_run.replace({"net.layers": ["conv 4", "gap", "pointwise 10 bare"]})
    (tmp_path / "run.toml").write_text(to_toml(run.replace({"train.epochs": 1})))
    assert run_command(["train", "run.toml", "--out", "teacher", "-q"]) == 0
    student = ["train", "run.toml", "--set", "train.teacher=teacher", "--seed", "2"]
    assert run_command([*student, "--set", "train.teacher.weight=0.5", "--out", "student"]) == 0
    capsys.readouterr()
    assert run_command(["show", "student"]) == 0
    table = tomllib.loads(capsys.readouterr().out)["train"]["teacher"]
    assert table["weight"] == 0.5
    assert [Path(run["folder"]).name for run in table["runs"]] == ["teacher"]
    assert len(table["runs"][0]["sha256"]) == 64
    assert run_command(["train", "run.toml", "--set", "train.teacher=nowhere"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("kilonet: train.teacher: ")
    assert "not a run folder" in err
    assert len(err.splitlines()) == 1
