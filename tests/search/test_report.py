"""The report of a search that ran, from its folder alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from html_pages import Page
from kilonet.entry import run_command
from kilonet.errors import StorageError
from kilonet.report.json.search import search_json
from kilonet.report.rebuild import rebuild
from kilonet.search.folder import read_search
from kilonet.search.result import SearchResult


@pytest.fixture
def folder(found: SearchResult, tmp_path: Path) -> Path:
    return Path(shutil.copytree(found.path, tmp_path / "search"))


def test_the_reports_of_a_folder(folder: Path) -> None:
    files, data = rebuild(folder)
    assert [file.name for file in files] == ["report.md", "report.html"]
    assert data == search_json(read_search(folder))
    page = Page(files[1].read_text("utf-8"))
    facts = " ".join(text for _, text in page.all("dt"))
    # Of the runs' records: engine, machine, data.
    assert all(word in facts for word in ("Engine", "Machine", "Source", "Data"))
    best = read_search(folder).confirmed[0]
    assert f"{best.mean:.2f}%" in files[0].read_text("utf-8")
    assert str(folder) not in files[0].read_text("utf-8") + files[1].read_text("utf-8")


def test_the_network_on_the_page_is_the_file(folder: Path) -> None:
    _, html = read_search(folder).report()
    text = " ".join((folder / "networks" / "best-1.toml").read_text("utf-8").split())
    assert text in Page(html.read_text("utf-8")).text()


def test_without_the_runs_the_page_says_what_it_lacks(folder: Path) -> None:
    shutil.rmtree(folder / "runs")
    _, html = read_search(folder).report()
    assert "Not shown: the runs' folders cannot be read." in html.read_text("utf-8")


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["report", str(folder)]) == 0
    out = capsys.readouterr().out
    assert out == f"Report: {folder / 'report.md'}\nReport: {folder / 'report.html'}\n"
    assert run_command(["report", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == search_json(read_search(folder))


def test_a_search_without_a_trial_is_one_line(folder: Path) -> None:
    (folder / "search.json").unlink()
    with pytest.raises(StorageError, match="no trial has ended yet"):
        rebuild(folder)
