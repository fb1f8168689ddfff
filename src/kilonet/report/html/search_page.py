"""``report.html`` of a search, as one file that needs nothing but a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kilonet.formatting import percent
from kilonet.report import search_tables
from kilonet.report.charts.choices import below_choices, choice_chart
from kilonet.report.charts.course import below_course, course_chart
from kilonet.report.charts.front import below_front, front_chart, front_key
from kilonet.report.charts.search import importance_chart, rungs_chart
from kilonet.report.html.templates import load_template
from kilonet.report.provenance import environment_of
from kilonet.report.searched import HONESTY, IMPORTANCE_NOTE, SAME_SEARCH, SearchContent
from kilonet.report.searched_networks import networks, search_commands, space_toml
from kilonet.storage.atomic import write_atomically


def write_search_html(content: SearchContent, path: Path) -> None:
    """Write the report as one HTML file, which loads no other.

    Raises:
        StorageError: if the file cannot be written.
    """
    write_atomically(path, render_search_html(content, folder=path.parent))


def render_search_html(content: SearchContent, *, folder: Path) -> str:
    """The page's text, with paths relative to ``folder``."""
    return load_template("search.html.j2").render(_context(content, folder))


def _context(content: SearchContent, folder: Path) -> dict[str, Any]:
    limit = content.result.space.budget.parameters
    sizes = []
    for unit, most in (("parameters", limit), ("multiply-adds", None)):
        marks = content.marks(unit)
        if marks:
            chart = front_chart(marks, unit=unit, limit=most, name=f"front-{unit}")
            sizes.append((chart, below_front(marks)))
    return {
        # Functions and modules that the template calls.
        "below_choices": below_choices,
        "below_course": below_course,
        "choice_chart": choice_chart,
        "course_chart": course_chart,
        "importance_chart": importance_chart,
        "percent": percent,
        "rungs_chart": rungs_chart,
        "tables": search_tables,
        # What it shows.
        "content": content,
        "facts": content.facts,
        "fronts": sizes,
        "key": front_key(),
        "honesty": HONESTY,
        "same_search": SAME_SEARCH,
        "importance_note": IMPORTANCE_NOTE,
        "networks": networks(content, folder=folder),
        "environment": environment_of(content.records) if content.records else [],
        "commands": search_commands(content, folder=folder),
        # A page may be published, so it names no folder of this machine.
        "toml": space_toml(content, folder=folder),
    }
