"""The networks and figures of the benchmarks versus_torch and scaling."""

from __future__ import annotations

from pathlib import Path

import pytest

from file_modules import load
from kilonet.spec import load_run

versus, scaling = load("benchmarks/versus_torch.py"), load("benchmarks/scaling.py")


def test_twenty_networks_of_kilo_parameters() -> None:
    assert len(versus.NETWORKS) == 20
    for name in versus.NETWORKS:
        assert 500 <= versus.network(name).num_parameters <= 100_000, name
    assert versus.network("bundled") == load_run("interim").net


def test_both_sides_train_and_are_compared() -> None:
    found = versus.compare("tiny", 4, repeats=1, threads=1)
    assert found["ratio_low"] <= found["ratio"] <= found["ratio_high"]
    assert found["ratio"] == pytest.approx(found["torch_ms"] / found["native_ms"])
    text = versus.table({"tiny": {"4": found}}).to_markdown()
    assert f"| tiny | 588 | – | {found['ratio']:.1f} |" in text


def test_widths_multiply_every_hidden_layer() -> None:
    assert scaling.widened(1.0) == load_run("interim").net
    doubled = [str(layer) for layer in scaling.widened(2.0).layers]
    assert doubled[:2] == ["conv 16", "conv 32"]
    assert doubled[-1] == "pointwise 10 bare"


def test_a_slope_is_the_exponent() -> None:
    points = [{"work": work, "seconds": 3 * work**1.5} for work in (1, 2, 10)]
    assert scaling.slope(points) == pytest.approx(1.5)


def test_the_figure_of_scaling_is_drawn(tmp_path: Path) -> None:
    points = [
        {
            "value": n,
            "work": n,
            "seconds": n * 1e-3,
            "seconds_low": 9e-4 * n,
            "seconds_high": 2e-3 * n,
        }
        for n in (1, 2, 4)
    ]
    scaling.draw(dict.fromkeys(scaling.TITLES, points), tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
