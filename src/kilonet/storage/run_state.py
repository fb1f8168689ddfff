"""How far a run is: its steps, its last checkpoint, and the content of its folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kilonet.storage.record import EpochRow, RunRecord

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from kilonet.storage.checksums import Arrays


@dataclass(frozen=True, kw_only=True)
class StepLog:
    """The training steps of a run so far.

    Attributes:
        loss: (steps,) float64, nats, each step's mean.
        correct: (steps,) int64.
    """

    loss: NDArray[np.float64]
    correct: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The state of a run after an epoch.

    Attributes:
        epochs: number of finished epochs.
        state: the engine's, see :meth:`kilonet.engine.Engine.state`.
        rows: one per finished epoch.
        steps: the steps of the finished epochs.
        best: the weights of the best epoch so far, where early stopping restores them.
    """

    epochs: int
    state: Arrays
    rows: tuple[EpochRow, ...]
    steps: StepLog
    best: Arrays = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunState:
    """The content of a run folder at one moment, each file read once.

    Attributes:
        record: the spec, its provenance, and the rows of the finished epochs.
        finished: whether the run is trained to its end and all results are in the folder.
        checkpoint: where an unfinished run resumes; None before the end of its first epoch.
        format: of the files.
        spec_sha256: of ``run.toml``, in hex.
    """

    record: RunRecord
    finished: bool
    checkpoint: Checkpoint | None
    format: int
    spec_sha256: str

    @property
    def empty(self) -> bool:
        """Whether no epoch is finished: the attempt left nothing to keep."""
        return not self.finished and self.checkpoint is None
