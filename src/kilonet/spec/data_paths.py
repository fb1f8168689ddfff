"""Paths in specs, of data sets and of runs: absolute in memory, relative to their file on disk.

So the hash of a run does not depend on how its data's path was written, and a project that is moved
as a whole keeps working. Where only a part was moved, ``environment.json`` of a run says where its
images were. Runs that a run builds on (``train.teacher``, ``train.init``) are known by a digest.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from kilonet.errors import SpecError, UsageError
from kilonet.paths import absolute, relative
from kilonet.spec.base import Spec
from kilonet.spec.lineage import with_sources

DATASET_NAMES = ("mnist",)
"""The data sets that are known by name; ``./mnist`` is the path."""

_AnySpec = TypeVar("_AnySpec", bound=Spec)


def is_name(text: str) -> bool:
    """Whether it looks like a data set's name, not like a path."""
    return not any(mark in text for mark in "/\\.~")


def data_path(name: str) -> str:
    """The absolute path of a data set that is one, else ""."""
    return name if name not in DATASET_NAMES and Path(name).is_absolute() else ""


def with_absolute_data(spec: _AnySpec, *, folder: Path | None = None) -> _AnySpec:
    """A run or a study whose paths, of data sets and of runs, are absolute.

    A word that is no known data set and no existing path is kept.

    Args:
        spec: the run or the study.
        folder: where relative paths start; default the current folder.

    Raises:
        UsageError: a name that is not a path, see :func:`kilonet.paths.expand`.
    """
    data = spec.to_dict()
    found = _with_names(data, partial(absolute_name, folder=folder))
    found = with_sources(found, partial(_absolute_source, folder=folder))
    return spec if found == data else type(spec).from_dict(found)


def relative_data(data: Mapping[str, Any], *, folder: Path) -> dict[str, Any]:
    """A spec as plain data, for a file in ``folder``: absolute paths become relative to it."""

    def shorten(name: str) -> str:
        path = data_path(name)
        return relative(Path(path), folder=folder) if path else name

    def shortened(_: str, source: dict[str, Any]) -> dict[str, Any]:
        path = Path(source["folder"])
        return {**source, "folder": relative(path, folder=folder)} if path.is_absolute() else source

    return with_sources(_with_names(data, shorten), shortened)


def absolute_data(data: Mapping[str, Any], *, file: Path) -> dict[str, Any]:
    """The inverse of :func:`relative_data`, for the content of a TOML file.

    In a run's or a study's folder a path that does not exist is looked up in ``environment.json``.
    Up to version 0.1 it was relative to the folder that the training was started in.

    Raises:
        SpecError: naming the file, for a name that is not a path.
    """
    recorded: dict[str, str] | None = None

    def resolve(name: str) -> str:
        nonlocal recorded
        found = absolute_name(name, folder=file.parent)
        if found in DATASET_NAMES or Path(name).is_absolute() or os.path.lexists(found):
            return found
        if not is_written_by_kilonet(file):
            return found
        if recorded is None:
            recorded = _recorded_paths(file)
        if found in recorded:
            return recorded[found] if os.path.lexists(recorded[found]) else found
        # The training was started here, or in a folder above the results, as by default.
        starts = (None, *absolute(file).parent.parents)
        paths = (absolute_name(name, folder=start) for start in starts)
        return next(filter(os.path.lexists, paths), name)

    try:
        found = _with_names(data, resolve)
    except UsageError as error:
        raise SpecError(f"{file}: data.name: {error}") from None
    try:
        return with_sources(found, partial(_absolute_source, folder=file.parent))
    except UsageError as error:
        raise SpecError(f"{file}: {error}") from None


def _absolute_source(kind: str, source: dict[str, Any], *, folder: Path | None) -> dict[str, Any]:
    """A run that a run builds on, with the path of its folder from the root."""
    try:
        return {**source, "folder": str(absolute(source["folder"], folder=folder))}
    except UsageError as error:
        raise UsageError(f"{kind}: {error}") from None


def absolute_name(name: str, *, folder: Path | None = None) -> str:
    """A data set's path from the root; a known name, and a word that is no existing path, is kept.

    Raises:
        UsageError: a name that is not a path, see :func:`kilonet.paths.expand`.
    """
    if not name or name in DATASET_NAMES:  # an empty one is an error of the spec
        return name
    path = absolute(name, folder=folder)
    return name if is_name(name) and not os.path.lexists(path) else str(path)


def _with_names(data: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """Plain data of a run or a study with each data set's name changed; not yet validated."""

    def changed(table: Any, key: str) -> Any:
        if isinstance(table, Mapping) and isinstance(table.get(key), str):
            return {**table, key: change(table[key])}
        return table

    found = dict(data)
    if "data" in found:
        found["data"] = changed(found["data"], "name")
    for stages in ("stage", "step"):  # the name of stages up to version 0.1
        if isinstance(found.get(stages), list):
            found[stages] = [
                {**stage, "change": changed(stage["change"], "data.name")}
                if isinstance(stage, Mapping) and "change" in stage
                else stage
                for stage in found[stages]
            ]
    return found


def is_written_by_kilonet(file: Path) -> bool:
    """Whether the TOML file is that of a run's or a study's folder."""
    companions = {"run.toml": "environment.json", "study.toml": "runs"}
    return file.name in companions and (file.parent / companions[file.name]).exists()


def _recorded_paths(file: Path) -> dict[str, str]:
    """The path that a run's spec states, from its folder → the path that its images were read from.

    Args:
        file: ``run.toml``, or a study's ``study.toml``, whose runs all count.
    """
    folders = [file.parent]
    if file.name == "study.toml":
        try:
            folders = sorted((file.parent / "runs").iterdir())
        except OSError:
            folders = []
    found = {}
    for folder in folders:
        try:
            spec = tomllib.loads((folder / "run.toml").read_text("utf-8"))
            environment = json.loads((folder / "environment.json").read_text("utf-8"))
            name, path = spec["data"]["name"], environment["data"]["path"]
            found[str(absolute(name, folder=folder))] = str(path)
        except (OSError, ValueError, LookupError, TypeError, RecursionError, UsageError):
            continue  # a damaged folder, or one of an earlier version, has no path
    return found
