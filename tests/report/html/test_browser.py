"""The page in Chromium, from disk, with the network off: no errors, no requests, axe content.

Needs a Chromium (named by CHROMIUM, or found as chromium or google-chrome). Playwright drives
it, and axe-core comes in the package axe-playwright-python.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from color_images import color_dataset
from kilonet.report.content import Content
from kilonet.report.html import write_html
from kilonet.report.rebuild import analyze_records
from kilonet.report.search_report import report_search
from kilonet.study import StudyResult
from search_results import made_search

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
MISSING = [
    name for name in ("playwright", "axe_playwright_python") if not importlib.util.find_spec(name)
]
WHY = "no Chromium here; set CHROMIUM" if not CHROMIUM else f"not installed: {', '.join(MISSING)}"

pytestmark = pytest.mark.skipif(not CHROMIUM or bool(MISSING), reason=WHY)

QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# Rules of WCAG 2.2 A and AA, and axe's own best practices.
RUN_AXE = "async () => JSON.stringify((await axe.run()).violations.map(v => [v.id, v.nodes.length, v.nodes[0].html]))"  # noqa: E501
OVERFLOWING = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield found
        found.close()


@pytest.fixture(scope="module")
def axe() -> str:
    import axe_playwright_python

    return (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf-8")


@pytest.fixture(
    scope="module",
    params=["digits", "search", pytest.param("colors", marks=pytest.mark.slow)],
)
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "search":
        return report_search(replace(made_search(), path=tmp_path_factory.mktemp("search")))[1]
    result: StudyResult = request.getfixturevalue(request.param)
    path = tmp_path_factory.mktemp(request.param) / "report.html"
    load = {"load": color_dataset} if request.param == "colors" else {}
    write_html(Content(result=result, analysis=analyze_records(result)), path, **load)
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_a_report_opened_from_disk(
    browser: Any, axe: str, report: Path, width: int, scheme: str
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
    )
    try:
        page = context.new_page()
        said: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(report.as_uri())
        assert page.evaluate(OVERFLOWING) == 0
        page.evaluate(axe)
        assert json.loads(page.evaluate(RUN_AXE)) == []
        page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
        assert page.evaluate(OVERFLOWING) == 0
        assert json.loads(page.evaluate(RUN_AXE)) == []
        # No hostile word became a script, and nothing else complained.
        assert said == []
        assert [url for url in asked if not url.startswith("data:image/png;")] == [report.as_uri()]
    finally:
        context.close()


def test_axe_would_tell(browser: Any, axe: str, tmp_path: Path) -> None:
    """The check can fail: a page with faults on purpose."""
    (tmp_path / "bad.html").write_text("<img src='data:,'><p style='color:#ccc'>faint</p>")
    page = browser.new_page()
    try:
        page.goto((tmp_path / "bad.html").as_uri())
        page.evaluate(axe)
        found = {rule for rule, *_ in json.loads(page.evaluate(RUN_AXE))}
        assert {"image-alt", "color-contrast", "html-has-lang"} <= found
    finally:
        page.close()


def test_every_part_is_reached_by_the_keyboard(browser: Any, report: Path) -> None:
    page = browser.new_page()
    try:
        page.goto(report.as_uri())
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('main') !== null")
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert page.evaluate(outline) == "solid"
        # A part that is folded opens from the keyboard.
        page.evaluate("document.querySelector('details:not([open]) summary').focus()")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.parentElement.open")
    finally:
        page.close()


def test_on_paper_everything_is_unfolded(browser: Any, report: Path, tmp_path: Path) -> None:
    page = browser.new_page()
    try:
        page.goto(report.as_uri())
        # False for what a closed <details> skips.
        seen = "document.querySelector('details:not([open]) table').checkVisibility()"
        assert page.evaluate(seen) is False
        page.emulate_media(media="print")
        assert page.evaluate(seen) is True
        assert len(page.pdf()) > 20_000
    finally:
        page.close()
