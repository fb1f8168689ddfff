"""A bench result in words and as a picture."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from bench_results import made_bench
from kilonet.engine.native.profile import ProfileRow
from kilonet.errors import EngineError
from kilonet.report.bench import bench_text, profile_text
from kilonet.report.roofline import STYLES, roofline, spread_out


def test_the_text_says_what_was_found() -> None:
    text = bench_text(made_bench())
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
    result = made_bench()
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
        roofline(made_bench(), tmp_path / name)
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
    result = made_bench()
    result.kernels = []
    with pytest.raises(EngineError, match="no kernels"):
        roofline(result, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_names_are_moved_apart() -> None:
    assert spread_out([1.0, 5.0], gap=1.0, low=0.0, high=9.0) == [1.0, 5.0]
    assert spread_out([1.0, 1.1, 1.2], gap=1.0, low=0.0, high=9.0) == [1.0, 2.0, 3.0]
    assert spread_out([1.0, 1.1, 3.9], gap=1.0, low=0.0, high=3.0) == [1.0, 2.0, 3.0]
    assert spread_out([-2.0, 2.9, 3.0], gap=1.0, low=0.0, high=3.0) == [0.0, 2.0, 3.0]
