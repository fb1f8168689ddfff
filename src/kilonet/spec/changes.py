"""Changes of a spec by dotted paths, with one result whatever their order.

1. A path comes before the paths below it: ``net.layers`` before ``net.layers.2``.
2. A kind (``train.optimizer``, ``train.schedule``, ``train.average``, an augmentation) is chosen
   before its values are set. ``train.optimizer = "adam"`` and ``train.optimizer.name = "adam"``
   choose it; values of another kind are dropped, so that the new one begins with its defaults. A
   whole value (a name alone, or a table) replaces what was there, as everywhere; the ``name`` of
   the kind that is there already keeps its values.
3. Values that belong to another value, as a normalization to its data set, are dropped when that
   value changes without them; see :attr:`kilonet.spec.base.Spec.belonging`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from kilonet.spec.invalid import LEFT_OUT, InvalidSpecError, dotted, fixed_name

_Path = tuple[str, ...]


def apply_changes(spec: type[BaseModel], data: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Set each value at its dotted path in ``data``, which is validated afterwards.

    The parts of a path are keys, or positions in a list from 0.

    Args:
        spec: the class of the data.
        data: nested dicts and lists, as of ``Spec.to_dict``; changed in place.
        changes: dotted path → value: plain data or specs.

    Raises:
        InvalidSpecError: if a path leads nowhere, or two changes choose different kinds.
    """
    values = {tuple(path.split(".")): plain(value) for path, value in changes.items()}
    chosen: dict[_Path, str] = {}
    # At one depth names come first, as they choose the kind; the rest of the order is only fixed.
    for path in sorted(values, key=lambda path: (len(path), path[-1] != "name", path)):
        place, annotation = _find(spec, data, path)
        before = place.get(path[-1]) if isinstance(place, dict) else None
        _assign(place, annotation, path, values[path], chosen)
        # With a whole table all of its values were chosen together.
        if isinstance(place, dict) and not any(path[:end] in values for end in range(len(path))):
            for name in _belonging(annotation, path[-1], before, values[path]):
                target = (*path[:-1], name)
                if not any(other[: len(target)] == target for other in values):
                    place.pop(name, None)


def plain(value: Any) -> Any:
    """Specs and tuples as plain data; dicts and lists are copied."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value


def flattened(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as dotted path → value; lists stay whole."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        path = f"{prefix}{key}"
        flat |= flattened(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return flat


def _assign(
    place: dict[str, Any] | list[Any],
    annotation: Any,
    path: _Path,
    value: Any,
    chosen: dict[_Path, str],
) -> None:
    """Set the end of a path; ``chosen`` are the kinds that these changes have chosen so far."""
    above, last = path[:-1], path[-1]
    if isinstance(place, list):
        position = _position(place, path)
        place[position] = _with_tables(value, _inside(annotation, place, last))
    elif last == "name" and _kinds(annotation):
        if above in chosen and chosen[above] != value:
            problem = (
                f"is {value!r}, but {dotted(above)} is {chosen[above]!r}; leave one of them out"
            )
            raise InvalidSpecError(problem, path=path)
        if place.get("name", value) != value:
            place.clear()
        place["name"] = value
    else:
        place[last] = _with_tables(value, _inside(annotation, place, last))
    now = place[int(last)] if isinstance(place, list) else place[last]
    if isinstance(now, dict) and _kinds(_inside(annotation, place, last)) and "name" in now:
        chosen[path] = now["name"]


def _with_tables(value: Any, annotation: Any) -> Any:
    """The value with ``{"name": …}`` for each kind that is a name alone.

    Likewise with the table that a spec's shorthand stands for: a folder alone is a teacher.
    """
    shorts = (getattr(spec, "shorthand", "") for spec in _specs(annotation))
    short = next(filter(None, shorts), "")
    if short and isinstance(value, str | list) and value != LEFT_OUT:
        return {short: value}
    if isinstance(value, list):
        return [
            _with_tables(part, _inside(annotation, value, str(i))) for i, part in enumerate(value)
        ]
    if isinstance(value, dict):
        return {
            key: _with_tables(part, _inside(annotation, value, key)) for key, part in value.items()
        }
    if not isinstance(value, str) or not _kinds(annotation):
        return value
    # Where a kind may be left out, text that names none says so: average = "none".
    optional = NoneType in _members(annotation)
    known = value in map(fixed_name, _kinds(annotation))
    return value if optional and not known else {"name": value}


def _find(
    spec: type[BaseModel], data: dict[str, Any], path: _Path
) -> tuple[dict[str, Any] | list[Any], Any]:
    """The dict or list that holds the end of a path, and its type in the spec."""
    place: Any = data
    annotation: Any = spec
    for depth, part in enumerate(path[:-1]):
        below = path[: depth + 1]
        inside = _inside(annotation, place, part)
        if isinstance(place, list):
            inner = place[_position(place, below)]
        else:
            if part not in place:
                place[part] = _missing(annotation, place, below)
            inner = place[part]
        if not isinstance(inner, dict | list):
            problem = f"is {inner!r}, which has no {'.'.join(path[depth + 1 :])!r}"
            raise InvalidSpecError(problem, path=below)
        place, annotation = inner, inside
    return place, annotation


def _missing(annotation: Any, place: dict[str, Any], path: _Path) -> Any:
    """What a path's end begins with where it is missing: its default, or an empty table."""
    field = _field(annotation, place, path[-1])
    if field is not None:
        required = field.is_required()
        default = None if required else plain(field.get_default(call_default_factory=True))
        if default is not None:
            return default
        if not _specs(field.annotation):
            raise InvalidSpecError("is not set; set it whole", path=path)
    return {}  # the rest is found when it is validated: an unknown key, a value that is missing


