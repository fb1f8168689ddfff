"""Specs as TOML: bundled ones by name, others by path, and settings from the command line."""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import tomli_w

from kilonet.errors import NetError, SpecError, UsageError, did_you_mean
from kilonet.spec.base import InvalidSpecError, Spec
from kilonet.spec.net import Net
from kilonet.spec.study import Budget, Run, Study

_AnySpec = TypeVar("_AnySpec", bound=Spec)

_log = logging.getLogger(__name__)

MAX_SPEC_BYTES = 1 << 20
"""A spec is a page of text; a larger file is something else."""


def bundled_names() -> tuple[str, ...]:
    """Names of the specs in the package."""
    folder = files("kilonet") / "bundled"
    return tuple(
        sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))
    )


def load_study(name: str, *, settings: Iterable[str] = ()) -> Study:
    """Read a study: a bundled name or a TOML file.

    Args:
        name: bundled name or path.
        settings: ``dotted.path=value``, each value TOML or else plain text.

    Raises:
        SpecError: naming the file and the key.
        UsageError: for an unknown name.
    """
    data, where = _read(name)
    if not _is_study(data):
        raise SpecError(f"{where}: has no [[stage]], so it is a run; use 'kilonet train {name}'")
    return _build(Study, _with_stages(data, where), where, settings)


def load_run(name: str, *, settings: Iterable[str] = ()) -> Run:
    """Read a run: a bundled name, a TOML file, or a run folder; raises as :func:`load_study`."""
    data, where = _read(name)
    if _is_study(data):
        raise SpecError(f"{where}: is a study, not a run; use 'kilonet study {name}'")
    return _build(Run, data, where, settings)


def parse_run(content: bytes, *, where: str) -> Run:
    """The run in a TOML file's content; raises SpecError, in which ``where`` names the file."""
    return _build(Run, _parse(_decode(content, where), where), where, ())


def load_net(name: str) -> Net:
    """Read a network: that of a bundled spec or a TOML file; of a study, the last stage's.

    Raises as :func:`load_study`.
    """
    return load_net_and_budget(name)[0]


def load_net_and_budget(name: str) -> tuple[Net, Budget]:
    """As :func:`load_net`, with the study's budget; without limits if it is no study."""
    data, where = _read(name)
    if _is_study(data):
        study = _build(Study, _with_stages(data, where), where, ())
        return study.stages[-1].run.net, study.budget
    if "net" not in data and "layers" in data:
        return _build(Net, data, where, ()), Budget()
    return _build(Run, data, where, ()).net, Budget()


def is_folder(name: str) -> bool:
    """Whether loaders take the name for a run's or study's folder; bundled names have priority."""
    return name not in bundled_names() and _find(name) != Path(name)


def to_toml(spec: Spec) -> str:
    """The spec as TOML; :func:`load_run` or :func:`load_study` reads it back equal."""
    return tomli_w.dumps(spec.to_dict(), multiline_strings=False)


def parse_setting(text: str) -> tuple[str, Any]:
    """Parse one ``dotted.path=value``: the value is TOML if it parses as TOML, else plain text.

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
    """TOML data of a bundled name, a file or a run or study folder; and its name in messages."""
    if name in bundled_names():
        text, where = (files("kilonet") / "bundled" / f"{name}.toml").read_text("utf-8"), name
    else:
        path = _find(name)
        text, where = _read_text(path), str(path)
    return _parse(text, where), where


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{where}: not valid TOML: {error}") from None
    except RecursionError:
        raise SpecError(f"{where}: nested too deeply to be a spec") from None


def _is_study(data: dict[str, Any]) -> bool:
    return "stage" in data or "step" in data


def _with_stages(data: dict[str, Any], where: str) -> dict[str, Any]:
    """The data with ``stage`` instead of ``step``, its name up to version 0.1."""
    if "step" not in data:
        return data
    if "stage" in data:
        raise SpecError(f"{where}: has [[step]] and [[stage]]; rename [[step]] to [[stage]]")
    _warn_of_steps(where)
    return {"stage" if key == "step" else key: value for key, value in data.items()}


@cache  # once a file, which a command may read several times
def _warn_of_steps(where: str) -> None:
    _log.warning("kilonet: %s: [[step]] is now [[stage]]; rename it", where)


def _find(name: str) -> Path:
    """The file of a name: a path, or the spec in a run or study folder."""
    path = Path(name)
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except (OSError, ValueError):  # too long, or with a NUL
        is_folder = exists = False
    if is_folder:
        for file in (path / "run.toml", path / "study.toml"):
            if file.is_file():
                return file
        raise UsageError(f"{path}: a folder without run.toml or study.toml; give a TOML file")
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
        raise SpecError(f"{path}: larger than 1 MiB, so not a spec; give a TOML file")
    return _decode(content, str(path))


def _decode(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig")  # some editors write a byte order mark
    except UnicodeDecodeError:
        raise SpecError(f"{where}: not UTF-8 text, so not a spec; give a TOML file") from None


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
