"""The profile of training steps: whole, in order, and without effect on the steps."""

from __future__ import annotations

import time

import numpy as np
import pytest

from kilonet.bench.native import EngineSteps, kernel_rates
from kilonet.data import Dataset, RunData
from kilonet.spec import load_run

STEPS, CHUNKS = 3, 8  # 128 images are eight chunks of 16


@pytest.mark.parametrize("threads", [1, 2])
def test_rows_add_up_to_less_than_the_threads_had(mnist: Dataset, threads: int) -> None:
    run = load_run("interim")
    steps = EngineSteps(run, RunData.of(run, mnist), engine="native", threads=threads)
    steps.step()
    began = time.perf_counter()
    rows = steps.engine.profile(lambda: [steps.step() for _ in range(STEPS)])
    wall = time.perf_counter() - began
    total = sum(row.seconds for row in rows)
    assert 0 < total <= threads * wall
    found = {(row.layer, row.phase): row for row in rows}
    assert len(found) == len(rows)
    names = {node.name for node in run.net.nodes}
    assert {row.layer for row in rows} <= names | {""}
    assert found["", "input"].calls == found["", "loss"].calls == STEPS * CHUNKS
    assert found["", "sum"].calls == STEPS * threads
    assert found["convblock1.0", "forward"].operation == "Conv2d"
    for number in range(1, 9):
        for phase in ("forward", "weight_gradient"):
            row = found[f"convblock{number}.0", phase]
            assert row.calls == STEPS * CHUNKS
            assert row.seconds > 0


def test_the_profile_changes_no_bit_and_ends(mnist: Dataset) -> None:
    run = load_run("interim")
    images = RunData.of(run, mnist)
    plain, watched = (EngineSteps(run, images, engine="native", threads=2) for _ in range(2))
    expected = [plain.step() for _ in range(4)]
    found: list[float] = []
    first = watched.engine.profile(lambda: found.extend(watched.step() for _ in range(2)))
    found.append(watched.step())
    second = watched.engine.profile(lambda: found.append(watched.step()))
    assert found == expected
    for name, array in plain.engine.weights().items():
        assert np.array_equal(array, watched.engine.weights()[name])
    # A new profile forgets the old, and steps outside are in neither.
    for rows, steps in ((first, 2), (second, 1)):
        [loss] = [row for row in rows if row.phase == "loss"]
        assert loss.calls == steps * CHUNKS


def test_rates_follow_from_the_profile(mnist: Dataset) -> None:
    run = load_run("interim")
    steps = EngineSteps(run, RunData.of(run, mnist), engine="native", threads=1)
    rows = steps.engine.profile(steps.step)
    rates = kernel_rates(run.net, rows, steps=1, batch_size=128, threads=1)
    assert len(rates) == 3 * 8 - 1
    [row] = [r for r in rows if (r.layer, r.phase) == ("convblock2.0", "backward")]
    [rate] = [r for r in rates if (r.work.layer, r.kernel) == ("convblock2.0", "input gradient")]
    # 24 · 24 · 16 outputs of 8 · 9 multiply-adds each.
    assert rate.gflops == pytest.approx(2e-9 * 128 * 24 * 24 * 16 * 72 / row.seconds)
    assert all(r.gflops > 0 and r.seconds > 0 for r in rates)
