"""Searches: budget, duplicates, rungs, confirmation, and what is done again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

import kilonet as kn
from guarded_data import TestSetReadError, load_guarded
from kilonet.data.in_memory import DatasetLoader
from kilonet.errors import BudgetError, StorageError, StudyError, UsageError
from kilonet.search.networks import run_to_train
from kilonet.search.observer import SearchObserver, SearchRun
from kilonet.search.result import SearchResult, SearchTrial, State
from kilonet.search.space import SEARCH_SEED, Space
from kilonet.spec import load_run, load_study
from kilonet.storage.record import RunRecord
from kilonet.storage.run_folder import RunFolder
from kilonet.training.loop import train
from kilonet.training.observer import Observer
from small_spaces import run_search, small_space


class Log(SearchObserver):
    """What a search does."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.begun: list[SearchRun] = []
        self.failed: list[str] = []
        self.results: list[SearchResult] = []

    def note(self, line: str) -> None:
        self.notes.append(line)

    def begin_run(self, run: SearchRun) -> None:
        self.begun.append(run)

    def fail_run(self, run: SearchRun, reason: str) -> None:
        self.failed.append(reason)

    def update(self, so_far: SearchResult) -> None:
        self.results.append(so_far)


def comparable(result: SearchResult) -> list[Any]:
    """Its trials and confirmations without times and places."""
    trials = [
        (
            trial.number,
            trial.state,
            trial.values,
            trial.reason,
            trial.duplicate_of,
            [(rung.epochs, rung.images, rung.accuracy, rung.loss) for rung in trial.rungs],
        )
        for trial in result.trials
    ]
    return [*trials, *((each.trial.number, each.accuracies) for each in result.confirmed)]


def trained(result: SearchResult) -> list[SearchTrial]:
    return [trial for trial in result.trials if trial.state in (State.COMPLETE, State.PRUNED)]


def test_what_a_search_has_done(found: SearchResult, space: Space) -> None:
    assert len(trained(found)) == found.trained == found.num_trials == 6
    assert found.finished
    assert found.counts["running"] == found.counts["failed"] == 0
    for trial in trained(found):
        assert trial.run is not None
        assert trial.parameters == trial.run.num_parameters
        assert trial.parameters <= 1200
        assert trial.macs == kn.summarize(trial.run.net).macs
        sizes = [(rung.epochs, rung.images) for rung in trial.rungs]
        assert sizes == [(1, 270), (2, 540), (4, 540)][: len(sizes)]
        assert (trial.state is State.COMPLETE) == (len(sizes) == 3)
        for rung, run in zip(trial.rungs, space.rung_runs(trial.run), strict=False):
            record = RunFolder(rung.folder).record()
            assert record.run == run
            assert rung.accuracy == record.final_validation_accuracy
    over = [trial for trial in found.trials if trial.state is State.OVER_BUDGET]
    assert over
    assert all(not trial.rungs and trial.parameters > 1200 for trial in over)
    assert all("over the budget of 1,200" in trial.reason for trial in over)


def test_the_test_set_is_never_read(found: SearchResult, space: Space) -> None:
    """The search was run on a data set that raises where it is; and it does."""
    run = trained(found)[0].run
    assert run is not None
    with pytest.raises(TestSetReadError):
        train(run.replace({"data.test": True}), data=DatasetLoader(load=load_guarded))
    folders = sorted((found.path / "runs").iterdir())
    assert len(folders) >= 6
    for folder in folders:
        record = RunFolder(folder).record()
        assert all(row.test_accuracy is None for row in record.rows)
        assert record.provenance.data.test_images is None


def test_the_best_are_confirmed_with_seeds_that_chose_nothing(found: SearchResult) -> None:
    assert len(found.confirmed) == 2
    assert any(each.trial.state is State.COMPLETE for each in found.confirmed)
    for each in found.confirmed:
        assert each.seeds == (SEARCH_SEED + 1, SEARCH_SEED + 2)
        for seed, accuracy, folder in zip(each.seeds, each.accuracies, each.folders, strict=True):
            record = RunFolder(folder).record()
            assert record.run == each.trial.run.replace({"train.seed": seed})
            assert record.final_validation_accuracy == accuracy
    means = [each.mean for each in found.confirmed]
    assert means == sorted(means, reverse=True)
    assert found.best is not None
    assert found.best.confirmed == found.confirmed[0]
    assert found.best.validation_accuracy == means[0]


