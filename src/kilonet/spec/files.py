"""Specs as TOML: bundled ones by name, a user's by path, and settings from the command line."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import tomli_w

from kilonet.errors import NetError, SpecError, UsageError, did_you_mean
from kilonet.spec.base import InvalidSpecError, Spec
from kilonet.spec.net import Net
from kilonet.spec.study import Budget, Run, Study

_AnySpec = TypeVar("_AnySpec", bound=Spec)

MAX_SPEC_BYTES = 1 << 20
"""A spec is a page of text; anything larger is some other file."""


def bundled_names() -> tuple[str, ...]:
    """Names of the specs that come with kilonet."""
    folder = files("kilonet") / "studies"
    return tuple(
        sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))
    )


def load_study(name: str, *, settings: Iterable[str] = ()) -> Study:
    """Read a study: a bundled name or a TOML file.

    Args:
        name: bundled name or path.
        settings: ``dotted.path=value``, each value as in TOML or else text.

    Raises:
        SpecError: naming the file and the key.
        UsageError: for an unknown name.
    """
    data, where = _read(name)
    if "step" not in data:
        raise SpecError(
            f"{where}: no [[step]]: it is a run, not a study; use 'kilonet train {name}'"
        )
    return _build(Study, data, where, settings)


def load_run(name: str, *, settings: Iterable[str] = ()) -> Run:
    """Read a run: a bundled name, a TOML file, or a run folder; raises as :func:`load_study`."""
    data, where = _read(name)
    if "step" in data:
        raise SpecError(f"{where}: has [[step]]: it is a study; use 'kilonet study {name}'")
    return _build(Run, data, where, settings)


def load_net(name: str) -> Net:
    """Read a network: the [net] of a bundled spec or of a TOML file; raises as :func:`load_study`.

    Of a study it is the last rung's.
    """
    return load_net_and_budget(name)[0]


def load_net_and_budget(name: str) -> tuple[Net, Budget]:
    """As :func:`load_net`, with the budget of the study it comes from; else one without limit."""
    data, where = _read(name)
    if "step" in data:
        study = _build(Study, data, where, ())
        return study.rungs[-1].run.net, study.budget
    if "net" not in data and "layers" in data:
        return _build(Net, data, where, ()), Budget()
    return _build(Run, data, where, ()).net, Budget()


def is_folder(name: str) -> bool:
    """Whether a loader takes the name for a run's or study's folder; bundled names go first."""
    return name not in bundled_names() and _find(name) != Path(name)


def to_toml(spec: Spec) -> str:
    """The spec as TOML text that :func:`load_run` or :func:`load_study` reads back equal."""
    return tomli_w.dumps(spec.to_dict(), multiline_strings=False)


def parse_setting(text: str) -> tuple[str, Any]:
    """Read one ``dotted.path=value``: the value is TOML where it parses as TOML, else plain text.

    Raises:
        UsageError: if there is no ``=`` or no path.
    """
    path, equals, value = text.partition("=")
    path = path.strip()
    if not equals or not all(path.split(".")):
        raise UsageError(f"--set {text!r}: write dotted.path=value, for example train.epochs=5")
    try:
        data = tomllib.loads(f"value = {value}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return path, value.strip()
    return path, data["value"] if len(data) == 1 else value.strip()


def _read(name: str) -> tuple[dict[str, Any], str]:
    """The TOML data of a bundled name, a file, or a run or study folder, and what to call it."""
    if name in bundled_names():
        text, where = (files("kilonet") / "studies" / f"{name}.toml").read_text("utf-8"), name
    else:
        path = _find(name)
        text, where = _read_text(path), str(path)
    try:
        return tomllib.loads(text), where
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{where}: not valid TOML: {error}") from None
    except RecursionError:
        raise SpecError(f"{where}: nested too deeply to be a spec") from None


def _find(name: str) -> Path:
    """The file that a name stands for; inside a run or study folder, its spec."""
    path = Path(name)
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except (OSError, ValueError):  # a name no file can have: too long, or with a NUL
        is_folder = exists = False
    if is_folder:
        for file in (path / "run.toml", path / "study.toml"):
            if file.is_file():
                return file
        raise UsageError(f"{path}: a folder without run.toml or study.toml; name a TOML file")
    if exists:
        return path
    shown = name if name.isprintable() and len(name) <= 200 else f"{name[:60]!r}"
    if path.suffix or len(path.parts) > 1:
        raise UsageError(f"{shown}: no such file")
    hint = did_you_mean(name, bundled_names())
    raise UsageError(f"{shown}: no bundled spec and no file of that name; {hint}")


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SPEC_BYTES + 1)  # a device or a pipe may never end
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > MAX_SPEC_BYTES:
        raise SpecError(f"{path}: larger than 1 MiB, so not a spec; name a TOML file")
    try:
        return content.decode("utf-8-sig")  # some editors begin a file with a byte order mark
    except UnicodeDecodeError:
        raise SpecError(f"{path}: not UTF-8 text, so not a spec; name a TOML file") from None


def _build(
    kind: type[_AnySpec], data: dict[str, Any], where: str, settings: Iterable[str]
) -> _AnySpec:
    try:
        spec = kind.from_dict(data)
    except (InvalidSpecError, NetError) as error:
        raise type(error)(f"{where}: {error}") from None
    changes = dict(map(parse_setting, settings))
    try:
        return spec.replace(changes) if changes else spec
    except (InvalidSpecError, NetError) as error:
        raise type(error)(f"--set: {error}") from None
