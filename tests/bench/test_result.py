"""Ratios, shares and JSON keys of a result made by hand."""

from __future__ import annotations

import pytest

from kilonet.bench.memory import Peak
from kilonet.bench.result import NATIVE, NOTEBOOK, BenchResult, Comparison, Memory
from kilonet.bench.timing import Timing


def timing(*seconds: float) -> Timing:
    return Timing(rounds=tuple((each,) for each in seconds))


def made(*, torch: bool) -> BenchResult:
    baselines = {
        "PyTorch eager": timing(0.030, 0.040, 0.026),
        "PyTorch compile": timing(0.5, 0.5, 0.5),
    }
    timings = {NATIVE: timing(0.002, 0.004, 0.002), "JAX jit": timing(0.001, 0.001, 0.001)}
    epoch = {NATIVE: timing(2.0, 1.0)}
    if torch:
        timings |= baselines
        epoch[NOTEBOOK] = timing(20.0, 30.0)
    return BenchResult(
        net="interim",
        num_parameters=7864,
        batch_size=100,
        flop_per_image=6_000_000,
        machine={"cpu": "a processor", "instruction_set": "avx2", "kilonet": "1"},
        steps=[
            Comparison(
                threads=2,
                timings=timings,
                baselines=tuple(baselines) if torch else (),
                ceiling=600.0,
                flop=6e8,
            )
        ],
        epoch=Comparison(threads=2, timings=epoch, baselines=(NOTEBOOK,) if torch else ()),
        memory=Memory(
            native=Peak(bytes=100_000_000, worker_bytes=0),
            notebook=Peak(bytes=500_000_000, worker_bytes=200_000_000) if torch else None,
        ),
    )


def test_json_has_the_designs_keys() -> None:
    found = made(torch=True).to_json()
    assert found["ceiling_gflops"] == 600.0
    assert found["peak_bytes"] == 100_000_000
    step = found["step"]
    assert step["native_ms"] == pytest.approx(2.0)
    assert step["torch_ms"] == pytest.approx(30.0)
    assert step["torch_variant"] == "PyTorch eager"
    assert step["implementations"]["PyTorch eager"]["rounds"] == 3
    # By round: 15, 10 and 13.
    assert (step["ratio_low"], step["ratio"], step["ratio_high"]) == pytest.approx((10, 13, 15))
    # 0.6 GFLOP in 2 ms are 300 GFLOP/s of 600.
    assert step["share_of_ceiling"] == pytest.approx(0.5)
    epoch = found["epoch"]
    assert (epoch["native_seconds"], epoch["notebook_seconds"]) == pytest.approx((1.5, 25.0))
    assert epoch["ratio"] == pytest.approx(20.0)
    assert found["notebook_worker_peak_bytes"] == 200_000_000


def test_without_pytorch_its_keys_are_null() -> None:
    found = made(torch=False).to_json()
    assert found["step"]["native_ms"] == pytest.approx(2.0)
    assert found["step"]["share_of_ceiling"] == pytest.approx(0.5)
    for part, key in [
        ("step", "torch_ms"),
        ("step", "torch_variant"),
        ("step", "ratio"),
        ("epoch", "notebook_seconds"),
        ("epoch", "ratio"),
    ]:
        assert found[part][key] is None
    assert found["notebook_peak_bytes"] is None


def test_what_was_not_measured_is_null() -> None:
    result = made(torch=True)
    result.epoch, result.memory = None, None
    found = result.to_json()
    assert found["epoch"] is None
    assert found["evaluation"] is None
    assert found["peak_bytes"] is None
