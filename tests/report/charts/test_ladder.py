"""The ladder's strips: marks are where their numbers say."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from math import fsum

import pytest

from kilonet.analysis import analyze
from kilonet.report.charts.ladder import ladder_axis, ladder_key, ladder_strip
from ladders import FOUR_STAGES, made_result, made_rows, notebook_result, seeded_result

STUDY = FOUR_STAGES


def percent_of(mark: ET.Element, name: str) -> float:
    return float(mark.attrib[name].removesuffix("%"))


def test_a_strip_by_hand() -> None:
    result = seeded_result(seeds=3)
    analysis = analyze(result, test_images=10_000)
    stage = analysis.stages[0]
    axis = ladder_axis(analysis)
    strip = ET.fromstring(ladder_strip(stage, axis=axis, error=0.08))

    def place(value: float) -> float:
        return 100 * (value - axis.low) / (axis.high - axis.low)

    seeds = [percent_of(c, "cx") for c in strip if c.attrib.get("class") == "seed"]
    assert seeds == pytest.approx([place(v) for v in sorted(stage.final.values)], abs=0.006)
    mean = next(c for c in strip if c.attrib.get("class") == "mean")
    assert percent_of(mean, "cx") == pytest.approx(place(fsum(stage.final.values) / 3), abs=0.006)
    interval = next(c for c in strip if c.attrib.get("class") == "interval")
    assert stage.final.ci95 is not None
    ends = [max(0, place(stage.final.ci95[0])), min(100, place(stage.final.ci95[1]))]
    shown = [percent_of(interval, "x1"), percent_of(interval, "x2")]
    assert shown == pytest.approx(ends, abs=0.006)
    target = next(c for c in strip if c.attrib.get("class") == "target-line")
    assert percent_of(target, "x1") == pytest.approx(place(99.4), abs=0.006)
    desc = strip.findtext("desc") or ""
    for value in (stage.final.mean, *stage.final.ci95, 99.4, *stage.final.values):
        assert f"{value:.2f}" in desc


def test_everything_at_a_hundred_has_an_axis_too() -> None:
    result = made_result(STUDY.replace({"target": 100.0}), [[made_rows([100.0] * 3)]])
    axis = ladder_axis(analyze(result, test_images=100))
    assert axis.low < 100 < axis.high


def test_the_axis_holds_every_mark_but_not_every_interval() -> None:
    result = made_result(STUDY, [[made_rows([99.0] * 5), made_rows([99.4] * 5)]])
    analysis = analyze(result, test_images=10_000)
    axis = ladder_axis(analysis)
    assert axis.low < 99.0
    assert axis.high > 99.4
    # The interval of two seeds 0.4 apart is 99.2 ± 2.54, up to 100: the axis stays near the marks.
    assert analysis.stages[0].final.ci95 == pytest.approx((99.2 - 2.5412, 100.0), abs=1e-3)
    assert axis.high - axis.low < 1.5


def test_the_key_names_the_marks_that_are_there() -> None:
    assert len(ladder_key(analyze(seeded_result(seeds=3), test_images=10_000))) == 4
    assert len(ladder_key(analyze(notebook_result(), test_images=10_000))) == 3
