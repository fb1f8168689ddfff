"""How numbers, and text that a user wrote, are written in sentences, tables and figures."""

from __future__ import annotations

import re
from collections.abc import Sequence

EQUAL = "equal in every seed"
"""Printed in place of an interval where all seeds are equal: agreement is not certainty."""


def percent(value: float) -> str:
    """An accuracy in percent, to the hundredth: one image of ten thousand."""
    return f"{value:.2f}%"


def points(value: float) -> str:
    """A difference in percentage points without its sign."""
    return f"{abs(value):.2f}"


def signed(value: float) -> str:
    """A difference in percentage points with its sign; 0.00 has none."""
    text = f"{value:+.2f}"
    return "0.00" if float(text) == 0 else text


def interval(low: float, high: float) -> str:
    """The two ends of an interval of accuracies, percent."""
    return f"[{low:.2f}, {high:.2f}]"


def signed_interval(low: float, high: float) -> str:
    """The two ends of an interval of differences, percentage points.

    An end that would round to zero gets a digit or two more, as its side of zero matters.
    """
    return f"[{_signed_end(low)}, {_signed_end(high)}]"


def _signed_end(value: float) -> str:
    shown = (f"{value:+.{digits}f}" for digits in (2, 3, 4))
    return next((text for text in shown if float(text) != 0), signed(value))


def count(number: int, noun: str) -> str:
    """``1 seed``, ``3 seeds``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def last_epochs(number: int) -> str:
    """``the last epoch``, ``the last 5 epochs``."""
    return "the last epoch" if number == 1 else f"the last {number} epochs"


def listed(names: Sequence[str], *, word: str = "and") -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return f" {word} ".join([*([", ".join(names[:-1])] if names[1:] else []), *names[-1:]])


def probability(p: float) -> str:
    """A p value as papers print it."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def level(confidence: float) -> str:
    """An interval's level in percent, to three digits: corrected ones are 98.3% and the like."""
    return f"{100 * confidence:.3g}%"


# C0 controls have pictures of their own in Unicode; other controls, bidirectional overrides, lone
# surrogates and noncharacters do not: XML forbids them, and a terminal obeys them.
_VISIBLE = {code: 0x2400 + code for code in range(0x20)}
_VISIBLE |= {0x7F: 0x2421, **dict.fromkeys(range(0x80, 0xA0), 0xFFFD)}
_VISIBLE |= dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), 0xFFFD)
_VISIBLE |= dict.fromkeys((*range(0xD800, 0xE000), 0xFFFE, 0xFFFF), 0xFFFD)
_VISIBLE |= dict.fromkeys(map(ord, "\v\f\r\x1c\x1d\x1e\x1f\x85\u2028\u2029"), 0x20)
_ONE_LINE = _VISIBLE | dict.fromkeys(map(ord, "\t\n"), 0x20)
del _VISIBLE[0x09], _VISIBLE[0x0A]


def visible(text: str) -> str:
    """Text with tabs and line feeds, but no other control character: spaces or visible signs."""
    return text.translate(_VISIBLE)


def one_line(text: str) -> str:
    """The same in a line or a cell: with spaces for tabs and line feeds too."""
    return text.translate(_ONE_LINE)


# Characters that Markdown, or GitHub's flavor of it, may read as markup. What it never does is left
# alone, for people who read the source: an underscore within a word, an interval in brackets.
_MARKDOWN = re.compile(
    r"""[\\`*~$|]                                  # code, emphasis, strikethrough, math, tables
    | (?<![^\W_]) _ | _ (?![^\W_])                # emphasis
    | \[ (?! [-+\d.,%\ ]+ \] (?! [(\[:] ) )        # links, footnotes, task lists
    | (?<!\S) \#                                 # headings
    | : (?= [\w+-]+ : )                          # emoji
    | \A (?: > | [-+=] (?= \s | [-=\s]* \Z ) )    # quotes, lists, rules, underlined headings
    | \A \d{1,9} (?= [.)] (?: \s | \Z ) )         # numbered lists
    """,
    re.VERBOSE,
)


def markdown_text(text: str) -> str:
    """Text on one line that Markdown shows as it is, in a paragraph, a heading or a table."""
    line = " ".join(one_line(text).split()).replace("&", "&amp;").replace("<", "&lt;")

    def escaped(match: re.Match[str]) -> str:
        # Of "1. " it is the point that is escaped: "1\\. ".
        return f"{match[0]}\\" if match[0].isdigit() else f"\\{match[0]}"

    return _MARKDOWN.sub(escaped, line)
