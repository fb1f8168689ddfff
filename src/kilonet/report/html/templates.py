"""The templates of the pages, and the one way in which values get into them."""

from __future__ import annotations

from importlib.resources import files

import jinja2
from markupsafe import Markup

from kilonet.formatting import visible
from kilonet.report.charts.files import chart_style


def load_template(name: str) -> jinja2.Template:
    """A template of this folder; values are escaped, and text has no control characters."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kilonet.report.html", "."),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = (files("kilonet.report.html") / "page.css").read_text("utf-8")
    # kilonet's own files, without a "</style>" in them: nothing to escape.
    environment.globals["style"] = chart_style() + Markup(page)  # noqa: S704
    return environment.get_template(name)


def _shown(value: object) -> object:
    """Text without control characters; other values as they are."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
