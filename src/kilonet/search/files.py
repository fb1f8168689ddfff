"""Search spaces as TOML: bundled ones by name, others by path, with settings."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import tomli_w

from kilonet.errors import UsageError, did_you_mean
from kilonet.paths import expand
from kilonet.search.space import Space
from kilonet.spec import InvalidSpecError, parse_setting
from kilonet.spec.data_paths import absolute_name, relative_data
from kilonet.spec.files import read_spec_file

SPEC = "space.toml"
"""The file of the space in a search's folder."""

DEFAULT = "digits-small"
"""The space of ``kilonet search`` without an argument."""


class BundledSpace(NamedTuple):
    """A space in the package: its name, and its first comment."""

    name: str
    description: str


def bundled_spaces() -> list[BundledSpace]:
    """All spaces in the package."""
    found = []
    for file in sorted(_folder().iterdir(), key=lambda file: file.name):
        if file.name.endswith(".toml"):
            first = file.read_text("utf-8").partition("\n")[0]
            found.append(BundledSpace(file.name.removesuffix(".toml"), first.lstrip("# ")))
    return found


def space_text(name: str, *, settings: Iterable[str] = ()) -> str:
    """A bundled space as TOML to begin one's own from: as it was written, or with settings whole.

    Raises:
        SpecError: a setting is wrong.
        UsageError: for an unknown name.
    """
    names = [space.name for space in bundled_spaces()]
    if name not in names:
        raise UsageError(f"{name}: no bundled space; {did_you_mean(name, names)}")
    if settings := list(settings):
        return space_to_toml(load_space(name, settings=settings), folder=Path.cwd())
    return (_folder() / f"{name}.toml").read_text("utf-8")


def load_space(name: str | Path = DEFAULT, *, settings: Iterable[str] = ()) -> Space:
    """Read a search space: a bundled name, a TOML file, or a search's folder.

    Args:
        name: which.
        settings: ``dotted.path=value``, as of a study: ``budget.parameters=4000``,
            ``choose.width=[8, 12]``. A choice whose own name has dots is not reached so.

    Raises:
        SpecError: naming the file and the key.
        UsageError: for an unknown name.
    """
    text = str(name)
    if text in (space.name for space in bundled_spaces()):
        where, data = text, tomllib.loads(space_text(text))
    else:
        path = _find(text)
        where, data = str(path), read_spec_file(text, path).data
    try:
        space = Space.from_dict(data)
    except InvalidSpecError as error:
        raise InvalidSpecError(f"{where}: {error}") from None
    changes = dict(map(parse_setting, settings))
    if isinstance(changes.get("data.name"), str):
        changes["data.name"] = absolute_name(changes["data.name"])
    try:
        return space.replace(changes) if changes else space
    except InvalidSpecError as error:
        raise InvalidSpecError(f"--set: {error}") from None


def space_to_toml(space: Space, *, folder: Path) -> str:
    """The space as TOML in ``folder``, from which paths of data sets are written."""
    return tomli_w.dumps(relative_data(space.to_dict(), folder=folder), multiline_strings=False)


def is_search(folder: Path) -> bool:
    """Whether the folder is a search's."""
    return (folder / SPEC).is_file()


def _find(name: str) -> Path:
    path = expand(name)
    if path.is_dir():
        if not is_search(path):
            raise UsageError(f"{path}: a folder without {SPEC}; give a TOML file")
        return path / SPEC
    if path.exists():
        return path
    names = [space.name for space in bundled_spaces()]
    if path.suffix or len(path.parts) > 1:
        raise UsageError(f"{name}: no such file")
    raise UsageError(
        f"{name}: no bundled space and no file of that name; {did_you_mean(name, names)}"
    )


def _folder() -> Path:
    return Path(str(files("kilonet"))) / "bundled" / "spaces"
