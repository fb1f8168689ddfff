"""Templates: plain data of a run in which ``{name}`` stands for the value of a choice.

- A text that is ``{name}`` alone is the value, of its own type. In a list, a value that is itself a
  list puts its items there: none, one or several.
- Within a longer text, as in ``conv {width} pad=1``, it is the value's text.
- ``{ copies = N, layers = [...] }`` in a list puts its layers there N times.
- ``{{`` and ``}}`` are braces.

A value may contain further names: those are choices of their own, made only where they are used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kilonet.spec.base import InvalidSpecError

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_ALONE = re.compile(rf"\{{({NAME.pattern})\}}")
_PART = re.compile(rf"\{{\{{|\}}\}}|\{{({NAME.pattern})\}}")

COPIES = "copies"
_LAYERS = "layers"
MAX_COPIES = 100

Pick = Callable[[str], Any]
"""Name of a choice → its value, the same whenever it is asked."""


def names_in(data: Any) -> Iterator[str]:
    """The names in a template, in order, repeated as they are there."""
    if isinstance(data, str):
        yield from (match[1] for match in _PART.finditer(data) if match[1])
    elif isinstance(data, Mapping):
        for value in data.values():
            yield from names_in(value)
    elif isinstance(data, list | tuple):
        for value in data:
            yield from names_in(value)


def fill(data: Any, pick: Pick, *, path: tuple[str, ...] = ()) -> Any:
    """The data with each name replaced by its choice's value.

    Args:
        data: the template.
        pick: name → value, which may be a template too.
        path: of the data, for errors.

    Raises:
        InvalidSpecError: a value does not suit its place.
    """
    if isinstance(data, str):
        alone = _ALONE.fullmatch(data)
        if alone:
            return fill(pick(alone[1]), pick, path=path)
        return _PART.sub(lambda match: _text(match, pick, path), data)
    if isinstance(data, Mapping):
        return {key: fill(value, pick, path=(*path, str(key))) for key, value in data.items()}
    if isinstance(data, list | tuple):
        filled: list[Any] = []
        for i, item in enumerate(data):
            filled += _items(item, pick, path=(*path, str(i)))
        return filled
    return data


def _items(item: Any, pick: Pick, *, path: tuple[str, ...]) -> list[Any]:
    """What an item of a list becomes: itself, or the items that stand for it."""
    if isinstance(item, Mapping) and COPIES in item:
        return _copies(item, pick, path=path)
    value = fill(item, pick, path=path)
    spliced = isinstance(value, list) and isinstance(item, str)
    return value if spliced else [value]


def _copies(table: Mapping[str, Any], pick: Pick, *, path: tuple[str, ...]) -> list[Any]:
    if set(table) != {COPIES, _LAYERS} or not isinstance(table[_LAYERS], list | tuple):
        problem = "should be { copies = N, layers = [lines] }"
        raise InvalidSpecError(problem, path=path)
    number = fill(table[COPIES], pick, path=(*path, COPIES))
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= MAX_COPIES:
        raise InvalidSpecError(
            f"{number!r} should be a whole number from 0 to {MAX_COPIES}", path=(*path, COPIES)
        )
    layers: list[Any] = fill(table[_LAYERS], pick, path=(*path, _LAYERS))
    return layers * number


def _text(match: re.Match[str], pick: Pick, path: tuple[str, ...]) -> str:
    if match[1] is None:
        return match[0][0]  # a doubled brace
    value = fill(pick(match[1]), pick, path=path)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise InvalidSpecError(
        f"{{{match[1]}}} is a list or a table here; let it be the whole text, not a part of "
        f"{match.string!r}",
        path=path,
    )
