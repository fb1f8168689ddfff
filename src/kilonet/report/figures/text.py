"""Text in a Matplotlib figure as it was written: no mathematics, no missing glyphs."""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import TYPE_CHECKING, Any

from kilonet.formatting import one_line

if TYPE_CHECKING:
    from collections.abc import Container

    from matplotlib.figure import Figure

MAX_LETTERS = 60
"""Characters of a title."""

MAX_LETTERS_WIDE = 120
"""Characters of a title or a label of a command's figure, which is wide."""

_BOX = "\u25a1"
"""In place of a character that no font has: what Matplotlib draws there, but without a warning."""

# They have a picture of a box for every character, or colors that Matplotlib cannot draw.
_NO_LETTERS = ("Last Resort", "Emoji")


def plain(*texts: str, most: int = MAX_LETTERS) -> tuple[list[str], dict[str, Any]]:
    """Texts that can be drawn, and the properties of a ``matplotlib.text.Text`` that shows them.

    The properties turn off mathematics and TeX, and name a font for each character that the default
    font lacks. A character that no font has becomes a box, or nothing where it takes no room. Texts
    of more than ``most`` characters are cut: they would leave no room for the axes.
    """
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties, findfont

    lines = [one_line(text) for text in texts]
    lines = [line if len(line) <= most else f"{line[: most - 1]}…" for line in lines]
    default = _characters(findfont(FontProperties()))
    families: dict[str, None] = {}
    for character in sorted({c for line in lines for c in line if ord(c) not in default}):
        family = _family_with(character)
        if family is not None:
            families[family] = None
            continue
        takes_no_room = unicodedata.category(character) in ("Cf", "Mn", "Me")
        lines = [line.replace(character, "" if takes_no_room else _BOX) for line in lines]
    style: dict[str, Any] = {"parse_math": False, "usetex": False}
    if families:
        style["fontfamily"] = [*rcParams["font.family"], *families]
    return lines, style


def make_plain(figure: Figure) -> None:
    """Draw all text of a figure as it is, but the numbers at its ticks."""
    from matplotlib.text import Text

    ticks = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for label in (*axis.get_ticklabels(minor=False), *axis.get_ticklabels(minor=True))
    }
    texts: list[Any] = figure.findobj(Text)
    for text in texts:
        if text not in ticks:
            (line,), style = plain(text.get_text(), most=MAX_LETTERS_WIDE)
            text.set(text=line, **style)


@cache
def _characters(path: str) -> Container[int]:
    """The characters of a font file; none of one that cannot be read."""
    from matplotlib.font_manager import get_font

    try:
        return frozenset(get_font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


@cache
def _family_with(character: str) -> str | None:
    """The first installed font that has a character."""
    from matplotlib.font_manager import fontManager

    for font in sorted(fontManager.ttflist, key=lambda font: (font.weight != 400, font.name)):
        if any(word in font.name for word in _NO_LETTERS):
            continue
        if ord(character) in _characters(font.fname):
            return font.name
    return None
