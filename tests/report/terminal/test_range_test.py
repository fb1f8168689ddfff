"""The range test as text."""

from __future__ import annotations

import dataclasses

from kilonet.report.terminal.range_test import range_text
from range_results import FOUND, NOTHING


def test_text() -> None:
    lines = range_text(FOUND).splitlines()
    assert lines[1].split()[:3] == ["1.0e-06", "5.5000", "5.4000"]
    bars = [line.count("█") for line in lines[1:9]]
    # 40 characters for 5.5; the least, 0.5, is 40 · 0.5 / 5.5 = 3.6 of them.
    assert (max(bars), min(bars)) == (40, 4)
    # The suggestion, 0.002, and the steepest are nearest to 1e-3; both minima are at 0.1.
    assert ["suggestion" in line for line in lines[1:9]].index(True) == 3
    assert lines[4].count(",") == 1
    assert lines[6].count("lowest") == 2
    text = "\n".join(lines)
    assert "1.0e+01" in text
    assert "6,000" in text
    assert 'change = { "train.optimizer.lr" = 0.002 }' in text
    assert "--set train.optimizer.lr=0.002" in text


def test_a_limit_is_named_only_where_there_is_one() -> None:
    assert FOUND.suggestion is not None
    free = dataclasses.replace(FOUND.suggestion, limited=False)
    assert "limited" in range_text(FOUND)
    assert "limited" not in range_text(dataclasses.replace(FOUND, suggestion=free))


def test_text_for_a_narrow_screen() -> None:
    wide, narrow = range_text(FOUND), range_text(FOUND, width=80)
    assert max(map(len, narrow.splitlines())) <= 80
    assert [w for w in narrow.split() if "█" not in w] == [w for w in wide.split() if "█" not in w]
    # 80 columns less the 66 of a line without its bar.
    assert max(line.count("█") for line in narrow.splitlines()) == 14


def test_text_without_a_suggestion() -> None:
    text = range_text(NOTHING)
    assert "No suggestion" in text
    assert "<" not in text
    assert "--set" not in text
