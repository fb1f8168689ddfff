"""The page's colors, by WCAG 2.2's formula, in both schemes; browsers' checkers skip SVG text."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

CHARTS = (files("kilonet.report.charts") / "charts.css").read_text("utf-8")
PAGE = (files("kilonet.report.html") / "page.css").read_text("utf-8")
TEXT, GRAPHICS = 4.5, 3.0  # WCAG 2.2, 1.4.3 (AA) and 1.4.11


def tokens(scheme: str) -> dict[str, str]:
    """The custom properties of ``:root``; of the dark scheme those it changes as well."""
    found: dict[str, str] = {}
    for css in (CHARTS, PAGE):
        light, dark, *_ = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
        for block in (light,) if scheme == "light" else (light, dark):
            found |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
    return found


def luminance(color: str) -> float:
    """Relative luminance, WCAG 2.2."""
    channels = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(a: str, b: str) -> float:
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_formula() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_read(scheme: str) -> None:
    colors = tokens(scheme)
    pairs = [
        *((text, "paper") for text in ("ink", "muted", "link", "test", "train", "target", "gap")),
        *((text, "raised") for text in ("ink", "muted")),
        ("ink", "code"),
        ("ink", "notice"),
        # The target's label and ticks may stand on its band.
        ("ink", "band"),
        *(("cell-ink", cell) for cell in ("right", "shade-1", "shade-2", "shade-3", "shade-4")),
    ]
    low = {pair: contrast(*(colors[name] for name in pair)) for pair in pairs}
    assert {pair: value for pair, value in low.items() if value < TEXT} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_marks_are_seen(scheme: str) -> None:
    colors = tokens(scheme)
    marks = ("ink", "test", "train", "target", "gap", "muted", "link")
    low = {mark: contrast(colors[mark], colors["paper"]) for mark in marks}
    # On the target's band stand dots, the mean, its interval and the target itself.
    low |= {f"{m} on band": contrast(colors[m], colors["band"]) for m in ("ink", "test", "target")}
    assert {mark: value for mark, value in low.items() if value < GRAPHICS} == {}


def test_both_schemes_state_every_color() -> None:
    for css in (CHARTS, PAGE):
        light, dark, *_ = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
        names = [set(re.findall(r"--([\w-]+): #", block)) for block in (light, dark)]
        assert names[0] == names[1]


def test_nothing_is_fetched_and_nothing_moves_by_itself() -> None:
    for css in (CHARTS, PAGE):
        # "</" and "&": the page and the SVG files have it as it is.
        for word in ("url(", "@import", "@font-face", "animation", "</", "&"):
            assert word not in css
    assert "prefers-reduced-motion: reduce" in PAGE
    assert ":focus-visible" in PAGE
