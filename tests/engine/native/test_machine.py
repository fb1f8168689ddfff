"""The choice of an instruction set, and the error for a wrong one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from kilonet.engine.native import machine
from kilonet.entry import run_command
from kilonet.errors import UsageError

native = pytest.importorskip("kilonet.engine._native", reason="no compiler when installed")


def test_the_best_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KILONET_ISA", raising=False)
    here = native.instruction_sets()
    assert here[-1] == "baseline"
    assert machine.instruction_set() == here[0]
    for isa in here:
        monkeypatch.setenv("KILONET_ISA", isa)
        assert machine.instruction_set() == isa


def test_one_that_the_machine_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    old = SimpleNamespace(instruction_sets=lambda: ["avx2", "baseline"])
    monkeypatch.setattr(machine, "extension", lambda: old)
    monkeypatch.setenv("KILONET_ISA", "avx512")
    with pytest.raises(UsageError) as caught:
        machine.instruction_set()
    message = str(caught.value)
    assert message.startswith("KILONET_ISA=avx512: not an instruction set of this machine; ")
    assert "avx2" in message
    assert "\n" not in message


def test_an_unknown_one_is_a_line_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KILONET_ISA", "avx9")
    assert run_command(["train", "interim", "--engine", "native"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert "KILONET_ISA=avx9: not an instruction set of this machine" in error
    assert not list(tmp_path.iterdir())
