"""Plays the events of a study that has run to an observer, in any order."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

from rich.console import Console

from kilonet.report.terminal.live_display import TrialBar
from kilonet.report.terminal.study_progress import StudyProgress
from kilonet.storage.record import RunRecord
from kilonet.study import StudyResult, Trial

ENGINE = "native 1.0 on cpu, 2 threads"


class Player:
    """A study's observer with its console's output."""

    def __init__(
        self,
        result: StudyResult,
        *,
        terminal: bool = False,
        width: int = 130,
        height: int = 34,
        quiet: bool = False,
        colors: Literal["standard"] | None = None,
    ) -> None:
        self.result = result
        self.file = io.StringIO()
        console = Console(
            file=self.file,
            force_terminal=terminal,
            width=width,
            height=height,
            color_system=colors,
            highlight=False,
        )
        self.progress = StudyProgress(result.study, console, quiet=quiet)
        self.bars: dict[tuple[int, int], TrialBar] = {}
        trials = [self.trial(*key) for key in self.keys]
        self.progress.begin_study(engine=ENGINE, trials=trials, num_jobs=2)

    @property
    def keys(self) -> list[tuple[int, int]]:
        seeds = self.result.study.seed_numbers()
        return [(ran.stage.number, seed) for ran in self.result.stages for seed in seeds]

    def record(self, stage: int, seed: int) -> RunRecord:
        return self.result.stages[stage - 1].records[seed - 1]

    def trial(self, stage: int, seed: int) -> Trial:
        path = self.record(stage, seed).path
        return Trial(stage=self.result.stages[stage - 1].stage, seed=seed, folder=path)

    def begin(self, stage: int, seed: int, *, engine: str = ENGINE, epochs_done: int = 0) -> None:
        trial = self.trial(stage, seed)
        bar = self.progress.begin_trial(trial)
        assert isinstance(bar, TrialBar)
        run = trial.stage.seeded(seed)
        bar.begin(run, engine=engine, folder=Path("x"), epochs_done=epochs_done)
        bar.begin_epoch(0, num_steps=10)
        bar.step(step=4, batch=4, loss=0.5, accuracy=80.0, lr=0.01)
        self.bars[stage, seed] = bar

    def epoch(self, stage: int, seed: int) -> None:
        row = self.record(stage, seed).rows[0]
        self.bars[stage, seed].end_epoch(row, correct=round(2 * row.test_accuracy), count=200)

    def end(self, stage: int, seed: int) -> None:
        self.progress.end_trial(self.trial(stage, seed), self.record(stage, seed))

    def end_stage(self, *stages: int) -> None:
        """The stages so far, the last of which has ended."""
        self.progress.end_stage(self.part(*stages))

    def part(self, *stages: int) -> StudyResult:
        chosen = tuple(ran for ran in self.result.stages if ran.stage.number in stages)
        return StudyResult(study=self.result.study, path=self.result.path, stages=chosen)

    def play(self, stage: int) -> str:
        """All events of a stage, one seed after the other; returns what is printed meanwhile."""
        before = len(self.shown())
        for seed in self.result.study.seed_numbers():
            self.begin(stage, seed)
            self.epoch(stage, seed)
            self.end(stage, seed)
        self.end_stage(*range(1, stage + 1))
        return self.shown()[before:]

    def shown(self) -> str:
        return self.file.getvalue()
