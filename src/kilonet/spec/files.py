"""Specs as TOML: bundled ones by name, others by path, and settings from the command line."""

from __future__ import annotations

import logging
import re
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import tomli_w

from kilonet.errors import NetError, SpecError, UsageError, did_you_mean
from kilonet.paths import expand
from kilonet.spec.base import InvalidSpecError, Spec
from kilonet.spec.data_paths import (
    absolute_data,
    is_written_by_kilonet,
    relative_data,
    with_absolute_data,
)
from kilonet.spec.net import Net
from kilonet.spec.other_data import (
    warn_of_dropped,
    warn_of_dropped_in_stages,
    warn_of_kept_in_stages,
)
from kilonet.spec.study import Budget, ResolvedStage, Run, Study

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
    """Read a study: a bundled name or a TOML file. A run is a study of one stage.

    Args:
        name: bundled name or path.
        settings: ``dotted.path=value``, each value TOML or else plain text. Their order does not
            matter, except that the last of one path counts; see :meth:`Spec.replace`. The path of
            a data set is relative to the current folder; in a file it is relative to the file's
            folder. In the spec it is absolute.

    Raises:
        SpecError: naming the file and the key.
        UsageError: for an unknown name.
    """
    settings = list(settings)
    study = _study(read_spec(name), settings)
    for path, stage, changed in _overridden(study, dict(map(parse_setting, settings))):
        _log.warning(
            "kilonet: %s: the value given has no effect from stage %d '%s' on, which sets %s",
            *(path, stage.number, stage.name, changed),
        )
    return study


def _study(file: SpecFile, settings: Iterable[str]) -> Study:
    name, where, data = file.name, file.where, file.data
    settings = list(settings)
    changes = dict(map(parse_setting, settings))
    if "train.seed" in changes:
        raise UsageError(
            "--set train.seed: a study trains seeds 1 to `seeds`; set seeds, or use 'kilonet train'"
        )
    if "module" in data:
        raise UsageError(
            f"{where}: the run is of a module of your own, which a study cannot train; use "
            "kilonet.train in Python"
        )
    if "target" not in data and "target" not in changes:
        hint = "" if _has_stages(data) else f", or use 'kilonet train {name}'"
        raise SpecError(
            f"{where}: target is missing; a study needs one, in percent of test accuracy: add "
            f"target = 99.0 or --set target=99.0{hint}"
        )
    study = _build(Study, _with_stages(_complete(file), where), where, settings)
    if not is_written_by_kilonet(Path(where)):  # what a study's folder holds was said before
        warn_of_dropped_in_stages(study)
    return study


def load_run(name: str, *, settings: Iterable[str] = ()) -> Run:
    """Read a run: a bundled name, a TOML file, or a run folder; raises as :func:`load_study`.

    Of a study without stages, the base run.
    """
    return load_run_and_seeds(name, settings=settings)[0]


def load_run_and_seeds(
    name: str, *, settings: Iterable[str] = (), seeds: int | None = None
) -> tuple[Run, int | None]:
    """As :func:`load_run`, with the number of seeds to train: None for the run's own seed alone.

    Args:
        name: as there.
        settings: as there.
        seeds: how many; default: as many as a file without stages states.
    """
    file = read_spec(name)
    where, data = file.where, file.data
    settings = list(settings)
    changes = dict(map(parse_setting, settings))
    if seeds is not None and "train.seed" in changes:
        raise UsageError(f"--seeds trains seeds 1 to {seeds}; leave it out to set train.seed")
    if _has_stages(data):
        raise SpecError(f"{where}: is a study, not a run; use 'kilonet study {name}'")
    if not _is_study(data):
        return _build(Run, data, where, settings), seeds
    # All of its keys are checked, though a run has no use for the target.
    study = _build(Study, _complete(file), where, settings)
    if seeds is None and "train.seed" not in changes and study.seeds > 1:
        seeds = study.seeds
    return study.run, seeds


def parse_run(content: bytes, *, file: Path) -> Run:
    """The run in the content of ``file``; raises SpecError, which names the file."""
    where = str(file)
    data = absolute_data(_parse(_decode(content, where), where), file=file)
    return _build(Run, data, where, ())


def load_net(name: str) -> Net:
    """Read a network: that of a bundled spec or a TOML file; of a study, the last stage's.

    Raises as :func:`load_study`.
    """
    return load_net_and_budget(name)[0]


def load_net_and_budget(name: str, *, settings: Iterable[str] = ()) -> tuple[Net, Budget]:
    """As :func:`load_net`, with the study's budget; without limits if it is no study.

    The paths of ``settings`` are those of the study or the run; of a network alone those of a run.
    One of the network that a stage sets anew is a UsageError: it would change nothing.
    """
    settings = list(settings)
    spec = load_spec(name, settings=settings)
    if isinstance(spec, Study):
        paths = dict(map(parse_setting, settings))
        of_net = [path for path in paths if path.startswith("net.")]
        for path, stage, changed in _overridden(spec, of_net):
            raise UsageError(
                f"--set {path}: stage {stage.number} '{stage.name}' sets {changed} after it; "
                f"set stage.{stage.number - 1}.change"
            )
        return spec.stages[-1].run.net, spec.budget
    if isinstance(spec, Run) and spec.module is not None:
        raise UsageError(
            f"{name}: the run is of a module of your own, {spec.module.name!r} with "
            f"{spec.module.num_parameters:,} parameters, whose layers are in your Python code alone"
        )
    return spec if isinstance(spec, Net) else spec.net, Budget()


