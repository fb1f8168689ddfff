"""What a page shows beyond the records: images, test logits and weights of a stage's runs.

A study's folder does not hold the images. Where they are gone or have changed, the page has the
reason in place of what needs them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from kilonet.analysis import Errors, stage_errors
from kilonet.data import Dataset, RunData
from kilonet.errors import DataError, KilonetError
from kilonet.storage.run_folder import RunFolder
from kilonet.study import StageResult

_Loaded = TypeVar("_Loaded")


class Missing(NamedTuple):
    """What cannot be shown; ``reason`` is a sentence for the page."""

    reason: str


class StageImages(NamedTuple):
    """A stage's images as its network sees them, before normalization; names of their classes."""

    data: RunData
    classes: tuple[str, ...]


class StageErrors(NamedTuple):
    """The errors of a stage's seeds on the test images, and its images."""

    errors: Errors
    images: StageImages


class ArtifactLoader:
    """Loads a stage's artifacts, each data set once."""

    def __init__(self, load: Callable[[str], Dataset]) -> None:
        self._load = load
        self._datasets: dict[str, Dataset] = {}

    def errors(self, stage: StageResult) -> StageErrors | Missing:
        """A stage's errors and its images."""

        def load() -> StageErrors:
            errors = stage_errors(stage, self._dataset(stage))
            return StageErrors(errors=errors, images=self._images(stage))

        return _attempt(load, stage)

    def images(self, stage: StageResult) -> StageImages | Missing:
        """A stage's images."""
        return _attempt(lambda: self._images(stage), stage)

    def weights(self, stage: StageResult) -> dict[str, NDArray[np.generic]] | Missing:
        """The weights of a stage's first run."""
        return _attempt(RunFolder(stage.records[0].path).weights, stage)

    def _images(self, stage: StageResult) -> StageImages:
        dataset = self._dataset(stage)
        return StageImages(data=RunData.of(stage.stage.run, dataset), classes=dataset.classes)

    def _dataset(self, stage: StageResult) -> Dataset:
        name = stage.stage.run.data.name
        if name not in self._datasets:
            self._datasets[name] = self._load(name)
        dataset = self._datasets[name]
        if stage.records[0].provenance.data.sha256 != dataset.fingerprint:
            raise DataError(f"the images of {name} have changed since the training")
        return dataset


def _attempt(load: Callable[[], _Loaded], stage: StageResult) -> _Loaded | Missing:
    """What ``load`` returns; a KilonetError is the reason for the page."""
    try:
        return load()
    except KilonetError as error:
        # A page may be published, so it names no folder of this machine.
        reason = str(error)
        for path in (stage.records[0].path, Path(stage.stage.run.data.name)):
            reason = reason.replace(f"{path.parent}{os.sep}", "") if path.name else reason
        return Missing(reason=f"Not shown: {reason}.")
