"""``report.md``: a study, or one run, in brief."""

from kilonet.report.markdown.report import render_markdown, write_markdown

__all__ = ["render_markdown", "write_markdown"]
