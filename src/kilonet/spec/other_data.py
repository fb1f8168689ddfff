"""Warnings about a stated normalization whose data set is replaced by another."""

from __future__ import annotations

import logging
from functools import cache

from kilonet.spec.data import Data
from kilonet.spec.study import Study

_log = logging.getLogger(__name__)

_NORMALIZATION = Data.belonging["name"]


def warn_of_dropped(before: Data, after: Data, *, where: str = "") -> None:
    """Warn which values of ``before`` were dropped, as ``after`` has another data set.

    Args:
        before: the data of a spec.
        after: the same with another data set.
        where: the stage, for the message.
    """
    dropped = [
        name
        for name in _NORMALIZATION
        if getattr(before, name) is not None and getattr(after, name) is None
    ]
    if dropped:
        values = _paths(dropped)
        _warn(
            f"{where}dropped {values} of {before.name}, as data.name is now {after.name}, whose "
            f"training images give its own; to state them, set {values} with data.name"
        )


def warn_of_dropped_in_stages(study: Study) -> None:
    """The same for the stages that change the data set."""
    before = study.run.data
    for stage in study.stages:
        if "data.name" in stage.change:
            warn_of_dropped(before, stage.run.data, where=f"stage {stage.number} '{stage.name}': ")
        before = stage.run.data


def warn_of_kept_in_stages(before: Data, study: Study) -> None:
    """Warn of stages that keep a normalization stated for the base run's former data set."""
    if Data.is_same("name", before.name, study.data.name):
        return
    for stage in study.stages:
        if "data.name" in stage.change:
            return  # from here on the stages state their own data
        if stated := [name for name in _NORMALIZATION if f"data.{name}" in stage.change]:
            _warn(
                f"stage {stage.number} '{stage.name}': sets {_paths(stated)}, stated for "
                f"{before.name}, though data.name is now {study.data.name}"
            )


def _paths(names: list[str]) -> str:
    return " and ".join(f"data.{name}" for name in names)


@cache  # once, though a command may read a spec several times
def _warn(line: str) -> None:
    _log.warning("kilonet: %s", line)
