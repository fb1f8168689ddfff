"""The calibration curve, by hand."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from kilonet.analysis.misclassified import Calibration, CalibrationBin
from kilonet.report.charts.calibration import calibration_curve


def test_calibration_by_hand() -> None:
    bins = (
        CalibrationBin(low=0.4, high=0.6, confidence=0.5, accuracy=0.25, count=4),
        CalibrationBin(low=0.8, high=1.0, confidence=1.0, accuracy=1.0, count=16),
    )
    drawn = ET.fromstring(
        calibration_curve(
            Calibration(ece=0.05, bins=bins, confidence=0.9, accuracy=0.85, standard_error=0.01),
            name="c",
        )
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
