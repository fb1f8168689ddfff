"""Invalid specs: pydantic's validation errors as one line that names the key and the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

from kilonet.errors import SpecError, did_you_mean


class InvalidSpecError(SpecError, ValueError):
    """An invalid spec. Also a ``ValueError``, the usual exception for a bad argument.

    Attributes:
        path: the parts of the offending key's dotted path, from the spec that was being built.
        problem: what is wrong and what to do, without the path.
    """

    def __init__(
        self, problem: str, *, path: tuple[str, ...] = (), place: str | None = None
    ) -> None:
        """``place`` is printed instead of the dotted path, where people call it by another name."""
        self.path = path
        self.problem = problem
        place = dotted(path) if place is None else place
        super().__init__(f"{place}: {problem}" if path or place else problem)


def dotted(path: tuple[str, ...]) -> str:
    """A path as people write it; a key in a user's file may be any text, but stays on the line."""
    return ".".join(part if part and part.isprintable() else repr(part) for part in path)


def fixed_name(spec: type[BaseModel]) -> str | None:
    """The one value of a spec's ``name``, as an optimizer's; None where it has none."""
    field = spec.model_fields.get("name")
    if field is None or not is_fixed(field.annotation):
        return None
    return str(get_args(field.annotation)[0])


LEFT_OUT = "none"
"""The value that turns off what is optional, as in ``average = "none"``: TOML has no null."""


def none_if_left_out(value: Any) -> Any:
    """None for :data:`LEFT_OUT`; for validators."""
    return None if value == LEFT_OUT else value


def named(value: Any) -> Any:
    """A name alone takes the defaults: ``schedule = "cosine"``."""
    return {"name": value} if isinstance(value, str) else value


def is_fixed(annotation: Any) -> bool:
    """Whether a field has one possible value, such as an optimizer's name."""
    return get_origin(annotation) is Literal and len(get_args(annotation)) == 1


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
    "string_unicode": "should be Unicode text",
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


def to_spec_error(
    cls: type[BaseModel], data: Mapping[str, Any], error: ValidationError
) -> InvalidSpecError:
    """The first of pydantic's errors, as one line."""
    # Unknown keys first: a misspelled key is often the reason why another one is missing.
    errors = error.errors(include_url=False)
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    path = _path(first["loc"], data, absent=first["type"] in ("extra_forbidden", "missing"))
    context = first.get("ctx", {})
    kind = fixed_name(cls)  # an optimizer's keys, for example, are those of its kind
    match first["type"]:
        case "value_error":
            cause = context["error"]
            if isinstance(cause, InvalidSpecError):
                return InvalidSpecError(cause.problem, path=(*path, *cause.path))
            problem = str(cause)
        case "extra_forbidden":
            of_kind = f" of {kind}" if kind else ""
            problem = f"unknown key{of_kind}; {did_you_mean(path[-1], cls.model_fields)}"
        case "missing" if isinstance(first["loc"][-1], int):
            problem = f"{_short(data[path[-1]])} has too few values"
        case "missing":
            problem = f"is missing; {kind} needs it" if kind else "is missing"
        case "union_tag_not_found":
            problem = "needs a name, as in { name = … }"
        case "union_tag_invalid":
            known = _names_in(cls.model_fields[str(first["loc"][0])].annotation)
            problem = f"unknown name {context['tag']!r}; {did_you_mean(context['tag'], known)}"
        case rule if rule in _EXPECTED:
            problem = f"{_short(first['input'])} {_expected(rule, context)}"
        case _:
            problem = f"{_short(first['input'])}: {first['msg']}"
    return InvalidSpecError(problem, path=path)


def _expected(rule: str, context: Mapping[str, Any]) -> str:
    # A limit of 360.0 reads as 360.
    values = {
        key: int(value) if isinstance(value, float) and value.is_integer() else value
        for key, value in context.items()
    }
    length = values.get("min_length", values.get("max_length"))
    return _EXPECTED[rule].format(**values, s="" if length == 1 else "s")


def _names_in(annotation: Any) -> list[str]:
    """The values of ``name`` of all specs in a type, such as those of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
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
