"""The wording of the reports, one snapshot a report: see conftest.py for how to renew them."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from bench_results import made_bench
from html_pages import Page
from kilonet.analysis import analyze
from kilonet.bench.tables import bench_text
from kilonet.data import Dataset
from kilonet.errors import DataError
from kilonet.report.content import Content
from kilonet.report.html import render_html
from kilonet.report.html.search_page import render_search_html
from kilonet.report.markdown import render_markdown
from kilonet.report.markdown.search import render_search_markdown
from kilonet.report.rebuild import as_study
from kilonet.report.searched import SearchContent
from kilonet.report.terminal.range_test import range_text
from kilonet.report.terminal.search_progress import SearchProgress
from ladders import TEST_IMAGES, seeded_result
from range_results import FOUND
from search_results import made_search
from study_player import Player

Check = Callable[[str, str], None]

RESULT = seeded_result(seeds=3)
STUDY = Content(result=RESULT, analysis=analyze(RESULT, test_images=TEST_IMAGES))


def no_images(name: str) -> Dataset:
    raise DataError(f"{name}: not here")


def page(content: Content) -> str:
    return Page(render_html(content, folder=content.result.path, load=no_images)).text()


def lone_run() -> Content:
    result = as_study(RESULT.stages[1].records[0])
    analysis = analyze(result, test_images=TEST_IMAGES, has_target=False)
    return Content(result=result, analysis=analysis)


def test_markdown(check_snapshot: Check) -> None:
    check_snapshot("study.md", render_markdown(STUDY, folder=RESULT.path))
    run = lone_run()
    check_snapshot("run.md", render_markdown(run, folder=run.result.path))


def test_page(check_snapshot: Check) -> None:
    check_snapshot("study-page.txt", page(STUDY))
    check_snapshot("run-page.txt", page(lone_run()))


def test_terminal(check_snapshot: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    module = "kilonet.report.terminal.study_progress"
    monkeypatch.setattr(
        f"{module}.analyze_records", lambda result: analyze(result, test_images=TEST_IMAGES)
    )
    monkeypatch.setattr(f"{module}.write_reports", lambda content: None)
    player = Player(RESULT, terminal=True, width=80)
    for stage in (1, 2, 3, 4):
        player.play(stage)
    player.progress.finish(RESULT)
    shown = "\n".join(line.rstrip() for line in player.shown().splitlines())
    check_snapshot("terminal.txt", shown + "\n")


def test_search(check_snapshot: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    result = made_search()
    content = SearchContent(result=result)
    check_snapshot("search.md", render_search_markdown(content, folder=result.path))
    page = Page(render_search_html(content, folder=result.path)).text()
    check_snapshot("search-page.txt", page)
    module = "kilonet.report.terminal.search_progress"
    monkeypatch.setattr(f"{module}.report_search", lambda result: None)
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, color_system=None, highlight=False)
    progress = SearchProgress(console)
    progress.update(result)
    console.print(progress._display.render())
    progress.finish(result)
    shown = "\n".join(line.rstrip() for line in file.getvalue().splitlines())
    check_snapshot("search-terminal.txt", shown + "\n")


def test_range_test_and_bench(check_snapshot: Check) -> None:
    check_snapshot("range-test.txt", range_text(FOUND) + "\n")
    check_snapshot("bench.txt", bench_text(made_bench()) + "\n")
