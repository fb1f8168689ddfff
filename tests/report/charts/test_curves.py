"""Learning curves: marks are where their numbers say, and the description has the numbers."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from kilonet.report.charts.curves import _accuracy_axis, below_axis, curves
from ladders import (
    BATCH_NORMALIZATION,
    FOUR_STAGES,
    made_result,
    made_rows,
    notebook_result,
    typed_rows,
)

STUDY = FOUR_STAGES


def test_curves_by_hand() -> None:
    tests = ([98.0, 99.0, 99.5], [98.4, 99.2, 99.3])
    runs = [made_rows(test, train=99.0) for test in tests]
    result = made_result(STUDY, [runs])
    accuracy, gap, loss, rate = curves(result.stages[0].records, target=99.4, name="r")
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
    assert "train − test from +0.80 at epoch 0 to -0.40 at epoch 2" in gap
    assert "learning rate from 0.01 at epoch 0 to 0.01 at epoch 2." in rate
    assert ET.fromstring(loss).attrib["role"] == "img"


@pytest.mark.parametrize("held_out", [True, False])
def test_the_validation_accuracy_is_drawn_where_all_runs_have_it(held_out: bool) -> None:
    whole = tuple(
        replace(row, validation_accuracy=row.test_accuracy - 30) for row in made_rows([98.0, 99.0])
    )
    part = whole if held_out else (whole[0], replace(whole[1], validation_accuracy=None))
    records = made_result(STUDY, [[whole, part]]).stages[0].records
    accuracy = curves(records, target=99.4, name="r")[0]
    assert ('class="line validation"' in accuracy) == held_out
    said = "validation from 68.00% at epoch 0 to 69.00% at epoch 1, means of 2 seeds"
    assert (said in accuracy) == held_out
    low, _, _ = _accuracy_axis([record.rows for record in records], target=99.4)
    assert (low < 68.0) == held_out


def test_the_first_epochs_may_be_below_the_axis() -> None:
    rows = typed_rows(BATCH_NORMALIZATION)
    low, high, sentence = _accuracy_axis([rows], target=99.4)
    # From epoch 3 the lowest is 98.73 %, the highest 99.51 %; epoch 2 has 98.51 and 98.46 %.
    assert 98.51 < low < 98.73
    assert high > 99.51
    assert "0 to 2" in sentence
    assert "90.57%" in sentence
    records = notebook_result().stages[0].records
    assert below_axis(records, target=99.4) == sentence
    accuracy = curves(records, target=99.4, name="r")[0]
    assert 'clip-path="url(#r-accuracy-plot)"' in accuracy
    assert '<clipPath id="r-accuracy-plot">' in accuracy


@pytest.mark.parametrize(
    ("rows", "below"),
    [
        (made_rows([50.0, 90.0], train=40.0), None),  # short runs are on the axis as a whole
        (made_rows([90.0, *[99.0] * 9], train=99.0), "Epoch 0 "),
    ],
)
def test_what_is_below_the_axis(rows: tuple, below: str | None) -> None:
    low, high, sentence = _accuracy_axis([rows], target=99.4)
    assert high > 99.4
    assert sentence.startswith(below) if below else sentence == ""
    assert (low < min(row.test_accuracy for row in rows)) == (below is None)


@pytest.mark.parametrize(
    "rows",
    [
        made_rows([10.0], train=9.0),
        made_rows([100.0] * 4, train=100.0),
        made_rows([99.4] * 3, train=99.4, lr=0.0),
    ],
)
def test_odd_records_are_drawn_too(rows: tuple) -> None:
    records = made_result(STUDY, [[rows, rows]]).stages[0].records
    for chart in curves(records, target=99.4, name="r"):
        ET.fromstring(chart)
        assert "nan" not in chart


def test_a_learning_rate_that_falls_is_drawn_in_steps() -> None:
    rows = [*made_rows([99.0] * 2, lr=0.1), *made_rows([99.0] * 4, lr=0.001)[2:]]
    result = made_result(STUDY, [[tuple(rows)]])
    rate = curves(result.stages[0].records, target=99.4, name="r")[3]
    line = re.search(r'<path d="([^"]+)" class="line rate"', rate)
    assert line is not None
    heights = [float(p.split()[1]) for p in re.split("[ML]", line[1]) if p.strip()]
    assert len(set(heights)) == 2
    assert heights == sorted(heights)


def test_one_epoch_is_a_dot() -> None:
    result = made_result(STUDY, [[made_rows([50.0], train=40.0)]])
    accuracy = curves(result.stages[0].records, target=None, name="r")[0]
    assert "<circle" in accuracy
    assert "test 50.00% in the one epoch" in accuracy
    assert "target" not in accuracy
