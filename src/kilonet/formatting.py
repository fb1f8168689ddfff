"""How numbers are written in sentences, tables and figures."""

from __future__ import annotations

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
