"""How long a study will take yet: from the work that was done meanwhile, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from kilonet.report.terminal.live_display import TimeLeft


def test_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("kilonet.report.terminal.live_display.time.perf_counter", lambda: now)
    a, b = Path("a"), Path("b")
    left = TimeLeft({a: 10.0, b: 30.0})
    assert left.seconds() is None
    left.begin(a, 0.5)  # 5 of its 10 were done before
    now = 2.0
    left.update(a, 0.7)
    assert left.seconds() is None  # too early to tell
    now = 10.0
    left.update(a, 1.0)  # 5 in ten seconds; 30 are left
    assert left.seconds() == pytest.approx(60)
    left.begin(b, 0.0)
    left.update(b, 1.0)
    left.end(b)
    assert left.seconds() is None


def test_time_left_after_a_failure_is_told_from_what_was_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("kilonet.report.terminal.live_display.time.perf_counter", lambda: now)
    a, b, trained_before = Path("a"), Path("b"), Path("before")
    left = TimeLeft({a: 10.0, b: 30.0})
    left.end(trained_before)
    left.begin(a, 0.0)
    left.update(a, 0.5)
    now = 10.0
    left.end(a)  # it failed half-way: 5 in ten seconds, 30 are left
    assert left.seconds() == pytest.approx(60)
