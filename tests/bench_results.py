"""A bench result whose figures are known."""

from __future__ import annotations

from dataclasses import replace

from kilonet.bench import BenchResult, Comparison
from kilonet.bench.memory import Peak
from kilonet.bench.native import KernelRate
from kilonet.bench.result import KILONET_TORCH, NATIVE, NOTEBOOK, Memory
from kilonet.bench.timing import Timing
from kilonet.bench.work import layer_work
from kilonet.report.figures.roofline import STYLES
from kilonet.spec import load_run


def timing(*seconds: float) -> Timing:
    """A turn each, of one call."""
    return Timing(rounds=tuple((each,) for each in seconds))


def made_bench() -> BenchResult:
    """A step of 2 ms where PyTorch takes 30, on a ceiling of 500 GFLOP/s; no evaluation."""
    steps = Comparison(
        threads=2,
        timings={
            NATIVE: timing(0.002, 0.003, 0.002),
            "PyTorch eager": timing(0.030, 0.036, 0.026),
            KILONET_TORCH: timing(0.016, 0.018, 0.016),
        },
        baselines=("PyTorch eager",),
        ceiling=500.0,
        flop=5e8,
    )
    return BenchResult(
        net="interim",
        num_parameters=7864,
        batch_size=128,
        flop_per_image=6_174_528,
        machine={"cpu": "A processor", "instruction_set": "avx2", "kilonet": "1.2", "torch": "3.4"},
        steps=[steps, replace(steps, threads=1)],
        epoch=Comparison(
            threads=2,
            timings={NATIVE: timing(2.0), NOTEBOOK: timing(31.0)},
            baselines=(NOTEBOOK,),
        ),
        memory=Memory(
            native=Peak(bytes=100_000_000, worker_bytes=0),
            notebook=Peak(bytes=500_000_000, worker_bytes=200_000_000),
        ),
        kernels=[
            KernelRate(
                work=work,
                kernel=kernel,
                intensity=work.intensity(batch_size=128),
                gflops=40.0 * (number + 1) + 7 * i,
                seconds=1e-3,
            )
            for number, work in enumerate(layer_work(load_run("interim").net))
            for i, kernel in enumerate(STYLES)
        ],
        bandwidth=2e10,
        cache_bandwidth=2e11,
        skipped=["JAX: not installed"],
    )
