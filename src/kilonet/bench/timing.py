"""Interleaved timing of several calls, so that a machine's noise affects all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Call = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """The seconds of one call, every time it was made.

    Attributes:
        rounds: the calls of each round, in order.
    """

    rounds: tuple[tuple[float, ...], ...]

    @property
    def calls(self) -> list[float]:
        """Every timed call."""
        return [seconds for calls in self.rounds for seconds in calls]

    @property
    def median(self) -> float:
        """Median seconds of a call."""
        return statistics.median(self.calls)

    @property
    def quartiles(self) -> tuple[float, float]:
        """First and third quartile of a call's seconds; the range of fewer than four calls."""
        calls = self.calls
        if len(calls) < 4:
            return min(calls), max(calls)
        first, _, third = statistics.quantiles(calls, n=4, method="inclusive")
        return first, third

    def ratio_of(self, other: Timing) -> Ratio:
        """The time of ``other`` over this one, by round; both must be of one :func:`interleave`."""
        rounds = zip(self.rounds, other.rounds, strict=True)
        ratios = [statistics.median(theirs) / statistics.median(own) for own, theirs in rounds]
        return Ratio(median=statistics.median(ratios), low=min(ratios), high=max(ratios))


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A ratio of two times: the median over rounds, and the range."""

    median: float
    low: float
    high: float


def interleave(
    named: Mapping[str, Call],
    *,
    repeats: int,
    round_seconds: float = 0.0,
    after_round: Callable[[str], None] | None = None,
) -> dict[str, Timing]:
    """Time calls alternately, in ``repeats`` rounds.

    In a round each call is repeated for ``round_seconds``, at least once. If it is shorter than
    that, it is first made once untimed: that loads its memory into the cache, and the threads of
    the previous call go to sleep.

    Args:
        named: name → call.
        repeats: number of rounds.
        round_seconds: duration of one call's round; 0 for calls that take seconds.
        after_round: receives the name of the call whose round has ended.
    """
    rounds: dict[str, list[tuple[float, ...]]] = {name: [] for name in named}
    for _ in range(repeats):
        for name, call in named.items():
            # If a single call filled the last round, calls are long: no warm-up.
            if round_seconds and (not rounds[name] or len(rounds[name][-1]) > 1):
                call()
            rounds[name].append(_round(call, round_seconds))
            if after_round is not None:
                after_round(name)
    return {name: Timing(rounds=tuple(calls)) for name, calls in rounds.items()}


def _round(call: Call, seconds: float) -> tuple[float, ...]:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return tuple(times)
