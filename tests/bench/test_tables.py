"""A bench result as text."""

from __future__ import annotations

from bench_results import made_bench
from kilonet.bench.tables import bench_text, profile_table
from kilonet.engine.native.layer_times import ProfileRow


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
    phases = {
        ("", "", "wait"): 1.0,
        ("a.0", "Conv2d", "forward"): 2.0,
        ("a.0", "Conv2d", "weight_gradient"): 3.0,
        ("a.0", "Conv2d", "backward"): 4.0,
        ("a.2", "BatchNorm", "forward"): 0.5,
        ("a.2", "BatchNorm", "forward_reduce"): 0.25,
        ("a.2", "BatchNorm", "forward_finish"): 4.25,
        ("a.2", "BatchNorm", "backward_finish"): 5.0,
    }
    result.profile = [
        ProfileRow(layer=layer, operation=operation, phase=phase, seconds=1e-3 * ms, calls=4)
        for (layer, operation, phase), ms in phases.items()
    ]
    table = profile_table(result.profile, threads=2)
    assert "20.00 ms" in table.title
    rows = [list(row) for row in table.rows]
    assert ["(wait)", "1.000", "–", "–", "5.0 %"] in rows
    assert ["a.0 Conv2d", "2.000", "3.000", "4.000", "45.0 %"] in rows
    assert ["a.2 BatchNorm", "5.000", "–", "5.000", "50.0 %"] in rows
