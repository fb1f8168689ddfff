"""One table three ways."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from rich.cells import cell_len

from kilonet.table import Table

TABLE = Table(
    columns=("Layer", "Size"),
    rows=(("a|b", "3"), ("<conv>", "1,152")),
    left=frozenset({0}),
    title="A & B",
)


def test_text():
    assert str(TABLE) == (
        "A & B\n"
        "+--------+-------+\n"
        "| Layer  |  Size |\n"
        "+--------+-------+\n"
        "| a|b    |     3 |\n"
        "| <conv> | 1,152 |\n"
        "+--------+-------+"
    )


def test_headings_are_broken_where_the_width_asks_for_it():
    columns = ("Kernel x Stride", "Receptive Field", "A")
    table = Table(columns=columns, rows=(("3 x 1", "22", "b c d"),))
    assert table.to_text(width=80) == str(table)
    assert table.to_text(width=40) == (
        "+----------+-----------+-------+\n"
        "| Kernel x | Receptive |   A   |\n"
        "|  Stride  |   Field   |       |\n"
        "+----------+-----------+-------+\n"
        "|    3 x 1 |        22 | b c d |\n"
        "+----------+-----------+-------+"
    )
    assert Table(columns=("Two words",), rows=()).to_text(width=5).splitlines()[1:3] == [
        "|  Two  |",
        "| words |",
    ]


def test_spaces_and_frame_go_where_a_table_then_fits():
    columns, rows = ("Layer", "Output Size x"), (("Conv1", "1,152"),)
    table = Table(columns=columns, rows=rows, left=frozenset({0}))
    tight = "Layer|Output\n     | Size \n     |  x   \n-----+------\nConv1| 1,152\n-----+------"
    assert table.to_text(width=12) == f"-----+------\n{tight}"
    in_two_lines = table.to_text(width=20).splitlines()
    assert in_two_lines[1] == "| Layer | Output |"
    assert table.to_text(width=11).splitlines() == in_two_lines  # too wide in any case


def test_markdown():
    assert TABLE.to_markdown() == (
        "| Layer | Size |\n| :--- | ---: |\n| a\\|b | 3 |\n| &lt;conv> | 1,152 |"
    )


class Reader(HTMLParser):
    """Cells as a browser would show them, and the tags that are open at the end."""

    def __init__(self):
        super().__init__()
        self.open, self.cells, self.attributes = [], [], []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        if tag in ("th", "td"):
            self.attributes.append(dict(attrs))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.cells.append((self.open[-1], data))


def test_html():
    reader = Reader()
    reader.feed(TABLE.to_html())
    assert reader.open == []
    assert reader.cells == [
        ("caption", "A & B"),
        ("th", "Layer"),
        ("th", "Size"),
        ("td", "a|b"),
        ("td", "3"),
        ("td", "<conv>"),
        ("td", "1,152"),
    ]
    assert reader.attributes[0] == {"scope": "col", "style": "text-align:left"}
    assert [a["style"] for a in reader.attributes[2:4]] == ["text-align:left", "text-align:right"]
    assert TABLE._repr_html_() == TABLE.to_html()


def test_no_rows_and_no_title():
    table = Table(columns=("Epoch", "Loss"), rows=())
    assert str(table).splitlines()[1] == "| Epoch | Loss |"
    assert "caption" not in table.to_html()


@pytest.mark.parametrize("row", [("1",), ("1", "2", "3")])
def test_ragged_rows_are_refused(row):
    with pytest.raises(ValueError, match=f"a row of {len(row)} cells under 2 columns"):
        Table(columns=("Epoch", "Loss"), rows=(row,))


def test_wide_characters_take_their_columns():
    """字 and emoji take two columns, an accent of its own takes none."""
    cells = ("字字", "e\u0301", "\U0001f600", "abcd")
    rows = tuple((cell, cell) for cell in cells)
    table = Table(columns=("名前", "x"), rows=rows, left=frozenset({0}))
    assert {cell_len(line) for line in str(table).splitlines()} == {15}
    assert "| 字字 | 字字 |" in str(table)
    assert table.width == 15
    assert table.to_text(width=15) == str(table)


def test_a_line_break_in_a_cell_is_a_space_and_a_control_character_is_visible():
    table = Table(columns=("a\nb",), rows=(("c\td\x1b[31m",),))
    assert str(table).splitlines()[1::2] == ["|   a b    |", "| c d␛[31m |"]
    assert table.to_markdown().splitlines()[2] == "| c d␛\\[31m |"
    assert "\x1b" not in table.to_html()
