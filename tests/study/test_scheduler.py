"""Several trials at once: the same bits as one after another, isolated failures, all processors."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import joblib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilonet.data import Dataset, load_dataset
from kilonet.entry import run_command
from kilonet.errors import EngineError
from kilonet.spec import Run, load_run, to_toml
from kilonet.storage.record import RunRecord
from kilonet.storage.run_folder import RunFolder
from kilonet.study import (
    Failure,
    IncompleteStudyError,
    StudyObserver,
    StudyResult,
    Trial,
    run_study,
)
from kilonet.study.executors.base import Failed, Receive, Resources
from kilonet.study.result import study_trials
from kilonet.study.scheduler import Plan, PlannedTrial, Scheduler, make_plan
from kilonet.training.observer import GuardedObserver, Observer
from small_studies import STAGES, contents, study_of

WILD = {"name": "Wild", "change": {"train.optimizer.lr": 1e30}}
TAME = {"name": "Tame", "change": {"train.optimizer.lr": 0.02}}


class Recorder(StudyObserver):
    def __init__(self) -> None:
        self.begun: list[tuple[int, int]] = []
        self.trained: list[tuple[int, int]] = []
        self.threads: list[str] = []
        self.ended: list[tuple[int, int]] = []
        self.failed: list[Failure] = []
        self.stages: list[list[int]] = []
        self.most = self.now = 0
        self.jobs = 0

    def begin_study(self, *, engine: str, trials: Sequence[Trial], num_jobs: int) -> None:
        self.jobs = num_jobs

    def begin_trial(self, trial: Trial) -> Observer | None:
        self.begun.append((trial.stage.number, trial.seed))
        self.now += 1
        self.most = max(self.most, self.now)
        outer = self

        class Count(Observer):
            def begin(self, run: Run, *, engine: str, folder: Path, epochs_done: int) -> None:
                outer.trained.append((trial.stage.number, trial.seed))
                outer.threads.append(engine.rpartition(", ")[2])

        return Count()

    def end_trial(self, trial: Trial, record: RunRecord) -> None:
        assert record == RunFolder(trial.folder).record()
        assert record.finished
        self.now -= 1
        self.ended.append((trial.stage.number, trial.seed))

    def fail_trial(self, failure: Failure) -> None:
        self.now -= 1
        self.failed.append(failure)

    def end_stage(self, so_far: StudyResult) -> None:
        self.stages.append([stage.stage.number for stage in so_far.stages])


@pytest.fixture(scope="module")
def serial(small_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two stages and two seeds, one trial after another in this process."""
    folder = tmp_path_factory.mktemp("serial") / "s"
    run_study(study_of(small_run), folder=folder, jobs=1)
    return folder


@pytest.mark.native
def test_several_at_once_write_the_same_files_as_one_after_another(
    small_run: Run, serial: Path, tmp_path: Path
) -> None:
    recorder = Recorder()
    result = run_study(study_of(small_run), folder=tmp_path / "s", threads=2, observer=recorder)
    assert recorder.jobs == 2
    assert recorder.most >= 2
    assert recorder.begun == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert sorted(recorder.ended) == sorted(recorder.trained) == recorder.begun
    assert recorder.stages == [[1], [1, 2]]
    assert [[r.run.train.seed for r in stage.records] for stage in result.stages] == [
        [1, 2],
        [1, 2],
    ]
    assert contents(tmp_path / "s") == contents(serial)
    assert not list((tmp_path / "s").rglob(".*"))


@pytest.mark.native
def test_finished_runs_are_skipped_and_equal_stages_share_a_run(
    small_run: Run, serial: Path, tmp_path: Path
) -> None:
    again = {"name": "Again", "change": {"train.batch_size": 32}}
    recorder = Recorder()
    run_study(
        study_of(small_run, stages=[*STAGES, again]), folder=serial, threads=2, observer=recorder
    )
    assert recorder.trained == []
    assert recorder.stages == [[1], [1, 2], [1, 2, 3]]
    recorder, two = Recorder(), study_of(small_run, stages=[STAGES[1], again])
    run_study(two, folder=tmp_path / "s", threads=2, observer=recorder)
    assert sorted(recorder.trained) == [(1, 1), (1, 2)]
    assert len(list((tmp_path / "s" / "runs").iterdir())) == 2
    assert recorder.stages == [[1], [1, 2]]


