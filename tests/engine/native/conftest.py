"""The tests that ask for ``isa`` run on every instruction set of the machine."""

from __future__ import annotations

import pytest

native = pytest.importorskip("kilonet.engine._native", reason="no compiler when installed")


@pytest.fixture(params=native.instruction_sets())
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Engines that a test makes compute with it."""
    monkeypatch.setenv("KILONET_ISA", request.param)
    return str(request.param)
