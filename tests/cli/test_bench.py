"""``kilonet bench``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from kilonet.entry import run_command


def test_bench_json_has_the_designs_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("torch", "jax"):
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, f"kilonet.bench.{name}", raising=False)
    command = ["bench", "--quick", "--threads", "1", "--repeats", "1", "--figure", "roof.png"]
    assert run_command([*command, "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert {"ceiling_gflops", "step", "epoch", "peak_bytes"} <= set(found)
    assert {"native_ms", "torch_ms", "ratio", "share_of_ceiling"} <= set(found["step"])
    assert (found["parameters"], found["flop_per_image"]) == (7864, 6_174_528)
    assert (tmp_path / "roof.png").read_bytes().startswith(b"\x89PNG")
    assert captured.err == ""
    assert run_command([*command, "--profile"]) == 0
    out = capsys.readouterr().out
    assert "A training step of 128, 1 thread; ceiling" in out
    assert "| convblock2.0 Conv2d " in out
    assert "Skipped: PyTorch: not installed" in out
    assert "Roofline: roof.png" in out


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--net", "intrim"], 2, "did you mean 'interim'?"),
        (["--net", "missing.toml"], 2, "missing.toml: no such file"),
        (["--threads", "0"], 2, "threads"),
        (["--repeats", "0"], 2, "repeats"),
    ],
)
def test_bench_with_bad_options_is_one_line(
    options: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["bench", "--quick", *options]) == code
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
