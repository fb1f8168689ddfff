"""Searches whose processes share a storage, or whose runs train elsewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import kilonet as kn
from guarded_data import load_guarded
from kilonet.search.folder import space_to_toml
from kilonet.search.observer import SearchObserver, SearchRun
from kilonet.search.result import SearchResult, State
from kilonet.search.space import Space
from kilonet.search.storage import Entry, Stored, TrialStore
from kilonet.storage.run_folder import RunFolder
from kilonet.training.loop import train
from kilonet.training.observer import Observer
from small_spaces import run_search


class StopIn(SearchObserver):
    """Stops the search in the second step of a run."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.notes: list[str] = []

    def note(self, line: str) -> None:
        self.notes.append(line)

    def begin_run(self, run: SearchRun) -> Observer | None:
        self.left -= 1
        return _Stopping() if self.left == 0 else None


class _Stopping(Observer):
    def step(self, *, step: int, **_: object) -> None:
        if step == 1:
            raise KeyboardInterrupt


class Notes(StopIn):
    """Stops nothing."""

    def __init__(self) -> None:
        super().__init__(0)


def counted(result: SearchResult) -> int:
    return result.counts["complete"] + result.counts["pruned"]


def assert_each_is_trained_once(result: SearchResult, *folders: Path) -> None:
    """Each training is in one run folder of one of these, and has the accuracy that is stored."""
    names = [run.name for folder in folders for run in (folder / "runs").iterdir()]
    rungs = [rung for trial in result.trials if trial.seconds for rung in trial.rungs]
    confirming = [folder.name for each in result.confirmed for folder in each.folders]
    expected = [*(rung.folder.name for rung in rungs), *confirming]
    assert sorted(names) == sorted(expected)
    assert len(set(expected)) == len(expected)
    for rung in rungs:
        [path] = [f / "runs" / rung.folder.name for f in folders if _has(f, rung.folder.name)]
        assert RunFolder(path).record().final_validation_accuracy == rung.accuracy


def _has(folder: Path, name: str) -> bool:
    return (folder / "runs" / name).is_dir()


def test_two_folders_of_one_storage(space: Space, tmp_path: Path) -> None:
    """One stops in a run; the other trains what is left; then the first ends it, and confirms."""
    options: dict[str, Any] = {"storage": f"sqlite:///{tmp_path / 'shared.db'}", "trials": 5}
    with pytest.raises(KeyboardInterrupt):
        run_search(space, tmp_path / "a", observer=StopIn(3), **options)
    log = Notes()
    other = run_search(space, tmp_path / "b", observer=log, **options)
    assert counted(other) == 4
    assert other.counts["running"] == 1
    assert any("still train 1 trial" in note for note in log.notes)
    assert not other.confirmed
    log = Notes()
    first = run_search(space, tmp_path / "a", observer=log, **options)
    assert log.notes == ["Continues 1 unfinished trial."]
    assert counted(first) == first.trained == 5
    assert len(first.confirmed) == 2
    assert_each_is_trained_once(first, tmp_path / "a", tmp_path / "b")
    again = run_search(space, tmp_path / "b", **options)
    assert [each.accuracies for each in again.confirmed] == [
        each.accuracies for each in first.confirmed
    ]


def test_a_dead_process_loses_its_trials(
    space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kilonet.search.trials._DEAD_SECONDS", 0.0)
    options: dict[str, Any] = {"storage": f"sqlite:///{tmp_path / 'shared.db'}", "trials": 3}
    with pytest.raises(KeyboardInterrupt):
        run_search(space, tmp_path / "a", observer=StopIn(2), **options)
    result = run_search(space, tmp_path / "b", **options)
    assert counted(result) == result.trained == 3
    assert result.counts["running"] == 0
    assert result.confirmed


def test_signs_of_life_come_during_a_training(
    space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of one that is longer than others wait for a sign."""
    monkeypatch.setattr("kilonet.search.trials._ALIVE_SECONDS", 0.0)
    update, seen = TrialStore.update, []

    def noted(self: TrialStore, entry: Entry, stored: Stored) -> bool:
        seen.append((len(stored.rungs), stored.seen))
        return update(self, entry, stored)

    monkeypatch.setattr(TrialStore, "update", noted)
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    run_search(space, tmp_path / "a", storage=url, trials=1, confirm=0)
    times = [when for rungs, when in seen if rungs == 0]
    assert len(times) >= 5  # the steps of the first rung
    assert times == sorted(times)
    assert times[-1] > times[0]


def test_other_spaces_have_trials_of_their_own(space: Space, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "storage": f"sqlite:///{tmp_path / 'shared.db'}",
        "trials": 1,
        "confirm": 0,
    }
    run_search(space, tmp_path / "a", **options)
    other = run_search(space, tmp_path / "b", budget=1100, **options)
    assert other.trained == 1
    assert other.trials[0].number == 0


def assert_as_trained_here(result: SearchResult, tmp_path: Path) -> None:
    assert counted(result) == result.trained == 4
    assert_each_is_trained_once(result, result.path)
    trial = next(trial for trial in result.trials if trial.state is State.COMPLETE)
    assert trial.run is not None
    here = train(trial.run, folder=tmp_path / "here")
    assert here.final_validation_accuracy == trial.accuracy
    assert RunFolder(here.path).weights().keys() == RunFolder(trial.folder).weights().keys()
    for name, array in RunFolder(here.path).weights().items():
        assert array.tobytes() == RunFolder(trial.folder).weights()[name].tobytes(), name


def test_in_two_processes(space: Space, tmp_path: Path) -> None:
    """The data set raises in a worker too, where its test images are read."""
    result = run_search(space, tmp_path / "s", trials=4, jobs=2, threads=2, load=load_guarded)
    assert_as_trained_here(result, tmp_path)


@pytest.mark.slow
def test_on_dask(space: Space, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    result = run_search(space, tmp_path / "s", trials=4, jobs=4, on="dask", load=load_guarded)
    assert_as_trained_here(result, tmp_path)


@pytest.mark.slow
def test_processes_that_search_at_the_same_time(space: Space, tmp_path: Path) -> None:
    """Three processes, one storage: together as many trials as asked for, none of them twice."""
    spec = tmp_path / "space.toml"
    spec.write_text(space_to_toml(space, folder=tmp_path))
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    folders = [tmp_path / name for name in "abc"]
    command = [sys.executable, "-m", "kilonet", "search", str(spec), "--trials", "12"]
    command += ["--confirm", "2", "--seeds", "2", "--jobs", "1", "--storage", url]
    processes = [
        subprocess.Popen([*command, "--out", str(folder)], stderr=subprocess.PIPE, text=True)
        for folder in folders
    ]
    for process in processes:
        _, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
    # Whichever ended last confirmed.
    results = [kn.read_search(folder) for folder in folders]
    last = next(result for result in results if result.confirmed and not result.counts["running"])
    assert counted(last) == last.trained == 12
    hashes = [t.run.content_hash for t in last.trials if t.state in (State.COMPLETE, State.PRUNED)]
    assert len(set(hashes)) == 12
