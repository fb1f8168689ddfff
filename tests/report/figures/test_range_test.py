"""The curve of a range test: the same bytes from the same test."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from kilonet.report.figures.range_test import range_figure
from kilonet.training.range_test import RangeTest
from range_results import FOUND, NOTHING


@pytest.mark.parametrize("found", [FOUND, NOTHING], ids=["found", "nothing"])
def test_the_same_test_gives_the_same_picture(found: RangeTest, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        range_figure(found, tmp_path / name)
    picture = (tmp_path / "a.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert picture == (tmp_path / "b.png").read_bytes()


def test_losses_of_zero(tmp_path: Path) -> None:
    """As of a single class; Matplotlib's warning would be an error."""
    points = tuple(
        dataclasses.replace(point, loss=0.0, validation_loss=0.0) for point in FOUND.points
    )
    flat = dataclasses.replace(NOTHING, points=points, smoothed=(0.0,) * len(points))
    range_figure(flat, tmp_path / "flat.png")
    assert (tmp_path / "flat.png").exists()
