"""``report.html``: a study, or one run, as one file."""

from kilonet.report.html.page import render_html, write_html

__all__ = ["render_html", "write_html"]
