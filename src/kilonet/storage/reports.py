"""Reports in a folder: which are kilonet's, so that a user's own file is never replaced."""

from __future__ import annotations

from pathlib import Path

from kilonet.errors import StorageError

MARKDOWN_REPORT = "report.md"
HTML_REPORT = "report.html"

MARKDOWN_MARK = "<!-- Written by kilonet. -->"
"""A line of every Markdown report."""

_MARKS = {
    MARKDOWN_REPORT: (
        MARKDOWN_MARK,
        # Up to version 0.1: a line of every log.
        "; train accuracy and loss are ",
    ),
    HTML_REPORT: ('<meta name="generator" content="kilonet">', '<p class="brand">kilonet'),
}


def check_reports(folder: Path) -> None:
    """Raise StorageError if a report in the folder is not kilonet's, or cannot be read."""
    for name, marks in _MARKS.items():
        try:
            content = (folder / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            continue  # nothing that can be replaced
        except OSError as error:
            raise StorageError(f"{folder / name}: cannot be replaced: {error.strerror}") from None
        if content and not any(mark.encode() in content for mark in marks):
            raise StorageError(
                f"{folder / name}: is not kilonet's, and would be replaced; rename it, or name "
                "another folder"
            )
