"""``report.md`` of a search: its charts exist, and no cell is markup."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from kilonet.errors import StorageError
from kilonet.report.markdown.search import render_search_markdown
from kilonet.report.search_report import report_search
from kilonet.report.searched import SearchContent
from search_results import made_search

SEARCH = made_search()


def test_a_report_is_whole(tmp_path: Path) -> None:
    result = replace(SEARCH, path=tmp_path)
    assert report_search(result) == (tmp_path / "report.md", tmp_path / "report.html")
    text = (tmp_path / "report.md").read_text("utf-8")
    charts = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert charts == ["figures/front.svg", "figures/course.svg"]
    for chart in charts:
        assert (tmp_path / chart).read_text("utf-8").startswith("<svg")
    assert str(tmp_path) not in text


def test_markdown_is_tidy() -> None:
    text = render_search_markdown(SearchContent(result=SEARCH), folder=SEARCH.path)
    assert "\n\n\n" not in text
    assert not re.search(r"[ \t]+$", text, re.MULTILINE)
    lines = text.split("\n")
    for i, line in enumerate(lines):
        if line.startswith(("#", "![", "<details>", "```toml")):
            assert lines[i - 1] == "" or i == 0 or line.startswith("# Trial"), line
        if line.startswith("|") and not lines[i - 1].startswith("|"):
            assert lines[i - 1] == ""


def test_the_users_words_are_text() -> None:
    values = {"net.block": "a | b <i> `c`"}
    trials = tuple(replace(t, values=values, reason="*bold* | x") for t in SEARCH.trials)
    result = replace(SEARCH, trials=trials, confirmed=())
    text = render_search_markdown(SearchContent(result=result), folder=SEARCH.path)
    assert "\\*bold\\* \\| x" in text
    assert "`` net.block = a | b <i> `c` ``" in text
    assert not any("<i>" in line for line in text.splitlines() if line.startswith("|"))


def test_nothing_to_report_is_one_line(tmp_path: Path) -> None:
    result = replace(SEARCH, path=tmp_path, trials=(), confirmed=())
    with pytest.raises(StorageError, match="no trial is finished, so there is nothing to report"):
        report_search(result)


def test_another_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "report.md").write_text("mine")
    with pytest.raises(StorageError, match=r"report\.md: is not kilonet's"):
        report_search(replace(SEARCH, path=tmp_path))
    assert (tmp_path / "report.md").read_text() == "mine"
