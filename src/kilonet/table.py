"""One table, shown three ways: plain text as the notebook's PrettyTable, Markdown, HTML."""

from __future__ import annotations

import html
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells as they will be read; ``print`` shows text, a notebook shows HTML.

    Attributes:
        columns: the headings.
        rows: each as long as ``columns``.
        left: indices of the columns that are text and so set left; numbers stand right.
        title: a line above, or "".
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: frozenset[int] = frozenset()
    title: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"a row of {len(row)} cells under {len(self.columns)} columns")

    def __str__(self) -> str:
        widths = [max(map(len, cells)) for cells in zip(self.columns, *self.rows, strict=True)]
        rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"

        def line(cells: tuple[str, ...], *, heading: bool = False) -> str:
            parts = [
                cell.center(width)
                if heading
                else cell.ljust(width)
                if i in self.left
                else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
            ]
            return "| " + " | ".join(parts) + " |"

        title = [self.title] if self.title else []
        body = [line(row) for row in self.rows]
        return "\n".join([*title, rule, line(self.columns, heading=True), rule, *body, rule])

    def to_markdown(self) -> str:
        """A GitHub-flavoured Markdown table; the title, if any, is the caller's to place."""

        def line(cells: list[str]) -> str:
            return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

        marks = [":---" if i in self.left else "---:" for i in range(len(self.columns))]
        return "\n".join(line(list(cells)) for cells in (self.columns, marks, *self.rows))

    def to_html(self) -> str:
        """A ``<table>`` with scoped headings; every cell escaped."""

        def cell(tag: str, text: str, i: int) -> str:
            side = "left" if i in self.left else "right"
            scope = ' scope="col"' if tag == "th" else ""
            return f'<{tag}{scope} style="text-align:{side}">{html.escape(text)}</{tag}>'

        def line(tag: str, cells: tuple[str, ...]) -> str:
            return "<tr>" + "".join(cell(tag, text, i) for i, text in enumerate(cells)) + "</tr>"

        caption = f"<caption>{html.escape(self.title)}</caption>" if self.title else ""
        body = "".join(line("td", row) for row in self.rows)
        head = line("th", self.columns)
        return f"<table>{caption}<thead>{head}</thead><tbody>{body}</tbody></table>"

    def _repr_html_(self) -> str:
        return self.to_html()