def _position(place: list[Any], path: _Path) -> int:
    part = path[-1]
    if part.isdecimal() and int(part) < len(place):
        return int(part)
    if not place:
        raise InvalidSpecError("no such position; the list is empty", path=path)
    raise InvalidSpecError(f"no such position; it goes from 0 to {len(place) - 1}", path=path)


def _belonging(annotation: Any, key: str, before: Any, value: Any) -> tuple[str, ...]:
    """The keys of the values that belong to another value of ``key`` than the new one."""
    for spec in _specs(annotation):
        names: tuple[str, ...] = getattr(spec, "belonging", {}).get(key, ())
        if names and not spec.is_same(key, before, value):  # type: ignore[attr-defined]
            return names
    return ()


def _inside(annotation: Any, place: Any, part: str) -> Any:
    """The type of a part of a value; None if the value has no such part."""
    if annotation is None or annotation is Any:
        return annotation
    if isinstance(place, list):
        for member in _members(annotation):
            if get_origin(member) in (tuple, list):
                items = get_args(member)
                several = len(items) == 2 and items[1] is Ellipsis
                position = int(part) if part.isdecimal() and not several else 0
                return items[position] if position < len(items) else None
        return Any
    if not _specs(annotation):
        return Any
    field = _field(annotation, place, part)
    return None if field is None else field.annotation


def _field(annotation: Any, place: Any, part: str) -> FieldInfo | None:
    """The field of a table's spec: of several kinds the one that is there, else the first."""
    specs = _specs(annotation)
    named = (spec for spec in specs if fixed_name(spec) == place.get("name"))
    return next(named, specs[0]).model_fields.get(part) if specs else None


def _members(annotation: Any) -> list[Any]:
    """The types of a union, without pydantic's annotations."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [member for part in get_args(annotation) for member in _members(part)]
    return [annotation]


def _specs(annotation: Any) -> list[type[BaseModel]]:
    return [
        member
        for member in _members(annotation)
        if isinstance(member, type) and issubclass(member, BaseModel)
    ]


def _kinds(annotation: Any) -> list[type[BaseModel]]:
    """The specs among which a ``name`` chooses; none if the type is no such choice."""
    specs = _specs(annotation)
    return specs if specs and all(fixed_name(spec) for spec in specs) else []
