"""What every spec is: frozen, strict about keys, and clear in one line about what is wrong."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from kilonet.errors import SpecError, did_you_mean


class InvalidSpecError(SpecError, ValueError):
    """A spec that does not hold; also a ``ValueError``, as Python's users expect of a bad argument.

    Attributes:
        path: dotted path of the offending key, relative to the spec that was being built.
        problem: what is wrong and what to do, without the path.
    """

    def __init__(self, problem: str, *, path: tuple[str, ...] = ()) -> None:
        self.path = path
        self.problem = problem
        # A key of the user's may be anything; the message stays one readable line.
        dotted = ".".join(part if part and part.isprintable() else repr(part) for part in path)
        super().__init__(f"{dotted}: {problem}" if path else problem)


class Spec(BaseModel):
    """Base of all specs: immutable data whose unknown keys are errors.

    Raises:
        InvalidSpecError: on construction, naming the key and the nearest valid one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    def __init__(self, **data: Any) -> None:
        data = {key: self._without_booleans(key, value) for key, value in data.items()}
        # pydantic calls this for nested specs too, so each level names its own part of the path.
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise _one_line(type(self), data, error) from None

    @classmethod
    def _without_booleans(cls, key: str, value: Any) -> Any:
        """Python counts true as 1; in a spec ``epochs = true`` is a slip. As text it is refused."""
        field = cls.model_fields.get(key)
        if field is None or field.annotation in (bool, str):
            return value
        if type(value) in (list, tuple):
            return type(value)(map(_boolean_as_text, value))
        return _boolean_as_text(value)

    def to_dict(self) -> dict[str, Any]:
        """The spec as plain data that TOML can hold: defaults included, None left out."""
        return self.model_dump(mode="json", exclude_none=True, by_alias=True)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`."""
        return cls(**data)

    @property
    def content_hash(self) -> str:
        """64 hexadecimal digits of SHA-256 over the spec's content, the same on every machine.

        Defaults count, so a spec that states a default and one that leaves it out are equal here.
        """
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def replace(self, changes: Mapping[str, Any]) -> Self:
        """A copy with ``changes`` applied: dotted path → value, as in a study's steps.

        A path's parts are keys, or positions (from 0) in a list: ``net.layers.2``.

        Raises:
            InvalidSpecError: if a path leads nowhere or the result is not a valid spec.
        """
        data = self.to_dict()
        for path, value in changes.items():
            _assign(data, path, value)
        return self.from_dict(data)


def _boolean_as_text(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _assign(data: dict[str, Any], path: str, value: Any) -> None:
    """Set ``value`` at the dotted ``path`` in nested dicts and lists."""
    *parents, last = path.split(".")
    place: Any = data
    for depth, part in enumerate(parents):
        below = tuple(parents[: depth + 1])
        if isinstance(place, dict):
            # An absent table may be an optional one; what it may hold is checked afterwards.
            place = place.setdefault(part, {})
        else:
            place = place[_position(place, part, below)]
        if not isinstance(place, dict | list):
            problem = f"is {place!r}, which has no {'.'.join([*parents[depth + 1 :], last])!r}"
            raise InvalidSpecError(problem, path=below)
    if isinstance(place, dict):
        place[last] = value
    else:
        place[_position(place, last, (*parents, last))] = value


def _position(place: Sequence[Any], part: str, path: tuple[str, ...]) -> int:
    if not part.isdecimal() or int(part) >= len(place):
        raise InvalidSpecError(f"no such position; it goes from 0 to {len(place) - 1}", path=path)
    return int(part)


def _one_line(cls: type[Spec], data: Mapping[str, Any], error: ValidationError) -> InvalidSpecError:
    """The first of pydantic's errors, as one line that says what to do."""
    # An unknown key first: it is often the reason why another one is missing.
    errors = error.errors(include_url=False)
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    path = _path(first["loc"], data, absent=first["type"] in ("extra_forbidden", "missing"))
    context = first.get("ctx", {})
    cause = context.get("error")
    if isinstance(cause, InvalidSpecError):
        return InvalidSpecError(cause.problem, path=(*path, *cause.path))
    kind = first["type"]
    if kind == "extra_forbidden":
        hint = did_you_mean(path[-1], _keys(cls))
        return InvalidSpecError(f"unknown key; {hint}", path=path)
    if kind in ("too_short", "too_long"):
        at = "at least" if kind == "too_short" else "at most"
        count = context.get("min_length", context.get("max_length"))
        values = "value" if count == 1 else "values"
        problem = f"{_short(first['input'])} should have {at} {count} {values}"
        return InvalidSpecError(problem, path=path)
    if kind == "missing" and isinstance(first["loc"][-1], int):
        return InvalidSpecError(f"{_short(data[path[-1]])} has too few values", path=path)
    if kind == "missing":
        return InvalidSpecError("is missing", path=path)
    if kind == "union_tag_not_found":
        return InvalidSpecError("needs a name, as in { name = … }", path=path)
    if kind == "union_tag_invalid":
        known = re.findall(r"'([^']+)'", context["expected_tags"])
        hint = did_you_mean(str(context["tag"]), known)
        return InvalidSpecError(f"unknown name {context['tag']!r}; {hint}", path=path)
    if cause is not None:
        return InvalidSpecError(str(cause), path=path)
    if kind == "string_pattern_mismatch":
        problem = f"{_short(first['input'])} should be letters, digits, '.', '_' and '-' alone"
        return InvalidSpecError(problem, path=path)
    message = re.sub("^(Input|String) should ", "", first["msg"]).partition(",")[0]
    message = message.replace("a valid tuple", "a list").replace("a valid ", "a ")
    message = message.replace("a integer", "a whole number").replace("a dictionary", "a table")
    message = re.sub(" or (object to extract fields from|instance of .*)$", "", message)
    return InvalidSpecError(f"{_short(first['input'])} should {message}", path=path)


def _path(loc: tuple[int | str, ...], data: Any, *, absent: bool) -> tuple[str, ...]:
    """Pydantic's location without the union tags that it mixes in: those are not keys of the data.

    ``absent``: the last part need not be in the data.
    """
    path: list[str] = []
    for depth, part in enumerate(loc):
        last = absent and depth == len(loc) - 1
        in_mapping = isinstance(data, Mapping) and part in data
        in_list = isinstance(data, list | tuple) and isinstance(part, int) and part < len(data)
        if in_mapping or in_list:
            data = data[part]
        elif not (last and isinstance(data, Mapping)):
            continue
        path.append(str(part))
    return tuple(path)


def _keys(cls: type[Spec]) -> list[str]:
    return [field.alias or name for name, field in cls.model_fields.items()]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
