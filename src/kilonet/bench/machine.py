"""What this machine can do at most, measured with the native engine's own instruction set."""

from __future__ import annotations

from kilonet.engine.native.machine import extension, instruction_set

_ROUNDS = 200_000
"""Of 12 independent vector multiply-adds: about 0.3 ms a thread; turns repeat it."""

MEMORY_FLOATS = 1 << 24
"""A thread's array of the bandwidth test: 64 MiB, beyond every cache."""

CACHE_FLOATS = 1 << 15
"""The same for a core's own cache: two arrays of 128 KiB, beyond the first level alone."""


class Machine:
    """Multiply-adds and memory traffic on a number of threads.

    Raises:
        EngineError: if the native extension was not built.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._machine = extension().Machine(instruction_set(), threads)
        self.rates: list[float] = []

    def multiply_adds(self) -> float:
        """Measure FLOP a second of independent multiply-adds in registers, and remember it."""
        rate: float = self._machine.multiply_adds(_ROUNDS)
        self.rates.append(rate)
        return rate

    def bandwidth(self, *, floats: int = MEMORY_FLOATS) -> float:
        """Bytes a second that go between processor and two arrays of so many floats a thread.

        The best of five, as a line that points lie under should be one that nothing goes beyond.
        """
        sweeps = max(1, MEMORY_FLOATS // floats // 4)
        return max(float(self._machine.bandwidth(floats, sweeps)) for _ in range(5))
