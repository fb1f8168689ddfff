"""A table as plain text in PrettyTable's layout, as Markdown and as HTML."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from textwrap import wrap

from kilonet.formatting import markdown_text, one_line, visible


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of text cells; ``print`` shows text, a notebook shows HTML.

    Cells are text in every form: no character of theirs is markup, and a line break is a space.

    Attributes:
        columns: the headings.
        rows: each as long as ``columns``.
        left: indices of the left-aligned columns, which have text; others are right-aligned.
        title: a line above the table, or "".
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
        return self._text(tuple([heading] for heading in self.columns))

    @property
    def width(self) -> int:
        """Columns of a terminal that its text takes."""
        return _width(str(self))

    def to_text(self, *, width: int) -> str:
        """As ``str``; if that is wider than ``width``, with headings on two lines.

        If it is then still too wide, and fits without padding and frame, without them. Cells are
        never broken.
        """
        text = str(self)
        if _width(text) <= width:
            return text
        rows = [tuple(map(one_line, row)) for row in self.rows]
        cells = list(zip(*rows, strict=True)) if rows else [()] * len(self.columns)
        text = self._text(tuple(map(_in_two_lines, self.columns, cells)))
        tight = self._text(tuple(map(str.split, self.columns)), tight=True)
        return tight if self.rows and _width(tight) <= width < _width(text) else text

    def _text(self, headings: tuple[list[str], ...], *, tight: bool = False) -> str:
        """In PrettyTable's layout, with centered headings, each a list of lines."""
        left, middle, right = ("", "|", "") if tight else ("| ", " | ", " |")
        heights = range(max(map(len, headings)))
        head = [tuple(one_line(h[i]) if i < len(h) else "" for h in headings) for i in heights]
        rows = [tuple(map(one_line, row)) for row in self.rows]
        widths = [max(map(_columns, cells)) for cells in zip(*head, *rows, strict=True)]
        crossings = ["+" * len(side.strip()) for side in (left, middle, right)]
        padding = 0 if tight else 2
        rule = crossings[1].join("-" * (width + padding) for width in widths)
        rule = crossings[0] + rule + crossings[2]

        def line(cells: tuple[str, ...], *, heading: bool = False) -> str:
            parts = []
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True)):
                # Not str.ljust: it counts characters, and 字 takes two columns.
                space = width - _columns(cell)
                before = (
                    # As str.center: the odd space is at the left in an odd width.
                    space // 2 + (space & width & 1) if heading else 0 if i in self.left else space
                )
                parts.append(" " * before + cell + " " * (space - before))
            return left + middle.join(parts) + right

        title = [one_line(self.title)] if self.title else []
        top = [line(cells, heading=True) for cells in head]
        return "\n".join([*title, rule, *top, rule, *map(line, rows), rule])

    def to_markdown(self) -> str:
        """A GitHub-flavored Markdown table, without the title."""

        def line(cells: Iterable[str]) -> str:
            return f"| {' | '.join(cells)} |"

        marks = [":---" if i in self.left else "---:" for i in range(len(self.columns))]
        rows = [map(markdown_text, row) for row in self.rows]
        return "\n".join(map(line, (map(markdown_text, self.columns), marks, *rows)))

    def to_html(self) -> str:
        """A ``<table>`` with scoped headings and escaped cells."""

        def cell(tag: str, text: str, i: int) -> str:
            side = "left" if i in self.left else "right"
            scope = ' scope="col"' if tag == "th" else ""
            return f'<{tag}{scope} style="text-align:{side}">{_escaped(text)}</{tag}>'

        def line(tag: str, cells: tuple[str, ...]) -> str:
            return "<tr>" + "".join(cell(tag, text, i) for i, text in enumerate(cells)) + "</tr>"

        caption = f"<caption>{_escaped(self.title)}</caption>" if self.title else ""
        body = "".join(line("td", row) for row in self.rows)
        head = line("th", self.columns)
        return f"<table>{caption}<thead>{head}</thead><tbody>{body}</tbody></table>"

    def _repr_html_(self) -> str:
        return self.to_html()


def _columns(text: str) -> int:
    """Columns of a terminal that a line takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _width(text: str) -> int:
    return max(map(_columns, text.splitlines()))


def _escaped(text: str) -> str:
    return html.escape(visible(text))


def _in_two_lines(heading: str, cells: Sequence[str]) -> list[str]:
    """The heading broken at a space, not narrower than its column's cells."""
    widths = range(max(map(_columns, cells), default=1), len(heading) + 1)
    broken = (wrap(heading, width, break_long_words=False) for width in widths)
    return next((lines for lines in broken if len(lines) <= 2), [heading])
