"""The benchmark: verification before timing, and missing frameworks."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from kilonet.bench import bench, measure
from kilonet.bench.result import KILONET_TORCH, NATIVE
from kilonet.errors import DataError

SMALL = 'input = [1, 28, 28]\nlayers = ["conv 4 stride=3", "maxpool 3", "flatten", "linear 10"]\n'


@pytest.fixture
def small_net(tmp_path: Path) -> str:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return str(path)


@pytest.fixture
def without_frameworks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "jax"):
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, f"kilonet.bench.{name}", raising=False)


@pytest.mark.usefixtures("without_frameworks")
def test_without_pytorch(small_net: str) -> None:
    lines: list[str] = []
    result = bench(small_net, threads=1, repeats=1, quick=True, progress=lines.append)
    assert result.skipped == ["PyTorch: not installed", "JAX: not installed"]
    assert list(result.step.timings) == [NATIVE]
    assert len(result.steps) == 1
    found = result.to_json()
    assert found["machine"]["torch"] is None
    assert found["step"]["torch_ms"] is None
    assert 0 < found["step"]["share_of_ceiling"] < 1
    kernels = {(kernel["layer"], kernel["kernel"]) for kernel in found["kernels"]}
    assert kernels == {
        ("convblock1.0", "forward"),
        ("convblock1.0", "weight gradient"),
        ("linear1", "forward"),
        ("linear1", "input gradient"),
        ("linear1", "weight gradient"),
    }
    assert "timing steps" in lines


def test_what_fails_its_check_is_not_timed(small_net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from kilonet.bench import torch as bench_torch

    class Wrong(bench_torch.TorchSteps):
        def logits(self, images):
            return super().logits(images) * 1.001

    class Constant(bench_torch.TorchSteps):
        def step(self):
            return 2.0

    class Broken(bench_torch.TorchSteps):
        def __init__(self, *arguments, **options):
            raise RuntimeError("no\ncompiler")

    kinds = {"eager": bench_torch.TorchSteps, "a": Wrong, "b": Constant, "c": Broken}
    monkeypatch.setattr(bench_torch, "VARIANTS", tuple(kinds))
    monkeypatch.setattr(
        bench_torch,
        "TorchSteps",
        lambda run, images, *, variant: kinds[variant](run, images, variant=variant),
    )
    result = bench(small_net, threads=1, repeats=1, quick=True)
    assert {NATIVE, "PyTorch eager", KILONET_TORCH} <= set(result.step.timings)
    assert not {"PyTorch a", "PyTorch b", "PyTorch c"} & set(result.step.timings)
    assert result.step.fastest == "PyTorch eager"
    lines = {line.partition(":")[0]: line for line in result.skipped}
    assert "logits differ" in lines["PyTorch a"]
    assert "its loss went from 2.000 to 2.000" in lines["PyTorch b"]
    assert lines["PyTorch c"] == "PyTorch c: RuntimeError: no compiler"


def test_agreement_and_learning() -> None:
    logits = np.array([[1.0, 2.0], [3.0, 5.0]], dtype=np.float32)
    expected = measure.log_softmax(logits)
    # log(e^(1 - 2) + 1) = log 1.3679 by hand.
    assert expected[0] == pytest.approx([-1.3132617, -0.3132617])
    assert measure.log_softmax(expected.astype(np.float32)) == pytest.approx(expected, abs=1e-6)
    assert measure.logits_problem(expected, expected) is None
    assert "differ" in (measure.logits_problem(expected, expected * 1.0001) or "")
    assert "(2, 1)" in (measure.logits_problem(expected, expected[:, :1]) or "")
    assert measure.loss_problem([2.3, 2.0, 1.5, 1.0]) is None
    assert measure.loss_problem([2.3, 1.0, 1.0, 2.4]) is not None
    assert measure.loss_problem([2.3, 1.0, 1.0, float("nan")]) is not None


def test_a_network_that_does_not_take_mnist(tmp_path: Path) -> None:
    path = tmp_path / "color.toml"
    path.write_text(SMALL.replace("[1, 28, 28]", "[3, 28, 28]"))
    with pytest.raises(DataError, match="3"):
        bench(str(path), threads=1, repeats=1, quick=True)
