"""A bench result in words and as a picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from kilonet.bench import BenchResult, Comparison
from kilonet.bench.memory import Peak
from kilonet.bench.native import KernelRate
from kilonet.bench.result import KILONET_TORCH, NATIVE, NOTEBOOK, Memory
from kilonet.bench.timing import Timing
from kilonet.bench.work import layer_work
from kilonet.engine.native.profile import ProfileRow
from kilonet.errors import EngineError
from kilonet.report.bench import bench_text, profile_text
from kilonet.report.roofline import STYLES, roofline, spread_out
from kilonet.spec import load_run


def timing(*seconds: float) -> Timing:
    return Timing(rounds=tuple((each,) for each in seconds))


def made() -> BenchResult:
    steps = Comparison(
        threads=2,
        timings={
            NATIVE: timing(0.002, 0.003, 0.002),
            "PyTorch eager": timing(0.030, 0.036, 0.026),
            KILONET_TORCH: timing(0.05, 0.05, 0.05),
        },
        rivals=("PyTorch eager",),
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
            rivals=(NOTEBOOK,),
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


def test_the_text_says_what_was_found() -> None:
    text = bench_text(made())
    assert "A processor (avx2), 2 threads; kilonet 1.2, PyTorch 3.4" in text
    assert "A training step of 128, 1 thread; ceiling 500 GFLOP/s" in text
    # 15, 12 and 13 turn by turn; 0.5 GFLOP in 2 ms of 500 GFLOP/s.
    assert "Step: 13.0 times as fast as PyTorch eager" in text
    assert "Step: 50 % of the machine's multiply-adds" in text
    assert "Epoch: 15.5 times as fast as the notebook's way" in text
    assert "100 MB; the notebook's way: 500 MB, and up to 200 MB in each worker" in text
    assert text.endswith("Skipped: JAX: not installed")
    [row] = [line for line in text.splitlines() if line.startswith("| the notebook's way")]
    assert [cell.strip() for cell in row.strip("| ").split("|")][1:] == [
        "31.00",
        "31.00 to 31.00",
        "15.50",
    ]


def test_the_profile_adds_up_the_stages_of_a_pass() -> None:
    result = made()
    stages = {
        ("", "", "wait"): 1.0,
        ("a.0", "Conv2d", "forward"): 2.0,
        ("a.0", "Conv2d", "weight_gradient"): 3.0,
        ("a.0", "Conv2d", "backward"): 4.0,
        ("a.2", "BatchNorm", "forward"): 0.5,
        ("a.2", "BatchNorm", "forward_join"): 0.25,
        ("a.2", "BatchNorm", "forward_finish"): 4.25,
        ("a.2", "BatchNorm", "backward_finish"): 5.0,
    }
    result.profile = [
        ProfileRow(layer=layer, operation=operation, stage=stage, seconds=1e-3 * ms, calls=4)
        for (layer, operation, stage), ms in stages.items()
    ]
    text = profile_text(result)
    assert "Where a step's 20.00 ms go, 2 threads added up" in text
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert ["(wait)", "1.000", "–", "–", "5.0 %"] in rows
    assert ["a.0 Conv2d", "2.000", "3.000", "4.000", "45.0 %"] in rows
    assert ["a.2 BatchNorm", "5.000", "–", "5.000", "50.0 %"] in rows


def test_the_roofline_is_drawn(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        roofline(made(), tmp_path / name)
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG"
        colors = {color for _, color in image.convert("RGB").getcolors(1 << 24) or ()}
    assert image.width >= 900
    # Markers are nearly opaque, so their colours are on the page almost as stated.
    for color, _ in STYLES.values():
        red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
        assert any(
            abs(r - red) + abs(g - green) + abs(b - blue) < 120 and (r, g, b) != (255, 255, 255)
            for r, g, b in colors
        )
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_without_kernels_there_is_no_roofline(tmp_path: Path) -> None:
    result = made()
    result.kernels = []
    with pytest.raises(EngineError, match="no kernels"):
        roofline(result, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_names_are_moved_apart() -> None:
    assert spread_out([1.0, 5.0], gap=1.0, low=0.0, high=9.0) == [1.0, 5.0]
    assert spread_out([1.0, 1.1, 1.2], gap=1.0, low=0.0, high=9.0) == [1.0, 2.0, 3.0]
    assert spread_out([1.0, 1.1, 3.9], gap=1.0, low=0.0, high=3.0) == [1.0, 2.0, 3.0]
    assert spread_out([-2.0, 2.9, 3.0], gap=1.0, low=0.0, high=3.0) == [0.0, 2.0, 3.0]
