"""The reports of a search's folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kilonet.errors import StorageError
from kilonet.report import search_tables
from kilonet.report.html.search_page import write_search_html
from kilonet.report.markdown.search import write_search_markdown
from kilonet.report.searched import SearchContent
from kilonet.search.result import SearchResult
from kilonet.storage.reports import HTML_REPORT, MARKDOWN_REPORT, check_reports
from kilonet.table import Table


def networks_of(result: SearchResult) -> Table:
    """The networks to take from a search, with its name, its budget and its folder above."""
    content = SearchContent(result=result)
    limits = f", {content.limits}" if content.limits else ""
    table = search_tables.networks(content)
    return replace(table, title=f"{content.name}{limits}: {result.path}")


def report_search(result: SearchResult) -> tuple[Path, Path]:
    """Write ``report.md`` and ``report.html`` of a search into its folder; returns their paths.

    An unfinished search is reported as far as it is.

    Raises:
        StorageError: if no trial has been trained, or one cannot be written, or would replace a
            file that is not kilonet's.
    """
    content = SearchContent(result=result)
    if not content.ranked:
        raise StorageError(f"{result.path}: no trial is finished, so there is nothing to report")
    check_reports(result.path)
    markdown, html = result.path / MARKDOWN_REPORT, result.path / HTML_REPORT
    try:
        write_search_markdown(content, markdown)
    finally:
        write_search_html(content, html)
    return markdown, html
