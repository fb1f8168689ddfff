"""The roofline: drawn without pyplot, the same bytes from the same result."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from bench_results import made_bench
from kilonet.errors import EngineError
from kilonet.report.figures.roofline import STYLES, roofline, spread_out
from kilonet.report.figures.text import make_plain


def test_the_roofline_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A user's own plots are not affected: an import of pyplot would fail.
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    for name in ("a.png", "b.png"):
        roofline(made_bench(), tmp_path / name)
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG"
        # No date and no version: nothing but the resolution.
        assert set(image.info) <= {"dpi"}
        colors = {color for _, color in image.convert("RGB").getcolors(1 << 24) or ()}
    assert image.width >= 900
    # Markers are nearly opaque, so their colors are on the page almost as stated.
    for color, _ in STYLES.values():
        red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
        assert any(
            abs(r - red) + abs(g - green) + abs(b - blue) < 120 and (r, g, b) != (255, 255, 255)
            for r, g, b in colors
        )
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_no_label_of_ours_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    module = "kilonet.report.figures.roofline"
    monkeypatch.setattr(f"{module}.save_figure", lambda figure, path: drawn.append(figure))
    roofline(made_bench(), tmp_path / "a.png")
    [figure] = drawn
    make_plain(figure)
    texts: list[Any] = figure.findobj(Text)
    assert len(texts) > 20
    assert not any("…" in text.get_text() for text in texts)


def test_without_kernels_there_is_no_roofline(tmp_path: Path) -> None:
    result = made_bench()
    result.kernels = []
    with pytest.raises(EngineError, match="no kernels"):
        roofline(result, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_names_are_moved_apart() -> None:
    assert spread_out([1.0, 5.0], gap=1.0, low=0.0, high=9.0) == [1.0, 5.0]
    assert spread_out([1.0, 1.1, 1.2], gap=1.0, low=0.0, high=9.0) == [1.0, 2.0, 3.0]
    assert spread_out([1.0, 1.1, 3.9], gap=1.0, low=0.0, high=3.0) == [1.0, 2.0, 3.0]
    assert spread_out([-2.0, 2.9, 3.0], gap=1.0, low=0.0, high=3.0) == [0.0, 2.0, 3.0]
