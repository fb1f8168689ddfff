"""Marks stand where their numbers say, and words say the same."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from math import fsum

import pytest

from kilonet.analysis import Calibration, CalibrationBin, analyse
from kilonet.report.html import charts, ladder
from kilonet.spec import load_study
from ladders import made_result, made_rows, notebook_result, seeded_result

STUDY = load_study("mnist-8k")


def percent_of(mark: ET.Element, name: str) -> float:
    return float(mark.attrib[name].removesuffix("%"))


def test_a_strip_by_hand() -> None:
    result = seeded_result(seeds=3)
    analysis = analyse(result, test_images=10_000)
    rung = analysis.rungs[0]
    axis = ladder.ladder_axis(analysis)
    strip = ET.fromstring(ladder.ladder_strip(rung, axis=axis, error=0.08))

    def place(value: float) -> float:
        return 100 * (value - axis.low) / (axis.high - axis.low)

    seeds = [percent_of(c, "cx") for c in strip if c.attrib.get("class") == "seed"]
    assert seeds == pytest.approx([place(v) for v in sorted(rung.final.values)], abs=0.006)
    mean = next(c for c in strip if c.attrib.get("class") == "mean")
    assert percent_of(mean, "cx") == pytest.approx(place(fsum(rung.final.values) / 3), abs=0.006)
    interval = next(c for c in strip if c.attrib.get("class") == "interval")
    assert rung.final.ci95 is not None
    ends = [max(0, place(rung.final.ci95[0])), min(100, place(rung.final.ci95[1]))]
    shown = [percent_of(interval, "x1"), percent_of(interval, "x2")]
    assert shown == pytest.approx(ends, abs=0.006)
    target = next(c for c in strip if c.attrib.get("class") == "target-line")
    assert percent_of(target, "x1") == pytest.approx(place(99.4), abs=0.006)
    assert strip.findtext("desc") == (
        f"Final test accuracy {rung.final.mean:.2f}%, 95% interval [{rung.final.ci95[0]:.2f}, "
        f"{rung.final.ci95[1]:.2f}]; target 99.40%. Seeds: "
        + ", ".join(f"{v:.2f}%" for v in rung.final.values)
        + "."
    )


def test_everything_at_a_hundred_has_an_axis_too() -> None:
    result = made_result(STUDY.replace({"target": 100.0}), [[made_rows([100.0] * 3)]])
    axis = ladder.ladder_axis(analyse(result, test_images=100))
    assert axis.low < 100 < axis.high


def test_curves_by_hand() -> None:
    tests = ([98.0, 99.0, 99.5], [98.4, 99.2, 99.3])
    runs = [made_rows(test, train=99.0) for test in tests]
    result = made_result(STUDY, [runs])
    accuracy, gap, loss, rate = charts.curves(result.rungs[0].records, target=99.4, name="r")
    assert accuracy.count("band") == 2
    text = ET.fromstring(accuracy).findtext("desc")
    assert text is not None
    assert text.startswith(
        "test from 98.20% at epoch 0 to 99.40% at epoch 2, means of 2 seeds; "
        "train from 99.00% at epoch 0 to 99.00% at epoch 2, means of 2 seeds."
    )
    line = re.search(r'<path d="([^"]+)" class="line test"', accuracy)
    assert line is not None
    points = [tuple(map(float, p.split())) for p in re.split("[ML]", line[1]) if p.strip()]
    # Three epochs of equal width from 46 to 348: their middles.
    width = (360 - 46 - 12) / 3
    assert [x for x, _ in points] == pytest.approx(
        [46 + width * (i + 0.5) for i in range(3)], abs=0.01
    )
    # Means 98.2, 99.1, 99.4: the second climb is a third of the first.
    (_, y0), (_, y1), (_, y2) = points
    assert (y1 - y2) / (y0 - y1) == pytest.approx(0.3 / 0.9, abs=0.01)
    assert "Train minus test accuracy from +0.80 at epoch 0 to -0.40 at epoch 2" in gap
    assert "Learning rate from 0.01 at epoch 0 to 0.01 at epoch 2." in rate
    assert ET.fromstring(loss).attrib["role"] == "img"


def test_what_lies_below_the_axis_is_said_and_cut_off() -> None:
    records = notebook_result().rungs[0].records
    assert charts.left_out(records, target=99.4) == (
        "Epochs 0 to 2 lie in part below the axis, down to 90.57%."
    )
    accuracy = charts.curves(records, target=99.4, name="r")[0]
    assert 'clip-path="url(#r-accuracy-edges)"' in accuracy
    assert '<clipPath id="r-accuracy-edges">' in accuracy


def test_a_learning_rate_that_falls_is_drawn_in_steps() -> None:
    rows = [*made_rows([99.0] * 2, lr=0.1), *made_rows([99.0] * 4, lr=0.001)[2:]]
    result = made_result(STUDY, [[tuple(rows)]])
    rate = charts.curves(result.rungs[0].records, target=99.4, name="r")[3]
    line = re.search(r'<path d="([^"]+)" class="line rate"', rate)
    assert line is not None
    heights = [float(p.split()[1]) for p in re.split("[ML]", line[1]) if p.strip()]
    assert len(set(heights)) == 2
    assert heights == sorted(heights)


def test_one_epoch_is_a_dot() -> None:
    result = made_result(STUDY, [[made_rows([50.0], train=40.0)]])
    accuracy = charts.curves(result.rungs[0].records, target=None, name="r")[0]
    assert "<circle" in accuracy
    assert "test 50.00% in the one epoch" in accuracy
    assert "target" not in accuracy


def test_calibration_by_hand() -> None:
    bins = (
        CalibrationBin(low=0.4, high=0.6, confidence=0.5, accuracy=0.25, count=4),
        CalibrationBin(low=0.8, high=1.0, confidence=1.0, accuracy=1.0, count=16),
    )
    drawn = ET.fromstring(
        charts.calibration_curve(Calibration(ece=0.05, bins=bins, standard_error=0.01), name="c")
    )
    low, high = (c.attrib for c in drawn if c.attrib.get("class") == "dot test")
    assert float(low["cx"]) == pytest.approx(46 + (360 - 46 - 12) / 2, abs=0.01)
    assert float(high["cx"]) == 348
    # Radii: 2.5 and a part that grows with the root of the count.
    assert [float(low["r"]), float(high["r"])] == [2.5 + 5 / 2, 7.5]
    # (4 × 0.5 + 16 × 1) / 20 and (1 + 16) / 20.
    assert drawn.findtext("desc") == (
        "Expected calibration error 5.00 points. Mean confidence 90.00%, accuracy 85.00%."
    )
