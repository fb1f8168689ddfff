"""Finished runs that another run builds on: what they trained, and a digest that identifies it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kilonet.errors import StorageError
from kilonet.paths import absolute
from kilonet.spec import Run, Study
from kilonet.spec.lineage import Source, sources, with_sources
from kilonet.storage.checksums import tensors_digest
from kilonet.storage.files import is_file
from kilonet.storage.provenance import Ancestor, Normalization
from kilonet.storage.record import RunRecord
from kilonet.storage.run_folder import RunFolder
from kilonet.storage.run_state import RunState

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_AnySpec = TypeVar("_AnySpec", Run, Study)


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedNetwork:
    """The network that a finished run trained.

    Attributes:
        record: the run.
        weights: final weights and buffers, by PyTorch's names.
        normalization: of its input; unknown of runs of version 0.1 whose spec does not state it.
    """

    record: RunRecord
    weights: dict[str, NDArray[np.generic]]
    normalization: Normalization

    @cached_property
    def sha256(self) -> str:
        """Digest of the network's layers, its normalization and its weights, in hex.

        What its logits depend on, so neither the folder nor how it was trained.
        """
        used = self.normalization
        parts = (
            self.record.run.net.content_hash,
            f"mean {used.mean!r}, std {used.std!r}",
            tensors_digest(self.weights, {}),
        )
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def read_finished(folder: Path | str) -> tuple[RunFolder, RunState]:
    """A run's folder and its content.

    Raises:
        StorageError: the folder holds no run or an unfinished one, or is damaged.
    """
    store = RunFolder(folder)
    state = store.read()
    if state is None:
        found = "the folder of a study, whose runs are in runs/"
        if not is_file(store.path / "study.toml"):
            found = "not a run folder: it has no run.toml"
        raise StorageError(f"{store.path}: {found}")
    if not state.finished:
        record = state.record
        raise StorageError(
            f"{store.path}: not finished, {len(record.rows)} of {record.run.train.epochs} epochs; "
            f"{record.resume_command} continues it"
        )
    return store, state


def read_trained(folder: Path | str) -> TrainedNetwork:
    """The network that a finished run trained; raises as :func:`read_finished`."""
    store, state = read_finished(folder)
    record = state.record
    normalization, data = record.provenance.normalization, record.run.data
    if not normalization.mean and data.mean is not None and data.std is not None:
        normalization = Normalization(mean=data.mean, std=data.std)
    return TrainedNetwork(record=record, weights=store.weights(), normalization=normalization)


def read_source(kind: str, source: Source) -> TrainedNetwork:
    """Read the network of a run that another run builds on.

    Args:
        kind: dotted path of the source in the other run, for messages.
        source: the run.

    Raises:
        StorageError: as :func:`read_finished`, or it is another run than the one that is stated.
    """
    try:
        found = read_trained(source.folder)
    except StorageError as error:
        raise StorageError(f"{kind}: {error}") from None
    if source.sha256 and found.sha256 != source.sha256:
        raise StorageError(
            f"{kind}: {source.folder}: holds another network than the one that is stated (sha256 "
            f"{found.sha256[:12]}, not {source.sha256[:12]}); bring that back, or state the folder "
            "alone to build on this one"
        )
    return found


def with_digests(spec: _AnySpec) -> _AnySpec:
    """The run or study with the digest of each run that it builds on, stages included.

    Digests that it states are kept, and their folders not read: a finished run needs none.

    Raises:
        StorageError: as :func:`read_source`.
    """

    def completed(kind: str, source: dict[str, Any]) -> dict[str, Any]:
        if source.get("sha256"):
            return source
        return {**source, "sha256": read_source(kind, Source(folder=source["folder"])).sha256}

    data = spec.to_dict()
    found = with_sources(data, completed)
    return spec if found == data else type(spec).from_dict(found)


def ancestors(run: Run) -> tuple[Ancestor, ...]:
    """The runs that a run builds on, for its provenance; raises as :func:`read_source`."""
    return tuple(
        ancestor(kind, read_source(kind, source).record, sha256=source.sha256)
        for kind, source in sources(run.train)
    )


def ancestor(role: str, record: RunRecord, *, sha256: str = "") -> Ancestor:
    """A finished run as a part of another's provenance."""
    return Ancestor(
        role=role,
        path=str(absolute(record.path)),
        run=record.run.content_hash,
        sha256=sha256,
        epochs=len(record.rows),
    )
