from __future__ import annotations

import dataclasses
import importlib.machinery
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import joblib
import pytest

from kilonet.engine import (
    EngineChoice,
    choose_engine,
    create_engine,
    describe_engine,
    engine_device,
)
from kilonet.engine.native.network import COVERED
from kilonet.errors import EngineError, UsageError
from kilonet.spec import Net, graph, load_run


def test_importing_the_package_leaves_torch_alone() -> None:
    code = "import sys, kilonet.engine, kilonet.training.schedule; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


INTERIM = load_run("interim")


def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("kilonet.engine.torch")]:
        monkeypatch.delitem(sys.modules, name)
    # None there makes Python say that there is no such module.
    monkeypatch.setitem(sys.modules, "torch", None)


def without_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("kilonet.engine._native", raising=False)
    monkeypatch.setitem(sys.modules, "kilonet.engine._native", None)


def test_torch_by_name(normalization: dict[str, Any]) -> None:
    engine = create_engine(INTERIM, engine="torch", device="cpu", **normalization)
    assert engine.name == "torch"
    assert engine.description.startswith("torch ")
    assert describe_engine(INTERIM.net, engine="torch", device="cpu") == engine.description


@pytest.mark.native
@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_auto_is_native(
    device: str, normalization: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_torch(monkeypatch)
    assert choose_engine(INTERIM.net, device=device) == EngineChoice(engine="native")
    engine = create_engine(INTERIM, device=device, **normalization)
    assert engine.name == "native"
    assert describe_engine(INTERIM.net, device=device) == engine.description


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_auto_leaves_accelerators_to_torch(device: str) -> None:
    choice = choose_engine(INTERIM.net, device=device)
    assert choice.engine == "torch"
    assert (
        choice.describe("torch 3 on x") == f"torch 3 on x (not native: it has no device {device!r})"
    )


@pytest.mark.native
@pytest.mark.parametrize("engine", ["auto", "native", "torch"])
def test_device_on_a_machine_without_gpu(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert engine_device(INTERIM.net, engine=engine, device="auto") == "cpu"
    with pytest.raises(EngineError, match="device 'cuda'"):
        engine_device(INTERIM.net, engine=engine, device="cuda")


def test_device_on_a_machine_with_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert engine_device(INTERIM.net, engine="torch", device="auto") == "cuda"
    assert engine_device(INTERIM.net, engine="auto", device="cuda:1") == "cuda"
    assert engine_device(INTERIM.net, engine="torch", device="cpu") == "cpu"


@dataclasses.dataclass(frozen=True)
class Tanh:
    """An operation that the spec does not have."""


@pytest.mark.native
def test_auto_leaves_what_native_does_not_cover_to_torch() -> None:
    net = Net(input=(1, 6, 6), layers=["conv 2", {"residual": ["silu"]}, "gap", "pointwise 3 bare"])
    assert choose_engine(net) == EngineChoice(engine="native")
    [silu] = [node for node in graph.walk(net.nodes) if isinstance(node.op, graph.SiLU)]
    # The net is frozen, its cached nodes are not: put an uncovered operation in a residual.
    object.__setattr__(silu, "op", Tanh())
    assert choose_engine(net) == EngineChoice(
        engine="torch", reason=f"it has no layer for {silu.path} 'silu'"
    )
    assert choose_engine(net, engine="native") == EngineChoice(engine="native")


def test_what_native_covers_is_all_that_the_spec_has() -> None:
    """And each of them compiles: the suites over both engines run all of these."""
    assert set(COVERED) == set(get_args(graph.Op))


def test_unknown_names(normalization: dict[str, Any]) -> None:
    run = load_run("interim")
    with pytest.raises(UsageError, match="engine 'troch': unknown; did you mean 'torch'"):
        create_engine(run, engine="troch", **normalization)
    with pytest.raises(UsageError, match="engine 'nativ': unknown; did you mean 'native'"):
        create_engine(run, engine="nativ", **normalization)
    with pytest.raises(UsageError, match="device 'gpu'"):
        create_engine(run, device="gpu", **normalization)
    with pytest.raises(UsageError, match="threads 0"):
        create_engine(run, threads=0, **normalization)


@pytest.mark.native
def test_native_by_name(normalization: dict[str, Any]) -> None:
    engine = create_engine(load_run("interim"), engine="native", threads=2, **normalization)
    assert engine.name == "native"
    assert describe_engine(INTERIM.net, engine="native", threads=2) == engine.description
    assert engine.description.endswith(", 2 threads")


@pytest.mark.parametrize("engine", [pytest.param("native", marks=pytest.mark.native), "torch"])
def test_a_quota_limits_the_default_threads(
    engine: str, normalization: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        monkeypatch.setattr(joblib, "cpu_count", lambda: 3)
        assert describe_engine(INTERIM.net, engine=engine, device="cpu").endswith(", 3 threads")
        created = create_engine(INTERIM, engine=engine, device="cpu", **normalization)
        assert created.info.description.endswith(", 3 threads")
        if engine == "torch":
            assert created.info.threads == torch.get_num_threads() == 3
            # Fewer, as by OMP_NUM_THREADS, stay fewer.
            torch.set_num_threads(2)
            assert describe_engine(INTERIM.net, engine=engine, device="cpu").endswith("2 threads")
        # Whoever asks for more gets them.
        line = describe_engine(INTERIM.net, engine=engine, device="cpu", threads=5)
        assert line.endswith(", 5 threads")
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("engine", ["auto", "native"])
def test_without_the_extension(
    engine: str, normalization: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_extension(monkeypatch)
    if engine == "auto":
        assert create_engine(INTERIM, device="cpu", **normalization).name == "torch"
        line = describe_engine(INTERIM.net, device="cpu")
        assert re.fullmatch(r"torch .* on cpu, .* \(not native: it was not built\)", line)
        return
    with pytest.raises(
        EngineError, match="native engine was not built; install a C\\+\\+ compiler"
    ):
        create_engine(INTERIM, engine=engine, **normalization)


def test_an_extension_that_cannot_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one built for another machine, or against a library that is not here."""
    import kilonet.engine

    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    (tmp_path / f"_native{suffix}").write_bytes(b"no ELF file")
    monkeypatch.delattr("kilonet.engine._native", raising=False)
    monkeypatch.delitem(sys.modules, "kilonet.engine._native", raising=False)
    monkeypatch.setattr(kilonet.engine, "__path__", [str(tmp_path), *kilonet.engine.__path__])
    # An editable installation has a finder of its own before the path's.
    monkeypatch.setattr(sys, "meta_path", [importlib.machinery.PathFinder])
    choice = choose_engine(INTERIM.net)
    assert choice.engine == "torch"
    assert choice.reason.startswith("it cannot be loaded (")


def test_without_torch(normalization: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    without_torch(monkeypatch)
    for how in ({"engine": "torch"}, {"device": "cuda"}):
        with pytest.raises(
            EngineError, match=r"^PyTorch is not installed; pip install 'kilonet\[torch\]'$"
        ):
            create_engine(INTERIM, **how, **normalization)


def test_without_either(normalization: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    without_torch(monkeypatch)
    without_extension(monkeypatch)
    with pytest.raises(EngineError, match=r"no engine is available: .* not built"):
        create_engine(INTERIM, **normalization)


def test_a_native_engine_for_which_there_is_no_memory_is_not_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``auto`` must not choose another engine, which would give other bits."""

    def starved(name: str) -> None:
        raise ImportError(f"{name}.so: failed to map segment from shared object")

    monkeypatch.setattr("kilonet.engine.native.machine.importlib.import_module", starved)
    with pytest.raises(MemoryError):
        choose_engine(INTERIM.net)
