"""The curve of a range test: the same bytes from the same test."""

from __future__ import annotations

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
