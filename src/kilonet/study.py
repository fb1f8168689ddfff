"""Steps × seeds: what a study is made of once it has run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kilonet.spec import Rung, Study
from kilonet.store import RunRecord


@dataclass(frozen=True, kw_only=True)
class RungResult:
    """A rung with what its seeds came to.

    Attributes:
        rung: number, step and run.
        parameters: trained parameters of the rung's network.
        records: one a seed, in the order of the seeds, each finished.
    """

    rung: Rung
    parameters: int
    records: tuple[RunRecord, ...]


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """A study that has run.

    Attributes:
        study: the spec.
        path: its folder.
        rungs: in order.
    """

    study: Study
    path: Path
    rungs: tuple[RungResult, ...]
