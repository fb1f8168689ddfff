"""Data sets that are given from Python, and the names that specs state for them."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakValueDictionary

from kilonet.data.dataset import Dataset
from kilonet.data.sources import IN_MEMORY, load_dataset
from kilonet.errors import KilonetError, UsageError
from kilonet.spec import DATASET_NAMES, with_absolute_data

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kilonet.spec import Run, Study

_AnySpec = TypeVar("_AnySpec", "Run", "Study")

_DIGITS = 12  # of a digest: 48 bits

_alive: WeakValueDictionary[str, Dataset] = WeakValueDictionary()
"""Name → data set that was given to this process, as long as the caller keeps it."""


@dataclass(frozen=True, kw_only=True)
class DatasetLoader:
    """Name or path → data set: one that was given from Python, or else from disk.

    It can be pickled, for other processes.

    Attributes:
        given: name → data set.
        load: for all other names.
    """

    given: Mapping[str, Dataset] = field(default_factory=dict)
    load: Callable[[str], Dataset] = load_dataset

    def __call__(self, name: str) -> Dataset:
        """The data set; raises as :func:`kilonet.data.load_dataset`."""
        return self.given[name] if name in self.given else self.load(name)


def load_to_report(name: str) -> Dataset:
    """As :func:`kilonet.data.load_dataset`; one that was given is known while the caller keeps it.

    So reports and analyses have the images where the study was run, or finished before, with them.
    """
    found = _alive.get(name)
    return load_dataset(name) if found is None else found


GivenData = str | os.PathLike[str] | Dataset | DatasetLoader
"""A data set's name, its path, or the data set itself; or how the spec's own is loaded."""


def with_data(
    spec: _AnySpec, data: GivenData | None, *, load: Callable[[str], Dataset] = load_dataset
) -> tuple[_AnySpec, DatasetLoader]:
    """A run or a study on other images, with absolute paths, and how the images are loaded.

    Args:
        spec: its ``data.name`` is replaced; stages of a study that state their own keep it.
        data: name, path or data set; None changes nothing. A data set that is what ``load`` returns
            for the spec's name, its own name or its source, is known by that. Any other gets a name
            with a digest of its images, labels and class names, so no two share a run's folder.
        load: name or path → data set, for all others.

    Raises:
        UsageError: it is none of these.
    """
    spec = with_absolute_data(spec)
    if data is None:
        return spec, DatasetLoader(load=load)
    if isinstance(data, DatasetLoader):
        return spec, data
    if isinstance(data, Dataset):
        name = _name_of(data, candidates=(spec.data.name, data.name, data.source), load=load)
    elif isinstance(data, str | os.PathLike):
        text = os.fspath(data)
        # A path of a known name's spelling; text of it is the name.
        name = text if isinstance(data, str) or text not in DATASET_NAMES else f"./{text}"
    else:
        raise UsageError(
            f"data: {type(data).__name__} is no data set; give a name, a path or a kilonet.Dataset"
        )
    if name != spec.data.name:
        spec = with_absolute_data(spec.replace({"data.name": name}))
    given = {spec.data.name: data} if isinstance(data, Dataset) else {}
    _alive.update({name: dataset for name, dataset in given.items() if is_given(name)})
    return spec, DatasetLoader(given=given, load=load)


def is_given(name: str) -> bool:
    """Whether a data set of this name was given from Python, so that no path leads to it."""
    return name.startswith(IN_MEMORY)


def _name_of(
    dataset: Dataset, *, candidates: tuple[str, ...], load: Callable[[str], Dataset]
) -> str:
    for name in dict.fromkeys(candidates):
        try:
            found = load(name)
        except KilonetError:
            continue
        if (found.fingerprint, found.classes) == (dataset.fingerprint, dataset.classes):
            return name
    words = re.sub(r"[^A-Za-z0-9_-]+", "-", dataset.name).strip("-") or "data"
    content = "\n".join((dataset.fingerprint, *dataset.classes))
    digest = hashlib.sha256(content.encode()).hexdigest()
    return f"{IN_MEMORY}{words[:60]}-{digest[:_DIGITS]}"