def test_the_networks_are_runs_and_a_study(found: SearchResult, small_mnist: Path) -> None:
    assert found.best is not None
    assert found.best.toml == found.path / "networks" / "best-1.toml"
    run = load_run(str(found.best.toml))
    assert run == run_to_train(found.best.trial.run)
    assert run.data.test
    assert not run.data.validation
    assert run.data.name == str(small_mnist)
    assert run.net.num_parameters == found.best.parameters
    study = load_study(str(found.study_toml))
    assert study.stages[0].run == run
    assert study.budget.parameters == 1200


def test_the_same_search_again_trains_nothing(found: SearchResult, space: Space) -> None:
    log = Log()
    again = run_search(space, found.path, load=load_guarded, observer=log)
    assert log.begun == []
    assert comparable(again) == comparable(found)
    assert again.tomls == found.tomls


def test_it_is_read_from_its_folder_without_optuna(
    found: SearchResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    read = kn.read_search(found.path)
    assert dataclasses.replace(read, seconds=found.seconds) == found
    assert read.front == found.front


def test_a_stopped_search_goes_on_to_the_same_trials(
    found: SearchResult, space: Space, tmp_path: Path
) -> None:
    """Stopped in every run, again and again: the trials are those of the whole search."""

    class Stop(Log):
        def begin_run(self, run: SearchRun) -> Observer:
            super().begin_run(run)

            class Stopping(Observer):
                def step(self, *, step: int, **_: object) -> None:
                    if step >= 10:
                        raise KeyboardInterrupt

            return Stopping()

    stops = 0
    for _ in range(40):
        log = Stop()
        try:
            result = run_search(space, tmp_path / "cut", observer=log)
        except KeyboardInterrupt:
            stops += 1
            if stops == 3:  # from now on undisturbed
                result = run_search(space, tmp_path / "cut")
                break
        else:
            break
    assert stops == 3
    assert comparable(result) == comparable(found)


def test_more_trials_continue_a_search(space: Space, tmp_path: Path) -> None:
    first = run_search(space, tmp_path, trials=2, confirm=0)
    log = Log()
    more = run_search(space, tmp_path, trials=3, confirm=0, observer=log)
    assert comparable(more)[: len(first.trials)] == comparable(first)
    assert more.trained == 3
    assert len({run.number for run in log.begun}) == 1
    assert not more.confirmed
    assert more.best is not None
    assert more.best.ci95 is None


def test_the_seed_of_the_draws(space: Space, tmp_path: Path) -> None:
    options: dict[str, Any] = {"trials": 1, "confirm": 0}
    one, other = (run_search(space, tmp_path / str(s), seed=s, **options) for s in (0, 1))
    assert one.trials[0].values != other.trials[0].values


def test_duplicates_are_not_trained_twice(
    small_mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a space with three networks, asked for five: the search ends with three."""
    monkeypatch.setattr("kilonet.search.candidates.GIVE_UP_AFTER", 25)
    choose = {"width": [4, 6, 8], "down": ["maxpool 2"]}
    space = small_space(small_mnist, choose=choose, rungs=[], budget={"parameters": 5000})
    log = Log()
    result = run_search(space, tmp_path, trials=5, confirm=0, observer=log)
    assert result.counts["complete"] == result.trained == 3
    assert len(log.begun) == len({run.folder for run in log.begun}) == 3
    assert any("25 candidates in a row" in note for note in log.notes)
    duplicates = [trial for trial in result.trials if trial.state is State.DUPLICATE]
    assert len(duplicates) == result.counts["duplicate"] >= 25
    for trial in duplicates:
        assert trial.duplicate_of is not None
        equal = result.trials[trial.duplicate_of]
        assert (trial.run, trial.rungs) == (equal.run, equal.rungs)
        assert trial.seconds == 0


def test_a_training_that_fails_does_not_end_the_search(small_mnist: Path, tmp_path: Path) -> None:
    choose = {"width": [4, 6], "down": ["maxpool 2"], "train.schedule.max_lr": [0.1, 1e30]}
    space = small_space(small_mnist, choose=choose, rungs=[])
    log = Log()
    result = run_search(space, tmp_path, trials=4, confirm=0, observer=log)
    assert result.counts["failed"] >= 1
    assert result.counts["failed"] + result.counts["complete"] == 4
    failed = next(trial for trial in result.trials if trial.state is State.FAILED)
    assert "diverged" in failed.reason
    assert len(log.failed) == result.counts["failed"]


def test_if_all_fail(small_mnist: Path, tmp_path: Path) -> None:
    choose = {"width": [4, 6], "down": ["maxpool 2"], "train.schedule.max_lr": [1e29, 1e30]}
    space = small_space(small_mnist, choose=choose, rungs=[])
    with pytest.raises(
        StudyError, match=r"no trial was trained to its end; the first failed: .*div"
    ):
        run_search(space, tmp_path, trials=2)


def test_no_network_within_the_budget(space: Space, tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="236 parameters the fewest"):
        run_search(space, tmp_path / "s", budget=100)
    assert not (tmp_path / "s").exists()


def test_another_space_or_other_files_in_the_folder(found: SearchResult, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"another space \(budget.parameters\)"):
        run_search(found.space, found.path, budget=1000)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StorageError, match=r"contains 'notes\.txt'"):
        run_search(found.space, tmp_path)
    with pytest.raises(StorageError, match="is not a folder"):
        run_search(found.space, tmp_path / "notes.txt")


@pytest.mark.parametrize("name", ["trials", "seeds"])
def test_numbers_below_one(space: Space, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"{name}=0: should be 1 or more"):
        run_search(space, tmp_path, **{name: 0})


def test_a_storage_that_cannot_be_used(space: Space, tmp_path: Path) -> None:
    for url, match in (
        (f"sqlite:///{tmp_path}/no/such.db", "unable to open database file"),
        ("postgresql://me:secret@localhost:1/x", "driver is not installed|cannot be used"),
        ("no-url", "storage of the trials cannot be used|URL"),
    ):
        with pytest.raises(StorageError, match=match) as caught:
            run_search(space, tmp_path / "s", storage=url)
        assert "secret" not in str(caught.value)


def test_a_data_set_from_python(space: Space, small_mnist: Path, tmp_path: Path) -> None:
    dataset = kn.load_dataset(str(small_mnist))
    own = dataclasses.replace(dataset, name="own", source="")
    result = run_search(
        small_space("mnist", rungs=[]), tmp_path, trials=1, confirm=1, seeds=1, data=own
    )
    assert result.best is not None
    assert result.best.trial.run.data.name.startswith("in-memory") or "own" in str(
        result.best.trial.run.data.name
    )
    assert result.confirmed[0].ci95 is None


def test_the_snapshot_follows_the_search(found: SearchResult, space: Space, tmp_path: Path) -> None:
    seen: list[SearchResult] = []

    class Reader(SearchObserver):
        def update(self, so_far: SearchResult) -> None:
            seen.append(kn.read_search(tmp_path))
            assert seen[-1].counts == so_far.counts

    result = run_search(space, tmp_path, observer=Reader())
    assert [each.trained for each in seen] == sorted(each.trained for each in seen)
    assert seen[-1] == result
    assert comparable(result) == comparable(found)


def test_what_is_damaged(found: SearchResult, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="holds no search"):
        kn.read_search(tmp_path)
    (tmp_path / "space.toml").write_bytes((found.path / "space.toml").read_bytes())
    with pytest.raises(StorageError, match="no trial has ended yet"):
        kn.read_search(tmp_path)
    data = json.loads((found.path / "search.json").read_text())
    for damage in ("{", "[]", json.dumps({**data, "trials": [{"number": 1}]}), json.dumps({})):
        (tmp_path / "search.json").write_text(damage)
        with pytest.raises(StorageError, match=r"search\.json: is damaged"):
            kn.read_search(tmp_path)
    (tmp_path / "search.json").write_text(json.dumps({**data, "format": 99}))
    with pytest.raises(StorageError, match="format 99"):
        kn.read_search(tmp_path)


def test_an_observer_that_fails_is_told_once(
    space: Space, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(SearchObserver):
        def update(self, so_far: SearchResult) -> None:
            raise ValueError("no")

    result = run_search(space, tmp_path, trials=2, confirm=0, observer=Broken())
    assert result.trained == 2
    assert capsys.readouterr().err.count("Broken failed in update") == 1


def test_records_are_told(space: Space, tmp_path: Path) -> None:
    records: list[RunRecord] = []

    class Records(SearchObserver):
        def end_run(self, run: SearchRun, record: RunRecord) -> None:
            assert record.path == run.folder
            records.append(record)

    result = run_search(space, tmp_path, trials=2, confirm=0, observer=Records())
    assert len(records) == sum(len(trial.rungs) for trial in trained(result))
