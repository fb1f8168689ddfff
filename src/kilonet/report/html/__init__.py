"""``report.html``: a study, or one run, as one file that needs nothing but a browser."""

from kilonet.report.html.page import render_html, write_html

__all__ = ["render_html", "write_html"]