def _overridden(study: Study, paths: Iterable[str]) -> Iterator[tuple[str, ResolvedStage, str]]:
    """The paths of the base run that a stage sets anew, with the first such stage and its path."""
    for path in paths:
        for stage in study.stages:
            changed = next((c for c in stage.change if f"{path}.".startswith(f"{c}.")), None)
            if changed is not None:
                yield path, stage, changed
                break


def load_spec(name: str, *, settings: Iterable[str] = ()) -> Study | Run | Net:
    """Read whatever a name or a file holds; raises as :func:`load_study`."""
    return spec_in(read_spec(name), settings=settings)


def spec_in(file: SpecFile, *, settings: Iterable[str] = ()) -> Study | Run | Net:
    """The spec in a file that was read; raises as :func:`load_study`."""
    where, data = file.where, file.data
    if _is_study(data):
        if _has_stages(data):
            return _study(file, settings)
        # What a run with seeds lacks, `kilonet study` asks for.
        return _build(Study, _complete(file), where, settings)
    if "net" not in data and "layers" in data:
        net = _build(Net, data, where, ())
        settings = list(settings)
        paths = dict(map(parse_setting, settings))
        if other := next((path for path in paths if path.partition(".")[0] != "net"), None):
            raise UsageError(
                f"--set {other}: {where} holds a network alone; its paths begin with net"
            )
        return _change(Run(net=net), settings).net
    return _build(Run, data, where, settings)


def is_folder(name: str) -> bool:
    """Whether loaders take the name for a run's or study's folder; bundled names have priority."""
    return name not in bundled_names() and _find(name) != expand(name)


def to_toml(spec: Spec, *, folder: Path | None = None) -> str:
    """The spec as TOML; :func:`load_run` or :func:`load_study` reads it back equal.

    Args:
        spec: the spec.
        folder: of the file, from which paths of data sets are written; default: as in the spec.
    """
    data = spec.to_dict()
    if folder is not None:
        data = relative_data(data, folder=folder)
    return tomli_w.dumps(data, multiline_strings=False)


def is_canonical(text: str) -> bool:
    """Whether TOML is formatted as by :func:`to_toml`: writing it again loses nothing."""
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return False
    return tomli_w.dumps(data, multiline_strings=False) == text.replace("\r\n", "\n")


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


class SpecFile(NamedTuple):
    """What a name leads to: a file, or a bundled spec.

    Attributes:
        name: as the user gave it.
        where: its name in messages; of a file its path.
        text: its content.
        data: the content, with absolute paths of data sets; not yet validated.
    """

    name: str
    where: str
    text: str
    data: dict[str, Any]


def read_spec(name: str) -> SpecFile:
    """Read a bundled name, a file or a run or study folder once: a pipe has its content once.

    Raises:
        SpecError: it is not TOML.
        UsageError: for an unknown name.
    """
    if name in bundled_names():
        text = (files("kilonet") / "bundled" / f"{name}.toml").read_text("utf-8")
        return SpecFile(name, name, text, _parse(text, name))
    return read_spec_file(name, _find(name))


def read_spec_file(name: str, path: Path) -> SpecFile:
    """The file at ``path``, which a user calls ``name``; raises SpecError as :func:`read_spec`."""
    text = _read_text(path)
    data = absolute_data(_parse(text, str(path)), file=path)
    return SpecFile(name, str(path), text, data)


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{where}: not valid TOML: {error}") from None
    except RecursionError:
        raise SpecError(f"{where}: nested too deeply to be a spec") from None


def _has_stages(data: dict[str, Any]) -> bool:
    return bool(data.get("stage")) or "step" in data  # an empty list is none


def _is_study(data: dict[str, Any]) -> bool:
    """Whether there is a key that a study has and a run has not."""
    keys = Study.model_fields.keys() - Run.model_fields.keys()
    return _has_stages(data) or not keys.isdisjoint(data)


def _complete(file: SpecFile) -> dict[str, Any]:
    """The data of a study with a target, and without stages a name, where the file states none."""
    name = {} if _has_stages(file.data) else {"name": _study_name(file.name, file.where)}
    return {**name, "target": 100.0, **file.data}


def _study_name(name: str, where: str) -> str:
    """A name for a study whose file states none: the file's, in the characters of a study's."""
    path = Path(where)
    stem = path.parent.resolve().name if is_folder(name) else path.stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:100] or "study"


def _with_stages(data: dict[str, Any], where: str) -> dict[str, Any]:
    """The data with ``stage`` instead of ``step``, its name up to version 0.1."""
    for name in ("stage", "step"):
        if isinstance(data.get(name), dict):
            raise SpecError(f"{where}: [{name}] is one table; write [[stage]] for each stage")
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
    path = expand(name)
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except PermissionError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except OSError:  # too long
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
    return _change(spec, settings)


def _change(spec: _AnySpec, settings: Iterable[str]) -> _AnySpec:
    """The spec with settings of the command line; tells what becomes of a normalization."""
    changes = dict(map(parse_setting, settings))
    try:
        changed = spec.replace(changes) if changes else spec
        absolute = with_absolute_data(changed) if changes else spec
    except (InvalidSpecError, NetError) as error:
        raise type(error)(f"--set: {error}") from None
    except UsageError as error:
        where = "" if str(error).startswith("train.") else "data.name: "
        raise UsageError(f"--set: {where}{error}") from None
    kinds = Run | Study
    if "data.name" in changes and isinstance(spec, kinds) and isinstance(changed, kinds):
        warn_of_dropped(spec.data, changed.data)
        if isinstance(changed, Study):
            warn_of_kept_in_stages(spec.data, changed)
    return absolute
