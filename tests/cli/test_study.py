"""``kilonet study``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from kilonet.engine import describe_engine
from kilonet.entry import run_command
from kilonet.spec import Run, load_study, to_toml


def test_the_bundled_study_is_the_default() -> None:
    import inspect

    from kilonet.cli.study import study

    default = inspect.signature(study).parameters["name"].default
    assert load_study(default).name == "mnist-8k"
    assert load_study(default).seeds == 3


def test_study_prints_the_ladder_and_writes_the_report(
    small_mnist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, once = f"data.name={str(small_mnist)!r}", ["--set", "seeds=1"]
    small = ["--set", data, "--set", "train.epochs=3", *once]
    assert run_command(["study", *small, "--out", "ladder", "--threads", "2"]) == 0
    out = capsys.readouterr().out
    names = [stage.name for stage in load_study("mnist-8k").stages]
    first = describe_engine(load_study("mnist-8k").net, threads=1)
    assert out.splitlines()[0] == f"{first}: {len(names)} runs to train, 2 at a time"
    for name in names:
        assert name in out
    assert out.count("Findings") == len(names)
    assert (tmp_path / "ladder" / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert (tmp_path / "ladder" / "report.md").read_text().startswith("# mnist-8k")
    assert run_command(["study", *small, "--out", "ladder", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["study"] == "mnist-8k"
    assert found["target"] == 99.4
    assert [stage["name"] for stage in found["stages"]] == names
    for stage in found["stages"]:
        assert {"name", "parameters", "mean", "ci95", "reached", "seeds"} <= set(stage)
        needed = {"seed", "run", "final_test_accuracy", "best_test_accuracy", "reached"}
        assert all(needed <= set(seed) for seed in stage["seeds"])
        assert all(Path(seed["run"]).is_dir() for seed in stage["seeds"])


def test_what_is_finished_is_shown_without_an_engine(
    small_run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "run.toml").write_text(to_toml(small_run.replace({"train.epochs": 1})))
    command = ["train", "run.toml", "--out", "made"]
    assert run_command(command) == 0
    shown = capsys.readouterr().out
    for name in [name for name in sys.modules if name.startswith("kilonet.engine.torch")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delattr("kilonet.engine._native", raising=False)
    monkeypatch.setitem(sys.modules, "kilonet.engine._native", None)
    assert run_command(command) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == shown.splitlines()[-2:]
    assert run_command(["train", "interim", "--out", "other"]) == 1
    assert "the native one was not built, and PyTorch is not installed" in capsys.readouterr().err
