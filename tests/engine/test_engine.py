from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from kilonet.engine import create_engine, describe_engine
from kilonet.errors import EngineError, UsageError
from kilonet.spec import load_run


def test_importing_the_package_leaves_torch_alone() -> None:
    code = "import sys, kilonet.engine, kilonet.schedule; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


@pytest.mark.parametrize("name", ["auto", "torch"])
def test_engines_by_name(name: str, normalisation: dict[str, Any]) -> None:
    engine = create_engine(load_run("interim"), engine=name, device="cpu", **normalisation)
    assert engine.name == "torch"
    assert engine.description.startswith("torch ")


def test_unknown_names(normalisation: dict[str, Any]) -> None:
    run = load_run("interim")
    with pytest.raises(UsageError, match="engine 'troch': unknown; did you mean 'torch'"):
        create_engine(run, engine="troch", **normalisation)
    with pytest.raises(UsageError, match="engine 'nativ': unknown; did you mean 'native'"):
        create_engine(run, engine="nativ", **normalisation)
    with pytest.raises(UsageError, match="device 'gpu'"):
        create_engine(run, device="gpu", **normalisation)
    with pytest.raises(UsageError, match="threads 0"):
        create_engine(run, threads=0, **normalisation)


def test_native_by_name(normalisation: dict[str, Any]) -> None:
    pytest.importorskip("kilonet.engine._native", reason="no compiler when installed")
    engine = create_engine(load_run("interim"), engine="native", threads=2, **normalisation)
    assert engine.name == "native"
    assert describe_engine("native", threads=2) == engine.description
    assert engine.description.endswith(", 2 threads")


def test_without_the_extension(
    normalisation: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("kilonet.engine._native", raising=False)
    monkeypatch.setitem(sys.modules, "kilonet.engine._native", None)
    with pytest.raises(
        EngineError, match="native engine was not built; install a C\\+\\+ compiler"
    ):
        create_engine(load_run("interim"), engine="native", **normalisation)


def test_without_torch(normalisation: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("kilonet.engine.torch")]:
        monkeypatch.delitem(sys.modules, name)
    # None there makes Python say that there is no such module.
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        EngineError, match=r"PyTorch is not installed; pip install 'kilonet\[torch\]'"
    ):
        create_engine(load_run("interim"), **normalisation)
