"""Times of several contenders, taken in turn, so that a machine's noise hits all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Contender = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What one contender took: seconds of every timed call.

    Attributes:
        rounds: the calls of each turn, in the order of the turns.
    """

    rounds: tuple[tuple[float, ...], ...]

    @property
    def calls(self) -> list[float]:
        """Every timed call."""
        return [seconds for turn in self.rounds for seconds in turn]

    @property
    def median(self) -> float:
        """Seconds a call."""
        return statistics.median(self.calls)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The first and the third, seconds a call; the range where there are fewer than four."""
        calls = self.calls
        if len(calls) < 4:
            return min(calls), max(calls)
        first, _, third = statistics.quantiles(calls, n=4, method="inclusive")
        return first, third

    def ratio_of(self, other: Timing) -> Ratio:
        """How many times as long ``other`` took, turn by turn; both from one :func:`interleave`."""
        turns = zip(self.rounds, other.rounds, strict=True)
        ratios = [statistics.median(theirs) / statistics.median(own) for own, theirs in turns]
        return Ratio(median=statistics.median(ratios), low=min(ratios), high=max(ratios))


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A ratio of two times: the median of the turns, and their range."""

    median: float
    low: float
    high: float


def interleave(
    contenders: Mapping[str, Contender],
    *,
    repeats: int,
    turn_seconds: float = 0.0,
    after_turn: Callable[[str], None] | None = None,
) -> dict[str, Timing]:
    """Time contenders in turn, ``repeats`` times over.

    A turn is as many calls as fit into ``turn_seconds``, at least one. Before it goes one call that
    is not timed where calls are that short: it brings the contender's memory back into the cache,
    and lets the threads of the one before go to sleep.

    Args:
        contenders: name → one call of what is to be timed.
        repeats: turns of each.
        turn_seconds: how long a turn may go on; 0 for calls that take seconds.
        after_turn: told whose turn is over.
    """
    rounds: dict[str, list[tuple[float, ...]]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, call in contenders.items():
            # After a turn of a single call there is nothing short to warm up for.
            if turn_seconds and (not rounds[name] or len(rounds[name][-1]) > 1):
                call()
            rounds[name].append(_turn(call, turn_seconds))
            if after_turn is not None:
                after_turn(name)
    return {name: Timing(rounds=tuple(turns)) for name, turns in rounds.items()}


def _turn(call: Contender, seconds: float) -> tuple[float, ...]:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return tuple(times)
