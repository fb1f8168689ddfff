"""The base of all specs: frozen data that refuses unknown keys, with errors of one line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from kilonet.spec.changes import apply_changes
from kilonet.spec.invalid import InvalidSpecError, is_fixed, to_spec_error

__all__ = ["VERSION", "InvalidSpecError", "Spec"]

VERSION = 2
"""Version of the content hash. Raise it when a default or the meaning of a value changes."""


class Spec(BaseModel):
    """Base of all specs: immutable data whose unknown keys are errors.

    Raises:
        InvalidSpecError: on construction, naming the key and the nearest valid one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    belonging: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Key → keys whose values belong to its value: :meth:`replace` drops them with it."""

    shorthand: ClassVar[str] = ""
    """The key whose value may stand for the whole spec: a teacher's folder for the teacher."""

    def __init__(self, **data: Any) -> None:
        data = {key: self._without_booleans(key, value) for key, value in data.items()}
        # Pydantic calls this for nested specs too, so each level adds its part of the path.
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise to_spec_error(type(self), data, error) from None

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
            if (value := getattr(self, name)) != field.default or is_fixed(field.annotation)
        }

    def replace(self, changes: Mapping[str, Any]) -> Self:
        """A copy with ``changes`` applied: dotted path → value, as in a study's stages.

        The parts of a path are keys, or positions in a list from 0: ``net.layers.2``. The order of
        the changes does not matter: the kind of an optimizer or a schedule is chosen first, then
        its values are set. A new ``data.name`` without ``data.mean`` and ``data.std`` drops both,
        as they belong to the other data. See :mod:`kilonet.spec.changes`.

        Raises:
            InvalidSpecError: if a path does not exist or the result is invalid.
        """
        data = self.to_dict()
        apply_changes(type(self), data, changes)
        return self.from_dict(data)

    @classmethod
    def is_same(cls, key: str, before: Any, after: Any) -> bool:  # noqa: ARG003  for specs to override
        """Whether two values of a key of :attr:`belonging` mean the same thing."""
        return bool(before == after)


def _without_defaults(value: Any) -> Any:
    """The value as plain data, a spec's defaults left out."""
    if isinstance(value, Spec):
        return value._identity()  # noqa: SLF001
    if isinstance(value, list | tuple):
        return [_without_defaults(item) for item in value]
    return value


def _boolean_as_text(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value
