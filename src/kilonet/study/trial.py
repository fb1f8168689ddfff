"""A trial: one run that is to be done, and where it goes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar

from kilonet.spec import ResolvedStage, Run


class AnyTrial(Protocol):
    """What executors train: a run, and its folder; of a study or of a search."""

    @property
    def run(self) -> Run:
        """The run."""
        ...

    @property
    def folder(self) -> Path:
        """Its run folder; trials with equal runs share one."""
        ...


TrialT = TypeVar("TrialT", bound=AnyTrial)
"""The trials of one scheduler: those of a study, or those of a search."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run of a study.

    Attributes:
        stage: the stage that it belongs to.
        seed: its seed.
        folder: its run folder; trials with equal runs share one.
    """

    stage: ResolvedStage
    seed: int
    folder: Path

    @cached_property
    def run(self) -> Run:
        """The stage's run with the trial's seed."""
        return self.stage.seeded(self.seed)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A trial that failed; ``str()`` is one line for the user.

    Attributes:
        trial: the trial.
        reason: what is wrong and what to do.
    """

    trial: Trial
    reason: str

    def __str__(self) -> str:
        stage = self.trial.stage
        where = f"stage {stage.number} '{stage.name}', seed {self.trial.seed}"
        # Most reasons that concern the folder name it.
        folder = "" if str(self.trial.folder) in self.reason else f" ({self.trial.folder})"
        return f"{where}{folder}: {self.reason}"
