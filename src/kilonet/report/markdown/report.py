"""``report.md``: a study or a run in brief, for a pull request or a README; charts next to it."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import jinja2

from kilonet.report import tables
from kilonet.report.charts.curves import below_axis
from kilonet.report.charts.files import curves_file, ladder_file
from kilonet.report.content import Content
from kilonet.report.provenance import environment_lines
from kilonet.report.reproduction import SAME_NUMBERS, commands
from kilonet.storage.atomic import write_atomically
from kilonet.table import Table

FIGURES = "figures"
"""The folder next to the report that has its charts."""

_OLD_CHARTS = re.compile(r"(ladder|(stage|rung)-\d+)\.png")
"""Charts of earlier versions, which were PNG files."""


def write_markdown(content: Content, path: Path) -> None:
    """Write the report and, of a study, its charts in ``figures/`` next to it.

    Raises:
        StorageError: if a file cannot be written.
    """
    folder = path.parent / FIGURES
    if content.has_target:
        # Charts first: the report links to files that exist.
        write_atomically(folder / "ladder.svg", ladder_file(content))
        for stage in content.stages:
            chart = curves_file(stage, target=content.analysis.target)
            write_atomically(folder / f"stage-{stage.analysis.number}.svg", chart)
        with suppress(OSError):  # old charts are superfluous, no more
            for file in folder.iterdir():
                if _OLD_CHARTS.fullmatch(file.name):
                    file.unlink()
    write_atomically(path, render_markdown(content, folder=path.parent))


def render_markdown(content: Content, *, folder: Path) -> str:
    """The report's text; its links are relative to ``folder``, so a study's folder can be moved."""
    text = _template().render(
        content=content,
        figures=FIGURES,
        tables=tables,
        folder=folder,
        below_axis=below_axis,
        environment=environment_lines(content.result),
        commands=commands(content, folder=folder),
        same_numbers=SAME_NUMBERS,
    )
    # The template's conditions leave blank lines; one is enough.
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kilonet.report.markdown", "."),
        undefined=jinja2.StrictUndefined,
        # By the file's name: HTML would be escaped, Markdown is by `prose`.
        autoescape=jinja2.select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"prose": _prose, "table": _table, "note": _note}
    return environment.get_template("report.md.j2")


def _prose(text: str) -> str:
    """User text on one line and without tags; its Markdown is kept."""
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")


def _table(table: Table) -> str:
    """A Markdown table without tags in its cells."""
    rows = tuple(tuple(map(_prose, row)) for row in table.rows)
    return Table(columns=table.columns, rows=rows, left=table.left).to_markdown()


def _note(text: str) -> str:
    """Text that may start with an asterisk, which would start a list."""
    return text.replace("*", "\\*", 1)
