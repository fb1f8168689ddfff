"""Specs as text to read, and to begin one's own from: TOML that loads again."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w

from kilonet.spec.data_paths import absolute_data
from kilonet.spec.files import SpecFile, bundled_names, parse_setting, read_spec, spec_in
from kilonet.spec.study import Study


class BundledSpec(NamedTuple):
    """A spec in the package: its name, ``study`` or ``run``, and its first comment."""

    name: str
    kind: str
    description: str


def bundled_specs() -> list[BundledSpec]:
    """All specs in the package."""
    files = [read_spec(name) for name in bundled_names()]
    return [
        BundledSpec(
            file.name, "study" if isinstance(spec_in(file), Study) else "run", _comment(file.text)
        )
        for file in files
    ]


def spec_toml(name: str, *, settings: Iterable[str] = ()) -> str:
    """A spec as TOML that means the same in a file of the current folder.

    It is as it was written, comments included. With settings, or where its data's path is relative
    to another folder, it is whole, with defaults and an absolute path.

    Args:
        name: a bundled name, a file or a folder.
        settings: ``dotted.path=value``, applied first.

    Raises:
        SpecError: if it is not valid; naming the file and the key.
        UsageError: for an unknown name.
    """
    settings = list(settings)
    file = read_spec(name)
    data = _whole(file, settings)
    here = absolute_data(tomllib.loads(file.text), file=Path("here.toml"))
    if settings or here != file.data:
        return tomli_w.dumps(data, multiline_strings=False)
    return file.text


def spec_data(name: str, *, settings: Iterable[str] = ()) -> dict[str, Any]:
    """A spec as plain data with all defaults; arguments and errors as of :func:`spec_toml`."""
    return _whole(read_spec(name), list(settings))


def _whole(file: SpecFile, settings: list[str]) -> dict[str, Any]:
    """The spec's data; what a study's file leaves to the command, name and target, is left out."""
    spec = spec_in(file, settings=settings)
    data = spec.to_dict()
    if isinstance(spec, Study):
        stated = {*file.data, *dict(map(parse_setting, settings))}
        return {key: data[key] for key in data if key in stated or key not in ("name", "target")}
    return data


def _comment(text: str) -> str:
    first = text.partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""
