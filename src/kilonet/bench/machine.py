"""The machine's limits, measured with the native engine's instruction set."""

from __future__ import annotations

from kilonet.engine.native.machine import extension, instruction_set

_ROUNDS = 200_000
"""Rounds of 12 independent vector multiply-adds: about 0.3 ms in all."""

MEMORY_FLOATS = 1 << 24
"""A thread's array in the test of memory bandwidth: 64 MiB, larger than every cache."""

CACHE_FLOATS = 1 << 15
"""The same for a core's cache: two arrays of 128 KiB, larger than the first level alone."""


class Machine:
    """Measures multiply-adds and memory bandwidth on a number of threads.

    Raises:
        EngineError: if the native extension was not built.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._machine = extension().Machine(instruction_set(), threads)
        self.rates: list[float] = []

    def multiply_adds(self) -> float:
        """FLOP per second of independent multiply-adds in registers; appended to ``rates``."""
        rate: float = self._machine.multiply_adds(_ROUNDS)
        self.rates.append(rate)
        return rate

    def bandwidth(self, *, floats: int = MEMORY_FLOATS) -> float:
        """Bytes per second between the processor and two arrays of ``floats`` on each thread.

        The best of five, as a roofline is an upper limit.
        """
        sweeps = max(1, MEMORY_FLOATS // floats // 4)
        return max(float(self._machine.bandwidth(floats, sweeps)) for _ in range(5))
