"""Rounds, medians and ratios, against arithmetic by hand."""

from __future__ import annotations

import time

import pytest

from kilonet.bench.timing import Timing, interleave


def test_medians_and_quartiles() -> None:
    timing = Timing(rounds=((1.0, 2.0), (3.0,), (4.0, 5.0)))
    assert timing.calls == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert timing.median == 3.0
    assert timing.quartiles == (2.0, 4.0)
    assert Timing(rounds=((1.0,), (4.0,))).quartiles == (1.0, 4.0)


def test_a_ratio_is_of_each_round() -> None:
    # The second round was slow for both; the ratio of the overall medians would be 2.5.
    own = Timing(rounds=((1.0,), (10.0,), (2.0, 2.0, 90.0)))
    other = Timing(rounds=((3.0,), (50.0,), (8.0,)))
    ratio = own.ratio_of(other)
    assert (ratio.low, ratio.median, ratio.high) == (3.0, 4.0, 5.0)


def test_ratios_need_the_same_rounds() -> None:
    with pytest.raises(ValueError, match="zip"):
        Timing(rounds=((1.0,),)).ratio_of(Timing(rounds=((1.0,), (2.0,))))


def test_calls_alternate() -> None:
    calls: list[str] = []
    named = {name: (lambda name=name: calls.append(name)) for name in "ab"}
    timings = interleave(named, repeats=2)
    assert calls == ["a", "b", "a", "b"]
    assert [len(one) for one in timings["a"].rounds] == [1, 1]
    assert all(seconds > 0 for seconds in timings["b"].calls)


def test_a_round_of_short_calls_begins_with_an_untimed_one() -> None:
    calls: list[int] = []
    ended: list[str] = []
    timings = interleave(
        {"a": lambda: calls.append(1)}, repeats=3, round_seconds=1e-4, after_round=ended.append
    )
    assert len(calls) == len(timings["a"].calls) + 3
    assert ended == ["a", "a", "a"]


def test_long_calls_have_no_untimed_one_after_the_first() -> None:
    calls: list[int] = []

    def long() -> None:
        calls.append(1)
        time.sleep(2e-3)

    timings = interleave({"a": long}, repeats=3, round_seconds=1e-3)
    assert len(timings["a"].calls) == 3
    assert len(calls) == 4
