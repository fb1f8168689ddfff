"""The base of all specs: frozen data that refuses unknown keys, with errors of one line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from kilonet.errors import SpecError, did_you_mean

VERSION = 2
"""Version of the content hash. Raise it when a default or the meaning of a value changes."""


class InvalidSpecError(SpecError, ValueError):
    """An invalid spec. Also a ``ValueError``, the usual exception for a bad argument.

    Attributes:
        path: the parts of the offending key's dotted path, from the spec that was being built.
        problem: what is wrong and what to do, without the path.
    """

    def __init__(self, problem: str, *, path: tuple[str, ...] = ()) -> None:
        self.path = path
        self.problem = problem
        # A key in a user's file may be any text; the message must stay one readable line.
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
        # Pydantic calls this for nested specs too, so each level adds its part of the path.
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise _to_spec_error(type(self), data, error) from None

    @classmethod
    def _without_booleans(cls, key: str, value: Any) -> Any:
        """Booleans as text, which numbers refuse: Python would accept ``epochs = true`` as 1."""
        field = cls.model_fields.get(key)
        if field is None or field.annotation in (bool, str):
            return value
        if type(value) in (list, tuple):
            return type(value)(map(_boolean_as_text, value))
        return _boolean_as_text(value)

    def to_dict(self) -> dict[str, Any]:
        """The spec as plain data for TOML, with defaults and without None."""
        return self.model_dump(mode="json", exclude_none=True)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`."""
        return cls(**data)

    @property
    def content_hash(self) -> str:
        """64 hexadecimal digits of SHA-256 over the spec's content, the same on every machine.

        Hashed are the values that differ from their defaults, and :data:`VERSION`. So stating a
        default does not change the hash, nor does adding a field with a default to the class.
        """
        content = {"version": VERSION, "spec": _without_defaults(self)}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def _identity(self) -> Any:
        """What is hashed: values that differ from their defaults, and the spec's fixed name."""
        return {
            name: _without_defaults(value)
            for name, field in type(self).model_fields.items()
            if (value := getattr(self, name)) != field.default or _is_fixed(field.annotation)
        }

    def replace(self, changes: Mapping[str, Any]) -> Self:
        """A copy with ``changes`` applied: dotted path → value, as in a study's stages.

        The parts of a path are keys, or positions in a list from 0: ``net.layers.2``.

        Raises:
            InvalidSpecError: if a path does not exist or the result is invalid.
        """
        data = self.to_dict()
        for path, value in changes.items():
            _assign(data, path, value)
        return self.from_dict(data)


def _without_defaults(value: Any) -> Any:
    """The value as plain data, a spec's defaults left out."""
    if isinstance(value, Spec):
        return value._identity()  # noqa: SLF001
    if isinstance(value, list | tuple):
        return [_without_defaults(item) for item in value]
    return value


def _is_fixed(annotation: Any) -> bool:
    """Whether a field has one possible value, such as an optimizer's name."""
    return get_origin(annotation) is Literal and len(get_args(annotation)) == 1


def _boolean_as_text(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _assign(data: dict[str, Any], path: str, value: Any) -> None:
    """Set ``value`` at the dotted ``path`` in nested dicts and lists."""
    *parents, last = path.split(".")
    place: Any = data
    for depth, part in enumerate(parents):
        below = tuple(parents[: depth + 1])
        if isinstance(place, dict):
            # A missing table may be optional; its content is validated afterwards.
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


_EXPECTED = {
    "greater_than": "should be greater than {gt}",
    "greater_than_equal": "should be greater than or equal to {ge}",
    "less_than": "should be less than {lt}",
    "less_than_equal": "should be less than or equal to {le}",
    "finite_number": "should be a finite number",
    "int_type": "should be a whole number",
    "int_parsing": "should be a whole number",
    "int_parsing_size": "should be a whole number with fewer digits",
    "int_from_float": "should be a whole number",
    "float_type": "should be a number",
    "float_parsing": "should be a number",
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
    "string_type": "should be a string",
    "string_too_short": "should have at least {min_length} character{s}",
    "string_too_long": "should have at most {max_length} character{s}",
    "string_pattern_mismatch": "should be letters, digits, '.', '_' and '-' alone",
    "literal_error": "should be {expected}",
    "too_short": "should have at least {min_length} value{s}",
    "too_long": "should have at most {max_length} value{s}",
    "tuple_type": "should be a list",
    "list_type": "should be a list",
    "dict_type": "should be a table",
    "model_type": "should be a table",
    "model_attributes_type": "should be a table",
}
"""Pydantic's type of error → what the value should be; the fields are those of its ``ctx``."""


def _to_spec_error(
    cls: type[Spec], data: Mapping[str, Any], error: ValidationError
) -> InvalidSpecError:
    """The first of pydantic's errors, as one line."""
    # Unknown keys first: a misspelled key is often the reason why another one is missing.
    errors = error.errors(include_url=False)
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    path = _path(first["loc"], data, absent=first["type"] in ("extra_forbidden", "missing"))
    context = first.get("ctx", {})
    match first["type"]:
        case "value_error":
            cause = context["error"]
            if isinstance(cause, InvalidSpecError):
                return InvalidSpecError(cause.problem, path=(*path, *cause.path))
            problem = str(cause)
        case "extra_forbidden":
            problem = f"unknown key; {did_you_mean(path[-1], cls.model_fields)}"
        case "missing" if isinstance(first["loc"][-1], int):
            problem = f"{_short(data[path[-1]])} has too few values"
        case "missing":
            problem = "is missing"
        case "union_tag_not_found":
            problem = "needs a name, as in { name = … }"
        case "union_tag_invalid":
            known = _names_in(cls.model_fields[str(first["loc"][0])].annotation)
            problem = f"unknown name {context['tag']!r}; {did_you_mean(context['tag'], known)}"
        case kind if kind in _EXPECTED:
            problem = f"{_short(first['input'])} {_expected(kind, context)}"
        case _:
            problem = f"{_short(first['input'])}: {first['msg']}"
    return InvalidSpecError(problem, path=path)


def _expected(kind: str, context: Mapping[str, Any]) -> str:
    # A limit of 360.0 reads as 360.
    values = {
        key: int(value) if isinstance(value, float) and value.is_integer() else value
        for key, value in context.items()
    }
    length = values.get("min_length", values.get("max_length"))
    return _EXPECTED[kind].format(**values, s="" if length == 1 else "s")


def _names_in(annotation: Any) -> list[str]:
    """The values of ``name`` of all specs in a type, such as those of a union."""
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return list(get_args(annotation.model_fields["name"].annotation))
    return [name for part in get_args(annotation) for name in _names_in(part)]


def _path(loc: tuple[int | str, ...], data: Any, *, absent: bool) -> tuple[str, ...]:
    """Pydantic's location without the union tags that it mixes in, which are no keys of the data.

    Args:
        loc: the location.
        data: what was validated.
        absent: whether the last part of the location may be missing in the data.
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


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
