"""``report.md``: a study or a run in brief, for a pull request or a README; charts next to it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from kilonet.formatting import markdown_text
from kilonet.report import tables
from kilonet.report.charts.curves import below_axis
from kilonet.report.charts.files import curves_file, ladder_file
from kilonet.report.content import Content, StageContent
from kilonet.report.markdown.templates import FIGURES, render_template
from kilonet.report.provenance import environment_lines
from kilonet.report.reproduction import SAME_NUMBERS, commands, has_one_engine
from kilonet.report.tables import relative
from kilonet.storage.atomic import write_atomically


def write_markdown(content: Content, path: Path) -> None:
    """Write the report and, of a study, its charts in ``figures/`` next to it.

    Raises:
        StorageError: if a file cannot be written.
    """
    folder = path.parent / FIGURES
    if content.analysis.target is not None:
        # Charts first: the report links to files that exist.
        write_atomically(folder / "ladder.svg", ladder_file(content))
        for stage in content.stages:
            chart = curves_file(stage, target=content.analysis.target)
            write_atomically(folder / f"stage-{stage.analysis.number}.svg", chart)
    write_atomically(path, render_markdown(content, folder=path.parent))


def render_markdown(content: Content, *, folder: Path) -> str:
    """The report's text; its links are relative to ``folder``, so a study's folder can be moved."""
    values = {
        "content": content,
        "tables": tables,
        "seeds": _seeds,
        "folder": folder,
        "below_axis": below_axis,
        "environment": environment_lines(content.result),
        "commands": commands(content, folder=folder),
        "one_engine": has_one_engine(content.result),
        "same_numbers": SAME_NUMBERS,
    }
    return render_template("report.md.j2", values)


def _seeds(stage: StageContent, folder: Path) -> str:
    """The table of a stage's seeds; each run's name, its last cell, is a link from ``folder``."""
    table = tables.seeds(stage.result, stage.analysis)
    head, rule, *rows = table.to_markdown().splitlines()
    for i, record in enumerate(stage.result.records):
        name = markdown_text(record.path.name)
        # Within a link's text brackets must be pairs.
        shown = name.replace("]", "\\]")
        link = f"[{shown}]({quote(relative(record.path, folder))})"
        rows[i] = rows[i].removesuffix(f"{name} |") + f"{link} |"
    return "\n".join([head, rule, *rows])
