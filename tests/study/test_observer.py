"""Observers of a study: nothing that they do touches its runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import pytest

from kilonet.errors import DataError
from kilonet.spec import Run
from kilonet.storage.record import RunRecord
from kilonet.study import StudyObserver, StudyResult, Trial, run_study
from kilonet.study.observer import METHODS
from kilonet.training.observer import METHODS as RUN_METHODS
from kilonet.training.observer import Observer
from small_studies import contents, study_of


@pytest.fixture(scope="module")
def expected(small_run: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("undisturbed") / "s"
    run_study(study_of(small_run), folder=folder, jobs=1)
    return contents(folder)


def failing(base: type, method: str, error: BaseException) -> Any:
    """An observer that counts its calls and raises in one method."""
    counts: Counter[str] = Counter()

    def called(name: str) -> Any:
        def call(self: object, *arguments: object, **options: object) -> None:
            counts[name] += 1
            if name == method:
                raise type(error)(*error.args)

        return call

    names = METHODS if base is StudyObserver else RUN_METHODS
    observer = type("Tracker", (base,), {name: called(name) for name in names})()
    observer.counts = counts
    return observer


class Each(StudyObserver):
    """Observes each trial with an observer of its own, which fails in a method."""

    def __init__(self, method: str, error: BaseException) -> None:
        self.method, self.error = method, error
        self.observers: list[Any] = []
        self.ended: list[Trial] = []

    def begin_trial(self, trial: Trial) -> Observer:
        self.observers.append(failing(Observer, self.method, self.error))
        return self.observers[-1]

    def end_trial(self, trial: Trial, record: RunRecord) -> None:
        self.ended.append(trial)


@pytest.mark.native
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    ("method", "error"),
    [
        ("begin", OSError("disk full")),
        ("begin_epoch", EOFError("no more")),
        ("step", ConnectionError("refused")),
        ("end_epoch", DataError("mine")),
        ("close", MemoryError()),
    ],
)
def test_a_trials_observer_that_fails(
    small_run: Run,
    tmp_path: Path,
    expected: dict[str, object],
    jobs: int,
    method: str,
    error: Exception,
    capsys: pytest.CaptureFixture[str],
) -> None:
    each = Each(method, error)
    study = study_of(small_run)
    run_study(study, folder=tmp_path / "s", jobs=jobs, threads=2, observer=each)
    assert contents(tmp_path / "s") == expected
    assert len(each.ended) == 4
    for observer in each.observers:
        assert observer.counts[method] == 1
        assert observer.counts["close"] == 1
    # Four observers fail alike: one line.
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"kilonet: observer Tracker failed in {method}: {type(error).__name__}")


@pytest.mark.native
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("method", ["begin_study", "begin_trial", "end_trial", "end_stage"])
def test_a_studys_observer_that_fails(
    small_run: Run,
    tmp_path: Path,
    expected: dict[str, object],
    jobs: int,
    method: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    observer = failing(StudyObserver, method, BrokenPipeError(32, "Broken pipe"))
    study = study_of(small_run)
    result = run_study(study, folder=tmp_path / "s", jobs=jobs, threads=2, observer=observer)
    assert len(result.stages) == 2
    assert contents(tmp_path / "s") == expected
    assert observer.counts[method] == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"kilonet: observer Tracker failed in {method}: BrokenPipeError")


def test_what_begin_trial_returns_need_not_be_an_observer(
    small_run: Run,
    tmp_path: Path,
    expected: dict[str, object],
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Wrong:
        stages: ClassVar[list[int]] = []

        def begin_trial(self, trial: Trial) -> str:
            return "no observer"

        def end_stage(self, so_far: StudyResult) -> None:
            self.stages.append(len(so_far.stages))

    run_study(study_of(small_run), folder=tmp_path / "s", jobs=1, observer=Wrong())
    assert contents(tmp_path / "s") == expected
    assert Wrong.stages == [1, 2]
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("kilonet: observer str is no observer")


@pytest.mark.native
@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interrupt_closes_every_observer_once(small_run: Run, tmp_path: Path, jobs: int) -> None:
    each = Each("end_epoch", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run_study(study_of(small_run), folder=tmp_path / "s", jobs=jobs, threads=2, observer=each)
    assert len(each.observers) >= jobs
    assert {observer.counts["close"] for observer in each.observers} == {1}


def test_observers_of_finished_trials_are_closed(small_run: Run, tmp_path: Path) -> None:
    study = study_of(small_run)
    run_study(study, folder=tmp_path / "s", jobs=1)
    each = Each("", OSError())
    run_study(study, folder=tmp_path / "s", jobs=1, observer=each)
    assert [observer.counts for observer in each.observers] == [Counter(close=1)] * 4
