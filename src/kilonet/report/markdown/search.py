"""``report.md`` of a search, in brief; charts next to it."""

from __future__ import annotations

from pathlib import Path

from kilonet.report import search_tables
from kilonet.report.charts.search_files import course_file, front_file
from kilonet.report.markdown.templates import FIGURES, render_template
from kilonet.report.provenance import environment_of
from kilonet.report.searched import HONESTY, IMPORTANCE_NOTE, SAME_SEARCH, SearchContent
from kilonet.report.searched_networks import networks, search_commands
from kilonet.storage.atomic import write_atomically

NUM_NETWORKS = 3
"""Networks with their layers and their run; the page has more."""


def write_search_markdown(content: SearchContent, path: Path) -> None:
    """Write the report, and its charts in ``figures/`` next to it.

    Raises:
        StorageError: if a file cannot be written.
    """
    folder = path.parent / FIGURES
    if content.ranked:
        # Charts first: the report links to files that exist.
        write_atomically(folder / "front.svg", front_file(content))
        write_atomically(folder / "course.svg", course_file(content))
    write_atomically(path, render_search_markdown(content, folder=path.parent))


def render_search_markdown(content: SearchContent, *, folder: Path) -> str:
    """The report's text; its paths are relative to ``folder``, so a search's can be moved."""
    values = {
        "content": content,
        "charts": bool(content.ranked),
        "tables": search_tables,
        "honesty": HONESTY,
        "importance_note": IMPORTANCE_NOTE,
        "networks": networks(content, folder=folder)[:NUM_NETWORKS],
        "environment": environment_of(content.records) if content.records else [],
        "commands": search_commands(content, folder=folder),
        "same_numbers": SAME_SEARCH,
    }
    return render_template("search.md.j2", values)
