"""The machine's limits: each call does the work that it counts, on every instruction set."""

from __future__ import annotations

import time

import pytest

from kilonet.bench.machine import Machine
from kilonet.engine.native.machine import extension

WIDTHS = {"avx512": 16, "avx2": 8, "baseline": 4}


@pytest.mark.parametrize("isa", extension().instruction_sets())
@pytest.mark.parametrize("threads", [1, 3])
def test_the_flop_and_bytes_that_are_counted_were_done(isa: str, threads: int) -> None:
    machine = extension().Machine(isa, threads)
    rounds, count, sweeps = 100_000, 1 << 16, 20
    began = time.perf_counter()
    rate = machine.multiply_adds(rounds)
    # The clock inside runs for less time than the one outside.
    assert rate * (time.perf_counter() - began) >= threads * rounds * 12 * 2 * WIDTHS[isa]
    began = time.perf_counter()
    rate = machine.bandwidth(count, sweeps)
    assert rate * (time.perf_counter() - began) >= threads * sweeps * count * 3 * 4


def test_rates_are_remembered_and_possible() -> None:
    machine = Machine(1)
    rates = [machine.multiply_adds() for _ in range(3)]
    assert machine.rates == rates
    # Two units of the widest vectors at 8 GHz come to 512 GFLOP/s.
    assert all(0 < rate < 5.2e11 for rate in rates)