@pytest.mark.native
def test_if_no_process_can_be_started_this_one_trains(
    small_run: Run, serial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(load: object) -> None:
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr("kilonet.study.executors.local.Worker", refuse)
    recorder = Recorder()
    run_study(study_of(small_run), folder=tmp_path / "s", threads=2, observer=recorder)
    assert recorder.ended == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert set(recorder.threads) == {"2 threads"}
    assert contents(tmp_path / "s") == contents(serial)


def test_a_daemonic_process_starts_none(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    with monkeypatch.context() as patch:
        patch.setitem(multiprocessing.current_process()._config, "daemon", True)
        run_study(study_of(small_run), folder=tmp_path / "s", threads=2, observer=recorder)
    assert recorder.jobs == recorder.most == 1


def test_a_failed_trial_does_not_stop_the_others_and_is_tried_again(
    small_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its stage is left out, and a later one is not."""
    study = study_of(small_run, stages=[STAGES[0], WILD, TAME], seeds=1)
    for options in ({"threads": 2}, {"jobs": 1}):
        recorder = Recorder()
        with pytest.raises(IncompleteStudyError, match="the training diverged") as caught:
            run_study(study, folder=tmp_path / "s", observer=recorder, **options)
        assert [stage.stage.number for stage in caught.value.result.stages] == [1, 3]
        assert recorder.stages == [[1], [1, 3]]
        assert [failure.trial.stage.number for failure in recorder.failed] == [2]
    # The second time the finished ones were skipped.
    assert recorder.trained == [(2, 1)]
    (tmp_path / "study.toml").write_text(to_toml(study))
    command = ["study", str(tmp_path / "study.toml"), "--out", str(tmp_path / "s"), "--json"]
    assert run_command(command) == 1
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert [stage["name"] for stage in found["stages"]] == ["Batch norm", "Tame"]
    [failure] = found["failures"]
    *_, last = err.strip().splitlines()
    assert last == f"kilonet: {failure}"
    assert last.startswith("kilonet: stage 2 'Wild', seed 1 (")
    assert "lower train.optimizer.lr (it is 1e+30)" in last or "(this step's was 1e+30)" in last
    assert "stage 2 (Wild)" in err
    report = (tmp_path / "s" / "report.md").read_text()
    assert "Tame" in report


def test_a_study_without_a_complete_stage(
    small_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_of(small_run, stages=[WILD, {**WILD, "name": "Wild still"}], seeds=1)
    (tmp_path / "study.toml").write_text(to_toml(study))
    command = ["study", str(tmp_path / "study.toml"), "--out", str(tmp_path / "s"), "--json"]
    assert run_command([*command, "--threads", "2"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["stages"] == []
    # Both stages have the same run, which is trained once.
    first, second = (line for line in err.splitlines() if line.startswith("kilonet: "))
    assert first.startswith("kilonet: stage 1 'Wild', seed 1")
    assert second.startswith("kilonet: stage 2 'Wild still', seed 1")


def test_killed_and_starved_workers(small_run: Run, small_mnist: Path, tmp_path: Path) -> None:
    """One process is killed, and one may allocate no more memory."""
    for name in ("killed", "starved"):
        (tmp_path / f"{name}.npz").symlink_to(small_mnist)
    parent = os.getpid()

    def load(name: str) -> Dataset:
        if os.getpid() != parent and Path(name).stem == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        dataset = load_dataset(name)
        if os.getpid() != parent and Path(name).stem == "starved":
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used, used))
        return dataset

    def data(name: str) -> dict[str, object]:
        return {"name": name, "change": {"data.name": str(tmp_path / f"{name}.npz")}}

    good = {"name": "good", "change": {"data.name": str(small_mnist)}}
    study = study_of(small_run, stages=[data("killed"), good, data("starved")], seeds=1)
    recorder = Recorder()
    with pytest.raises(IncompleteStudyError) as caught:
        run_study(study, folder=tmp_path / "s", threads=2, observer=recorder, load=load)
    assert recorder.ended == [(2, 1)]
    killed, starved = caught.value.failures
    assert "its process was killed (SIGKILL), as the system does" in str(killed)
    assert "out of memory" in str(starved)
    assert "\n" not in str(caught.value)
    result = run_study(study, folder=tmp_path / "s", threads=2)
    assert len(result.stages) == 3


class FakeExecutor:
    """Ends each trial when it is polled, oldest first; has a number of workers."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.running: list[Trial] = []
        self.threads: list[int] = []
        self.calls: list[str] = []

    def submit(self, trial: Trial, resources: Resources) -> bool:
        if len(self.running) == self.workers:
            return False
        self.running.append(trial)
        self.threads.append(resources.threads)
        self.calls.append("submit")
        return True

    def poll(self, receive: Receive) -> None:
        self.calls.append("poll")
        receive(self.running.pop(0), Failed(reason="tired"))

    def cancel(self) -> None:
        self.calls.append("cancel")

    def shutdown(self, *, wait: bool) -> None:
        self.calls.append("shutdown and wait" if wait else "shutdown")


def planned_trials(run: Run) -> list[PlannedTrial]:
    trials = study_trials(study_of(run), Path("s"))
    return [PlannedTrial(trial=trial, engine="auto", threads=None) for trial in trials]


def scheduler_of(executor: FakeExecutor, end: Callable[[Trial, str | None], None]) -> Scheduler:
    plan = Plan(threads=4, jobs=2, fixed_threads=1)
    return Scheduler(
        executor, plan=plan, device="cpu", begin=lambda _: GuardedObserver(None), end=end
    )


def test_a_scheduler_needs_only_the_protocol(small_run: Run) -> None:
    executor, ended = FakeExecutor(2), []
    scheduler = scheduler_of(executor, lambda trial, reason: ended.append((trial.seed, reason)))
    assert scheduler.run(planned_trials(small_run)) == []
    assert ended == [(1, "tired"), (2, "tired"), (1, "tired"), (2, "tired")]
    assert executor.threads == [2, 2, 2, 2]
    first_polls = ["submit", "submit", "poll", "submit", "poll", "submit", "shutdown"]
    assert executor.calls[: len(first_polls)] == first_polls
    assert executor.calls.count("shutdown") == 1
    assert executor.calls[-1] == "shutdown and wait"


def test_trials_without_a_worker_are_left_over(small_run: Run) -> None:
    planned = planned_trials(small_run)
    assert scheduler_of(FakeExecutor(0), lambda trial, reason: None).run(planned) == planned


def test_an_error_in_an_observer_cancels_the_trials_that_run(small_run: Run) -> None:
    executor = FakeExecutor(2)

    def end(trial: Trial, reason: str | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scheduler_of(executor, end).run(planned_trials(small_run))
    assert executor.calls[-2:] == ["cancel", "shutdown and wait"]


@pytest.mark.parametrize(
    ("free", "running", "waiting", "share"),
    [
        (8, 0, 12, 1),
        (8, 0, 3, 2),  # three trials on eight: 2, 3 and 3
        (6, 1, 2, 3),
        (3, 2, 1, 3),
        (2, 0, 1, 2),  # the last of three on two, the others nearly done
        (1, 1, 1, 1),
        (0, 2, 1, 1),
    ],
)
def test_threads_are_shared_out(free: int, running: int, waiting: int, share: int) -> None:
    plan = Plan(threads=8, jobs=8, fixed_threads=1)
    assert plan.share(free=free, running=running, waiting=waiting) == share


@given(threads=st.integers(1, 64), jobs=st.integers(1, 64), num_trials=st.integers(1, 100))
def test_the_first_trials_use_every_thread_and_no_more(
    threads: int, jobs: int, num_trials: int
) -> None:
    jobs = min(jobs, threads, num_trials)
    plan = Plan(threads=threads, jobs=jobs, fixed_threads=1)
    given: list[int] = []
    for number in range(jobs):
        free = threads - sum(given)
        assert free >= 1
        given.append(plan.share(free=free, running=number, waiting=num_trials - number))
    assert sum(given) == threads
    assert max(given) - min(given) <= 1


def plan_of(number: int, **options: Any) -> Plan:
    """The plan for that many of six trials."""
    nets = [load_run("interim").net] * number
    options = {"engine": "auto", "device": "cpu", "threads": None, "jobs": None, **options}
    return make_plan(nets, num_trials=6, **options)


@pytest.mark.native
@pytest.mark.parametrize(
    ("number", "options", "threads", "jobs"),
    [
        (6, {}, 4, 4),
        (2, {}, 4, 2),
        (0, {}, 4, 1),
        (6, {"threads": 3}, 3, 3),
        (6, {"jobs": 2}, 4, 2),
        (6, {"jobs": 9, "threads": 2}, 2, 2),
        (6, {"one_at_a_time": True}, 4, 1),
    ],
)
def test_a_plan_for_four_processors(
    number: int,
    options: dict[str, Any],
    threads: int,
    jobs: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(joblib, "cpu_count", lambda: 4)
    plan = plan_of(number, **options)
    assert (plan.threads, plan.jobs) == (threads, jobs)


@pytest.mark.native
def test_on_a_gpu_trials_run_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kilonet.study.scheduler.engine_device", lambda net, **_: "cuda")
    assert plan_of(6, threads=4).jobs == 1


def test_pytorchs_threads_do_not_depend_on_the_other_trials() -> None:
    pytest.importorskip("torch")

    def fixed(number: int, **options: int) -> int:
        return plan_of(number, engine="torch", **{"threads": 4, **options}).fixed_threads

    assert {fixed(number) for number in range(1, 7)} == {1}
    assert {fixed(number, jobs=2) for number in range(1, 7)} == {2}
    assert {fixed(number, jobs=2, threads=9) for number in range(1, 7)} == {4}


def test_a_missing_engine_is_an_error_before_training(small_run: Run, tmp_path: Path) -> None:
    recorder = Recorder()
    with pytest.raises(EngineError, match="device 'cuda': the native engine runs on the CPU"):
        run_study(
            study_of(small_run),
            folder=tmp_path / "s",
            engine="native",
            device="cuda",
            observer=recorder,
        )
    assert recorder.begun == []
