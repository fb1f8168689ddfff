"""The Markdown templates, and the one way in which text gets into them."""

from __future__ import annotations

import re
from typing import Any

import jinja2

from kilonet.formatting import markdown_text, one_line, visible
from kilonet.storage.reports import MARKDOWN_MARK
from kilonet.table import Table

FIGURES = "figures"
"""The folder next to a report that has its charts."""


def render_template(name: str, values: dict[str, Any]) -> str:
    """A template of this folder with values, and with no more than one blank line in a row."""
    text = _template(name).render(values, figures=FIGURES, mark=MARKDOWN_MARK)
    # The template's conditions leave blank lines; one is enough.
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kilonet.report.markdown", "."),
        undefined=jinja2.StrictUndefined,
        # By the file's name: HTML would be escaped, Markdown is by `prose`.
        autoescape=jinja2.select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "prose": markdown_text,
        "table": Table.to_markdown,
        "code": _code,
        "block": _block,
    }
    return environment.get_template(name)


def _code(text: str) -> str:
    """Text as code in a line, between more backticks than it has in a row."""
    marks = _longer_than_any("`", text, least=1)
    space = " " if "`" in text else ""
    return f"{marks}{space}{one_line(text)}{space}{marks}"


def _block(text: str, language: str) -> str:
    """Text as a block of code."""
    marks = _longer_than_any("`", text, least=3)
    return f"{marks}{language}\n{visible(text)}\n{marks}"


def _longer_than_any(mark: str, text: str, *, least: int) -> str:
    runs = re.findall(f"{mark}+", text)
    return mark * max([least, *(len(run) + 1 for run in runs)])
