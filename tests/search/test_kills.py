"""A search whose processes are all killed (SIGKILL) at random instants, again and again."""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

import pytest

import kilonet as kn
from killed_commands import run_and_kill
from kilonet.search.folder import space_to_toml
from kilonet.search.result import SearchResult, State
from kilonet.search.space import Space
from kilonet.storage.run_folder import RunFolder

pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="no process groups here")

KILLS = int(os.environ.get("KILONET_KILLS", "12"))
TRIALS = 14


def command(spec: Path, folder: Path, jobs: int) -> list[str]:
    start = [sys.executable, "-m", "kilonet", "search", str(spec), "--out", str(folder)]
    options = {"trials": TRIALS, "confirm": 2, "seeds": 2, "jobs": jobs}
    return [*start, *(part for key, value in options.items() for part in (f"--{key}", str(value)))]


def finished_runs(folder: Path) -> dict[str, int]:
    """Name of each finished run's folder → when its weights were written; reads every run."""
    found = {}
    runs = sorted((folder / "runs").iterdir()) if (folder / "runs").is_dir() else []
    for run in runs:
        state = RunFolder(run).read()
        if state is not None and state.finished:
            found[run.name] = (run / "weights.safetensors").stat().st_mtime_ns
    return found


def trained_trials(result: SearchResult) -> int:
    return sum(trial.state in (State.COMPLETE, State.PRUNED) for trial in result.trials)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("jobs", [1, 2])
def test_many_kills(space: Space, tmp_path: Path, jobs: int) -> None:
    """No trial is lost or trained twice; with one job they are those of an undisturbed search."""
    spec = tmp_path / "space.toml"
    spec.write_text(space_to_toml(space, folder=tmp_path))
    began = time.perf_counter()
    assert not run_and_kill(command(spec, tmp_path / "whole", jobs), after=None)
    seconds = time.perf_counter() - began
    whole = kn.read_search(tmp_path / "whole")
    draws, folder = random.Random(0), tmp_path / "killed"
    kills = in_training = 0
    finished: dict[str, int] = {}
    for _ in range(KILLS):
        if not run_and_kill(command(spec, folder, jobs), after=draws.uniform(0.15, 0.6) * seconds):
            break
        kills += 1
        now = finished_runs(folder)
        assert now.items() >= finished.items(), "a finished run stays as it is"
        in_training += len(now) > len(finished)
        finished = now
    assert not run_and_kill(command(spec, folder, jobs), after=None)
    now = finished_runs(folder)
    assert now.items() >= finished.items()
    result = kn.read_search(folder)
    assert trained_trials(result) == result.trained == TRIALS
    assert not result.counts["running"]
    rungs = [rung.folder.name for t in result.trials if t.seconds for rung in t.rungs]
    confirming = [folder.name for each in result.confirmed for folder in each.folders]
    assert len(confirming) == 4
    assert sorted([*rungs, *confirming]) == sorted(now), "each training is in one folder"
    if jobs == 1:
        assert [t.values for t in result.trials] == [t.values for t in whole.trials]
        assert [t.accuracy for t in result.trials] == [t.accuracy for t in whole.trials]
        assert [each.mean for each in result.confirmed] == [each.mean for each in whole.confirmed]
    print(f"\n{jobs} jobs: {kills} kills, {in_training} of them after new finished runs")
    assert in_training >= 2, "the kills came before any work was done"
