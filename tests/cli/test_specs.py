"""``kilonet summary``, ``show`` and ``data``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kilonet.entry import run_command
from kilonet.spec import Study, load_study


def test_summary_json_has_the_designs_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["summary", "interim", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parameters"] == 7864
    assert found["macs"] == 1045312
    assert found["receptive_field"] == 32
    needed = {"name", "output_shape", "parameters", "macs", "receptive_field", "jump"}
    assert all(needed <= set(layer) for layer in found["layers"])
    assert sum(layer["parameters"] for layer in found["layers"]) == 7864
    assert sum(layer["macs"] for layer in found["layers"]) == 1045312


def test_summary_prints_the_notebooks_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["summary", "interim"]) == 0
    out = capsys.readouterr().out
    assert "Conv2d-1            [-1, 8, 26, 26]              72" in out
    assert "Total params: 7,864" in out
    assert "Kernel x Stride" in out
    assert "1 → 8 → 16 → MaxPool" in out


def test_a_path_that_summary_shows_is_one_that_set_takes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command(["summary", "interim", "--set", "net.layers.4=conv 10"]) == 0
    out = capsys.readouterr().out
    assert "| net.layers.4 | conv 10 " in out
    assert run_command(["summary", "interim", "--set", "net.layers.4=conv 10 kernel=99"]) == 2
    assert "net.layers.4 'conv 10 kernel=99': kernel 99 × 99 is larger" in capsys.readouterr().err
    assert run_command(["summary", "interim", "--budget", "7000"]) == 1
    assert "most are in net.layers.7 'conv 16 pad=1' (2,336)" in capsys.readouterr().err
    assert run_command(["summary", "interim", "--json"]) == 0
    layers = json.loads(capsys.readouterr().out)["layers"]
    assert [layer["path"] for layer in layers if layer["text"] == "gap"] == ["net.layers.8"]


def test_show_lists_what_is_bundled_and_prints_what_loads_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["show"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["interim", "run"],
        ["mnist-8k", "study"],
        ["sprint", "study"],
        ["digits-small", "space"],
    ]
    assert run_command(["show", "mnist-8k", "--set", "seeds=7"]) == 0
    (tmp_path / "mine.toml").write_text(capsys.readouterr().out)
    assert load_study("mine.toml") == load_study("mnist-8k").replace({"seeds": 7})
    assert run_command(["show", "mine.toml", "--json"]) == 0
    assert Study.from_dict(json.loads(capsys.readouterr().out)) == load_study("mine.toml")
    assert run_command(["show", "--set", "seeds=7"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_data_describes_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["data", "mnist", "--picture", "digits.png"]) == 0
    out = capsys.readouterr().out
    for text in ("60,000", "10,000", "0.1307", "0.3081", "6bbc9ace898e44ae57da46a324031adb"):
        assert text in out
    assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")
